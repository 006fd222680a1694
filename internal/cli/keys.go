package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/report"
	"imaseal/keys"
	"imaseal/keys/keyfile"
)

func (p Program) keysCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "keys",
		Usage: "make, identify and load keys and certificates",
		Subcommands: []*urfave.Command{
			p.keysGenerateCommand(), p.keysIDCommand(), p.keysCertCommand(), p.keysImportCommand(), p.keysEVMKeyCommand(),
		},
	}
}

// Modes of the files that commands make.
const (
	secretMode = 0o600
	publicMode = 0o644
)

// existsError says that a file of keys would be overwritten.
func existsError(name string) error {
	return &advisedError{
		err: errors.New(report.Quote(name) + " exists and is not overwritten"), code: "exists", advice: "name another file, or overwrite with --force",
	}
}

// checkDistinct refuses to write a file twice.
func checkDistinct(names []string) error {
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return conflict(fmt.Sprintf("%s would be written twice", report.Quote(name)), "give each file a name of its own")
		}
	}
	return nil
}

// mayWrite refuses to write to files if that could not end well: before keys
// are made, and passphrases asked for. reads are files that the command needs.
func mayWrite(names, reads []string, force bool) error {
	for _, name := range names {
		info, err := os.Stat(name)
		for _, read := range reads {
			if other, readErr := os.Stat(read); err == nil && readErr == nil && os.SameFile(info, other) {
				return conflict(fmt.Sprintf("%s is read, and would be overwritten", report.Quote(name)), "name another file to write to")
			}
		}
		switch err := keyfile.Replaceable(name, force); {
		case errors.Is(err, os.ErrExist):
			return existsError(name)
		case err != nil:
			return fmt.Errorf("%s %w", report.Quote(name), err)
		}
	}
	return nil
}

// writeFiles writes all files or none, and says which.
func (p Program) writeFiles(files []keyfile.File, force bool) error {
	if err := keyfile.WriteFiles(files, force); err != nil {
		return err
	}
	for _, f := range files {
		if err := p.print(fmt.Sprintf("wrote %s\n", report.Quote(f.Path))); err != nil {
			return err
		}
	}
	return nil
}

// openCertified opens a private key that gets a certificate, or that of a CA. In
// both cases kernels verify with it, and it does not matter whether the key's
// file has a certificate.
func (p Program) openCertified(ctx context.Context, ref string, ask keyfile.Ask) (*keys.Key, error) {
	key, err := keys.Open(ctx, ref, ask, keys.Options{})
	if err != nil {
		return nil, err
	}
	for _, w := range key.Warnings() {
		if w.Kind == keys.ReadableByOthers || w.Kind == keys.WeakKey {
			p.warn("%s", w)
		}
	}
	return key, nil
}
