package cli

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/keys/cert"
	"imaseal/keys/keyfile"
)

func (p Program) generateCommand() *urfave.Command {
	own := []urfave.Flag{
		&urfave.StringFlag{Name: "out", Usage: "write PREFIX.key, PREFIX.pem and PREFIX.der (`PREFIX`)"},
		&urfave.StringFlag{Name: "type", Value: "rsa2048", Usage: "`TYPE` of the key: rsa2048, rsa3072, rsa4096, p256, p384 or p521; kernels need CONFIG_CRYPTO_ECDSA for the latter three"},
		&urfave.BoolFlag{Name: "encrypt", Usage: "encrypt private keys with a passphrase"},
		&urfave.StringFlag{Name: "new-ca", Usage: "make a CA too, PREFIX.key, PREFIX.pem and PREFIX.der, and let it issue the certificate (`PREFIX`)"},
	}
	return &urfave.Command{
		Name:  "generate",
		Usage: "make a private key and its certificate",
		Description: `Makes a private key (PKCS#8, mode 0600) and a certificate as the kernel's
keyrings want it, self-signed or issued by a CA. The .ima and .evm keyrings only
take certificates whose CA the kernel trusts.

   imaseal keys generate --out signing
   imaseal keys generate --out modules --new-ca ca --encrypt
   imaseal keys generate --out programs --type p256 \
      --ca ca.pem --ca-key ca.key`,
		Flags:  append(own, certFlags()...),
		Action: p.generate,
	}
}

func (p Program) generate(c *urfave.Context) error {
	if err := certUsage(c); err != nil {
		return err
	}
	prefixes := []string{c.String("out")}
	if ca := c.String("new-ca"); ca != "" {
		prefixes = append(prefixes, ca)
	}
	var names []string
	for _, prefix := range prefixes {
		prefix = filepath.Clean(prefix)
		names = append(names, prefix+".key", prefix+".pem", prefix+".der")
	}
	if err := mayWrite(names, []string{c.String("ca"), c.String("ca-key")}, c.Bool("force")); err != nil {
		return err
	}
	ask := p.asker(c)
	issuer, err := p.openCA(c, ask)
	if err != nil {
		return err
	}
	defer issuer.close()
	var passphrase []byte
	if c.Bool("encrypt") {
		if passphrase, err = newPassphrase(ask); err != nil {
			return err
		}
		defer clear(passphrase)
	}
	var files []keyfile.File
	if prefix := c.String("new-ca"); prefix != "" {
		if issuer, files, err = newCA(c, prefix, passphrase); err != nil {
			return err
		}
	}
	key, err := cert.Generate(c.String("type"))
	if err != nil {
		return &cmdline.UsageError{Err: err}
	}
	der, err := issuer.issue(key, profile(c, c.String("out")))
	if err != nil {
		return err
	}
	made, err := keyFiles(c.String("out"), key, der, passphrase)
	if err != nil {
		return err
	}
	return p.writeFiles(append(files, made...), c.Bool("force"))
}

func newCA(c *urfave.Context, prefix string, passphrase []byte) (issuer, []keyfile.File, error) {
	key, err := cert.Generate(c.String("type"))
	if err != nil {
		return issuer{}, nil, err
	}
	der, err := cert.NewCA(key, profile(c, prefix))
	if err != nil {
		return issuer{}, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return issuer{}, nil, err
	}
	files, err := keyFiles(prefix, key, der, passphrase)
	return issuer{certificate: certificate, key: key}, files, err
}

func keyFiles(prefix string, key crypto.Signer, der, passphrase []byte) ([]keyfile.File, error) {
	private, err := keyfile.EncodePrivate(key, passphrase)
	if err != nil {
		return nil, err
	}
	return append([]keyfile.File{{Path: prefix + ".key", Data: private, Mode: secretMode}}, certificateFiles(prefix, der)...), nil
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
