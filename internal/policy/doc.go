// Package policy is the language of IMA policies: it parses them as a given
// kernel would and prints them canonically. It does no input or output. The
// kernel's own policies are in package builtin. Package inspect finds out what
// rules ask about a file, match decides which rule takes it, explain says why, and
// lint what is unwise about a policy.
//
// # The language
//
// A policy is a list of lines, each a rule, a comment (its first character
// that is not a blank is #), or blank. A rule consists of items between blanks
// and tabs, in any order but where noted: exactly one action, conditions, and
// options. There is no quoting.
//
//	measure dont_measure         record in the measurement list
//	appraise dont_appraise       verify
//	audit dont_audit             audit record; dont_audit since 7.2
//	hash dont_hash               keep security.ima up to date
//
// Conditions, all of which must hold:
//
//	func=HOOK                    absent: every hook but KEY_CHECK, CRITICAL_DATA
//	mask=BIT                     the access mask is MAY_READ, MAY_WRITE, …
//	mask=^BIT                    the access mask contains it
//	fsmagic=HEX fsname=NAME      fsname may be repeated, the last one counts
//	fs_subtype=NAME              since 7.2
//	fsuuid=UUID
//	uid=N uid<N uid>N            also euid gid egid fowner fgroup
//	obj_user=X …                 also obj_role obj_type subj_user subj_role subj_type
//
// Options:
//
//	appraise_type=imasig         security.ima must be a signature
//	appraise_type=imasig|modsig  or the file ends with one; modules and kexec images
//	appraise_type=sigv3          of version 3; 6.12: behind digest_type=verity only
//	digest_type=verity           the fs-verity digest counts
//	appraise_algos=A,B           algorithms that the label may use
//	permit_directio              let O_DIRECT pass
//	pcr=N template=T             of measure rules
//	keyrings=A|B label=A|B       of KEY_CHECK and CRITICAL_DATA
//	appraise_flag=X              ignored
//
// Kernel: ima_parse_rule(), ima_validate_rule() and ima_init_policy() in
// security/integrity/ima/ima_policy.c; how a text is cut into rules is in
// ima_write_policy() and ima_read_policy(), ima_fs.c.
//
// The package is larger than others: every item of the language needs its
// lines for parsing, checking and printing, and these belong together.
package policy
