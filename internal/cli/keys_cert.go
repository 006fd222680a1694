package cli

import (
	"context"
	"encoding/pem"

	urfave "github.com/urfave/cli/v2"

	"imaseal/keys/cert"
)

// keysCertOptions are the options of imaseal keys cert.
type keysCertOptions struct {
	certOptions
	key     string
	request bool
}

func (o *keysCertOptions) flags() []urfave.Flag {
	own := []urfave.Flag{
		&urfave.StringFlag{Name: "key", Destination: &o.key, Usage: "private `KEY`: a file, -, env:NAME, pkcs11:… in a token, tpm:HANDLE, SCHEME://… behind a program"},
		o.outFlag("write PREFIX.pem and PREFIX.der, or PREFIX.csr (`PREFIX`)"),
		&urfave.BoolFlag{Name: "request", Destination: &o.request, Usage: "make a signing request, PREFIX.csr, for a CA elsewhere"},
	}
	return append(own, o.certOptions.flags()...)
}

// A keysCertRequest is what keys cert is asked for.
type keysCertRequest struct {
	certRequest
	key     string
	request bool // for a signing request instead of a certificate
}

func (o *keysCertOptions) plan(args []string) (keysCertRequest, error) {
	r := keysCertRequest{key: o.key, request: o.request}
	var err error
	if r.certRequest, err = o.certOptions.plan(args); err != nil {
		return r, err
	}
	if o.key == "" {
		return r, conflict("no private key is given", "--key KEY")
	}
	err = firstError(checkKey(o.key, o.tpm),
		readStdinOnce(reading("key", o.key), reading("ca-key", o.caKey), reading("passphrase-file", o.passphrase.file)))
	if err != nil {
		return r, err
	}
	if o.request {
		return r, refuseWith("request", given{"ca", o.ca != ""}, given{"ca-key", o.caKey != ""}, given{"days", o.days != nil})
	}
	return r, nil
}

func (p Program) keysCertCommand() *urfave.Command {
	o := new(keysCertOptions)
	return &urfave.Command{
		Name:      "cert",
		Usage:     "make a certificate or a signing request for a key",
		UsageText: "--key KEY --out PREFIX",
		Description: `Makes a certificate, as generate does, for a private key that is there: signed
by itself or by a CA, or a request that a CA elsewhere makes one of.

   imaseal keys cert --key signing.key --out renewed
   imaseal keys cert --key signing.key --out issued \
      --ca ca.pem --ca-key ca.key
   imaseal keys cert --key signing.key --request --out signing`,
		Flags:  o.flags(),
		Action: action(o.plan, p.keysCert),
	}
}

func (p Program) keysCert(ctx context.Context, r keysCertRequest) error {
	names := []string{r.prefix + ".pem", r.prefix + ".der"}
	if r.request {
		names = []string{r.prefix + ".csr"}
	}
	if err := mayWrite(names, []string{r.key, r.ca, r.caKey}, r.making.force); err != nil {
		return err
	}
	ask := p.asker(ctx, r.passphrase)
	key, err := p.openCertified(ctx, r.key, r.tpm, ask)
	if err != nil {
		return err
	}
	defer key.Close()
	if r.request {
		der, err := cert.Request(key.Signer(ctx), r.profile("").Name)
		if err != nil {
			return err
		}
		request := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		file := publicFile(names[0], request, "certificate-request")
		file.Type = key.Kind()
		return p.writeFiles("keys cert", []madeFile{file}, r.making)
	}
	issuer, err := p.openCA(ctx, r.certRequest, ask)
	if err != nil {
		return err
	}
	defer issuer.close()
	der, err := issuer.issue(key.Signer(ctx), r.profile(""))
	if err != nil {
		return err
	}
	files, err := certificateFiles(r.prefix, der)
	if err != nil {
		return err
	}
	return p.writeFiles("keys cert", files, r.making)
}
