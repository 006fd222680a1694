// Package audit reads the kernel's integrity records out of logs: who was refused
// what, why, and what IMA and EVM have to say besides.
//
// # Records
//
// The kernel writes a record as one line of fields (security/integrity/
// integrity_audit.c, kernel/audit.c):
//
//	audit(1700000000.123:45): pid=7 uid=0 auid=1000 ses=3 subj=unconfined op=appraise_data
//	cause=invalid-hash comm="cat" name="/etc/passwd" dev="vda1" ino=131 res=0 errno=0
//
// The number before the colon is the time in seconds, the one behind it a serial
// number that starts again at each boot; all records of one system call have the
// same. Text that somebody else chose (comm, name, dev, file, xattr) is in
// quotes, or, if it has a quote, a blank, or a byte that is not printing ASCII, in
// hexadecimal without quotes. The other values are bare, and may have blanks: subj
// with AppArmor, and some causes. Kernels before 5.8 have no errno. An id of
// 4294967295 is none. A res of 1 is success; in a record of appraise_data it says
// that there was no label and reading it worked, so that also this is a refusal.
//
// Kernels differ in the order and number of fields; every field is found by its
// name. Types, include/uapi/linux/audit.h:
//
//	1800 INTEGRITY_DATA         a file is refused, or could not be read
//	1801 INTEGRITY_METADATA     EVM refuses a change of owner, mode or attributes
//	1802 INTEGRITY_STATUS       a policy is loaded, or not
//	1803 INTEGRITY_HASH         not used
//	1804 INTEGRITY_PCR          measurement: violations and errors
//	1805 INTEGRITY_RULE         a file that an audit rule takes: file, hash
//	1806 INTEGRITY_EVM_XATTR    an attribute that EVM is to cover: xattr
//	1807 INTEGRITY_POLICY_RULE  a rule of a policy, as fields
//	1808 INTEGRITY_USERSPACE    as 1800, for AT_EXECVE_CHECK; since 7.2
//
// # Logs
//
// A log can be any of these, compressed by gzip, bzip2, xz or zstd, and lines of
// several kinds may be mixed:
//
//   - auditd's: "type=INTEGRITY_DATA msg=" before the record, perhaps "node=HOST "
//     before that, type=UNKNOWN[1808] for a type that is too new for it, and behind
//     the record perhaps a byte 0x1d and fields in upper case, which are
//     translations. ausearch --raw prints the same.
//   - Kernel messages, as dmesg, syslog and journalctl print them: "audit: type=1800 "
//     before the record, and before that what the program puts there. A line is
//     only believed where nothing else can be meant than that the kernel wrote it:
//     everybody may write to a syslog.
//   - journalctl -o json and json-seq: one object a line. Those count whose
//     _TRANSPORT is audit, with the number of the type in _AUDIT_TYPE, its name and
//     the fields in MESSAGE, the serial number in _AUDIT_ID and the time in
//     _SOURCE_REALTIME_TIMESTAMP (microseconds), and those whose _TRANSPORT is
//     kernel, with a kernel message in MESSAGE. With both, a record is there twice.
//   - journalctl's text for audit records: "audit[PID]: INTEGRITY_DATA " before the
//     fields, without serial number, and without a time that has a year. This is
//     the one that everybody can write; the JSON tells who did.
//
// # What is lost
//
// The kernel drops records where a limit is passed, and says so among its
// messages, not in auditd's log. See [Loss].
package audit
