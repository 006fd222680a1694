package cli

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"

	urfave "github.com/urfave/cli/v2"

	"imaseal/keys/cert"
	"imaseal/keys/keyfile"
)

// keysGenerateOptions are the options of imaseal keys generate.
type keysGenerateOptions struct {
	certOptions
	kind    string
	encrypt bool
	newCA   string
}

func (o *keysGenerateOptions) flags() []urfave.Flag {
	own := []urfave.Flag{
		o.outFlag("write PREFIX.key, PREFIX.pem and PREFIX.der (`PREFIX`)"),
		&urfave.StringFlag{Name: "type", Destination: &o.kind, Value: "rsa2048", Usage: "`TYPE` of the key: rsa2048, rsa3072, rsa4096, p256, p384 or p521; kernels need CONFIG_CRYPTO_ECDSA for the latter three"},
		&urfave.BoolFlag{Name: "encrypt", Destination: &o.encrypt, Usage: "encrypt private keys with a passphrase"},
		&urfave.StringFlag{Name: "new-ca", Destination: &o.newCA, Usage: "make a CA too, PREFIX.key, PREFIX.pem and PREFIX.der, and let it issue the certificate (`PREFIX`)"},
	}
	return append(own, o.certOptions.flags()...)
}

// A keysGenerateRequest is what keys generate is asked for.
type keysGenerateRequest struct {
	certRequest
	kind    string
	encrypt bool
	newCA   string // the prefix of its files; "" for none
}

// files are the names of the files that are written.
func (r *keysGenerateRequest) files() []string {
	var names []string
	for _, prefix := range []string{r.prefix, r.newCA} {
		if prefix != "" {
			prefix = filepath.Clean(prefix)
			names = append(names, prefix+".key", prefix+".pem", prefix+".der")
		}
	}
	return names
}

func (o *keysGenerateOptions) plan(args []string) (keysGenerateRequest, error) {
	r := keysGenerateRequest{kind: o.kind, encrypt: o.encrypt, newCA: o.newCA}
	var err error
	if r.certRequest, err = o.certOptions.plan(args); err != nil {
		return r, err
	}
	if o.ca != "" && o.newCA != "" {
		return r, conflict("--ca names a CA and --new-ca makes another", "leave out one of them")
	}
	return r, firstError(checkWord("type", o.kind), checkDistinct(r.files()))
}

func (p Program) keysGenerateCommand() *urfave.Command {
	o := new(keysGenerateOptions)
	return &urfave.Command{
		Name:      "generate",
		Usage:     "make a private key and its certificate",
		UsageText: "--out PREFIX",
		Description: `Makes a private key (PKCS#8, mode 0600) and a certificate as the kernel's
keyrings want it, self-signed or issued by a CA. The .ima and .evm keyrings only
take certificates whose CA the kernel trusts.

   imaseal keys generate --out signing
   imaseal keys generate --out modules --new-ca ca --encrypt
   imaseal keys generate --out programs --type p256 \
      --ca ca.pem --ca-key ca.key`,
		Flags:  o.flags(),
		Action: action(o.plan, p.keysGenerate),
	}
}

func (p Program) keysGenerate(ctx context.Context, r keysGenerateRequest) error {
	if err := mayWrite(r.files(), []string{r.ca, r.caKey}, r.making.force); err != nil {
		return err
	}
	ask := p.asker(ctx, r.passphrase)
	issuer, err := p.openCA(ctx, r.certRequest, ask)
	if err != nil {
		return err
	}
	defer issuer.close()
	var passphrase []byte
	if r.encrypt {
		if passphrase, err = newPassphrase(ask); err != nil {
			return err
		}
		defer clear(passphrase)
	}
	var files []madeFile
	if r.newCA != "" {
		if issuer, files, err = newCA(r, passphrase); err != nil {
			return err
		}
	}
	key, err := cert.Generate(r.kind)
	if err != nil {
		return err
	}
	der, err := issuer.issue(key, r.profile(""))
	if err != nil {
		return err
	}
	made, err := keyFiles(r.prefix, key, der, passphrase)
	if err != nil {
		return err
	}
	return p.writeFiles("keys generate", append(files, made...), r.making)
}

// newCA makes a CA that issues the certificate, and its files.
func newCA(r keysGenerateRequest, passphrase []byte) (issuer, []madeFile, error) {
	key, err := cert.Generate(r.kind)
	if err != nil {
		return issuer{}, nil, err
	}
	der, err := cert.NewCA(key, r.profile(r.newCA))
	if err != nil {
		return issuer{}, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return issuer{}, nil, err
	}
	files, err := keyFiles(r.newCA, key, der, passphrase)
	return issuer{certificate: certificate, key: key}, files, err
}

// keyFiles are the files of a private key and its certificate.
func keyFiles(prefix string, key crypto.Signer, der, passphrase []byte) ([]madeFile, error) {
	encoded, err := keyfile.EncodePrivate(key, passphrase)
	if err != nil {
		return nil, err
	}
	certificates, err := certificateFiles(prefix, der)
	if err != nil {
		return nil, err
	}
	private := secretFile(prefix+".key", encoded, "private-key")
	private.Type, private.KeyID = certificates[0].Type, certificates[0].KeyID
	return append([]madeFile{private}, certificates...), nil
}

// errPassphrases says that what was typed twice differs.
var errPassphrases = errors.New("the passphrases differ, or are empty")

// newPassphrase asks for the passphrase of a new key, twice, since nobody sees
// what is typed. What is not typed is the same both times.
func newPassphrase(ask keyfile.Ask) ([]byte, error) {
	first, err := ask("new passphrase")
	if err != nil {
		return nil, fmt.Errorf("asking for the passphrase: %w", err)
	}
	again, err := ask("the same passphrase again")
	if err != nil {
		return nil, fmt.Errorf("asking for the passphrase: %w", err)
	}
	defer clear(again)
	if len(first) == 0 || string(first) != string(again) {
		return nil, errPassphrases
	}
	return first, nil
}
