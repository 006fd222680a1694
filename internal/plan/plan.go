// Package plan holds the validated request of a run, a plain value, and the rules
// that give files their class.
package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"imaseal/hash"
	"imaseal/internal/shard"
)

// A Plan is what a command was asked to do.
type Plan struct {
	Command string // its name
	// ReadOnly says that the command never changes attributes.
	ReadOnly bool
	Selection
	Writing
	// Algo is the algorithm of hash labels; zero where none are made.
	Algo hash.Algorithm
	// ReplaceSignatures lets hash replace signatures.
	ReplaceSignatures bool
	// Attrs are the attributes that clear removes, in this order.
	Attrs []string
	// Jobs is the number of workers, at least 1.
	Jobs int
}

// Writes reports whether a run of the plan may change attributes.
func (p Plan) Writes() bool { return !p.ReadOnly && !p.DryRun && !p.Exports() }

// A Selection says which files the command answers for.
type Selection struct {
	Paths []string
	// FilesFrom names a file with a list of files, "-" standard input, ""
	// none. NUL says that its names end in zero bytes, not newlines.
	// They are paths below the directory Root, as if it were the root of the
	// file system, unless that is empty.
	FilesFrom string
	NUL       bool
	Root      string
	// Owner is the user whose files are selected; nil selects all.
	Owner *uint32
	// Include and Exclude are doublestar patterns relative to the tree.
	Include, Exclude []string
	CrossFilesystems bool
	// Itself says that Paths are labelled themselves, whatever they are, and not
	// what is below or behind them.
	Itself bool
	// Shard is the part of all that which the command answers for.
	Shard shard.Shard
}

// Trees returns the paths, and where the list's names begin.
func (s *Selection) Trees() []string {
	if s.Root == "" {
		return s.Paths
	}
	return append(slices.Clone(s.Paths), s.Root)
}

// Writing says how a command that writes goes about it.
type Writing struct {
	DryRun  bool
	UndoLog string // "" for none
	Force   bool
	// LiftImmutable lifts the immutable flag where it is in the way.
	LiftImmutable bool
	// Lazy leaves it to the kernel when labels are brought to the disk.
	Lazy bool
	// Namespace of the attributes: "security" or "user".
	Namespace string
	Archiving
	Exporting
}

// A ConflictError says that parts of a request do not go together.
type ConflictError struct{ What, Advice string }

func (e *ConflictError) Error() string { return e.What }

// Validate returns the plan with its patterns in the form that Included and
// Excluded match, or a *ConflictError.
func (p Plan) Validate() (Plan, error) {
	if len(p.Paths) == 0 && p.FilesFrom == "" {
		return Plan{}, &ConflictError{"no PATH is given", "name a directory or a file, or a list of files with --files-from"}
	}
	for _, name := range p.Paths {
		if name == "" {
			return Plan{}, &ConflictError{"a PATH is empty", "a shell variable may be unset; . is the current directory"}
		}
	}
	if p.Itself && (p.FilesFrom != "" || len(p.Include)+len(p.Exclude) > 0 || p.Shard.IsGiven()) {
		return Plan{}, &ConflictError{"--itself is about each PATH, and selects nothing else", "leave out --files-from, --include, --exclude and --shard"}
	}
	if p.Itself && p.UndoLog != "" {
		return Plan{}, &ConflictError{"--itself and --undo-log: undo puts back the labels of regular files only", "leave out one of them"}
	}
	if p.NUL && p.FilesFrom == "" {
		return Plan{}, &ConflictError{"-0 is about the list of --files-from, and there is none", "add --files-from FILE, or - for standard input"}
	}
	if p.Root != "" && p.FilesFrom == "" {
		return Plan{}, &ConflictError{"--root is about the list of --files-from, and there is none", "add --files-from FILE, or - for standard input; PATHs are named as they are"}
	}
	if p.Shard.IsGiven() && p.FilesFrom == "-" {
		return Plan{}, &ConflictError{"--shard reads the list of files twice, and standard input can be read once", "--files-from FILE"}
	}
	if err := firstOf(p.checkExport(), p.checkCarrier()); err != nil {
		return Plan{}, err
	}
	if p.DryRun && p.UndoLog != "" {
		return Plan{}, &ConflictError{"a dry run changes nothing, so there is nothing to log", "leave out --undo-log or --dry-run"}
	}
	var err error
	if p.Include, err = patterns("--include", p.Include); err != nil {
		return Plan{}, err
	}
	if p.Exclude, err = patterns("--exclude", p.Exclude); err != nil {
		return Plan{}, err
	}
	return p, nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// patterns checks patterns and makes them relative to the tree.
func patterns(flag string, given []string) ([]string, error) {
	var clean []string
	for _, g := range given {
		p := path.Clean(strings.TrimLeft(g, "/"))
		if g == "" || !doublestar.ValidatePattern(p) {
			return nil, &ConflictError{fmt.Sprintf("%s %q is not a pattern", flag, g), "patterns are as in a shell, ** spans directories: usr/lib/**/*.so"}
		}
		clean = append(clean, p)
	}
	return clean, nil
}

// Included reports whether the path relative to the tree is included.
func (s *Selection) Included(rel string) bool { return matches(s.Include, rel) }

// Excluded reports whether the path relative to the tree is excluded.
func (s *Selection) Excluded(rel string) bool { return matches(s.Exclude, rel) }

func matches(patterns []string, rel string) bool {
	for _, p := range patterns {
		if doublestar.MatchUnvalidated(p, rel) {
			return true
		}
	}
	return false
}
