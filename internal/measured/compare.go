package measured

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/measure"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/tree"
)

// A Comparer is a run.Job that compares the files of a tree with a list. Files that
// the list does not have are skipped, and not read.
type Comparer struct {
	List *List
	// Place returns the path that a file has on the machine of the list.
	Place func(full string) string
	// Alike returns the paths of other files of the tree that a list has under the same
	// name as the one at a path, since it has "_" for blanks. Nil where that cannot be
	// told.
	Alike func(full string) []string
}

// Deleted ends the name of a file that had none any more when it was measured: that of
// d_path(), in which "_" stands for a blank.
const Deleted = "_(deleted)"

// Decide implements run.Job. It changes nothing.
func (c *Comparer) Decide(ctx context.Context, r *hash.Reader, f tree.File) (run.Decision, error) {
	if a, ok := f.(*absent); ok {
		return run.Decision{Result: a.result()}, nil
	}
	name := measure.EscapeName(c.Place(f.Full()))
	e := c.List.names[name]
	if e == nil {
		c.note(name)
		return run.Skip(reason.NotMeasured), nil
	}
	e.found.Store(true)
	j := comparison{ctx: ctx, reader: r, file: f, entry: e}
	err := j.compare()
	if j.res.Code == reason.OtherContent {
		if other := c.measuredInstead(&j); other != "" {
			j.found(report.Unverifiable, reason.NamedAlike, "perhaps it was not measured, but %s was, which a list names alike: the content is %s", report.Quote(other), j.res.Digest)
		}
	}
	if len(e.Digests) == 0 && j.res.Outcome == report.Valid {
		return run.Skip(reason.MeasuredOpen), err // there is no digest to compare
	}
	if e.Violations > 0 {
		j.res.Warn(reason.MeasuredOpen, "was changed while it was measured: what was used may be another content")
	}
	if n := len(e.Digests); n > 1 {
		j.res.Warn(reason.SeveralContents, fmt.Sprintf("was measured with %d contents", n))
	}
	return run.Decision{Result: j.res, Content: j.read}, err
}

// measuredInstead returns the path of another file that a list names as this one, and
// whose content is what was measured; "" for none. It proves nothing: whoever changes a
// file may put a copy beside it.
func (c *Comparer) measuredInstead(j *comparison) string {
	if c.Alike == nil {
		return ""
	}
	all := c.Alike(j.file.Full())
	i := slices.IndexFunc(all, func(other string) bool {
		f, err := os.OpenFile(other, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return false
		}
		defer f.Close()
		info, err := f.Stat()
		return err == nil && info.Mode().IsRegular() && j.wasMeasured(f, info.Size())
	})
	if i < 0 {
		return ""
	}
	return all[i]
}

// note keeps a path that ends in a name of the list: it is that of a process with another
// root, perhaps.
func (c *Comparer) note(name string) {
	for i := range len(name) {
		if i == 0 || name[i] != '/' {
			continue
		}
		if e := c.List.names[name[i:]]; e != nil {
			e.elsewhere.CompareAndSwap(nil, &name)
		}
	}
}

// A comparison is the work on one file.
type comparison struct {
	ctx    context.Context
	reader *hash.Reader
	file   tree.File
	entry  *Entry
	res    report.Result
	read   bool
}

func (j *comparison) found(o report.Outcome, c reason.Code, format string, args ...any) {
	j.res.Outcome, j.res.Code, j.res.Reason = o, c, fmt.Sprintf(format, args...)
}

func (j *comparison) compare() error {
	value, err := tree.Value(j.file, imaevm.AttrIMA)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	j.res.IMA = value
	isAsMeasured, err := j.content()
	switch {
	case err != nil:
		return err
	case !isAsMeasured && len(j.entry.Digests)+int(j.entry.Unknown) > 0:
		j.otherContent()
		return nil
	case len(value) == 0:
		j.found(report.Unlabelled, reason.MeasuredUnlabelled, "was measured, and has no %s", imaevm.AttrIMA)
		return nil
	}
	j.res.Outcome = report.Valid
	j.labels(value)
	return nil
}

// otherContent says what is known of a content that is none that was measured, as far as
// that can be compared.
func (j *comparison) otherContent() {
	if j.entry.Unknown > 0 {
		j.found(report.Unverifiable, reason.NotComputable, "it was measured with a digest of no algorithm that is known")
		return
	}
	for _, d := range slices.Backward(j.entry.Digests) {
		if d.Kind != measure.KindIMA {
			j.found(report.Unverifiable, reason.MeasuredVerity, "its fs-verity digest was measured, which is not compared")
			return
		}
		if !d.Digest.Algorithm().Computable() {
			j.found(report.Unverifiable, reason.NotComputable, "%s was measured, which cannot be computed here", d.Digest)
			return
		}
	}
	j.found(report.Invalid, reason.OtherContent, "the content is %s, and %s was measured", j.res.Digest, j.entry.Last.Digest)
}

// content reports whether the content is one that was measured. The digest of the result
// is one of it.
func (j *comparison) content() (bool, error) {
	for _, a := range j.entry.algorithms() {
		d, n, err := j.reader.Content(j.ctx, a, j.file, j.file.Meta().Size)
		j.res.Bytes += n
		j.read = true
		if _, cannot := errors.AsType[*hash.NotComputableError](err); cannot {
			continue
		}
		if err := label.ReadError(j.ctx, err); err != nil {
			return false, err
		}
		if isMeasured := j.entry.has(measure.FileDigest{Kind: measure.KindIMA, Digest: d}); isMeasured || j.res.Digest.IsZero() {
			j.res.Digest = d
			if isMeasured {
				return true, nil
			}
		}
	}
	return false, nil
}

// wasMeasured reports whether a content is one that was measured, of whatever file.
func (j *comparison) wasMeasured(content io.ReaderAt, size int64) bool {
	return slices.ContainsFunc(j.entry.algorithms(), func(a hash.Algorithm) bool {
		d, n, err := j.reader.Content(j.ctx, a, content, size)
		j.res.Bytes += n
		return err == nil && j.entry.has(measure.FileDigest{Kind: measure.KindIMA, Digest: d})
	})
}

// labels compares the label with what was measured. The content is what was measured.
func (j *comparison) labels(value []byte) {
	parsed, err := imaevm.Parse(value)
	if trailing, ok := errors.AsType[*imaevm.TrailingError](err); ok {
		parsed, err = trailing.Label, nil
	}
	if err != nil {
		j.found(report.Invalid, reason.Malformed, "malformed %s: %v", imaevm.AttrIMA, err)
		return
	}
	switch l := parsed.(type) {
	case imaevm.HashLabel:
		if l.Digest.Algorithm() == j.res.Digest.Algorithm() && l.Digest != j.res.Digest {
			j.found(report.Invalid, reason.OtherMeasured, "the label says %s, and %s was measured", l.Digest, j.res.Digest)
			return
		}
	case imaevm.Signature:
		j.res.KeyID, j.res.HasKeyID = l.KeyID, true
	}
	signed := j.entry.Label
	if len(signed) == 0 || imaevm.Type(signed[0]) == imaevm.TypePortable || j.entry.Last.Digest != j.res.Digest {
		return // no label of the content was measured with it
	}
	switch _, isHash := parsed.(imaevm.HashLabel); {
	case isHash:
		j.found(report.Invalid, reason.OtherMeasured, "the label is a hash, and a signature was measured, which is by %s", keyOf(signed))
	case string(signed) != string(value):
		j.found(report.Invalid, reason.OtherMeasured, "the signature is another than the one that was measured, which is by %s", keyOf(signed))
	}
}

// keyOf names the key of a label.
func keyOf(value []byte) string {
	s, err := imaevm.ParseSignature(value)
	if err != nil {
		return "none that can be told"
	}
	return "key " + s.KeyID.String()
}

// A Missing is a source that has, after the files of another, those of a list that are
// not there.
type Missing struct {
	tree.Like
	List *List
	// Name returns the path, on the machine of the list, of what is skipped.
	Name func(tree.Found) string
	// Wanted reports whether the tree would have a path of the list.
	Wanted func(path string) bool
	// Exists reports whether there is something at a path all the same, as on another
	// file system; nil where that cannot be told.
	Exists func(path string) bool
}

// Walk implements tree.Source.
func (m *Missing) Walk(ctx context.Context, visit func(tree.Found) error) error {
	err := m.Source.Walk(ctx, func(f tree.Found) error {
		if f.File == nil && isThere(f) {
			if e := m.List.Entry(m.Name(f)); e != nil {
				e.found.Store(true)
			}
		}
		return visit(f)
	})
	if err != nil {
		return err
	}
	for _, name := range m.List.Names() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e := m.List.names[name]
		if e.found.Load() {
			continue
		}
		found := tree.Found{Path: name, Rel: name}
		switch {
		case !strings.HasPrefix(name, "/"):
			found.Skip = reason.NoPath
		case strings.HasSuffix(name, Deleted):
			found.Skip = reason.DeletedThen
		case !m.Wanted(name):
			found.Skip = reason.OutsideTree
		case m.Exists != nil && m.Exists(name):
			found.Skip = reason.NotSelected
		default:
			found.File = &absent{name: name, entry: e}
		}
		if err := visit(found); err != nil {
			return err
		}
	}
	return nil
}

// isThere reports whether what is skipped, or cannot be opened, may be a file that was
// measured under its name: a symbolic link was not.
func isThere(f tree.Found) bool {
	switch f.Skip {
	case "":
		return !errors.Is(f.Err, fs.ErrNotExist)
	case reason.Symlink, reason.Special, reason.Directory:
		return false
	}
	return true
}

// An absent stands for a file that was measured and is not there.
type absent struct {
	tree.File // none
	name      string
	entry     *Entry
}

func (a *absent) Meta() tree.Meta { return tree.Meta{} }
func (a *absent) Close() error    { return nil }

// result says where it has gone, as far as that can be told.
func (a *absent) result() report.Result {
	res := report.Result{Outcome: report.Invalid, Code: reason.Gone, Reason: "was measured, and is not there"}
	res.Digest = a.entry.Last.Digest
	if elsewhere := a.entry.elsewhere.Load(); elsewhere != nil {
		res.Code = reason.OtherRoot
		res.Reason = fmt.Sprintf("is not there; what was measured may be %s, by a process of a container, which has other paths", report.Quote(*elsewhere))
	}
	return res
}
