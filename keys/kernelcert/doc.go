// Package kernelcert says what the kernel makes of an X.509 certificate: whether it
// loads it into a keyring, and if not why; what it calls it; by which ids labels
// name its key. Bytes in, values out.
//
// # What is written here
//
// The rules of Linux 6.1, 6.12 and 7.2, as their newest stable releases have them. Of
// a change whose version is known the versions between count too. Each rule was
// offered to real kernels of these three by TestCertificates of
// internal/kernellab, thousands of times with certificates from package certtest, also in
// FIPS mode where a kernel has it; not so those of SM2, ML-DSA and ECDSA in 6.1, for
// want of a kernel that is built with them, and of 32-bit kernels. Signatures of GOST
// and SM2 are not computed here: what hangs on one is undecided.
//
// A certificate comes to add_key(2) with the type asymmetric, from user space or from
// the kernel itself (CONFIG_IMA_X509_PATH, .builtin_trusted_keys). What does not parse
// as a certificate may be something else for another parser; PKCS #8 is none of a
// certificate. Kernel: asymmetric_key_preparse() in
// crypto/asymmetric_keys/asymmetric_type.c, x509_key_preparse() in x509_public_key.c.
// Nothing at all is EINVAL, more than 65535 bytes EMSGSIZE.
//
// # Structure
//
// A certificate is that of RFC 5280, section 4.1, read as package ber says, so that
// much is allowed which is no DER, and bytes may follow it
// (crypto/asymmetric_keys/x509.asn1). An error is EBADMSG. In particular:
//
//   - The version may be any INTEGER or missing; extensions need no version 3.
//   - The serial number may be negative, empty, and of any length.
//   - Parameters of algorithms may be missing or anything.
//   - A Name has at least one attribute: an empty subject or issuer is refused. Values may
//     be of any type, not only text.
//   - A validity of one time stands for two of them; see [Certificate.Validity].
//   - The unique identifiers are primitive, and in their order.
//   - Extensions, if they are there, are at least one. Whether they are critical, and what
//     those are that the kernel does not know, makes no difference.
//
// # In the order of decoding
//
// The kernel looks at some parts as it comes to them (x509_cert_parser.c), so that a
// certificate may be refused for one of these before it turns out to be damaged
// further on.
//
//	signature      x509_note_sig_algo(). RSA (PKCS #1 v1.5) with SHA-1 and SHA-2, ECDSA with
//	               the same, GOST R 34.10-2012; since 6.7 both with SHA3-256, -384, -512, since
//	               7.0 ML-DSA. Until 6.6 the identifier of RSA with MD5, taken for MD4; until 6.10
//	               SM2 with SM3. All others, RSA-PSS, DSA and Ed25519 among them: ENOPKG, whoever
//	               signed it.
//	notBefore,     x509_decode_time(). UTCTime YYMMDDhhmmssZ of the years 1970 to 2049, or
//	notAfter       GeneralizedTime YYYYMMDDhhmmssZ from 2050 on. The day must be one, in 2000 and its
//	               like too; the hour may be 24, the second 60. Else EBADMSG. That a certificate
//	               has expired, or ends before it begins, makes no difference.
//	key            x509_extract_key_data(). RSA; P-192, P-256, P-384, since 6.10 P-521, by name;
//	               GOST R 34.10-2012; since 7.0 ML-DSA; until 6.10 SM2. Others: ENOPKG. A curve that
//	               is not named: EBADMSG, as are bits that are not whole bytes. The key itself
//	               is not looked at here: see package kernelkey.
//	extensions     x509_process_extension(), EBADMSG:
//	  subject key    an OCTET STRING of 1 to 255 bytes, whose length is one byte; not twice
//	  identifier
//	  key usage      since 6.4: a BIT STRING, at least 4 bytes with its header, less than 8 bits
//	                 unused; also several, which add up
//	  basic          since 6.4: a SEQUENCE whose length is one byte, empty or beginning with
//	  constraints    TRUE (FF). CA:FALSE written out is refused; kernels of 6.4 to 6.17 before that
//	                 rule (6.6.112, 6.12.53, 6.17.3) took it, for a CA. 6.1 looks at none of it.
//	signature      x509_note_signature(). Both signature algorithms have the same identifier, else
//	               EINVAL; the bits are whole bytes, else EBADMSG.
//
// # When all is decoded
//
// The authority key identifier is read, the last one if there are several
// (x509_akid.asn1): EBADMSG if it is malformed. Until 6.6 names of issuers but directory names
// were expected inside of another element, so that certificates which have such are
// refused there. A list of issuers may be empty.
//
// Then the digest of the signed part is made (x509_get_sig_params()). A kernel that lacks
// the algorithm goes on without, and does not check the signature.
//
// A certificate is taken for self-signed if subject and issuer are the same bytes and
// the authority key identifier, if there is one, has the subject key identifier, or serial
// number and name, of the certificate (x509_check_for_self_signed()). If it has both
// and only one fits: EKEYREJECTED. A self-signed certificate's signature is checked, if
// the digest could be made:
//
//   - it is of the kind of the key, else EKEYREJECTED (public_key_verify_signature() in
//     public_key.c);
//   - the kernel has the algorithm, else ENOENT: no ECDSA is self-signed where
//     CONFIG_CRYPTO_ECDSA is not set, as in Debian's 6.1;
//   - the key is one, and the signature is right, see package kernelkey: EBADMSG, EINVAL or
//     EKEYREJECTED.
//
// What others signed is loaded unseen, whatever its key is worth. Whether labels can be
// verified with it is for kernelkey and [Kernel.HasKey] to say.
//
// Certificates that are blacklisted (EKEYREJECTED), and those that do not fit into the user's quota
// of keys (EDQUOT), are not known here.
//
// # Restricted keyrings
//
// .ima and .evm take what a certificate in a keyring of the kernel vouches for, and since
// 6.5 only certificates for digital signatures that are no CA ([Kernel.Vouch],
// [Kernel.Usage]; restrict.c, security/integrity/digsig.c):
//
//   - the key usage has digitalSignature and not keyCertSign, and the basic constraints are
//     not CA:TRUE: ENOKEY;
//   - the kernel could make the digest: ENOPKG;
//   - the issuer is found, else ENOKEY: by serial number and name of the authority key identifier,
//     or its key identifier, each of which may be either identifier of the issuer; by both
//     where there are both; without them by the issuer's name;
//   - the signature is right by the issuer's key, with the errors from above.
//
// # FIPS mode
//
// ECDSA since 6.3, without P-192; SHA-1, SHA-2, SHA-3, and since 6.13 no RSA with SHA-1; none of MD4,
// Streebog, GOST and SM. Sizes and exponents of RSA: package kernelkey. Kernel: fips_allowed
// in crypto/testmgr.c.
//
// # Names and ids
//
// See [Certificate.Description] and [Certificate.KeyIDs].
package kernelcert
