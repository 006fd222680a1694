package mounted_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/treetest"
)

const (
	page   = 4096
	stores = 10 // states that one change stores
)

// A reading keeps what was read of a file last, from its beginning to its end.
type reading struct {
	content []byte
	// after is called after each call of ReadAt with what was read so far; nil
	// for nothing.
	after func(content []byte)
}

func (r *reading) source(inner tree.Source) tree.Source {
	return tree.WithFiles(inner, func(f tree.File) tree.File { return readFile{f, r} })
}

type readFile struct {
	tree.File
	reading *reading
}

func (f readFile) Unwrap() tree.File { return f.File }

func (f readFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	f.reading.content = append(f.reading.content[:min(off, int64(len(f.reading.content)))], b[:n]...)
	if f.reading.after != nil {
		f.reading.after(f.reading.content)
	}
	return n, err
}

// A writer changes a file again and again, each time from one state to another.
type writer struct {
	path      string
	size      int
	keepsOpen bool
	// step makes the n-th change, and closes begun when that begins.
	step func(w *writer, n int, begun chan<- struct{}) error
	// isWhole reports whether a content is one that was there.
	isWhole func(content []byte) bool

	f   *os.File // that is kept open
	buf []byte
}

// whole is a content that one write made.
func whole(content []byte) bool { return bytes.Count(content, content[:1]) == len(content) }

// write writes a state with one write(2), which begins when begun is closed.
func (w *writer) write(n int, begun chan<- struct{}) error {
	w.buf = append(w.buf[:0], byte(n))
	for len(w.buf) < w.size {
		w.buf = append(w.buf, w.buf...)
	}
	f := w.f
	if f == nil { // as dd conv=notrunc does
		var err error
		if f, err = os.OpenFile(w.path, os.O_WRONLY, 0); err != nil {
			close(begun)
			return err
		}
		if w.keepsOpen {
			w.f = f
		} else {
			defer f.Close()
		}
	}
	close(begun)
	written, err := unix.Pwrite(int(f.Fd()), w.buf, 0)
	if err == nil && written < len(w.buf) {
		err = io.ErrShortWrite
	}
	return err
}

// store stores states through a mapping, a number into each page in their order.
// Only the first of them changes the file's times.
func (w *writer) store(n int, begun chan<- struct{}) error {
	f, err := os.OpenFile(w.path, os.O_RDWR, 0)
	if err != nil {
		close(begun)
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, w.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	f.Close() // the mapping goes on
	close(begun)
	if err != nil {
		return err
	}
	for state := range stores {
		for at := 0; at < len(m); at += page {
			binary.NativeEndian.PutUint64(m[at:], uint64(n*stores+state))
			if at%(w.size/16) == 0 {
				time.Sleep(100 * time.Microsecond)
			}
		}
	}
	return unix.Munmap(m)
}

// wholeStores is a content that stores made: no page has an older number than
// those behind it.
func wholeStores(content []byte) bool {
	last := binary.NativeEndian.Uint64(content)
	for at := 0; at+page <= len(content); at += page {
		n := binary.NativeEndian.Uint64(content[at:])
		if n > last || last-n > 1 {
			return false
		}
		last = n
	}
	return true
}

// A race is labelling against a writer.
type race struct {
	writers run.Writers
	lease   func(fd uintptr, kind int) error // nil for the kernel's
	rounds  int
}

// run labels the file round by round, in each some time after a change has begun.
// Each label is that of a content that was there, or the file fails as changing.
func (r race) run(t *testing.T, w *writer) {
	t.Helper()
	if err := os.WriteFile(w.path, make([]byte, w.size), 0o644); err != nil {
		t.Fatal(err)
	}
	count := make(map[string]int)
	for n := range r.rounds {
		begun, done := make(chan struct{}), make(chan error)
		go func() { done <- w.step(w, n+1, begun) }()
		<-begun
		time.Sleep(time.Duration(rand.IntN(4 * int(mounted.TimestampStep))))
		count[what(r.label(t, w))]++
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if w.f != nil {
		w.f.Close()
	}
	t.Log(count)
}

// hashes returns the job that gives every file a new hash.
func hashes() *label.Labeller {
	return &label.Labeller{Algo: hash.SHA256, Rules: plan.Only(plan.Hash), Force: true}
}

// label labels the file and looks at what was read of it.
func (r race) label(t *testing.T, w *writer) report.Result {
	t.Helper()
	read := new(reading)
	res := runtest.Run{
		Job: hashes(), Writers: r.writers, Real: os.Geteuid() == 0, Source: read.source,
		Tree: func(opened *mounted.Tree) {
			if r.lease != nil {
				opened.SetLease(r.lease)
			}
		},
	}.One(t, w.path)
	switch {
	case res.Outcome == report.Failed && (errors.Is(res.Err, run.ErrChanging) || errors.Is(res.Err, run.ErrWriter)):
	case res.Outcome != report.Labelled:
		t.Errorf("%s, %v", res.Outcome, res.Err)
	case len(read.content) != w.size || !w.isWhole(read.content):
		t.Errorf("a label of a content that never was: %s, %v", res.Digest, res.Warnings)
	}
	return res
}

// what says in words what became of a file.
func what(res report.Result) string {
	switch {
	case res.Err != nil:
		return res.Err.Error()
	case len(res.Warnings) > 0:
		return "labelled, warned"
	}
	return string(res.Outcome)
}

// noLease is a file system without leases, deniedLease one whose files are
// another user's.
func noLease(uintptr, int) error     { return unix.EINVAL }
func deniedLease(uintptr, int) error { return unix.EACCES }

// Promise 3: a file that is overwritten by one long write, or through a mapping,
// gets no label of a content that never was: neither where leases tell of the
// writer, nor where he is allowed, nor where there are no leases.
func TestPromise3LongWrites(t *testing.T) {
	writers := []struct {
		name   string
		rounds int // of each race, so that all are 207
		writer
	}{
		{"16 MiB", 9, writer{size: 16 << 20, step: (*writer).write, isWhole: whole}},
		{"128 MiB", 3, writer{size: 128 << 20, step: (*writer).write, isWhole: whole}},
		{"kept open", 4, writer{size: 32 << 20, step: (*writer).write, isWhole: whole, keepsOpen: true}},
		{"mapped", 7, writer{size: 16 << 20, step: (*writer).store, isWhole: wholeStores}},
	}
	races := map[string]race{
		"refused":   {writers: run.Refuse},
		"allowed":   {writers: run.Allow},
		"no leases": {writers: run.Refuse, lease: noLease},
	}
	for fstype, mebibytes := range map[string]int{"ext4": 320, "xfs": 400, "btrfs": 600} {
		t.Run(fstype, func(t *testing.T) {
			root := treetest.Mount(t, fstype, mebibytes)
			for _, w := range writers {
				for how, r := range races {
					t.Run(w.name+", "+how, func(t *testing.T) {
						rounds, w, r := w.rounds, w.writer, r
						w.path, r.rounds = filepath.Join(root, "f"), rounds
						r.run(t, &w)
						if err := os.Remove(w.path); err != nil {
							t.Fatal(err)
						}
					})
				}
			}
		})
	}
}
