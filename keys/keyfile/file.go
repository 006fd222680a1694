// Package keyfile reads and writes files of keys and certificates.
//
// Private keys are PKCS#8 (plain, or encrypted as package pbes2 says), PKCS#1
// or SEC 1; public ones PKIX or PKCS#1; certificates X.509; each in DER, or in
// PEM with text around it. PEM files may hold several things, DER files one.
// PKCS#12 files hold a key and certificates. They are read, not written, and so
// is the encryption inside of PEM that OpenSSL had before PKCS#8. Which kinds of keys are good for signatures is not decided here.
package keyfile

import (
	"bytes"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// maxFile bounds what is read of a key file: a hundred times the longest key,
// and bundles of hundreds of certificates.
const maxFile = 1 << 20

// An Ask gets a secret from the user, such as a passphrase. The prompt says
// for what. Who calls it clears the result.
type Ask func(prompt string) ([]byte, error)

// Read returns the content and the mode of a file that holds a key or
// another small secret: a regular file, or a pipe such as the shell makes of
// <(command). The errors name the file.
func Read(path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, pathError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, pathError(path, err)
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return nil, 0, inFile(path, errors.New("is a directory; name the file in it"))
	case !mode.IsRegular() && mode.Type() != fs.ModeNamedPipe:
		return nil, 0, inFile(path, errors.New("is not a regular file"))
	}
	data, err := ReadAll(f, path)
	return data, info.Mode(), err
}

// ReadAll is Read for what is open already and has the name.
func ReadAll(r io.Reader, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	switch {
	case err != nil:
		return nil, pathError(name, err)
	case len(data) == 0:
		return nil, inFile(name, errors.New("is empty"))
	case len(data) > maxFile:
		return nil, inFile(name, fmt.Errorf("is larger than %d bytes: not a key or certificate", maxFile))
	}
	return data, nil
}

// ReadableBy says who else than its owner can read a file of the mode: "its
// group", "others", or nobody, which is "".
func ReadableBy(mode fs.FileMode) string {
	switch {
	case !mode.IsRegular():
		return ""
	case mode.Perm()&0o004 != 0:
		return "others"
	case mode.Perm()&0o040 != 0:
		return "its group"
	}
	return ""
}

// pathError strips the path that os errors carry, which inFile quotes.
func pathError(path string, err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return inFile(path, p.Err)
	}
	return inFile(path, err)
}

// A Private is a file with a private key.
type Private struct {
	Key          crypto.Signer // *rsa.PrivateKey or *ecdsa.PrivateKey; nil with TPM
	TPM          []byte        // what is in a TSS2 PRIVATE KEY, for package tpm
	Certificates []*Certificate
	Mode         fs.FileMode
}

// OpenPrivate reads a file with one private key, and perhaps certificates. If
// the key is encrypted ask is called once; nil means that nobody can be asked.
// The errors name the file and wrap *UnsupportedError, *PassphraseError or the
// system's.
func OpenPrivate(path string, ask Ask) (*Private, error) {
	data, mode, err := Read(path)
	if err != nil {
		return nil, err
	}
	p, err := ParsePrivate(data, path, ask)
	if err != nil {
		return nil, err
	}
	p.Mode = mode
	return p, nil
}

// ParsePrivate is OpenPrivate for the content of a file or what stands for one,
// which the errors name. The content is cleared.
func ParsePrivate(data []byte, name string, ask Ask) (*Private, error) {
	defer clear(data)
	p, err := parsePrivateFile(data, name, ask)
	if err != nil {
		return nil, inFile(name, err)
	}
	return p, nil
}

// parsePrivateFile returns the one private key in a file, and the certificates.
func parsePrivateFile(data []byte, path string, ask Ask) (*Private, error) {
	blocks, err := split(data)
	if err != nil {
		return nil, err
	}
	if blocks[0].Type == typePKCS12 {
		defer clear(blocks[0].Bytes)
		return parsePKCS12(blocks[0], path, ask)
	}
	var private *pem.Block
	var certs []*Certificate
	for _, b := range blocks {
		switch {
		case isPrivate(b.Type):
			defer clear(b.Bytes)
			if private != nil {
				return nil, errors.New("holds several private keys; name a file with one")
			}
			private = b
		case b.Type == typeCertificate:
			c, err := ParseCertificate(b.Bytes)
			if _, isOther := errors.AsType[*UnsupportedError](err); isOther {
				continue // of its CA, perhaps: not the key's
			}
			if err != nil {
				return nil, err
			}
			certs = append(certs, c)
		}
	}
	switch {
	case private == nil:
		return nil, errors.New("no private key in it")
	case private.Type == typeTSS2:
		return &Private{TPM: bytes.Clone(private.Bytes), Certificates: certs}, nil
	}
	signer, err := parsePrivate(private, path, ask)
	if err != nil {
		return nil, err
	}
	return &Private{Key: signer, Certificates: certs}, nil
}

// A Public is what is public in a file.
type Public struct {
	Certificates []*Certificate
	Keys         []crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey; also of private keys
	Left         []error            // why others are left out; not an encrypted key beside certificates
}

// OpenPublic reads the certificates and keys in a file, as far as they can be
// used. The errors are those of OpenPrivate.
func OpenPublic(path string) (*Public, error) {
	data, _, err := Read(path)
	if err != nil {
		return nil, err
	}
	p, err := parsePublicFile(data, path)
	if err != nil {
		return nil, inFile(path, err)
	}
	return p, nil
}

// OpenCertificates reads the certificates in a file, at least one.
func OpenCertificates(path string) ([]*Certificate, error) {
	p, err := OpenPublic(path)
	switch {
	case err != nil:
		return nil, err
	case len(p.Certificates) > 0:
		return p.Certificates, nil
	case len(p.Left) > 0:
		return nil, inFile(path, p.Left[0])
	}
	return nil, inFile(path, errors.New("no certificate in it"))
}

func parsePublicFile(data []byte, path string) (*Public, error) {
	blocks, err := split(data)
	if err != nil {
		return nil, err
	}
	p := &Public{}
	for _, b := range blocks {
		if err := p.add(b, path); err != nil {
			p.Left = append(p.Left, err)
		}
	}
	if len(p.Certificates) > 0 { // one of them is the key's
		p.Left = slices.DeleteFunc(p.Left, func(err error) bool {
			_, encrypted := errors.AsType[*PassphraseError](err)
			return encrypted
		})
	}
	return p, nil
}

func (p *Public) add(b *pem.Block, path string) error {
	switch {
	case b.Type == typeCertificate:
		c, err := ParseCertificate(b.Bytes)
		if err != nil {
			return err
		}
		p.Certificates = append(p.Certificates, c)
	case b.Type == typePKCS12:
		k, err := parsePKCS12(b, path, nil)
		if err != nil {
			return err
		}
		p.Certificates = k.Certificates
		p.Keys = append(p.Keys, k.Key.Public())
	case isPrivate(b.Type):
		k, err := parsePrivate(b, path, nil)
		if err != nil {
			return err
		}
		p.Keys = append(p.Keys, k.Public())
	case b.Type == typePublic || b.Type == typeRSAPublic:
		k, err := parsePublic(b)
		if err != nil {
			return err
		}
		p.Keys = append(p.Keys, k)
	}
	return nil
}
