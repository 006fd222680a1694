// Package measure reads IMA's measurement lists, recomputes what they claim, and
// replays them into PCRs: bytes in, values out, no files.
//
// # Lists
//
// A kernel has a list for each bank of its TPM, and always that of SHA-1, below
// /sys/kernel/security/ima: binary_runtime_measurements_ALG and
// ascii_runtime_measurements_ALG, where ALG is the kernel's name of the algorithm,
// or tpm_alg_HEX, the TPM's number, if the kernel has no name for it. The names
// without _ALG are the list of SHA-1. All lists have the same records in the same
// order; only the template digests differ (security/integrity/ima/ima_fs.c). Linux
// 7.2 lets root remove records from the front, so that a list begins anywhere.
//
// # Binary records
//
//	4  PCR index, less than 64
//	n  template digest, n is the size of the bank's digests
//	4  length of the template's name
//	…  name of the template, without NUL; for a custom format (ima_template_fmt=)
//	   the format itself, identifiers of fields with | between them
//	4  length of the template's data; not there for the template "ima"
//	…  data
//
// Numbers are in the byte order of the machine, or little endian if it was booted
// with ima_canonical_fmt. The data are the fields, each with 4 bytes of length in
// front; those of the template "ima" are 20 bytes of digest, a length, and the
// name without NUL (ima_measurements_show()).
//
// # ASCII records
//
// A line: the PCR index, the template digest in hexadecimal, the template's name,
// and the fields, each behind a blank, also if it is empty
// (ima_ascii_measurements_show()). A newline in the name of a file breaks the line
// in two; Reader joins them again where the digest shows that they were one.
//
// # Templates and fields
//
// See Templates for the formats (builtin_templates[] in ima_template.c). Fields and
// their bytes, and what they are in ASCII (ima_template_lib.c):
//
//	d             digest of 20 or 16 bytes                          hex
//	d-ng          "ALG:", NUL, digest                               ALG:hex
//	d-ngv2        "ima:ALG:" or "verity:ALG:", NUL, digest          ima:ALG:hex
//	d-modsig      as d-ng, without the appended signature; or empty ALG:hex
//	n             name, at most 255 bytes, NUL                      text
//	n-ng          path, NUL                                         text
//	xattrnames    names of attributes with | between them, NUL      text
//	sig           signature label                                   hex
//	evmsig        portable EVM signature label                      hex
//	buf           any data                                          hex
//	modsig        PKCS#7                                            hex
//	xattrlengths  4 bytes each                                      hex
//	xattrvalues   one behind the other                              hex
//	iuid, igid    4 bytes                                           decimal
//	imode         2 bytes                                           decimal
//
// All may be empty. In texts each blank is "_" already in the data: see EscapeName.
//
// # Digests and PCRs
//
// The template digest is that of the data as they are in the binary list. For the
// template "ima" it is that of the digest and the name, padded with zeros to 256
// bytes (ima_calc_field_array_hash_tfm(), ima_crypto.c). A bank whose algorithm the
// kernel cannot compute has the SHA-1 digest, with zeros behind it.
//
// The PCR of a bank is extended with the template digest of each record. A record
// whose template digest is zero is a violation: what was measured is not what was
// used, because a file was opened for writing while it was read or was read while it
// was open for writing. PCRs are extended with 0xff bytes for it (ima_queue.c).
//
// The first record is boot_aggregate: see pcr.BootAggregate. After a kexec that keeps the
// list, the old list is in front, and there are several.
package measure
