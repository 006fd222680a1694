package oci

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"imaseal/internal/stream"
)

// A file is one of a new image: the bytes of a document, the blob of a layer, or what
// it is in the old one, if it has neither.
type file struct {
	name string
	raw  []byte
	blob blob
}

func (f *file) isKept() bool { return f.raw == nil && f.blob == nil }

func (n *renewed) as() file { return file{name: n.file, raw: n.raw, blob: n.blob} }

// An outBlob is the blob of a layer in a directory, whose name errors say.
type outBlob struct {
	*stream.Out
	dir string
}

// Write implements io.Writer.
func (b outBlob) Write(p []byte) (int, error) {
	n, err := b.Out.Write(p)
	return n, outputError(b.dir, err)
}

func (b outBlob) drop() { b.Abort() }

// outputError has an error of writing a file below a directory say the name that the
// user gave.
func outputError(dir string, err error) error {
	o, isOutput := errors.AsType[*stream.OutputError](err)
	_, isPath := errors.AsType[*fs.PathError](err)
	switch {
	case isOutput:
		return &stream.OutputError{Path: dir, Err: o.Err}
	case isPath:
		return &stream.OutputError{Path: dir, Err: pathless(err)}
	}
	return err
}

// copyFile writes a file of the old store.
func (g *graph) copyFile(out *stream.Out, name string) error {
	p, err := g.store.open(name)
	if err == nil {
		err = out.Copy(p.f, p.at, p.size)
		p.close()
	}
	if _, is := errors.AsType[*stream.OutputError](err); is || err == nil {
		return err
	}
	if err == io.ErrUnexpectedEOF {
		err = errShrunk
	}
	return g.blobError("file", name, err)
}

var errShrunk = errors.New("it became shorter while it was read")

// A newDir is a target that is a new directory: one beside it gets its name in the end.
type newDir struct {
	g    *graph
	path string
	temp string // empty when there is none any more
}

func newDirectory(g *graph, path string) (*newDir, error) {
	o := &newDir{g: g, path: filepath.Clean(path)}
	if entries, err := os.ReadDir(o.path); err == nil && len(entries) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &stream.OutputError{Path: path, Err: ErrExists}
	}
	temp, err := os.MkdirTemp(filepath.Dir(o.path), ".imaseal-")
	if err == nil {
		o.temp = temp
		err = os.MkdirAll(filepath.Join(temp, blobDir, "sha256"), 0o777)
	}
	if err == nil {
		err = openMode(temp)
	}
	if err != nil {
		o.abort()
		return nil, &stream.OutputError{Path: path, Err: pathless(err)}
	}
	return o, nil
}

// openMode gives a directory the mode that mkdir(2) would: that of one it has made.
func openMode(dir string) error {
	info, err := os.Stat(filepath.Join(dir, blobDir))
	if err != nil {
		return err
	}
	return os.Chmod(dir, info.Mode().Perm())
}

func (o *newDir) create(ctx context.Context) (blob, error) {
	return createBlob(ctx, o.temp, o.path)
}

func createBlob(ctx context.Context, dir, called string) (blob, error) {
	out, err := stream.Create(ctx, filepath.Join(dir, blobDir, "sha256", "layer"))
	if err != nil {
		return nil, outputError(called, err)
	}
	return outBlob{out, called}, nil
}

func (o *newDir) write(ctx context.Context, r *renewal) error {
	return o.g.each(r, func(_ *entry, f file) error {
		if !isLayoutName(f.name) {
			return nil
		}
		return outputError(o.path, o.put(ctx, f))
	})
}

// isLayoutName reports whether a file is one of an image layout.
func isLayoutName(name string) bool {
	return name == layoutFile || name == indexFile || isBlobName(name)
}

func (o *newDir) put(ctx context.Context, f file) error {
	if b, ok := f.blob.(outBlob); ok {
		b.Name(path.Base(f.name))
		return b.Commit()
	}
	name := filepath.Join(o.temp, filepath.FromSlash(f.name))
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	out, err := stream.Create(ctx, name)
	if err != nil {
		return err
	}
	defer out.Abort()
	if f.isKept() {
		err = o.g.copyFile(out, f.name)
	} else {
		_, err = out.Write(f.raw)
	}
	if err != nil {
		return err
	}
	return out.Commit()
}

func (o *newDir) commit() error {
	defer o.abort()
	// os.Rename does not take the place of an empty directory.
	err := unix.Rename(o.temp, o.path)
	if err == unix.ENOTEMPTY || err == unix.EEXIST {
		err = ErrExists
	}
	if err != nil {
		return &stream.OutputError{Path: o.path, Err: err}
	}
	o.temp = ""
	if err := syncDir(filepath.Dir(o.path)); err != nil {
		return &stream.OutputError{Path: o.path, Err: pathless(err)}
	}
	return nil
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (o *newDir) abort() {
	if o.temp != "" {
		os.RemoveAll(o.temp)
		o.temp = ""
	}
}

// An inPlace is a target that is the directory of the image itself. New blobs are
// nothing until index.json names them, which is replaced in one step; then the old
// ones go.
type inPlace struct {
	g    *graph
	path string
	outs []*stream.Out // of new files, index.json last
	made []string      // files that were not there before
	gone []string
}

func newInPlace(g *graph, path string) *inPlace { return &inPlace{g: g, path: path} }

func (o *inPlace) create(ctx context.Context) (blob, error) {
	if err := os.MkdirAll(filepath.Join(o.path, blobDir, "sha256"), 0o777); err != nil {
		return nil, &stream.OutputError{Path: o.path, Err: pathless(err)}
	}
	return createBlob(ctx, o.path, o.path)
}

func (o *inPlace) write(ctx context.Context, r *renewal) error {
	if r == nil {
		return nil
	}
	var index *stream.Out
	written := make(map[string]bool)
	err := o.g.each(r, func(_ *entry, f file) error {
		written[f.name] = true
		if f.isKept() {
			return nil
		}
		out, err := o.prepare(ctx, f)
		if err == nil && f.name == indexFile {
			index = out
		} else if err == nil {
			o.outs = append(o.outs, out)
		}
		return err
	})
	if err != nil {
		return err
	}
	o.outs = append(o.outs, index)
	for old := range r.parts {
		if !written[old] {
			o.gone = append(o.gone, old)
		}
	}
	return nil
}

// prepare writes a new file.
func (o *inPlace) prepare(ctx context.Context, f file) (*stream.Out, error) {
	name := filepath.Join(o.path, filepath.FromSlash(f.name))
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		o.made = append(o.made, name)
	}
	if b, ok := f.blob.(outBlob); ok {
		b.Name(path.Base(f.name))
		return b.Out, nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return nil, &stream.OutputError{Path: o.path, Err: pathless(err)}
	}
	out, err := stream.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	if _, err := out.Write(f.raw); err != nil {
		out.Abort()
		return nil, err
	}
	return out, nil
}

func (o *inPlace) commit() error {
	for _, out := range o.outs {
		if err := out.Commit(); err != nil {
			o.abort()
			return err
		}
	}
	for _, name := range o.gone {
		os.Remove(filepath.Join(o.path, filepath.FromSlash(name))) // or it takes room, and is nothing
	}
	o.outs, o.made = nil, nil
	return nil
}

func (o *inPlace) abort() {
	for _, out := range o.outs {
		out.Abort()
	}
	for _, name := range o.made {
		os.Remove(name)
	}
	o.outs, o.made = nil, nil
}

// each calls do for each file of the new image, with the entry of the old one in whose
// place it is. Each name comes once.
func (g *graph) each(r *renewal, do func(*entry, file) error) error {
	entries, err := g.store.list()
	if err != nil {
		return err
	}
	var live map[string]bool
	if r != nil {
		live = r.live()
	}
	seen := make(map[string]bool)
	once := func(e *entry, f file) error {
		if f.name != "" && seen[f.name] {
			return nil
		}
		seen[f.name] = true
		return do(e, f)
	}
	for i := range entries {
		e := &entries[i]
		var renewals []*renewed
		if r != nil && e.name != "" {
			renewals = r.parts[e.name]
		}
		for _, n := range renewals {
			if err := once(e, n.as()); err != nil {
				return err
			}
		}
		if len(renewals) > 0 && !live[e.name] {
			continue
		}
		if err := once(e, file{name: e.name}); err != nil {
			return err
		}
	}
	return nil
}
