package cli

import (
	"errors"
	"fmt"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/cmdline"
	"imaseal/internal/plan"
	"imaseal/keys/cert"
	"imaseal/keys/evmkey"
)

// Categories of options in the help. Commands define theirs in this order.
const (
	selecting = "Selecting files"
	writing   = "Writing"
	labels    = "Labels"
	output    = "Output"
)

func selectionFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "owner", Category: selecting, Value: "0", Usage: "files of this `USER`, by number or name; any for all"},
		&urfave.StringSliceFlag{Name: "include", Category: selecting, Usage: "only paths that match `GLOB`, relative to the tree; ** spans directories, and a directory stands for all below it"},
		&urfave.StringSliceFlag{Name: "exclude", Category: selecting, Usage: "no paths that match `GLOB`"},
		&urfave.BoolFlag{Name: "cross-filesystems", Category: selecting, Usage: "enter file systems that are mounted in the tree"},
		&urfave.StringFlag{Name: "files-from", Category: selecting, Usage: "the files that `FILE` lists, one a line; - is standard input"},
		&urfave.BoolFlag{Name: "0", Category: selecting, Usage: "names in the list end in zero bytes, as find -print0 prints them"},
	}
}

func writingFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Category: writing, Usage: "read everything, write nothing, report the same"},
		&urfave.StringFlag{Name: "undo-log", Category: writing, Usage: "log each change to `FILE`, which must be new, for imaseal undo"},
		&urfave.StringFlag{Name: "immutable", Category: writing, Value: "fail", Usage: "chattr +i files: fail, or lift the flag and put it back"},
		namespaceFlag(writing),
	}
}

// rewriteFlags say which labels are written over. The help of --replace-signatures
// ends with replaces.
func rewriteFlags(replaces string) []urfave.Flag {
	return []urfave.Flag{
		&urfave.BoolFlag{Name: "force", Category: writing, Usage: "write labels that are there and right too, and replace those of unknown types"},
		&urfave.BoolFlag{Name: "replace-signatures", Category: writing, Usage: "replace signatures by hashes " + replaces},
	}
}

func namespaceFlag(category string) urfave.Flag {
	return &urfave.StringFlag{Name: "namespace", Category: category, Value: "security", Usage: "of the attributes; user is for tests without privilege"}
}

func outputFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.BoolFlag{Name: "json", Category: output, Usage: "print one JSON object per file, then a summary object"},
		&urfave.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Category: output, Usage: "print a line per file"},
		&urfave.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Category: output, Usage: "print no summary, only what fails"},
		&urfave.StringFlag{Name: "progress", Category: output, Value: "auto", Usage: "show a progress bar: auto on a terminal only, or never"},
		&urfave.IntFlag{Name: "jobs", Aliases: []string{"j"}, Category: output, Value: runtime.GOMAXPROCS(0), DefaultText: "one per processor", Usage: "`NUMBER` of workers; 1 keeps the order of names"},
	}
}

// enumerated are the options that take one of a few words.
var enumerated = map[string]func() []string{
	"immutable":   func() []string { return []string{"fail", "lift"} },
	"namespace":   func() []string { return []string{"security", "user"} },
	"progress":    func() []string { return []string{"auto", "never"} },
	"label":       func() []string { return []string{"all", "ima", "evm"} },
	"type":        cert.Kinds,
	"format":      func() []string { return []string{evmkey.FormatDefault, evmkey.FormatEnc32} },
	"algo":        hash.Names,
	"secure-boot": func() []string { return []string{"on", "off"} },
}

// checkFlags refuses values and combinations that no command takes.
func checkFlags(c *urfave.Context) error {
	for name, words := range enumerated {
		if c.IsSet(name) && name != "algo" {
			if err := oneOf(name, c.String(name), words()); err != nil {
				return err
			}
		}
	}
	if c.IsSet("jobs") && c.Int("jobs") < 1 {
		return &cmdline.UsageError{Err: fmt.Errorf("--jobs %d: at least one worker is needed", c.Int("jobs"))}
	}
	switch {
	case c.Bool("json") && c.Bool("quiet"):
		return conflict("--json and --quiet: JSON is not printed quietly", "leave out one of them")
	case c.Bool("verbose") && c.Bool("quiet"):
		return conflict("--verbose and --quiet contradict each other", "leave out one of them")
	}
	return nil
}

func conflict(what, advice string) error {
	return &cmdline.UsageError{Err: errors.New(what), Advice: advice}
}

func oneOf(name, value string, words []string) error {
	if slices.Contains(words, value) {
		return nil
	}
	last := len(words) - 1
	list := strings.Join(words[:last], ", ") + " or " + words[last]
	return &cmdline.UsageError{
		Err:    fmt.Errorf("--%s %q is not %s", name, value, list),
		Advice: cmdline.DidYouMean(cmdline.Nearest(value, words), ""),
	}
}

// toPlan makes a plan of the options that several commands have.
func toPlan(c *urfave.Context) (plan.Plan, error) {
	if err := checkFlags(c); err != nil {
		return plan.Plan{}, err
	}
	owner, err := parseOwner(c.String("owner"))
	if err != nil {
		return plan.Plan{}, err
	}
	p := plan.Plan{
		Command: c.Command.Name,
		Selection: plan.Selection{
			Paths: c.Args().Slice(), FilesFrom: c.String("files-from"), NUL: c.Bool("0"),
			Owner: owner, Include: c.StringSlice("include"), Exclude: c.StringSlice("exclude"),
			CrossFilesystems: c.Bool("cross-filesystems"),
		},
		ReplaceSignatures: c.Bool("replace-signatures"),
		Writing: plan.Writing{
			DryRun: c.Bool("dry-run"), UndoLog: c.String("undo-log"), Force: c.Bool("force"),
			LiftImmutable: c.String("immutable") == "lift", Namespace: c.String("namespace"),
		},
		Jobs: c.Int("jobs"),
	}
	return p, nil
}

// toLabelPlan makes a validated plan of the options of commands that write labels
// with the algorithm of --algo.
func toLabelPlan(c *urfave.Context) (plan.Plan, error) {
	p, err := toPlan(c)
	if err != nil {
		return p, err
	}
	if p.Algo, err = parseAlgo(c.String("algo")); err != nil {
		return p, err
	}
	return validate(p)
}

func parseAlgo(name string) (hash.Algorithm, error) {
	a, err := hash.Parse(name)
	if err == nil && !a.Computable() {
		err = &hash.NotComputableError{Algorithm: a}
	}
	if err != nil {
		return 0, &cmdline.UsageError{Err: err, Advice: cmdline.DidYouMean(cmdline.Nearest(name, hash.Names()), "")}
	}
	return a, nil
}

// validate finishes a plan.
func validate(p plan.Plan) (plan.Plan, error) {
	p, err := p.Validate()
	if conflict, ok := errors.AsType[*plan.ConflictError](err); ok {
		return p, &cmdline.UsageError{Err: err, Advice: conflict.Advice}
	}
	return p, err
}

// parseOwner returns nil for any user.
func parseOwner(s string) (*uint32, error) {
	switch s {
	case "any":
		return nil, nil
	case "":
		return new(uint32), nil // a command without the option: root
	}
	number := s
	if u, err := user.Lookup(s); err == nil {
		number = u.Uid
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return nil, &cmdline.UsageError{Err: fmt.Errorf("--owner %q: no such user", s), Advice: "give the number of the user, its name on this machine, or any"}
	}
	uid := uint32(n)
	return &uid, nil
}
