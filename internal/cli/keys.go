package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"imaseal/internal/advice"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/keys"
	"imaseal/keys/keyfile"
)

func (p Program) keysCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "keys",
		Usage: "make keys and certificates, load, list and remove those of the kernel",
		Subcommands: []*urfave.Command{
			p.keysGenerateCommand(), p.keysIDCommand(), p.keysCertCommand(), p.keysImportCommand(), p.keysListCommand(), p.keysRemoveCommand(),
			p.keysEVMKeyCommand(),
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

// A madeFile is a file that a command makes, and what it holds.
type madeFile struct {
	keyfile.File
	shownFileMade
}

// shownFileMade is what JSON has of a file that a command makes. Its fields only
// ever grow.
type shownFileMade struct {
	shownPath
	Holds string `json:"holds"`
	Type  string `json:"type,omitempty"`  // of an asymmetric key
	KeyID string `json:"keyid,omitempty"` // by which labels name it
}

// secretFile is a file that only its owner may read.
func secretFile(path string, data []byte, holds string) madeFile {
	return madeFile{keyfile.File{Path: path, Data: data, Mode: secretMode}, shownFileMade{shownPath: showPath(path), Holds: holds}}
}

// publicFile is a file for everybody.
func publicFile(path string, data []byte, holds string) madeFile {
	return madeFile{keyfile.File{Path: path, Data: data, Mode: publicMode}, shownFileMade{shownPath: showPath(path), Holds: holds}}
}

// makingOptions are those of commands that make files.
type makingOptions struct{ force, json bool }

func (o *makingOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.BoolFlag{Name: "force", Destination: &o.force, Usage: "overwrite files"},
		&urfave.BoolFlag{Name: "json", Destination: &o.json, Usage: "print one JSON object per file, then a summary object"},
	}
}

// writeFiles writes all files of a command or none, and says which.
func (p Program) writeFiles(command string, files []madeFile, o makingOptions) error {
	plain := make([]keyfile.File, len(files))
	for i, f := range files {
		plain[i] = f.File
	}
	err := keyfile.WriteFiles(plain, o.force)
	if errors.Is(err, unix.EROFS) {
		return &advisedError{err: err, code: reason.ReadOnly, advice: advice.ReadOnlyFile}
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		var err error
		if o.json {
			err = p.printJSON(f.shownFileMade)
		} else {
			err = p.print(fmt.Sprintf("wrote %s\n", report.Quote(f.File.Path)))
		}
		if err != nil {
			return err
		}
	}
	if !o.json {
		return nil
	}
	return p.printSummary(shownSummary{Command: command})
}

// openCertified opens a private key that gets a certificate, or that of a CA. In
// both cases kernels verify with it, and it does not matter whether the key's
// file has a certificate.
func (p Program) openCertified(ctx context.Context, ref, tpm string, ask keyfile.Ask) (*keys.Key, error) {
	key, err := keys.Open(ctx, ref, ask, p.complete(keys.Options{TPM: tpm}))
	if err != nil {
		return nil, err
	}
	for _, w := range key.Warnings() {
		if w.Kind == keys.ReadableByOthers || w.Kind == keys.WeakKey {
			p.warn(reason.Key, "%s", w)
		}
	}
	return key, nil
}
