package keyfile

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"filippo.io/mldsa"
	"imaseal/keys/kernelcert"

	"imaseal/keys/pbes2"
	"imaseal/keys/pkcs12"
)

// The PEM types that are looked into. Other blocks, such as EC PARAMETERS, are
// passed over.
const (
	typeCertificate = "CERTIFICATE"
	typePublic      = "PUBLIC KEY"
	typeRSAPublic   = "RSA PUBLIC KEY"
	typePKCS8       = "PRIVATE KEY"
	typeEncrypted   = "ENCRYPTED PRIVATE KEY"
	typePKCS1       = "RSA PRIVATE KEY"
	typeSEC1        = "EC PRIVATE KEY"
	typeTSS2        = "TSS2 PRIVATE KEY"
	typePKCS12      = "PKCS12" // in DER only; PEM has no name for it
)

// isPrivate reports whether a PEM type is that of a private key, of any kind.
func isPrivate(typ string) bool {
	return typ == typePKCS8 || strings.HasSuffix(typ, " "+typePKCS8)
}

// split returns the PEM blocks of a file, or the one that its DER stands for.
func split(data []byte) ([]*pem.Block, error) {
	begin := []byte("-----BEGIN ")
	if !bytes.HasPrefix(data, begin) && !bytes.Contains(data, append([]byte("\n"), begin...)) {
		if _, err := kernelcert.Parse(data); err == nil { // which takes more than DER
			return []*pem.Block{{Type: typeCertificate, Bytes: bytes.Clone(data)}}, nil
		}
		typ, err := typeOfDER(data)
		if err != nil {
			return nil, err
		}
		return []*pem.Block{{Type: typ, Bytes: bytes.Clone(data)}}, nil
	}
	want := bytes.Count(data, append([]byte("\n"), begin...))
	if bytes.HasPrefix(data, begin) {
		want++
	}
	var blocks []*pem.Block
	for rest := data; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		switch b.Type {
		case "X509 CERTIFICATE":
			b.Type = typeCertificate
		case "TRUSTED CERTIFICATE": // openssl's, with what it is trusted for behind it
			var c asn1.RawValue
			if _, err := asn1.Unmarshal(b.Bytes, &c); err == nil {
				b.Type, b.Bytes = typeCertificate, c.FullBytes
			}
		}
		blocks = append(blocks, b)
	}
	if len(blocks) != want {
		return nil, &FormError{"holds a damaged PEM block; has it been cut short?", nil}
	}
	return blocks, nil
}

// typeOfDER returns the PEM type of a DER structure, by its first fields.
func typeOfDER(data []byte) (string, error) {
	var fields struct {
		First, Second asn1.RawValue
		Third         asn1.RawValue `asn1:"optional"`
	}
	rest, err := asn1.Unmarshal(data, &fields)
	switch {
	case data[0] != 0x30:
		return "", &FormError{"neither PEM nor DER", nil}
	case err != nil:
		return "", &FormError{fmt.Sprintf("neither PEM nor whole DER; has it been cut short? (%v)", err), err}
	case len(rest) != 0:
		return "", &FormError{fmt.Sprintf("%d bytes behind the DER", len(rest)), nil}
	}
	first, second := fields.First.Tag, fields.Second.Tag
	switch {
	case first == asn1.TagSequence && second == asn1.TagSequence && fields.Third.Tag == asn1.TagBitString:
		return typeCertificate, nil
	case first == asn1.TagSequence && second == asn1.TagBitString:
		return typePublic, nil
	case first == asn1.TagSequence && second == asn1.TagOctetString:
		return typeEncrypted, nil
	case first == asn1.TagInteger && second == asn1.TagSequence && bytes.Equal(fields.First.Bytes, []byte{3}):
		return typePKCS12, nil
	case first == asn1.TagInteger && second == asn1.TagSequence:
		return typePKCS8, nil
	case first == asn1.TagInteger && second == asn1.TagOctetString:
		return typeSEC1, nil
	case first == asn1.TagInteger && second == asn1.TagInteger && fields.Third.FullBytes == nil:
		return typeRSAPublic, nil
	case first == asn1.TagInteger && second == asn1.TagInteger:
		return typePKCS1, nil
	}
	return "", &FormError{"DER of neither a key nor a certificate", nil}
}

// parsePrivate returns the private key in a block, asking for the passphrase
// of an encrypted one.
func parsePrivate(b *pem.Block, path string, ask Ask) (crypto.Signer, error) {
	typ, der := b.Type, b.Bytes
	if typ == typeTSS2 {
		return nil, &TPMError{}
	}
	//lint:ignore SA1019 openssl wrote such files by default for decades
	old := x509.IsEncryptedPEMBlock(b)
	encrypted := old || typ == typeEncrypted
	if encrypted {
		plain, err := decrypt(b, old, path, ask)
		if err != nil {
			return nil, err
		}
		defer clear(plain)
		der = plain
		if !old {
			typ = typePKCS8
		}
	}
	k, err := parsePrivateDER(typ, der)
	if err == nil {
		return k, nil
	}
	// What a wrong passphrase decrypts to can look well padded by chance.
	if _, isKnown := errors.AsType[*UnsupportedError](err); encrypted && !isKnown {
		return nil, &PassphraseError{Wrong: true}
	}
	return nil, err
}

// askFor asks for the passphrase of a file, which is not empty. The caller clears
// it.
func askFor(path string, ask Ask) ([]byte, error) {
	if ask == nil {
		return nil, &PassphraseError{}
	}
	passphrase, err := ask(fmt.Sprintf("passphrase of %q", path))
	if err != nil {
		return nil, fmt.Errorf("asking for the passphrase: %w", err)
	}
	if len(passphrase) == 0 {
		return nil, &PassphraseError{}
	}
	return passphrase, nil
}

// oldCiphers are those that x509.DecryptPEMBlock has.
var oldCiphers = []string{"DES-CBC", "DES-EDE3-CBC", "AES-128-CBC", "AES-192-CBC", "AES-256-CBC"}

// decrypt returns the DER of an encrypted block.
func decrypt(b *pem.Block, old bool, path string, ask Ask) ([]byte, error) {
	passphrase, err := askFor(path, ask)
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	var plain []byte
	if old {
		//lint:ignore SA1019 openssl wrote such files by default for decades
		plain, err = x509.DecryptPEMBlock(b, passphrase)
		if name, _, _ := strings.Cut(b.Headers["DEK-Info"], ","); err != nil && !slices.Contains(oldCiphers, name) {
			err = &pbes2.UnsupportedError{What: fmt.Sprintf("cipher %q", name)}
		}
	} else {
		plain, err = pbes2.Decrypt(b.Bytes, passphrase)
	}
	if errors.Is(err, pbes2.ErrPassphrase) || errors.Is(err, x509.IncorrectPasswordError) {
		return nil, &PassphraseError{Wrong: true}
	}
	return plain, err
}

// parsePrivateDER returns the private key in the DER of a PEM type.
func parsePrivateDER(typ string, der []byte) (crypto.Signer, error) {
	var k any
	var err error
	switch typ {
	case typePKCS8:
		switch kind := pkcs8Kind(der); {
		case isMLDSA(kind):
			if k, err = parseMLDSA(kind, der); err != nil {
				return nil, fmt.Errorf("malformed %s private key: %w", kind, err)
			}
			return asSigner(k)
		case kind == kindP192:
			return parseP192(der)
		case kind != "":
			return nil, &UnsupportedError{Kind: kind}
		}
		k, err = x509.ParsePKCS8PrivateKey(der)
	case typePKCS1:
		k, err = x509.ParsePKCS1PrivateKey(der)
	case typeSEC1:
		switch kind := sec1Kind(der); kind {
		case "":
		case kindP192:
			return parseP192SEC1(der)
		default:
			return nil, &UnsupportedError{Kind: kind}
		}
		k, err = x509.ParseECPrivateKey(der)
	case "OPENSSH PRIVATE KEY":
		return nil, errors.New("in OpenSSH's own format; convert a copy with ssh-keygen -p -m PKCS8 -f COPY")
	case "DSA PRIVATE KEY":
		return nil, &UnsupportedError{Kind: "DSA"}
	default:
		return nil, fmt.Errorf("PEM block of unknown type %q", typ)
	}
	if err != nil {
		return nil, fmt.Errorf("malformed private key (%w)", err)
	}
	return asSigner(k)
}

// ParsePublic returns the public key in the DER or PEM of a SubjectPublicKeyInfo
// or of PKCS#1.
func ParsePublic(data []byte) (crypto.PublicKey, error) {
	if len(data) == 0 {
		return nil, errors.New("is empty")
	}
	blocks, err := split(data)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		if b.Type == typePublic || b.Type == typeRSAPublic {
			return parsePublic(b)
		}
	}
	return nil, errors.New("no public key in it")
}

// parsePublic returns the public key in a block.
func parsePublic(b *pem.Block) (crypto.PublicKey, error) {
	if b.Type == typeRSAPublic {
		return x509.ParsePKCS1PublicKey(b.Bytes)
	}
	switch kind := publicKind(b.Bytes); {
	case isMLDSA(kind):
		return parsePublicMLDSA(kind, b.Bytes)
	case kind == kindP192:
		return parsePublicP192(b.Bytes)
	case kind != "":
		return nil, &UnsupportedError{Kind: kind}
	}
	k, err := x509.ParsePKIXPublicKey(b.Bytes)
	if err != nil {
		return nil, err
	}
	switch k.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
		return k, nil
	}
	return nil, &UnsupportedError{Kind: Kind(k)}
}

// parsePKCS12 returns the private key in a PKCS#12 file, and the certificates.
// Many such files have an empty passphrase, which nobody needs to be asked for.
func parsePKCS12(b *pem.Block, path string, ask Ask) (*Private, error) {
	k, certs, err := pkcs12.Decode(b.Bytes, nil)
	if err == pkcs12.ErrPassphrase {
		passphrase, askErr := askFor(path, ask)
		if askErr != nil {
			return nil, askErr
		}
		defer clear(passphrase)
		k, certs, err = pkcs12.Decode(b.Bytes, passphrase)
	}
	switch {
	case err == pkcs12.ErrPassphrase:
		return nil, &PassphraseError{Wrong: true}
	case err != nil:
		return nil, err
	}
	signer, err := asSigner(k)
	if err != nil {
		return nil, err
	}
	parsed, err := Certificates(certs)
	if err != nil {
		return nil, err
	}
	return &Private{Key: signer, Certificates: parsed}, nil
}

// asSigner returns a parsed private key of a kind that can be used.
func asSigner(v any) (crypto.Signer, error) {
	switch k := v.(type) {
	case *rsa.PrivateKey:
		return k, nil
	case *ecdsa.PrivateKey:
		return k, nil
	case *mldsa.PrivateKey:
		return k, nil
	case crypto.Signer:
		return nil, &UnsupportedError{Kind: Kind(k.Public())}
	}
	return nil, errors.New("not a private key for signatures")
}
