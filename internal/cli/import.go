package cli

import (
	"crypto/x509"
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/keyring"
	"imaseal/internal/report"
	"imaseal/keys"
	"imaseal/keys/keyfile"
)

func (p Program) importCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "import",
		Usage:     "add certificates to keyrings of the running kernel",
		ArgsUsage: "CERTIFICATE...",
		Description: `Adds certificates to a keyring: ima is .ima or, on kernels without trusted
keyrings, _ima, which is made if there is none; evm likewise; other names and
numbers are those of keyrings that are there.

   imaseal keys import signing.der
   imaseal keys import --keyring ima --keyring evm signing.der`,
		Flags: []urfave.Flag{
			&urfave.StringSliceFlag{Name: "keyring", Value: urfave.NewStringSlice("ima"), Usage: "`NAME` or number of a keyring"},
		},
		Action: p.importCertificates,
	}
}

func (p Program) importCertificates(c *urfave.Context) error {
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
