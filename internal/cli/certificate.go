package cli

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"path/filepath"
	"time"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/keys/cert"
	"imaseal/keys/keyfile"
)

// certOptions are those of commands that make certificates.
type certOptions struct {
	out, name  string
	days       *int
	ca, caKey  string
	passphrase passphraseOption
	tpm        string
	making     makingOptions
}

// defaultDays is how many days a certificate is valid: ten years.
const defaultDays = 3650

func (o *certOptions) outFlag(usage string) urfave.Flag {
	return &urfave.StringFlag{Name: "out", Destination: &o.out, Usage: usage}
}

func (o *certOptions) flags() []urfave.Flag {
	return append([]urfave.Flag{
		&urfave.StringFlag{Name: "name", Destination: &o.name, Usage: "common `NAME` of the certificate (default: the last part of PREFIX)"},
		&urfave.IntFlag{Name: "days", Action: noted(&o.days), Value: defaultDays, Usage: "`NUMBER` of days that the certificate is valid; kernels do not look"},
		&urfave.StringFlag{Name: "ca", Destination: &o.ca, Usage: "certificate `FILE` of the CA that issues the certificate"},
		&urfave.StringFlag{Name: "ca-key", Destination: &o.caKey, Usage: "private `KEY` of the CA"},
		o.passphrase.flag("", "private keys"),
		tpmFlag(&o.tpm, ""),
	}, o.making.flags()...)
}

// A certRequest says what certificate is to be made, and who issues it.
type certRequest struct {
	prefix, name string
	days         int
	ca, caKey    string // files; "" for a certificate that the key signs itself
	passphrase   passphraseOption
	tpm          string // device of keys in a TPM
	making       makingOptions
}

// lastYear is the last that certificates can name, RFC 5280 section 4.1.2.5.
const lastYear = 9999

// maxCommonName is ub-common-name of RFC 5280, which is in bytes here.
const maxCommonName = 64

// plan refuses what no command that makes certificates takes.
func (o *certOptions) plan(args []string) (certRequest, error) {
	r := certRequest{o.out, o.name, defaultDays, o.ca, o.caKey, o.passphrase, o.tpm, o.making}
	err := firstError(checkKey(o.caKey, o.tpm), readStdinOnce(reading("ca-key", o.caKey), reading("passphrase-file", o.passphrase.file)))
	if err != nil {
		return r, err
	}
	if o.days != nil {
		r.days = *o.days
	}
	switch {
	case len(args) > 0:
		return r, conflict(fmt.Sprintf("%q is not an option, and there are no paths here", args[0]), "--out PREFIX names the files")
	case o.out == "":
		return r, conflict("nothing says where to write to", "--out PREFIX")
	case r.days < 1:
		return r, conflict(fmt.Sprintf("--days %d: a certificate is valid for a day at least", r.days), "")
	case r.days > 366*lastYear || time.Now().AddDate(0, 0, r.days).Year() > lastYear:
		return r, conflict(fmt.Sprintf("--days %d: certificates end before the year %d is over", r.days, lastYear), "")
	case (o.ca == "") != (o.caKey == ""):
		return r, conflict("--ca and --ca-key belong together", "name the CA's certificate and its private key")
	}
	if name := r.profile("").Name.CommonName; len(name) > maxCommonName {
		return r, conflict(fmt.Sprintf("a name in a certificate has 1 to %d bytes, and %q has more", maxCommonName, name), "--name gives another than --out")
	}
	return r, nil
}

// profile is what the certificate of the request has in it; ca is the prefix of
// the CA's files if it is that of a CA that is made with it.
func (r certRequest) profile(ca string) cert.Profile {
	name := cmp.Or(r.name, filepath.Base(r.prefix))
	if ca != "" {
		name = filepath.Base(ca)
	}
	now := time.Now().UTC().Truncate(time.Second)
	return cert.Profile{Name: pkix.Name{CommonName: name}, NotBefore: now, NotAfter: now.AddDate(0, 0, r.days)}
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

// openCA opens the CA, if one is named. The caller closes it.
func (p Program) openCA(ctx context.Context, r certRequest, ask keyfile.Ask) (issuer, error) {
	if r.ca == "" {
		return issuer{}, nil
	}
	certificates, err := awaitFile(ctx, r.ca, keyfile.OpenCertificates)
	if err != nil {
		return issuer{}, err
	}
	key, err := p.openCertified(ctx, r.caKey, r.tpm, ask)
	if err != nil {
		return issuer{}, err
	}
	own := certificates[0]
	for _, crt := range certificates { // one of a chain
		public, ok := crt.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if ok && public.Equal(key.PublicKey()) {
			own = crt
			break
		}
	}
	parsed, err := x509.ParseCertificate(own.Raw)
	if err != nil {
		key.Close()
		return issuer{}, fmt.Errorf("CA %s: %w", report.Quote(r.ca), err)
	}
	return issuer{certificate: parsed, key: key.Signer(ctx), source: r.ca, opened: key}, nil
}

// certificateFiles are the files of a certificate.
func certificateFiles(prefix string, der []byte) ([]madeFile, error) {
	crt, err := keyfile.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	files := []madeFile{
		publicFile(prefix+".pem", keyfile.EncodeCertificate(der), "certificate"),
		publicFile(prefix+".der", der, "certificate"),
	}
	for i := range files {
		files[i].Type = keyfile.Kind(crt.PublicKey)
		if len(crt.KeyIDs) > 0 {
			files[i].KeyID = imaevm.KeyID(crt.KeyIDs[0]).String()
		}
	}
	return files, nil
}
