package logs

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A tail reads what is written to a file from now on. When another file has its
// name, because the log was rotated, it reads that from its beginning.
type tail struct {
	ctx  context.Context
	name string
	f    *os.File
	at   int64
}

func openTail(ctx context.Context, name string) (*tail, error) {
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &tail{ctx: ctx, name: name, f: f, at: at}, nil
}

// open opens a log; were it a fifo by now, it would not wait for who writes to it.
func open(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// Read implements io.Reader. The end of the log is that of the context.
func (t *tail) Read(b []byte) (int, error) {
	for {
		n, err := t.f.Read(b)
		t.at += int64(n)
		if n > 0 || err != nil && err != io.EOF {
			return n, err
		}
		if t.rotated() {
			continue
		}
		if !wait(t.ctx) {
			return 0, io.EOF
		}
	}
}

// rotated goes on with another file, where there is one by now. What was written
// to the old one has been read: auditd and logrotate rename it first.
func (t *tail) rotated() bool {
	old, err := t.f.Stat()
	if err != nil {
		return false
	}
	if old.Size() < t.at { // it was emptied
		_, err := t.f.Seek(0, io.SeekStart)
		t.at = 0
		return err == nil && old.Size() > 0
	}
	now, err := os.Stat(t.name)
	if err != nil || os.SameFile(old, now) {
		return false
	}
	f, err := open(t.name)
	if err != nil {
		return false
	}
	t.f.Close()
	t.f, t.at = f, 0
	return true
}

// Close closes the file.
func (t *tail) Close() error { return t.f.Close() }
