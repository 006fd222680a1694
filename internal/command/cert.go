package command

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"imaseal/internal/report"
	"imaseal/keys/cert"
	"imaseal/keys/keyfile"
)

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
	key, err := p.openCertified(c, c.String("key"), ask)
	if err != nil {
		return err
	}
	defer key.Close()
	if c.Bool("request") {
		der, err := cert.Request(key.Signer(c.Context), profile(c, prefix).Name)
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
	der, err := issuer.issue(key.Signer(c.Context), profile(c, prefix))
	if err != nil {
		return err
	}
	return p.writeFiles(certificateFiles(prefix, der), c.Bool("force"))
}

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
	key, err := p.openCertified(c, c.String("ca-key"), ask)
	if err != nil {
		return issuer{}, err
	}
	i := issuer{certificate: certificates[0], key: key.Signer(c.Context), source: c.String("ca"), opened: key}
	for _, crt := range certificates { // one of a chain
		public, ok := crt.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if ok && public.Equal(key.PublicKey()) {
			i.certificate = crt
			break
		}
	}
	return i, nil
}

func certificateFiles(prefix string, der []byte) []keyfile.File {
	return []keyfile.File{
		{Path: prefix + ".pem", Data: keyfile.EncodeCertificate(der), Mode: publicMode},
		{Path: prefix + ".der", Data: der, Mode: publicMode},
	}
}
