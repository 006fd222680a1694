package cli

import (
	"context"
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/keyring"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/target"
	"imaseal/keys"
	"imaseal/keys/keyfile"
)

// keysImportOptions are the options of imaseal keys import.
type keysImportOptions struct{ keyrings []string }

func (o *keysImportOptions) flags() []urfave.Flag {
	o.keyrings = []string{defaultKeyring}
	return []urfave.Flag{
		keyringFlag(&o.keyrings),
	}
}

// A keysImportRequest is what keys import is asked for.
type keysImportRequest struct{ files, keyrings []string }

func (o *keysImportOptions) plan(files []string) (keysImportRequest, error) {
	if len(files) == 0 {
		return keysImportRequest{}, conflict("no CERTIFICATE is given", "name files with certificates, DER or PEM")
	}
	return keysImportRequest{files, o.keyrings}, nil
}

func (p Program) keysImportCommand() *urfave.Command {
	o := new(keysImportOptions)
	return &urfave.Command{
		Name:      "import",
		Usage:     "add certificates to keyrings of the running kernel",
		ArgsUsage: "CERTIFICATE...",
		Description: `Adds certificates to a keyring: ima is .ima or, on kernels without trusted
keyrings, _ima, which is made if there is none; evm likewise; other names and
numbers are those of keyrings that are there. Keys that root loads count, no
others.

   imaseal keys import signing.der
   imaseal keys import --keyring ima --keyring evm signing.der`,
		Flags:  o.flags(),
		Action: action(o.plan, p.keysImport),
	}
}

func (p Program) keysImport(ctx context.Context, r keysImportRequest) error {
	t, err := p.openTarget(ctx, target.Options{}, false)
	if err != nil {
		return err
	}
	var certificates []*keyfile.Certificate
	for _, name := range r.files {
		found, err := p.openCertificates(ctx, name, t)
		if err != nil {
			return err
		}
		certificates = append(certificates, found...)
	}
	for _, name := range r.keyrings {
		if err := p.importInto(name, certificates); err != nil {
			return err
		}
	}
	return nil
}

// openCertificates reads certificates and warns of what the kernel will not do with
// them.
func (p Program) openCertificates(ctx context.Context, name string, t *target.Target) ([]*keyfile.Certificate, error) {
	found, err := awaitFile(ctx, name, keyfile.OpenCertificates)
	if err != nil {
		return nil, err
	}
	for _, crt := range found {
		for _, w := range keys.CheckCertificate(crt, time.Now(), t.Certificates()) {
			w.Source = name
			p.warn(reason.Key, "%s", w)
		}
	}
	return found, nil
}

// importInto adds certificates to a keyring that is there or may be made.
func (p Program) importInto(name string, certificates []*keyfile.Certificate) error {
	to, err := p.makeKeyring(name)
	if err != nil {
		return err
	}
	for _, crt := range certificates {
		key, err := keyring.Import(to.id, crt.Raw)
		if err != nil {
			return fmt.Errorf("keyring %s: %w", to.name, err)
		}
		if err := p.print(fmt.Sprintf("%s: key %s, %s\n", to.name, key.ID, report.Quote(key.Description))); err != nil {
			return err
		}
	}
	return nil
}
