// Package measured brings trees and measurement lists together: it digests the files of
// a tree as a kernel would that measures them, and compares them with what a list has.
//
// A kernel takes the digest that it measures by the algorithm of the label, where
// there is one, and by its default (ima_hash=) where there is none: see
// imaevm.LabelAlgorithm. It does so for all templates but "ima", which has SHA-1
// (process_measurement(), security/integrity/ima/ima_main.c).
package measured

import (
	"context"
	"errors"
	"path"
	"strings"
	"sync"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/tree"
)

// A Digester is a run.Job that digests files as a kernel that measures them.
type Digester struct {
	Default hash.Algorithm // of files whose label names none
	Target  imaevm.Target
}

// Decide implements run.Job. It changes nothing.
func (d *Digester) Decide(ctx context.Context, r *hash.Reader, f tree.File) (run.Decision, error) {
	var res report.Result
	var err error
	if res.IMA, err = tree.Value(f, imaevm.AttrIMA); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return run.Decision{}, err
	}
	a := imaevm.LabelAlgorithm(res.IMA, d.Default, d.Target)
	res.Digest, res.Bytes, err = r.Content(ctx, a, f, f.Meta().Size)
	res.Outcome = report.Exported
	return run.Decision{Result: res, Content: true}, label.ReadError(ctx, err)
}

// A Place says where the files of a tree will be on the target.
type Place struct {
	// Full is where the tree is, as tree.File.Full has it, and To where it will be.
	Full, To string
}

// Places are those of several trees.
type Places []Place

// Of returns the path that a file will have. That of a file in none of the trees stays.
func (p Places) Of(full string) string {
	best, to := -1, full
	for _, place := range p {
		rest, ok := strings.CutPrefix(full, strings.TrimSuffix(place.Full, "/"))
		if ok && (rest == "" || rest[0] == '/') && len(place.Full) > best {
			best, to = len(place.Full), path.Join(place.To, rest)
		}
	}
	return to
}

// From returns what Of makes a path of, whole and relative to its tree, and false if it
// is in none.
func (p Places) From(to string) (full, rel string, ok bool) {
	best := -1
	for _, place := range p {
		rest, in := strings.CutPrefix(to, strings.TrimSuffix(place.To, "/"))
		if in && (rest == "" || rest[0] == '/') && len(place.To) > best {
			best, full, rel = len(place.To), path.Join(place.Full, rest), strings.TrimPrefix(rest, "/")
		}
	}
	return full, rel, best >= 0
}

// A Link is another name of a file, both as paths on the target.
type Link struct{ Name, Target string }

// A Linker is a source that keeps the hard links of which the other tells the file.
type Linker struct {
	tree.Like
	// Name returns the path on the target of what is at a path in the tree.
	Name func(rel string) string

	mu  sync.Mutex
	all []Link
}

// Walk implements tree.Source.
func (l *Linker) Walk(ctx context.Context, visit func(tree.Found) error) error {
	return l.Source.Walk(ctx, func(f tree.Found) error {
		if f.Skip == reason.HardLink && f.Target != "" {
			l.mu.Lock()
			l.all = append(l.all, Link{l.Name(f.Rel), l.Name(f.Target)})
			l.mu.Unlock()
		}
		return visit(f)
	})
}

// Links returns those that were found.
func (l *Linker) Links() []Link { return l.all }
