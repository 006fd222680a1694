package advice

import "imaseal/internal/appraise"

// OfRecord returns what an administrator can do about a record of the kernel that no
// label of a file mends, by its operation and cause, or nothing. Kernel: the callers of
// integrity_audit_msg(), security/integrity/.
func OfRecord(op, cause string) string {
	switch op {
	case "appraise_metadata", "update_metadata": // evm_protect_xattr(), evm_inode_setattr() and others
		return ofMetadata(cause)
	case "set_data": // validate_hash_algo(), ima_appraise.c
		return ofNewLabel(cause)
	case "mmap_file": // mmap_violation_check(), ima_main.c
		return "a program runs code of a file that is mapped for writing at the same time: end the writer first, or let it write a new file and rename that"
	case "policy_update", "update_policy", "policy_rule":
		if cause == "signed policy required" {
			return "the kernel takes policies only from a signed file: imaseal sign --key KEY --cert CERT POLICY signs it; then write its path into the policy file of securityfs"
		}
		return "imaseal policy lint FILE says what a kernel refuses of the policy"
	case "invalid_pcr": // ima_add_violation()
		if cause == "ToMToU" {
			return "a file that was being read was opened for writing: its measurement may be of other content; measure rules should leave out what is written while it is read"
		}
		return "a file was read that is open for writing: its measurement may be of other content; measure rules should leave out logs and databases"
	}
	switch cause {
	case string(appraise.FailedDirectIO):
		return "the program reads past the page cache (O_DIRECT), which appraisal refuses: let it read otherwise, or add permit_directio to the policy's rule"
	case "failed-mprotect": // ima_file_mprotect(), ima_main.c
		return "the program makes a mapped file executable, which kernels refuse where a rule appraises mappings: let it map the file executable at once, or take the rule with func=MMAP_CHECK away from it"
	case "sigv3-hashing-error": // ima_appraise.c
		return "the kernel could not compute what the signature is over: imaseal show FILE says its digest, which a kernel module may have"
	}
	return ""
}

// ofNewLabel is about labels that a program wanted to write.
func ofNewLabel(cause string) string {
	if cause == "unavailable-hash-algorithm" {
		return "a program wanted to write a label whose digest the kernel does not have: label with --algo of one that it has, as ima_hash= names"
	}
	return "a program wanted to write a label whose digest the policy's rule for SETXATTR_CHECK does not allow: label with --algo of one that it names"
}

// ofMetadata is about changes of owner, mode or attributes that EVM refused, by what it
// found of the file's label (integrity_status_msg, security/integrity/iint.c).
func ofMetadata(cause string) string {
	switch cause {
	case "no_label", "no_xattrs":
		return "EVM lets nobody change owner, mode or labels of a file without an EVM label: while EVM is not active, imaseal relabel --evm hmac --evm-key EVMKEY FILE gives it one"
	case "pass_immutable", "fail_immutable":
		return "a portable signature keeps owner, mode and labels as they are: replace the file as a whole, or give it an HMAC instead (--evm portable,hmac with the class hash)"
	}
	return "its EVM label did not fit already when a program wanted to change owner, mode or labels: imaseal verify --key CERT FILE says why; while EVM is not active, imaseal relabel --evm hmac --evm-key EVMKEY FILE mends it"
}
