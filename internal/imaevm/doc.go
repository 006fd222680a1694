// Package imaevm holds every byte that the kernel's integrity code reads from
// or writes to an extended attribute: bytes in, values out, no files.
//
// All multi-byte fields are big endian unless said otherwise. A label is the
// value of security.ima or security.evm; its first byte is its type (enum
// evm_ima_xattr_type in security/integrity/integrity.h):
//
//	0x01  hash without algorithm byte          security.ima
//	0x02  HMAC-SHA1                            security.evm
//	0x03  signature                            security.ima, security.evm
//	0x04  hash with algorithm byte             security.ima
//	0x05  portable, immutable signature        security.evm
//	0x06  signature over an fs-verity digest   security.ima
//
// # Hash labels
//
// Type 0x04 is followed by one byte, the kernel's number of the algorithm, and
// the digest. Type 0x01 is followed by the digest alone: 20 bytes of SHA-1, or
// 16 bytes of MD5, or 16 bytes of MD5 and four zero bytes (ima_get_hash_algo()
// in security/integrity/ima/ima_appraise.c). A SHA-1 digest that ends in four
// zero bytes therefore cannot be written as type 0x01. The kernel writes type
// 0x01 for MD5 and SHA-1 and type 0x04 for the rest (ima_fix_xattr()), accepts
// 0x04 for all of them, and ignores bytes behind the digest (xattr_verify()).
// It writes type 0x01 for MD4 as well, which it then takes for MD5: MD4 is
// written as type 0x04 here.
//
// # Signature labels
//
// Types 0x03, 0x05 and 0x06 are followed by the rest of struct
// signature_v2_hdr (security/integrity/integrity.h) and the raw signature:
//
//	0  1  type                        3  4  key id
//	1  1  version, 2 or 3             7  2  length of the signature
//	2  1  hash, the kernel's number   9  n  signature
//
// The length must be exactly that of the bytes behind it and not zero
// (asymmetric_verify() in security/integrity/digsig_asymmetric.c). The key id
// is the last four bytes of the certificate's subject key identifier. Version
// 2 signs a digest, the file's or EVM's. Version 3 signs the digest of a file
// id: see FileID. Type 0x06 has version 3 only (xattr_verify()); of types 0x03
// and 0x05 Linux 7.2 knows it, 6.12 does not. Version 1 is historic, read and
// never produced: see SignatureV1.
//
// # EVM labels
//
// Type 0x02 is followed by 20 bytes of HMAC-SHA1, the only algorithm, and
// nothing else (evm_verify_hmac() in security/integrity/evm/evm_main.c). See
// Input for what EVM's digests and HMACs cover, Protected for the attributes
// among that, and NewHMACKey for the key.
package imaevm
