package command

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/report"
	"imaseal/keys/cert"
	"imaseal/keys/keyfile"
)

// certFlags are the options of commands that make certificates.
func certFlags() []cli.Flag {
	return []cli.Flag{
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
		&cli.StringFlag{Name: "out", Usage: "write PREFIX.key, PREFIX.pem and PREFIX.der (`PREFIX`)"},
		&cli.StringFlag{Name: "type", Value: "rsa2048", Usage: "`TYPE` of the key: rsa2048, rsa3072, rsa4096, p256, p384 or p521; kernels need CONFIG_CRYPTO_ECDSA for the latter three"},
		&cli.BoolFlag{Name: "encrypt", Usage: "encrypt private keys with a passphrase"},
		&cli.StringFlag{Name: "new-ca", Usage: "make a CA too, PREFIX.key, PREFIX.pem and PREFIX.der, and let it issue the certificate (`PREFIX`)"},
	}
	return &cli.Command{
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

func (p Program) generate(c *cli.Context) error {
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
	source      string    // of the certificate
	opened      io.Closer // the key, if it was not made here
}

func (i issuer) close() {
	if i.opened != nil {
		i.opened.Close()
	}
}

// issue returns a certificate for key, by itself if there is no CA.
func (i issuer) issue(key crypto.Signer, profile cert.Profile) ([]byte, error) {
	if i.certificate == nil {
		return cert.SelfSigned(key, profile)
	}
	der, err := cert.Issue(i.certificate, i.key, key.Public(), profile)
	if err != nil && i.source != "" {
		err = fmt.Errorf("CA %s: %w", report.Quote(i.source), err)
	}
	return der, err
}

func (p Program) openCA(c *cli.Context, ask keyfile.Ask) (issuer, error) {
	if c.String("ca") == "" {
		return issuer{}, nil
	}
	certificates, err := keyfile.OpenCertificates(c.String("ca"))
	if err != nil {
		return issuer{}, err
	}
	key, err := p.openCertified(c.String("ca-key"), ask)
	if err != nil {
		return issuer{}, err
	}
	i := issuer{certificate: certificates[0], key: key.Signer(), source: c.String("ca"), opened: key}
	for _, crt := range certificates { // one of a chain
		public, ok := crt.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if ok && public.Equal(key.PublicKey()) {
			i.certificate = crt
			break
		}
	}
	return i, nil
}

func newCA(c *cli.Context, prefix string, passphrase []byte) (issuer, []keyfile.File, error) {
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

func certificateFiles(prefix string, der []byte) []keyfile.File {
	return []keyfile.File{
		{Path: prefix + ".pem", Data: keyfile.EncodeCertificate(der), Mode: publicMode},
		{Path: prefix + ".der", Data: der, Mode: publicMode},
	}
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

func (p Program) certCommand() *cli.Command {
	own := []cli.Flag{
		&cli.StringFlag{Name: "key", Usage: "private key `FILE`, PEM or DER"},
		&cli.StringFlag{Name: "out", Usage: "write PREFIX.pem and PREFIX.der, or PREFIX.csr (`PREFIX`)"},
		&cli.BoolFlag{Name: "request", Usage: "make a signing request, PREFIX.csr, for a CA elsewhere"},
	}
	return &cli.Command{
		Name:  "cert",
		Usage: "make a certificate or a signing request for a key",
		Description: `Makes a certificate, as generate does, for a private key that is there: signed
by itself or by a CA, or a request that a CA elsewhere makes one of.

   imaseal keys cert --key signing.key --out renewed
   imaseal keys cert --key signing.key --out issued \
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
	prefix := c.String("out")
	names := []string{prefix + ".pem", prefix + ".der"}
	if c.Bool("request") {
		if err := refuseWith(c, "request", "ca", "ca-key", "days"); err != nil {
			return err
		}
		names = []string{prefix + ".csr"}
	}
	if err := mayWrite(names, []string{c.String("key"), c.String("ca"), c.String("ca-key")}, c.Bool("force")); err != nil {
		return err
	}
	ask := p.asker(c)
	key, err := p.openCertified(c.String("key"), ask)
	if err != nil {
		return err
	}
	defer key.Close()
	if c.Bool("request") {
		der, err := cert.Request(key.Signer(), profile(c, prefix).Name)
		if err != nil {
			return err
		}
		request := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		return p.writeFiles([]keyfile.File{{Path: names[0], Data: request, Mode: publicMode}}, c.Bool("force"))
	}
	issuer, err := p.openCA(c, ask)
	if err != nil {
		return err
	}
	defer issuer.close()
	der, err := issuer.issue(key.Signer(), profile(c, prefix))
	if err != nil {
		return err
	}
	return p.writeFiles(certificateFiles(prefix, der), c.Bool("force"))
}
