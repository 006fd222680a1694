package cli

import (
	"context"
	"errors"
	"slices"
	"time"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
)

// answerOptions are the options of imaseal answer.
type answerOptions struct {
	key             keyOptions
	evmKey, evmCert string
	allow           string
	partial, dryRun bool
	to              string
	archive         archiveOptions
	output          outputOptions
}

func (o *answerOptions) flags() []urfave.Flag {
	own := []urfave.Flag{
		o.key.storeFlag(),
		&urfave.StringFlag{Name: "evm-sign-key", Destination: &o.evmKey, Category: labels, DefaultText: "that of --key", Usage: "another private `KEY` for EVM labels"},
		&urfave.StringFlag{Name: "evm-sign-cert", Destination: &o.evmCert, Category: labels, Usage: "its certificate `FILE`"},
		&urfave.StringFlag{Name: "allow", Destination: &o.allow, Category: labels, Usage: "`FILE` that says what is signed: all else is refused, and then nothing is signed"},
		&urfave.BoolFlag{Name: "partial", Destination: &o.partial, Category: labels, Usage: "REQUESTS may be a part of what was written"},
	}
	to := []urfave.Flag{
		&urfave.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Destination: &o.dryRun, Category: writing, Usage: "look at all requests and sign none"},
		&urfave.StringFlag{Name: "output", Destination: &o.to, Category: writing, DefaultText: "standard output", Usage: "write labels to `FILE`; if the run is interrupted the same command goes on where it stopped"},
		o.archive.tempDirFlag(),
	}
	return slices.Concat(o.key.flags(), own, to, o.output.flags())
}

// An answerRequest is what answer is asked for.
type answerRequest struct {
	requests    string      // the file, "-" for standard input
	key, evmKey *keyRequest // nil for a dry run; evmKey for that of key, too
	allow       string      // file, "" for none
	partial     bool
	dryRun      bool
	to, tempDir string // to is "-" for standard output
	output      outputOptions
}

func (o *answerOptions) plan(args []string) (answerRequest, error) {
	r := answerRequest{allow: o.allow, partial: o.partial, dryRun: o.dryRun, to: "-", tempDir: o.archive.TempDir, output: o.output}
	if o.to != "" {
		r.to = o.to
	}
	if len(args) != 1 || args[0] == "" {
		return r, &cmdline.UsageError{Err: errors.New("answer takes one file of REQUESTS"), Advice: "the file that imaseal request PATH wrote, - is standard input; cat joins several"}
	}
	r.requests = args[0]
	var err error
	if r.key, err = o.key.plan(); err != nil {
		return r, err
	}
	switch {
	case r.key == nil && !o.dryRun:
		return r, errNoKey
	case r.key != nil && r.key.version == 1:
		return r, conflict("--sig-version 1: requests are for version 2 or 3", "leave it out")
	case o.evmKey == "":
		err = refuseUnused("--evm-sign-key", given{"evm-sign-cert", o.evmCert != ""})
	case r.key != nil:
		own := *r.key
		own.ref, own.options.Certificate, own.options.KeyID = o.evmKey, o.evmCert, nil
		r.evmKey, err = &own, checkKey(o.evmKey, o.key.tpm)
	default:
		err = refuseUnused("--key", given{"evm-sign-key", true})
	}
	if r.to == "-" && o.output.json && !o.dryRun {
		err = firstError(err, conflict("--json and the labels both go to standard output", "--output FILE"))
	}
	return r, firstError(err, o.output.check(), readStdinOnce(given{"REQUESTS", r.requests == "-"}, reading("key", o.key.key),
		reading("evm-sign-key", o.evmKey), reading("passphrase-file", o.key.passphrase.file), reading("allow", o.allow)))
}

func (p Program) answerCommand() *urfave.Command {
	o := new(answerOptions)
	return &urfave.Command{
		Name:      "answer",
		Usage:     "make the labels that were requested",
		UsageText: "--key KEY",
		ArgsUsage: "REQUESTS",
		Description: `Signs what imaseal request PATH asks for, and writes labels for imaseal
apply LABELS PATH. The files are not needed. All requests are looked at before
the first signature is made; what --allow does not name is refused.

   imaseal answer --key signing.key --cert signing.der requests >labels

Those of many builds, by a key in a TPM, only programs, SHA-256:
   printf 'algorithm sha256\npath usr/bin\npath usr/lib\n' >allowed
   imaseal answer --key tpm:0x81000001 --cert signing.der \
      --allow allowed --output labels requests

What would be signed:
   imaseal answer -n -v --allow allowed requests`,
		Flags:  o.flags(),
		Action: action(o.plan, p.answer),
	}
}

func (p Program) answer(ctx context.Context, r answerRequest) error {
	begin := time.Now()
	j, err := p.openAnswering(ctx, r)
	if err != nil {
		return err
	}
	defer j.close()
	if err := j.check(ctx); err != nil || r.dryRun {
		return err
	}
	return j.run(ctx, begin)
}
