// Package logs opens what the kernel's records are kept in: files, which may be
// compressed, the journal, and the kernel's own messages. What it returns are
// readers of lines that package audit understands.
package logs

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"imaseal/internal/audit"
	"imaseal/internal/stream"
)

// Options say how much of a log is read.
type Options struct {
	// Since leaves out what is older where that is cheap; zero leaves out nothing.
	Since time.Time
	// Boot leaves out what the journal has of other boots than this one.
	Boot bool
	// Follow leaves out what is there already, and waits for more until ctx ends,
	// which then is the end of the log.
	Follow bool
}

// ErrBinary says that a file is one of the journal's own.
var ErrBinary = errors.New("is a file of the journal, which only journalctl reads")

// poll is how long there may be something new before it is seen.
const poll = 300 * time.Millisecond

// auditd is where auditd keeps its logs, those that were rotated too.
const auditd = "/var/log/audit/audit.log"

// Auditd returns the names of auditd's logs, the oldest first. root is put before
// their paths; empty for the machine itself.
func Auditd(root string, o Options) []string {
	type log struct {
		name string
		at   time.Time
	}
	var found []log
	names, _ := filepath.Glob(filepath.Join(root, auditd) + "*")
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() || info.ModTime().Before(o.Since) {
			continue
		}
		found = append(found, log{name, info.ModTime()})
	}
	slices.SortStableFunc(found, func(a, b log) int { return a.at.Compare(b.at) })
	names = nil
	for _, l := range found {
		names = append(names, l.name)
	}
	if o.Follow && names != nil {
		return []string{filepath.Join(root, auditd)}
	}
	return names
}

// File opens a file. The caller closes it.
func File(ctx context.Context, name string, o Options) (io.ReadCloser, error) {
	f, err := stream.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); o.Follow && (err != nil || info.Mode().IsRegular()) {
		f.Close()
		return openTail(ctx, name)
	}
	r, err := Stream(f)
	if err != nil {
		f.Close()
		if _, told := errors.AsType[*os.PathError](err); told {
			return nil, err
		}
		return nil, &os.PathError{Op: "read", Path: name, Err: err}
	}
	return struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

// magic is what the journal's own files begin with (journal-file-format of systemd).
const magic = "LPKSHHRH"

// Stream returns a reader of what comes out of r, decompressed.
func Stream(r io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	if head, _ := in.Peek(len(magic)); string(head) == magic {
		return nil, ErrBinary
	}
	return audit.Decompress(in)
}

// wait waits for something new, and returns false when ctx has ended.
func wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(poll):
		return true
	}
}
