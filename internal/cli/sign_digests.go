package cli

import (
	"context"
	"fmt"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
)

// signDigestsOptions are the options of imaseal sign-digests.
type signDigestsOptions struct {
	key  keyOptions
	algo string
}

func (o *signDigestsOptions) flags() []urfave.Flag {
	return slices.Concat(o.key.flags(), []urfave.Flag{
		&urfave.StringFlag{Name: "algo", Destination: &o.algo, Category: labels, Value: hash.SHA256.String(), Usage: "`ALGORITHM` of digests whose lines name none"},
	})
}

// A signDigestsRequest is what sign-digests is asked for.
type signDigestsRequest struct {
	key   *keyRequest
	algo  hash.Algorithm
	files []string // "-" for standard input
}

func (o *signDigestsOptions) plan(files []string) (signDigestsRequest, error) {
	r := signDigestsRequest{files: files}
	if len(files) == 0 {
		r.files = []string{"-"}
	}
	readers := []given{reading("key", o.key.key), reading("passphrase-file", o.key.passphrase.file)}
	for _, name := range r.files {
		readers = append(readers, given{name, name == "-"})
	}
	if err := readStdinOnce(readers...); err != nil {
		return r, err
	}
	var err error
	if r.key, err = o.key.plan(); err == nil && r.key == nil || o.key.key == "" {
		err = firstError(err, errNoKey)
	}
	if err != nil {
		return r, err
	}
	r.algo, err = parseAlgo(o.algo)
	return r, err
}

func (p Program) signDigestsCommand() *urfave.Command {
	o := new(signDigestsOptions)
	return &urfave.Command{
		Name:      "sign-digests",
		Usage:     "sign digests, as sha256sum prints them",
		UsageText: "--key KEY",
		ArgsUsage: "[FILE...]",
		Description: `Reads lines from each FILE, or from standard input, and prints each with a blank
and its IMA signature label in hexadecimal behind it. A line begins with a
digest, as sha256sum prints it, or with the algorithm, a colon and an fs-verity
digest, as fsverity digest does. The files themselves need not be here:

   sha256sum usr/bin/* >sums
   imaseal sign-digests --key signing.key --cert signing.der sums
   fsverity digest base.apk >verity
   imaseal sign-digests --key signing.key --cert signing.der verity

Lines without a digest are left out, and make the exit status 3.`,
		Flags:  o.flags(),
		Action: action(o.plan, p.signDigests),
	}
}

func (p Program) signDigests(ctx context.Context, r signDigestsRequest) error {
	key, err := p.openKey(ctx, r.key)
	if err != nil {
		return err
	}
	defer key.Close()
	version, err := r.key.versionFor(key.Scheme(), r.algo)
	if err != nil {
		return err
	}
	s := digestSigner{key: key, version: version, algo: r.algo, verity: true, plain: true}
	wrong := 0
	for _, name := range r.files {
		err := p.signDigestsOf(ctx, s, name, func(err error) {
			wrong++
			p.complain(fmt.Errorf("%s: %w", digestsName(name), err), make(map[string]bool))
		})
		if err != nil {
			return err
		}
	}
	if wrong > 0 {
		return &verdictError{status: exitFiles}
	}
	return nil
}

// digestsName is the name of a file of digests in messages.
func digestsName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

func (p Program) signDigestsOf(ctx context.Context, s digestSigner, name string, wrong func(error)) error {
	in, err := p.openInput(ctx, name)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = s.run(ctx, in, writerTo{p}, wrong)
	return err
}

// A writerTo prints, and tells output that nobody reads from other errors.
type writerTo struct{ Program }

// Write implements io.Writer.
func (w writerTo) Write(b []byte) (int, error) {
	if err := w.print(string(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}
