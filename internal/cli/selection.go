package cli

import (
	"errors"
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/plan"
	"imaseal/internal/shard"
)

// ownerOptions say whose files a command answers for.
type ownerOptions struct {
	owner   string
	isGiven bool
}

func (o *ownerOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "owner", Destination: &o.owner, Action: o.note, Category: selecting, Value: "0", Usage: "files of this `USER`, by number or name; any for all"},
	}
}

func (o *ownerOptions) note(*urfave.Context, string) error {
	o.isGiven = true
	return nil
}

func (o *ownerOptions) given() given { return given{"owner", o.isGiven} }

func (o *ownerOptions) plan() (*uint32, error) { return parseUser("owner", o.owner) }

// selectionOptions say which files a command answers for.
type selectionOptions struct {
	include, exclude []string
	crossFilesystems bool
	filesFrom        string
	nul              bool
	root             string
	itself           bool
	shard            shard.Shard
	getenv           func(string) string // for --shard auto
}

// files are the options of a command that selects files.
func (p Program) files() selectionOptions { return selectionOptions{getenv: p.getenv} }

func (o *selectionOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringSliceFlag{Name: "include", Action: into(&o.include), Category: selecting, Usage: "only paths that match `GLOB`, relative to the tree; ** spans directories, and a directory stands for all below it"},
		&urfave.StringSliceFlag{Name: "exclude", Action: into(&o.exclude), Category: selecting, Usage: "no paths that match `GLOB`"},
		&urfave.BoolFlag{Name: "cross-filesystems", Destination: &o.crossFilesystems, Category: selecting, Usage: "enter file systems that are mounted in the tree"},
		&urfave.StringFlag{Name: "files-from", Destination: &o.filesFrom, Category: selecting, Usage: "the files that `FILE` lists, one a line; - is standard input"},
		&urfave.BoolFlag{Name: "0", Destination: &o.nul, Category: selecting, Usage: "names in the list end in zero bytes, as find -print0 prints them"},
		&urfave.StringFlag{Name: "shard", Action: o.setShard, Category: selecting, Usage: "part `I/N` of all files, where other runs take the rest; auto asks the variables of Kubernetes, Slurm and others, auto/N those that do not say N"},
		&urfave.StringFlag{Name: "root", Destination: &o.root, Category: selecting, Usage: "names in the list are of a system whose root is `DIR`, and no link leads out of it"},
	}
}

// itselfFlag is for commands that can label what is no regular file.
func (o *selectionOptions) itselfFlag() urfave.Flag {
	return &urfave.BoolFlag{Name: "itself", Destination: &o.itself, Category: selecting, Usage: "with --label evm: each PATH itself, be it a directory or a symbolic link, not what is below or behind it"}
}

// plan returns the selection of a user's files; nil selects those of all.
func (o *selectionOptions) plan(paths []string, owner *uint32) plan.Selection {
	return plan.Selection{
		Paths: paths, FilesFrom: o.filesFrom, NUL: o.nul, Root: o.root, Owner: owner,
		Include: o.include, Exclude: o.exclude, CrossFilesystems: o.crossFilesystems, Itself: o.itself, Shard: o.shard,
	}
}

// setShard is the action of --shard.
func (o *selectionOptions) setShard(_ *urfave.Context, text string) error {
	var err error
	o.shard, err = shard.Parse(text, o.getenv)
	if wrong, ok := errors.AsType[*shard.Error](err); ok {
		return &cmdline.UsageError{Err: fmt.Errorf("--shard: %w", err), Advice: wrong.Advice}
	}
	return err
}
