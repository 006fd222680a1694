package command

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"imaseal/internal/keyring"
	"imaseal/internal/report"
	"imaseal/keys"
	"imaseal/keys/cert"
	"imaseal/keys/keyfile"
)

func (p Program) keysCommand() *cli.Command {
	return &cli.Command{
		Name:  "keys",
		Usage: "make, identify and load keys and certificates",
		Subcommands: []*cli.Command{
			p.generateCommand(), p.idCommand(), p.certCommand(), p.importCommand(), p.evmKeyCommand(),
		},
	}
}

// certFlags are the options of commands that make certificates.
func certFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "out", Usage: "write PREFIX.key, PREFIX.pem and PREFIX.der, what of these is made (`PREFIX`)"},
		&cli.StringFlag{Name: "name", Usage: "common `NAME` of the certificate (default: the last part of PREFIX)"},
		&cli.IntFlag{Name: "days", Value: 3650, Usage: "`NUMBER` of days that the certificate is valid; kernels do not look"},
		&cli.StringFlag{Name: "ca", Usage: "certificate `FILE` of the CA that issues the certificate"},
		&cli.StringFlag{Name: "ca-key", Usage: "private key `FILE` of the CA"},
		&cli.StringFlag{Name: "passphrase-file", Usage: "`FILE` with the passphrase of private keys"},
		&cli.BoolFlag{Name: "force", Usage: "overwrite files"},
	}
}

func (p Program) generateCommand() *cli.Command {
	own := []cli.Flag{
		&cli.StringFlag{Name: "type", Value: "rsa2048", Usage: "of the key; kernels need CONFIG_CRYPTO_ECDSA for p256, p384 and p521"},
		&cli.StringFlag{Name: "new-ca", Usage: "make a CA too, PREFIX.key, PREFIX.pem and PREFIX.der, and let it issue the certificate (`PREFIX`)"},
		&cli.BoolFlag{Name: "encrypt", Usage: "encrypt private keys with a passphrase"},
	}
	return &cli.Command{
		Name:  "generate",
		Usage: "make a private key and its certificate",
		Description: `Makes a private key (PKCS#8, mode 0600) and a certificate as the kernel's
keyrings want it, self-signed or issued by a CA. The .ima and .evm keyrings only
take certificates whose CA the kernel trusts.

   imaseal keys generate --out signing
   imaseal keys generate --out signing --new-ca ca --encrypt
   imaseal keys generate --out signing --type p256 \
      --ca ca.pem --ca-key ca.key`,
		Flags:  append(certFlags(), own...),
		Action: p.generate,
	}
}

// A file is something to write, once all is made and nothing is in the way.
type file struct {
	name string
	data []byte
	perm fs.FileMode
}

const (
	secretMode = 0o600
	publicMode = 0o644
)

func (p Program) generate(c *cli.Context) error {
	if err := certUsage(c); err != nil {
		return err
	}
	key, err := cert.Generate(c.String("type"))
	if err != nil {
		return &usageError{err: err}
	}
	var passphrase []byte
	if c.Bool("encrypt") {
		if passphrase, err = p.newPassphrase(c.String("passphrase-file")); err != nil {
			return err
		}
		defer clear(passphrase)
	}
	var files []file
	issuer, err := p.openCA(c)
	if err != nil {
		return err
	}
	if prefix := c.String("new-ca"); prefix != "" {
		var made []file
		if issuer, made, err = newCA(c, prefix, passphrase); err != nil {
			return err
		}
		files = append(files, made...)
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

// certUsage refuses what no command that makes certificates takes.
func certUsage(c *cli.Context) error {
	switch {
	case c.Args().Len() > 0:
		return conflict(fmt.Sprintf("%q is not an option, and there are no paths here", c.Args().First()), "--out PREFIX names the files")
	case c.String("out") == "":
		return conflict("nothing says where to write to", "--out PREFIX")
	case c.Int("days") < 1:
		return conflict(fmt.Sprintf("--days %d: a certificate is valid for a day at least", c.Int("days")), "")
	case (c.String("ca") == "") != (c.String("ca-key") == ""):
		return conflict("--ca and --ca-key belong together", "name the CA's certificate and its private key")
	case c.String("ca") != "" && c.String("new-ca") != "":
		return conflict("--ca names a CA and --new-ca makes another", "leave out one of them")
	}
	return checkFlags(c)
}

func profile(c *cli.Context, prefix string) cert.Profile {
	name := c.String("name")
	if name == "" || prefix != c.String("out") {
		name = filepath.Base(prefix)
	}
	now := time.Now().UTC().Truncate(time.Second)
	return cert.Profile{Name: pkix.Name{CommonName: name}, NotBefore: now, NotAfter: now.AddDate(0, 0, c.Int("days"))}
}

// An issuer is a CA; the zero value stands for none.
type issuer struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// issue returns a certificate for key, by itself if there is no CA.
func (i issuer) issue(key crypto.Signer, profile cert.Profile) ([]byte, error) {
	if i.certificate == nil {
		return cert.SelfSigned(key, profile)
	}
	return cert.Issue(i.certificate, i.key, key.Public(), profile)
}

func (p Program) openCA(c *cli.Context) (issuer, error) {
	if c.String("ca") == "" {
		return issuer{}, nil
	}
	certificates, err := keyfile.OpenCertificates(c.String("ca"))
	if err != nil {
		return issuer{}, err
	}
	private, err := keyfile.OpenPrivate(c.String("ca-key"), p.asker(c.String("passphrase-file")))
	if err != nil {
		return issuer{}, err
	}
	return issuer{certificate: certificates[0], key: private.Key}, nil
}

func newCA(c *cli.Context, prefix string, passphrase []byte) (issuer, []file, error) {
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

func keyFiles(prefix string, key crypto.Signer, der, passphrase []byte) ([]file, error) {
	private, err := keyfile.EncodePrivate(key, passphrase)
	if err != nil {
		return nil, err
	}
	return append([]file{{prefix + ".key", private, secretMode}}, certificateFiles(prefix, der)...), nil
}

func certificateFiles(prefix string, der []byte) []file {
	return []file{
		{prefix + ".pem", keyfile.EncodeCertificate(der), publicMode},
		{prefix + ".der", der, publicMode},
	}
}

// writeFiles writes all files or, if one of them is there already, none.
func (p Program) writeFiles(files []file, force bool) error {
	for _, f := range files {
		if _, err := os.Lstat(f.name); err == nil && !force {
			return &existsError{name: f.name}
		}
	}
	for _, f := range files {
		if err := keyfile.WriteFile(f.name, f.data, f.perm, force); err != nil {
			return err
		}
		if err := p.print(fmt.Sprintf("wrote %s\n", report.Quote(f.name))); err != nil {
			return err
		}
	}
	return nil
}

// An existsError says that a file of keys would be overwritten.
type existsError struct{ name string }

func (e *existsError) Error() string { return report.Quote(e.name) + " exists and is not overwritten" }

// errPassphrases says that what was typed twice differs.
var errPassphrases = errors.New("the passphrases differ, or are empty")

// newPassphrase asks for the passphrase of a new key, twice if on the terminal.
func (p Program) newPassphrase(file string) ([]byte, error) {
	ask := p.asker(file)
	first, err := ask("New passphrase")
	if err != nil {
		return nil, err
	}
	again, err := ask("The same passphrase again")
	if err != nil {
		return nil, err
	}
	if len(first) == 0 || string(first) != string(again) {
		return nil, errPassphrases
	}
	return first, nil
}

func (p Program) idCommand() *cli.Command {
	return &cli.Command{
		Name:      "id",
		Usage:     "print the key ids of keys and certificates",
		ArgsUsage: "FILE...",
		Description: `Prints the id by which labels name each key: from the certificate's subject key
identifier, else from the SHA-1 of the public key.

   imaseal keys id signing.der`,
		Flags:  []cli.Flag{&cli.StringFlag{Name: "passphrase-file", Usage: "`FILE` with the passphrase of a private key"}},
		Action: p.keyID,
	}
}

func (p Program) keyID(c *cli.Context) error {
	if c.Args().Len() == 0 {
		return conflict("no FILE is given", "name keys or certificates")
	}
	for _, name := range c.Args().Slice() {
		found, err := p.publicKeys(name, c.String("passphrase-file"))
		if err != nil {
			return err
		}
		for _, k := range found {
			if err := p.print(fmt.Sprintf("%s  %-8s  %s\n", k.KeyID(), k.Kind(), report.Quote(k.Source()))); err != nil {
				return err
			}
		}
	}
	return nil
}

// publicKeys returns the keys in a file; an encrypted one is opened.
func (p Program) publicKeys(name, passphraseFile string) ([]*keys.Public, error) {
	known, err := keys.OpenVerifiers(name)
	var encrypted *keyfile.PassphraseError
	if errors.As(err, &encrypted) {
		key, err := keys.Open(name, p.asker(passphraseFile), keys.Options{})
		if err != nil {
			return nil, err
		}
		defer key.Close()
		return []*keys.Public{key.Public}, nil
	}
	if err != nil {
		return nil, err
	}
	for _, w := range known.Warnings() {
		p.warn("%s", w)
	}
	return known.Keys(), nil
}

func (p Program) certCommand() *cli.Command {
	own := []cli.Flag{
		&cli.StringFlag{Name: "key", Usage: "private key `FILE`"},
		&cli.BoolFlag{Name: "request", Usage: "make a signing request, PREFIX.csr, for a CA elsewhere"},
	}
	return &cli.Command{
		Name:  "cert",
		Usage: "make a certificate or a signing request for a key",
		Description: `   imaseal keys cert --key signing.key --out signing
   imaseal keys cert --key signing.key --out signing \
      --ca ca.pem --ca-key ca.key
   imaseal keys cert --key signing.key --request --out signing`,
		Flags:  append(own, certFlags()...),
		Action: p.cert,
	}
}

func (p Program) cert(c *cli.Context) error {
	if err := certUsage(c); err != nil {
		return err
	}
	if c.String("key") == "" {
		return conflict("no private key is given", "--key FILE")
	}
	private, err := keyfile.OpenPrivate(c.String("key"), p.asker(c.String("passphrase-file")))
	if err != nil {
		return err
	}
	prefix := c.String("out")
	if c.Bool("request") {
		if err := refuseUnused(c, "a certificate instead of --request", "ca", "ca-key", "days"); err != nil {
			return err
		}
		der, err := cert.Request(private.Key, profile(c, prefix).Name)
		if err != nil {
			return err
		}
		request := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		return p.writeFiles([]file{{prefix + ".csr", request, publicMode}}, c.Bool("force"))
	}
	issuer, err := p.openCA(c)
	if err != nil {
		return err
	}
	der, err := issuer.issue(private.Key, profile(c, prefix))
	if err != nil {
		return err
	}
	return p.writeFiles(certificateFiles(prefix, der), c.Bool("force"))
}

func (p Program) importCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "add certificates to keyrings of the running kernel",
		ArgsUsage: "CERTIFICATE...",
		Description: `Adds certificates to a keyring: ima is .ima or, on kernels without trusted
keyrings, _ima, which is made if there is none; evm likewise; other names and
numbers are taken as they are.

   imaseal keys import signing.der
   imaseal keys import --keyring ima --keyring evm signing.der`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "keyring", Value: cli.NewStringSlice("ima"), Usage: "`NAME` or number of a keyring"},
		},
		Action: p.importCertificates,
	}
}

func (p Program) importCertificates(c *cli.Context) error {
	if c.Args().Len() == 0 {
		return conflict("no CERTIFICATE is given", "name files with certificates, DER or PEM")
	}
	var certificates []*x509.Certificate
	for _, name := range c.Args().Slice() {
		found, err := keyfile.OpenCertificates(name)
		if err != nil {
			return err
		}
		for _, crt := range found {
			for _, w := range keys.CheckCertificate(crt, time.Now()) {
				w.Source = name
				p.warn("%s", w)
			}
		}
		certificates = append(certificates, found...)
	}
	for _, name := range c.StringSlice("keyring") {
		id, full, err := findKeyring(name)
		if err != nil {
			return err
		}
		for _, crt := range certificates {
			key, err := keyring.Import(id, crt.Raw)
			if err != nil {
				return fmt.Errorf("keyring %s: %w", full, err)
			}
			if err := p.print(fmt.Sprintf("%s: key %s, %s\n", full, key.ID, report.Quote(key.Description))); err != nil {
				return err
			}
		}
	}
	return nil
}

// findKeyring finds a keyring by name; ima and evm stand for the one that the
// kernel looks into.
func findKeyring(name string) (keyring.ID, string, error) {
	if name != "ima" && name != "evm" {
		id, _, err := keyring.FindOrMake(name)
		return id, name, err
	}
	id, err := keyring.Find("." + name)
	var none *keyring.NotFoundError
	if errors.As(err, &none) {
		id, _, err = keyring.FindOrMake("_" + name)
		return id, "_" + name, err
	}
	return id, "." + name, err
}
