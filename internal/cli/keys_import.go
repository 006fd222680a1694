package cli

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/keyring"
	"imaseal/internal/report"
	"imaseal/keys"
	"imaseal/keys/keyfile"
)

// keysImportOptions are the options of imaseal keys import.
type keysImportOptions struct{ keyrings []string }

func (o *keysImportOptions) flags() []urfave.Flag {
	o.keyrings = []string{defaultKeyring}
	return []urfave.Flag{
		&urfave.StringSliceFlag{Name: "keyring", Action: into(&o.keyrings), Value: urfave.NewStringSlice(defaultKeyring), Usage: "`NAME` or number of a keyring"},
	}
}

const defaultKeyring = "ima"

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
numbers are those of keyrings that are there.

   imaseal keys import signing.der
   imaseal keys import --keyring ima --keyring evm signing.der`,
		Flags:  o.flags(),
		Action: action(o.plan, p.keysImport),
	}
}

func (p Program) keysImport(_ context.Context, r keysImportRequest) error {
	var certificates []*x509.Certificate
	for _, name := range r.files {
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
	for _, name := range r.keyrings {
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
// kernel looks into. Those two are made if there are none: a kernel looks for
// no others, so that a name that is not there is a mistyped one.
func findKeyring(name string) (keyring.ID, string, error) {
	switch name {
	case "ima", "evm":
	case "_ima", "_evm":
		id, _, err := keyring.FindOrMake(name)
		return id, name, err
	default:
		id, err := keyring.Find(name)
		return id, name, err
	}
	id, err := keyring.Find("." + name)
	if is[*keyring.NotFoundError](err) {
		id, _, err = keyring.FindOrMake("_" + name)
		return id, "_" + name, err
	}
	return id, "." + name, err
}
