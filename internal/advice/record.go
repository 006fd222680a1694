package advice

import "imaseal/internal/appraise"

// OfRecord returns what an administrator can do about a record of the kernel that no
// label of a file mends, by its operation and cause, or nothing. Kernel: the callers of
// integrity_audit_msg(), security/integrity/.
func OfRecord(op, cause string) string {
	switch cause {
	case string(appraise.FailedDirectIO):
		return "the program reads past the page cache (O_DIRECT), which appraisal refuses: let it read otherwise, or add permit_directio to the policy's rule"
	case "no_label", "no_xattrs":
		return "EVM lets nobody change owner, mode or labels of a file without an EVM label: while EVM is not active, imaseal relabel --evm hmac --evm-key EVMKEY FILE gives it one"
	case "fail", "invalid-EVM", "unknown":
		return "its EVM label did not fit already when a program wanted to change owner, mode or labels: imaseal verify --key CERT FILE says why; while EVM is not active, imaseal relabel --evm hmac --evm-key EVMKEY FILE mends it"
	case "fail_immutable":
		return "a portable signature keeps owner, mode and labels as they are: replace the file as a whole, or give it an HMAC instead (--evm portable,hmac with the class hash)"
	case "ToMToU":
		return "a file that was being read was opened for writing: its measurement may be of other content; measure rules should leave out what is written while it is read"
	case "open_writers":
		return "a file was read that is open for writing: its measurement may be of other content; measure rules should leave out logs and databases"
	case "signed-policy-required":
		return "the kernel takes policies only from a signed file: imaseal sign --key KEY --cert CERT POLICY signs it; then write its path into the policy file of securityfs"
	}
	switch op {
	case "policy_update", "update_policy", "policy_rule":
		return "imaseal policy lint FILE says what a kernel refuses of the policy"
	}
	return ""
}
