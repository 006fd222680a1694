// Package rpms is the carrier of RPM packages: its files are those that packages
// have, and what it writes are new packages.
//
// What is signed is the digest that a package's header has of a file, and what is
// changed is the signature header, so that to sign, to show and to clear labels
// nothing but these two is read. To verify labels the payload is read, once from
// its beginning to its end ([Config.Content]).
//
// Packages are worked on one behind the other, their files by several workers at a
// time; those whose payload is read, by a worker each. A package is written when
// all its files have been visited, in one step, and stays then, also when the run
// is broken off later. It is not written if it could not be read to its end.
//
// # What is labelled
//
// Every regular file that has a digest, of each owner, for a package has names of
// owners alone. Hard links have a label each, for rpm writes that of each name to
// the one inode. What is not in the payload (%ghost) has no digest, and no label.
// There is one attribute, security.ima, and what it can hold are signatures: rpm
// writes nothing else, and makes no EVM labels.
package rpms

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"

	"imaseal/internal/reason"
	"imaseal/internal/rpmfile"
	"imaseal/internal/tree"
)

// A Config says which files of packages are visited, and how.
type Config struct {
	// Jobs is how many files are visited at once; 0 stands for the number of
	// processors. With 1 they come in order.
	Jobs int
	// Include and Exclude filter by the path: see walk.Config.
	Include, Exclude func(rel string) bool
	// Leave returns a reason to leave a file out, or nothing; nil leaves out
	// none.
	Leave func(tree.File) reason.Code
	// Content has payloads read: files have content to read.
	Content bool
	// Mend takes labels of which cannot be told which is of which file as they
	// come, so that they can be removed.
	Mend bool
	// TempDir is where content is kept that does not fit in memory, empty for
	// where os.TempDir says.
	TempDir string
}

// suffix is that of packages in a directory.
const suffix = ".rpm"

// A named is a package by its name.
type named struct {
	path string
	rel  string // in the directory that it was found in, or its last element
	// isNamed says that it was named itself, and not found in a directory.
	isNamed bool
}

// Packages is a tree.Source of files in packages, and a tree.Noter. It is walked
// once.
type Packages struct {
	cfg  Config
	all  []named
	sink *Sink // nil if nothing is written

	odd, unfinished atomic.Int64 // packages, for Notes
}

// Errors about what is named.
var (
	ErrNone      = errors.New("there is no package (*.rpm) in this directory")
	errIrregular = errors.New("it is no file and no directory")
)

// Open finds packages: each name is one of a package, or of a directory of which
// all files *.rpm are, also those of directories below it.
func Open(names []string, cfg Config) (*Packages, error) {
	p := &Packages{cfg: cfg}
	if p.cfg.Jobs == 0 {
		p.cfg.Jobs = runtime.GOMAXPROCS(0)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return nil, err
		case info.IsDir():
			if err := p.find(name); err != nil {
				return nil, err
			}
		case !info.Mode().IsRegular():
			return nil, &os.PathError{Op: "open", Path: name, Err: errIrregular}
		default:
			p.all = append(p.all, named{name, filepath.Base(name), true})
		}
	}
	return p, nil
}

func (p *Packages) find(dir string) error {
	before := len(p.all)
	root, err := filepath.EvalSymlinks(dir) // a link that is named is followed
	if err != nil {
		return err
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, suffix) {
			rel := strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
			p.all = append(p.all, named{filepath.Join(dir, rel), rel, false})
		}
		return err
	})
	if err == nil && len(p.all) == before {
		err = &os.PathError{Op: "open", Path: dir, Err: ErrNone}
	}
	return err
}

// Len is how many packages there are.
func (p *Packages) Len() int { return len(p.all) }

// Close implements what carriers have in common; each package is closed when it is
// done with.
func (p *Packages) Close() error { return nil }

// Countable reports that Count does not count: that would be to read all headers
// twice.
func (p *Packages) Countable() bool { return false }

// Count implements tree.Counter.
func (p *Packages) Count(context.Context, func(size int64)) error { return nil }

// Holds reports that no package is a root file system.
func (p *Packages) Holds(context.Context, []string) bool { return false }

// Notes implements tree.Noter.
func (p *Packages) Notes() reason.List {
	var notes reason.List
	if n := p.unfinished.Load(); n > 0 {
		notes = append(notes, reason.New(reason.NothingWritten,
			"the run was broken off: %d packages were not written, and none of the labels that were made for them is anywhere", n))
	}
	if n := p.odd.Load(); n > 0 {
		notes = append(notes, reason.New(reason.OddPackage,
			"%d packages had a signature header that rpm did not write, or not alone: it is laid out anew, as rpmsign does", n))
	}
	return notes
}

// A PackageError says what is wrong with a package.
type PackageError struct {
	Path string
	Err  error
}

func (e *PackageError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *PackageError) Unwrap() error { return e.Err }

// isFiltered reports whether filters leave a path out: it, or a directory that it
// is in.
func (c *Config) isFiltered(rel string) bool {
	included := c.Include == nil
	for end := range len(rel) + 1 {
		if end == 0 || end < len(rel) && rel[end] != '/' {
			continue
		}
		if c.Exclude != nil && c.Exclude(rel[:end]) {
			return true
		}
		included = included || c.Include(rel[:end])
	}
	return !included
}

// skip says why a file of a package is not visited, if it is not; wants is false
// for what nobody asks about.
func (c *Config) skip(f *rpmfile.File, rel string) (skip reason.Code, wants bool) {
	switch {
	case f.IsDir():
		return "", false
	case c.isFiltered(rel):
		return reason.Filtered, true
	case f.IsSymlink():
		return reason.Symlink, true
	case !f.IsRegular():
		return reason.Special, true
	case f.Ghost:
		return reason.Ghost, true
	}
	return "", true
}

// errNoDigest is of a file that has content, and no digest of it.
var errNoDigest = fmt.Errorf("the package has no digest of this file")
