package mounted

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"golang.org/x/sys/unix"

	"imaseal/internal/stream"
)

// maxName bounds a name in a list: what is longer is no list.
const maxName = 1 << 20

// A List is a list of files, as --files-from names it. Names in a regular file
// can be read more than once, at the same time.
type List struct {
	in  io.Reader
	f   *os.File // if it was opened here
	nul bool
}

// A ListError says that a list of files cannot be read, or is none.
type ListError struct {
	// Name of the list, empty for one that is open already.
	Name string
	// NeedsNUL says that the names seem to end in zero bytes.
	NeedsNUL bool
	Err      error
}

func (e *ListError) Error() string { return e.Err.Error() }
func (e *ListError) Unwrap() error { return e.Err }

// OpenList opens the list in a file, or stdin for the name "-". Its names end in
// newlines, or in zero bytes with nul. The error is a *ListError.
func OpenList(name string, stdin io.Reader, nul bool) (*List, error) {
	if name == "-" {
		return &List{in: stdin, nul: nul}, nil
	}
	// O_NONBLOCK, so that one can wait for the writer of a fifo and still be
	// interrupted.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		var info os.FileInfo
		if info, err = f.Stat(); err == nil && info.IsDir() {
			err = unix.EISDIR
		}
		if err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, &ListError{Name: name, Err: pathless(err)}
	}
	return &List{in: f, f: f, nul: nul}, nil
}

// Again reports whether the names can be read more than once.
func (l *List) Again() bool {
	if l.f == nil {
		return false
	}
	info, err := l.f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// Names reads the list until ctx ends.
func (l *List) Names(ctx context.Context) iter.Seq2[string, error] {
	end := byte('\n')
	if l.nul {
		end = 0
	}
	return func(yield func(string, error) bool) {
		names := bufio.NewScanner(l.reader(ctx))
		names.Buffer(nil, maxName)
		names.Split(func(b []byte, atEOF bool) (int, []byte, error) {
			if i := bytes.IndexByte(b, end); i >= 0 {
				return i + 1, b[:i], nil
			}
			if atEOF && len(b) > 0 {
				return len(b), b, nil
			}
			return 0, nil, nil
		})
		for names.Scan() {
			if bytes.IndexByte(names.Bytes(), 0) >= 0 {
				yield("", &ListError{NeedsNUL: true, Err: errors.New("the list has zero bytes between its names")})
				return
			}
			if name := names.Text(); name != "" && !yield(name, nil) {
				return
			}
		}
		switch err := names.Err(); {
		case errors.Is(err, bufio.ErrTooLong):
			yield("", &ListError{Err: fmt.Errorf("a name of more than %d bytes: this is no list of files", maxName)})
		case err != nil && ctx.Err() == nil:
			yield("", &ListError{Err: fmt.Errorf("reading the list of files: %w", pathless(err))})
		case err != nil:
			yield("", err)
		}
	}
}

// reader reads the list from its beginning, if it can be read again.
func (l *List) reader(ctx context.Context) io.Reader {
	if l.Again() {
		return io.NewSectionReader(l.f, 0, 1<<62)
	}
	if f, ok := l.in.(*os.File); ok {
		return stream.NewReader(ctx, f)
	}
	return l.in
}

// Close closes a list that OpenList opened.
func (l *List) Close() {
	if l.f != nil {
		l.f.Close()
	}
}
