package cli

import (
	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/plan"
)

// writingOptions say how a command writes attributes.
type writingOptions struct {
	dryRun    bool
	undoLog   string
	immutable string
	namespace namespaceOption
	archive   archiveOptions
}

func (o *writingOptions) flags() []urfave.Flag {
	return append([]urfave.Flag{
		o.dryRunFlag("read everything, write nothing, report the same"),
		&urfave.StringFlag{Name: "undo-log", Destination: &o.undoLog, Category: writing, Usage: "log each change to `FILE`, which must be new, for imaseal undo FILE"},
		o.immutableFlag(),
		o.namespace.flag(writing),
	}, o.archive.flags()...)
}

func (o *writingOptions) dryRunFlag(usage string) urfave.Flag {
	return &urfave.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Destination: &o.dryRun, Category: writing, Usage: usage}
}

func (o *writingOptions) immutableFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "immutable", Destination: &o.immutable, Category: writing, Value: "fail", Usage: "chattr +i files: fail, or lift the flag and put it back"}
}

func (o *writingOptions) plan() (plan.Writing, error) {
	err := firstError(checkWord("immutable", o.immutable), o.namespace.check(), o.archive.check())
	return plan.Writing{
		DryRun: o.dryRun, UndoLog: o.undoLog, LiftImmutable: o.immutable == "lift", Namespace: o.namespace.name,
		Archiving: o.archive.Archiving,
	}, err
}

// A namespaceOption says where labels are: in security.* or in user.*.
type namespaceOption struct{ name string }

func (o *namespaceOption) flag(category string) urfave.Flag {
	return &urfave.StringFlag{Name: "namespace", Destination: &o.name, Category: category, Value: "security", Usage: "of the attributes; user is for tests without privilege"}
}

func (o *namespaceOption) check() error { return checkWord("namespace", o.name) }

// rewriteOptions say which labels are written over.
type rewriteOptions struct{ force, signatures bool }

// flags ends the help of --replace-signatures with replaces.
func (o *rewriteOptions) flags(replaces string) []urfave.Flag {
	return []urfave.Flag{
		&urfave.BoolFlag{Name: "force", Destination: &o.force, Category: writing, Usage: "write labels that are there and right too, and replace those of unknown types"},
		&urfave.BoolFlag{Name: "replace-signatures", Destination: &o.signatures, Category: writing, Usage: "replace signatures by hashes " + replaces},
	}
}
