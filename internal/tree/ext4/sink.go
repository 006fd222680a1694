package ext4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"imaseal/internal/extfs"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
)

// An Output says where the new image goes.
type Output struct {
	// Path is a file; it counts for nothing with InPlace.
	Path string
	// InPlace replaces the image itself, in one step.
	InPlace bool
}

// A Sink writes a new image behind the walk of the old one. Its Apply is safe for
// concurrent use.
type Sink struct {
	im      *Image
	o       Output
	out     *stream.Out
	program string // debugfs

	applied atomic.Bool // a file has other attributes than in the old image

	// The rest belongs to the goroutine that writes.
	tool *debugfs // nil before the first change
	file *os.File // what it changes
	want wants
	seed maphash.Seed
	done bool // all is written, and was read again
}

// NewSink opens an output of the image, whose Walk then writes to it as long as ctx
// lasts. The caller ends it with Commit or Abort. The error is ErrSameFile, an
// *ImageError, or a *stream.OutputError.
func (im *Image) NewSink(ctx context.Context, o Output) (*Sink, error) {
	s := &Sink{im: im, o: o, want: wants{dir: im.cfg.TempDir}, seed: maphash.MakeSeed()}
	if err := im.fs.CheckWritable(); err != nil {
		return nil, im.error(err)
	}
	var err error
	if s.program, err = findDebugfs(ctx); err != nil {
		return nil, err
	}
	if info, err := os.Stat(s.path()); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil, &stream.OutputError{Path: s.path(), Err: stream.ErrPipe} // to open it would be to wait for who reads it
	}
	if s.out, err = stream.Create(ctx, s.path()); err != nil {
		return nil, err
	}
	if !o.InPlace && s.out.Replaces(im.f) {
		s.out.Abort()
		return nil, ErrSameFile
	}
	im.sink = s
	return s, nil
}

// Apply implements tree.Sink, for files of the image that are visited.
func (s *Sink) Apply(file tree.File, changes []tree.Change) error {
	f, ok := tree.As[*File](file)
	if !ok {
		return fmt.Errorf("%T is no file of an image", file)
	}
	err := f.apply(changes)
	if len(f.set) > 0 {
		s.applied.Store(true)
	}
	return err
}

// write has debugfs change the attributes of a file.
func (s *Sink) write(ctx context.Context, f *File) error {
	if len(f.set) == 0 {
		return nil
	}
	changes := f.really(f.set)
	if len(changes) == 0 {
		return nil
	}
	if s.tool == nil {
		if err := s.start(ctx); err != nil {
			return err
		}
	}
	for _, c := range changes {
		if err := s.tool.change(f.in.Number, c.Attr, c.New); err != nil {
			return s.outputError(err)
		}
	}
	sum, err := attrSum(s.seed, f)
	if err == nil {
		err = s.want.add(wanted{f.in.Number, sum})
	}
	return err
}

// outputError makes an error of the output of what the system has told debugfs:
// that is all that it writes to.
func (s *Sink) outputError(err error) error {
	if tool, ok := errors.AsType[*ToolError](err); ok && tool.Err != nil {
		return &stream.OutputError{Path: s.path(), Err: tool.Err}
	}
	return err
}

// path is that of the output.
func (s *Sink) path() string {
	if s.o.InPlace {
		return s.im.path
	}
	return s.o.Path
}

// start copies the image, and starts debugfs on the copy.
func (s *Sink) start(ctx context.Context) error {
	if err := s.out.Clone(s.im.f); err != nil {
		return err
	}
	var err error
	if s.file, err = s.out.Reopen(); err != nil {
		return err
	}
	s.tool, err = startDebugfs(ctx, s.program, s.file, s.im.offset, s.im.fs.Written())
	return err
}

// finish ends the writing when all files were visited, and reads again what was
// written.
func (s *Sink) finish(ctx context.Context) error {
	switch {
	case s.tool != nil:
		if err := s.tool.close(); err != nil {
			return s.outputError(err)
		}
		s.tool = nil
		if err := s.check(ctx); err != nil {
			return err
		}
	case !s.o.InPlace:
		if err := s.out.Clone(s.im.f); err != nil {
			return err
		}
	}
	s.done = true
	return nil
}

// A LostError says that the new image does not have what debugfs was told to
// write.
type LostError struct {
	Inode uint32
	Err   error // nil where there is something else
}

func (e *LostError) Error() string {
	text := fmt.Sprintf("debugfs has not written what it was told to: the attributes of inode %d", e.Inode)
	if e.Err != nil {
		return text + ": " + e.Err.Error()
	}
	return text + " are others"
}
func (e *LostError) Unwrap() error { return e.Err }

// check reads the attributes of all inodes that were changed.
func (s *Sink) check(ctx context.Context) error {
	size := s.im.watch.Stat().Size - s.im.offset
	fs, err := extfs.Open(io.NewSectionReader(s.file, s.im.offset, size), size)
	if err != nil {
		return fmt.Errorf("reading what was written: %w", err)
	}
	im := &Image{fs: fs}
	return s.want.each(func(w wanted) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		in, err := fs.Inode(w.inode)
		if err != nil {
			return &LostError{w.inode, err}
		}
		sum, err := attrSum(s.seed, &File{image: im, in: in})
		if err != nil || sum != w.sum {
			return &LostError{w.inode, err}
		}
		return nil
	})
}

// attrSum adds up the attributes of a file.
func attrSum(seed maphash.Seed, f *File) (uint64, error) {
	names, err := f.Attrs()
	if err != nil {
		return 0, err
	}
	slices.SortFunc(names, strings.Compare)
	var h maphash.Hash
	h.SetSeed(seed)
	for _, name := range names {
		value, err := f.Attr(name)
		if err != nil {
			return 0, err
		}
		head := binary.LittleEndian.AppendUint64(nil, uint64(len(name)))
		h.Write(binary.LittleEndian.AppendUint64(head, uint64(len(value))))
		h.WriteString(name)
		h.Write(value)
	}
	return h.Sum64(), nil
}

// Commit implements tree.Sink.
func (s *Sink) Commit(context.Context) error {
	if !s.done {
		s.Abort()
		return ErrUnread
	}
	defer s.release()
	if s.o.InPlace && s.file == nil { // nothing has changed
		s.out.Abort()
		return nil
	}
	err := s.out.Commit()
	s.done = err == nil
	return err
}

// Abort implements tree.Sink: nothing is left.
func (s *Sink) Abort() error {
	s.release()
	s.out.Abort()
	return nil
}

// release ends debugfs, and closes what it writes to.
func (s *Sink) release() {
	if s.tool != nil {
		s.tool.kill()
		s.tool = nil
	}
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
	s.want.release()
}
