package ext4

import (
	"context"
	"errors"

	"imaseal/internal/line"
	"imaseal/internal/reason"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
)

// window is how many files may wait to be written: so many that neither a large
// one nor the copy of the image leaves the workers without work for long.
const window = 1024

// A walker is one walk: a scan, workers, and a writer if there is a sink.
type walker struct {
	*line.End
	im    *Image
	visit func(tree.Found) error
	line  line.Line[finding]
}

// Walk implements tree.Source. The error is an *ImageError where the image as a
// whole cannot be read; with a sink also what writing has met with.
func (im *Image) Walk(ctx context.Context, visit func(tree.Found) error) error {
	end := line.NewEnd(ctx)
	defer end.Release()
	w := &walker{End: end, im: im, visit: visit}
	w.line = line.Line[finding]{End: end, Workers: im.cfg.Jobs, Window: window, Work: w.work, Write: w.write}
	if err := im.watch.Begin(); err != nil {
		return im.error(err)
	}
	defer im.watch.End()
	w.line.Run(w.read)
	err := end.Err()
	if err == nil {
		err = im.error(im.watch.Unchanged())
	}
	if err == nil && im.sink != nil {
		err = im.writeError(end.Ctx, im.sink.finish(end.Ctx))
	}
	return err
}

// read hands every finding to a worker, and every file to the writer, too.
func (w *walker) read() error {
	err := w.im.scan(w.Ctx, w.im.leave(), func(f finding) error {
		return w.line.Send(f, line.To{Work: true, Write: w.im.sink != nil && f.file != nil})
	})
	if w.Cause() == nil {
		err = w.im.error(err)
	}
	return err
}

// leave returns Config.Leave for files of an image.
func (im *Image) leave() func(*File) reason.Code {
	if im.cfg.Leave == nil {
		return nil
	}
	return func(f *File) reason.Code { return im.cfg.Leave(f) }
}

// work has a finding visited.
func (w *walker) work(f finding) error {
	if err := w.Cause(); err != nil {
		return err
	}
	found := tree.Found{Path: w.im.pathOf(f.rel), Skip: f.skip, Err: f.err}
	if f.file != nil {
		found.File = f.file
	}
	if !f.dir {
		found.Rel = f.rel
	}
	return w.visit(found)
}

// write writes the labels of a file. After an error it does nothing.
func (w *walker) write(f finding) error {
	if err := w.Cause(); err != nil {
		return err
	}
	return w.im.writeError(w.Ctx, w.im.sink.write(w.Ctx, f.file))
}

// writeError names the image in an error of writing, where the error does not name
// the output itself.
func (im *Image) writeError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, ok := errors.AsType[*stream.OutputError](err); ok {
		return err
	}
	return im.error(err)
}

// Count implements tree.Counter.
func (im *Image) Count(ctx context.Context, each func(size int64)) error {
	im.scan(ctx, nil, func(f finding) error { // errors are the walk's to report
		if f.file != nil {
			each(f.file.in.Size)
		}
		return nil
	})
	return nil
}
