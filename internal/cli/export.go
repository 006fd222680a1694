package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
	"imaseal/internal/tree/dump"
)

// exportOptions say that labels go to a file.
type exportOptions struct {
	to     string
	format string // "" for the usual one
	as     asOption
}

func (o *exportOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "labels-to", Destination: &o.to, Category: writing, Usage: "write labels to `FILE` and nothing to the tree, which need not be yours; - is standard output"},
		&urfave.StringFlag{Name: "labels-format", Destination: &o.format, Category: writing, DefaultText: "json", Usage: "of that file: json, for imaseal apply FILE PATH; setfattr, for its --restore; squashfs, for mksquashfs -pf"},
		o.as.flag(),
	}
}

// plan adds the options to a plan.
func (o *exportOptions) plan(w *plan.Writing) error {
	if o.to == "" {
		return refuseUnused("--labels-to", given{"labels-format", o.format != ""}, given{"as", o.as.text != ""})
	}
	w.LabelsTo, w.Format = o.to, string(dump.JSON)
	if o.format != "" {
		if err := checkWord("labels-format", o.format); err != nil {
			return err
		}
		w.Format = o.format
	}
	var err error
	w.As, err = o.as.plan()
	return err
}

// check refuses what does not go together with a file of labels.
func (o *exportOptions) check(r labelRequest) error {
	switch {
	case o.to == "":
		return nil
	case o.to == "-" && r.output.json:
		return conflict("--json and the labels both go to standard output", "--labels-to FILE")
	case r.sigFile:
		return conflict("--sigfile writes to the tree, and --labels-to writes nothing there", "leave out one of them")
	case r.evm.isBound() && r.Format == string(dump.Squashfs):
		return conflict("--evm "+r.evm.word+" covers inodes, which mksquashfs makes anew", "--evm portable makes EVM labels that need none")
	}
	return nil
}

// An asOption says who will own the files.
type asOption struct{ text string }

func (o *asOption) flag() urfave.Flag {
	return &urfave.StringFlag{Name: "as", Destination: &o.text, Category: writing, Usage: "files will belong to `UID:GID` where they are going, whoever owns them now"}
}

// plan returns nil if they keep their owners.
func (o *asOption) plan() (*plan.Owner, error) {
	if o.text == "" {
		return nil, nil
	}
	user, group, _ := strings.Cut(o.text, ":")
	uid, errUser := strconv.ParseUint(user, 10, 32)
	gid, errGroup := strconv.ParseUint(group, 10, 32)
	if errUser != nil || errGroup != nil {
		return nil, &cmdline.UsageError{Err: fmt.Errorf("--as %q is not UID:GID", o.text), Advice: "numbers, as 0:0 for root: names may mean others where the files are going"}
	}
	return &plan.Owner{UID: uint32(uid), GID: uint32(gid)}, nil
}

// A named file need not be there, or be one.
type named string

// Stat describes the file, which a walk should leave alone.
func (n named) Stat() (os.FileInfo, error) { return os.Stat(string(n)) }

// ownerOf returns the owner that a file of a user will have.
func (s *session) ownerOf(uid uint32) uint32 {
	if s.plan.As != nil {
		return s.plan.As.UID
	}
	return uid
}

// openDump opens the file of labels, and puts it where the sink would be.
func (s *session) openDump(ctx context.Context) error {
	out, err := s.program.openOutput(ctx, s.plan.LabelsTo)
	if err != nil {
		return err
	}
	s.dump = dump.New(out, dump.Format(s.plan.Format))
	if as := s.plan.As; as != nil {
		s.source = tree.WithOwner(s.source, as.UID, as.GID)
	}
	s.source, s.sink = s.dump.Source(s.source), s.dump
	return nil
}

// openOutput opens what is not printed but written: a file, or standard output
// for "-".
func (p Program) openOutput(ctx context.Context, name string) (*stream.Out, error) {
	if name != "-" {
		return stream.Create(ctx, name)
	}
	f, ok := p.Stdout.(*os.File)
	if !ok {
		return nil, errNoOutput
	}
	return stream.Stdout(ctx, f)
}

// errNoOutput says that standard output is nothing that bytes could be written to
// as they are.
var errNoOutput = errors.New("standard output is no file")

// keep writes the labels of a file that came out as asked.
func (s *session) keep(f tree.File, res report.Result) error {
	r, err := s.options.record(f, res)
	if err != nil {
		return err
	}
	return s.dump.Write(r)
}
