package cli

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/measure"
	"imaseal/internal/measured"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/tree"
)

// compareOptions are the options of imaseal measurements compare.
type compareOptions struct {
	name    string // of the list
	list    listOptions
	prefix  string
	files   selectionOptions
	archive archiveOptions
	output  outputOptions
}

func (o *compareOptions) flags() []urfave.Flag {
	list := &urfave.StringFlag{Name: "list", Destination: &o.name, Category: listCategory, Value: running, Usage: "the `LIST` that was measured: a file, -, or running for the running kernel's"}
	return slices.Concat([]urfave.Flag{list}, o.list.flags(), []urfave.Flag{prefixFlag(&o.prefix)}, o.files.flags(), []urfave.Flag{o.archive.tempDirFlag()}, o.output.flags())
}

func prefixFlag(field *string) urfave.Flag {
	return &urfave.StringFlag{Name: "prefix", Destination: field, Category: selecting, DefaultText: "/ for what is a root, else as now", Usage: "`DIRECTORY` of the target that PATH will be there"}
}

// A compareRequest is what measurements compare is asked for.
type compareRequest struct {
	plan.Plan
	list   listRequest
	prefix string
	output outputOptions
}

func (o *compareOptions) plan(paths []string) (compareRequest, error) {
	r := compareRequest{prefix: o.prefix, output: o.output}
	var listErr, err error
	r.list, listErr = o.list.named(o.name)
	readers := append(archivesReading(paths), reading("files-from", o.files.filesFrom), reading("list", o.name))
	if err := firstError(o.output.check(), listErr, readStdinOnce(readers...), checkPrefix(o.prefix, paths, o.files.filesFrom)); err != nil {
		return r, err
	}
	r.Plan, err = plan.Plan{
		Command: "measurements compare", ReadOnly: true, Selection: o.files.plan(paths, nil),
		Writing: plan.Writing{Namespace: "security", Archiving: o.archive.Archiving}, Jobs: o.output.jobs,
	}.Validate()
	return r, err
}

// named is the list that an option names.
func (o *listOptions) named(name string) (listRequest, error) {
	if name == running {
		return o.plan(nil)
	}
	return o.plan([]string{name})
}

func checkPrefix(prefix string, paths []string, filesFrom string) error {
	switch {
	case prefix == "":
		return nil
	case !path.IsAbs(prefix):
		return conflict(fmt.Sprintf("--prefix %q is no absolute path", prefix), "the directory of the target that PATH will be, such as /usr")
	case len(paths) != 1 || filesFrom != "":
		return conflict("--prefix says where one PATH will be", "one PATH for each run")
	}
	return nil
}

func (p Program) measurementsCompareCommand() *urfave.Command {
	o := &compareOptions{files: p.files()}
	return &urfave.Command{
		Name:      "compare",
		Usage:     "compare what was measured with a tree",
		ArgsUsage: "PATH...",
		Description: `Says of each file in a measurement list whether it is still what was measured,
and whether its label is. Files that were not measured are not read. The exit
status is 4 if a file is another one now, is gone, or has no label, or another,
and 3 if there was nothing to compare.

What has run on this host, and is not what is on its disk:
   imaseal measurements compare /

A list of another machine, and the image that it was booted from:
   imaseal measurements compare --list binary_runtime_measurements \
      ext4:root.img

Only what has changed since it was measured:
   imaseal measurements compare --json / |
      jq -r 'select(.code == "other-content").path'`,
		Flags:  o.flags(),
		Action: action(o.plan, p.compareMeasured),
	}
}

// readMeasured reads what a list has of files, and reports whether some of it cannot be
// read, which is told.
func (p Program) readMeasured(ctx context.Context, r listRequest) (files *measured.List, name string, damaged bool, err error) {
	l, err := p.openList(ctx, r)
	if err != nil {
		return nil, "", false, err
	}
	defer l.Close()
	files = measured.NewList()
	hinted := make(map[string]bool)
	unknown := make(map[string]int64) // records of templates
	err = l.each(ctx, func(rec measure.Record, wrong *measure.RecordError) error {
		if wrong != nil {
			damaged = true
			p.complain(fmt.Errorf("%s: %w", l.name, wrong), hinted)
			return nil
		}
		if rec.Fields == nil {
			unknown[rec.Template]++
		}
		files.Add(rec)
		return nil
	})
	for _, template := range slices.Sorted(maps.Keys(unknown)) {
		damaged = true
		p.complain(fmt.Errorf("%s: %s of template %s, whose fields are not known: what they measured is not told", l.name, plural(unknown[template], "record"), template), hinted)
	}
	return files, l.name, damaged, err
}

// compareMeasured compares a list with trees.
func (p Program) compareMeasured(ctx context.Context, r compareRequest) error {
	if r.list.name == "" {
		for _, path := range r.Paths {
			if isList(path) {
				return conflict(report.Quote(path)+" is a measurement list, and PATH is what is compared with one", "--list names it: imaseal measurements compare --list "+report.Quote(path)+" PATH")
			}
		}
	}
	files, name, damaged, err := p.readMeasured(ctx, r.list)
	if err != nil {
		return err
	}
	if files.Len() == 0 {
		p.warn(reason.NothingMeasured, "%s names no files", name)
	}
	if files.Violations > 0 {
		p.warn(reason.Violations, "%s in the list: %s", plural(files.Violations, "violation"), violationMeans)
	}
	s, err := p.prepare(ctx, r.Plan, sessionOptions{output: r.output, bare: true, flat: true, everyName: true, packages: packageOptions{payloads: true}})
	if err != nil {
		return err
	}
	defer s.close()
	places := placesOf(r.Selection, r.prefix)
	p.warnOfPlaces(r.Selection, r.prefix)
	job := &measured.Comparer{List: files, Place: places.Of}
	missing := &measured.Missing{Like: tree.Like{Source: s.source}, List: files, Wanted: r.wants(places)}
	if _, ok := r.Carrier(); ok {
		missing.Name = func(f tree.Found) string { return places.Of(path.Join("/", f.Rel)) }
	} else {
		missing.Name = func(f tree.Found) string { return places.Of(absolute(f.Path)) }
		missing.Exists = func(name string) bool {
			full, rel, _ := places.From(name)
			return isFileWithoutLinks(full, rel)
		}
		job.Alike = func(full string) []string { return alike(places, full) }
	}
	s.source = missing
	sum, err := s.run(ctx, job)
	if err != nil {
		return err
	}
	nothing := sum.Selected() == 0 && !r.Shard.IsGiven() // a shard may well have none
	if !r.output.silent() {
		of := fmt.Sprintf("%s of %s", plural(int64(files.Len()), "name"), name)
		text := "compared with " + of
		if nothing {
			text = fmt.Sprintf("nothing was compared: none of %s is in the tree", of)
		}
		if err := p.print("imaseal: " + text + "\n"); err != nil {
			return err
		}
	}
	if err := status(sum); err != nil || !nothing && !damaged {
		return err
	}
	return &verdictError{status: exitFiles}
}

// isList reports whether a file is a measurement list.
func isList(name string) bool {
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	l, err := measure.Open(f, measure.Layout{})
	if err != nil {
		return false
	}
	rec, err := l.Next()
	return err == nil && rec.Name() != ""
}

// warnOfPlaces warns of directories that look like a root file system and are not taken
// for one, as those of images without a shell: their paths are of no use on the target.
func (p Program) warnOfPlaces(s plan.Selection, prefix string) {
	if _, ok := s.Carrier(); ok || prefix != "" {
		return
	}
	for _, name := range s.Paths {
		if info, err := os.Stat(filepath.Join(name, "usr")); err == nil && info.IsDir() && !isRootTree(name) {
			p.warn(reason.NoRoot, "%s is not taken for a root file system, since it has neither init nor shell: paths begin with %s (--prefix / if it is one)", report.Quote(name), report.Quote(absolute(name)))
		}
	}
}

// isFileWithoutLinks reports whether there is a regular file at a path, of which rel is
// the end that is in a tree, and no symbolic link in that: names that kernels measure
// have none, and one in an image may lead into this system.
func isFileWithoutLinks(full, rel string) bool {
	info, err := os.Lstat(full)
	root, inTree := strings.CutSuffix(full, rel)
	if err != nil || !info.Mode().IsRegular() || !inTree {
		return false
	}
	top, err := filepath.EvalSymlinks(root)
	if err != nil {
		return false
	}
	found, err := filepath.EvalSymlinks(full)
	return err == nil && found == filepath.Join(top, rel)
}

// alike returns the paths of what lists have under the same name as a file of a tree, but
// for the file itself.
func alike(places measured.Places, full string) []string {
	_, rel, _ := places.From(places.Of(full))
	top, inTree := strings.CutSuffix(full, rel)
	if !inTree {
		return nil
	}
	found := []string{top}
	for part := range strings.SplitSeq(rel, "/") {
		if !strings.ContainsAny(part, "_ ") {
			for i := range found {
				found[i] = filepath.Join(found[i], part)
			}
			continue
		}
		var next []string
		for _, dir := range found {
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				if measure.EscapeName(e.Name()) == measure.EscapeName(part) && e.Type()&fs.ModeSymlink == 0 {
					next = append(next, filepath.Join(dir, e.Name()))
				}
			}
		}
		found = next
	}
	return slices.DeleteFunc(found, func(name string) bool { return name == full })
}

func absolute(name string) string {
	if full, err := filepath.Abs(name); err == nil {
		return full
	}
	return name
}

// wants returns what reports whether a path of a list would be found in the trees.
func (r *compareRequest) wants(places measured.Places) func(string) bool {
	c, _ := r.Carrier()
	if r.FilesFrom != "" || r.Shard.IsGiven() || c.Kind == plan.RPM {
		return func(string) bool { return false } // what is not in them may be elsewhere
	}
	return func(name string) bool {
		_, rel, ok := places.From(name)
		if !ok {
			return false
		}
		included := len(r.Include) == 0
		for end := range len(rel) + 1 {
			if end < len(rel) && rel[end] != '/' {
				continue
			}
			if part := strings.Trim(rel[:end], "/"); part != "" {
				if r.Excluded(part) {
					return false
				}
				included = included || r.Included(part)
			}
		}
		return included
	}
}
