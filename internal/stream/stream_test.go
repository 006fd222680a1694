package stream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

func TestReader(t *testing.T) {
	r, w := treetest.Pipe(t)
	if _, err := w.WriteString("content"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := NewReader(t.Context(), r).Read(b); string(b[:n]) != "content" || err != nil {
		t.Errorf("%q, %v", b[:n], err)
	}
	if _, err := NewReader(treetest.StopSoon(t), r).Read(b); err != treetest.ErrStop {
		t.Errorf("while nothing comes: %v", err)
	}
	w.Close()
	if n, err := NewReader(t.Context(), r).Read(b); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

// TestFifo waits for the writer of a fifo.
func TestFifo(t *testing.T) {
	name := filepath.Join(treetest.Make(t, "fifo p"), "p")
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := NewReader(treetest.StopSoon(t), f).Read(make([]byte, 1)); err != treetest.ErrStop {
		t.Errorf("without a writer: %v", err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		o, err := Create(t.Context(), name)
		if err == nil {
			_, err = o.Write(bytes.Repeat([]byte("x"), 1<<20))
			err = errors.Join(err, o.Commit())
		}
		if err != nil {
			t.Error(err)
		}
	})
	if n, err := io.Copy(io.Discard, NewReader(t.Context(), f)); n != 1<<20 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestFifoWithoutReader waits for the reader of a fifo.
func TestFifoWithoutReader(t *testing.T) {
	name := filepath.Join(treetest.Make(t, "fifo p"), "p")
	if _, err := Create(treetest.StopSoon(t), name); !errors.Is(err, treetest.ErrStop) {
		t.Errorf("%v", err)
	}
}

func TestPipe(t *testing.T) {
	r, w := treetest.Pipe(t)
	o, err := Stdout(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var got []byte
	var wg sync.WaitGroup
	wg.Go(func() { got, _ = io.ReadAll(io.LimitReader(r, int64(len(big)))) })
	if n, err := o.Write(big); n != len(big) || err != nil {
		t.Errorf("%d of %d bytes, %v", n, len(big), err)
	}
	wg.Wait()
	if !bytes.Equal(got, big) {
		t.Error("something else came out")
	}
	blocked, _ := Stdout(treetest.StopSoon(t), w)
	if _, err := blocked.Write(big); err != treetest.ErrStop {
		t.Errorf("while nobody reads: %v", err)
	}
	r.Close()
	_, err = o.Write(big)
	if _, ok := errors.AsType[*OutputError](err); !ok || !errors.Is(err, unix.EPIPE) {
		t.Errorf("when nobody can read: %v", err)
	}
	if err := o.Commit(); err != nil {
		t.Error(err)
	}
	if _, err := w.Stat(); err != nil {
		t.Errorf("a descriptor that was open before is closed: %v", err)
	}
}

// names returns what is in a directory.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// outs opens an output in both ways: with a name at first, and without.
func outs(t *testing.T, path string, do func(t *testing.T, o *Out)) {
	for _, way := range []string{"unnamed", "named"} {
		t.Run(way, func(t *testing.T) {
			o, err := Create(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if way == "named" {
				o.f.Close()
				if err := o.openNamed(); err != nil {
					t.Fatal(err)
				}
			}
			do(t, o)
		})
	}
}

func TestCreate(t *testing.T) {
	treetest.Leaks(t)
	defer unix.Umask(unix.Umask(0o027))
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	outs(t, path, func(t *testing.T, o *Out) {
		if _, err := o.Write([]byte("content")); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("before Commit: %v", err)
		}
		if err := o.Commit(); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o640 || read(t, path) != "content" || names(t, dir) != "out" {
			t.Errorf("%v, %v, %q, files %s", info, err, read(t, path), names(t, dir))
		}
		o.Abort()
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	})
	outs(t, path, func(t *testing.T, o *Out) {
		if _, err := o.Write([]byte("content")); err != nil {
			t.Fatal(err)
		}
		o.Abort()
		if names(t, dir) != "" {
			t.Errorf("left are %s", names(t, dir))
		}
	})
}

// TestReplace replaces a file behind a link, which keeps its mode.
func TestReplace(t *testing.T) {
	dir := treetest.Make(t, "file d/old mode=0604 content=old\nlink l d/old")
	path, old := filepath.Join(dir, "l"), filepath.Join(dir, "d/old")
	outs(t, path, func(t *testing.T, o *Out) {
		before := read(t, old)
		f, err := os.Open(old)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if !o.Replaces(f) {
			t.Error("it does not say that it replaces the file")
		}
		if _, err := o.Write([]byte(t.Name())); err != nil {
			t.Fatal(err)
		}
		if read(t, old) != before {
			t.Error("the old file is changed before Commit")
		}
		if o.temp != "" {
			if info, err := os.Stat(o.temp); err != nil || info.Mode() != 0o600 {
				t.Errorf("before Commit: %v, %v", info, err)
			}
		}
		if err := o.Commit(); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(old); err != nil || info.Mode() != 0o604 || read(t, path) != t.Name() || names(t, filepath.Join(dir, "d")) != "old" {
			t.Errorf("%v, %v, %q", info, err, read(t, path))
		}
	})
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link is %v, %v", info, err)
	}
}

// TestWriteStops: nothing more is written when the context has ended, be there
// nothing to wait for.
func TestWriteStops(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	path := filepath.Join(t.TempDir(), "out")
	o, err := Create(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	cancel(treetest.ErrStop)
	if n, err := o.Write([]byte("y")); n != 0 || err != treetest.ErrStop {
		t.Errorf("%d, %v", n, err)
	}
	o.Abort()
}

func TestCreateFails(t *testing.T) {
	dir := treetest.Make(t, "dir d\nlink nowhere gone")
	for _, name := range []string{"d", "nowhere", "gone/out"} {
		_, err := Create(t.Context(), filepath.Join(dir, name))
		if _, ok := errors.AsType[*OutputError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if names(t, dir) != "d nowhere" {
		t.Errorf("left are %s", names(t, dir))
	}
}

// TestCopy copies parts of a file into a file, a pipe and a full disk.
func TestCopy(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 50<<10)
	from, err := os.Open(filepath.Join(treetest.Make(t, "file f content="+string(content)), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(t.TempDir(), "out")
	outs(t, path, func(t *testing.T, o *Out) {
		_, err := o.Write([]byte("<"))
		if err := errors.Join(err, o.Copy(from, 3, 400<<10), o.Copy(from, 1, 0)); err != nil {
			t.Fatal(err)
		}
		if _, err = o.Write([]byte(">")); err != nil {
			t.Error(err)
		}
		if err := o.Copy(from, 1, int64(len(content))); err != io.ErrUnexpectedEOF {
			t.Errorf("more than there is: %v", err)
		}
		if err := o.Commit(); err != nil {
			t.Error(err)
		}
		want := "<" + string(content[3:3+400<<10]) + ">" + string(content[1:])
		if read(t, path) != want {
			t.Error("something else was written")
		}
	})
	r, w := treetest.Pipe(t)
	var wg sync.WaitGroup
	var got []byte
	wg.Go(func() { got, _ = io.ReadAll(r) })
	o, err := Stdout(t.Context(), w)
	if err == nil {
		err = o.Copy(from, 3, 400<<10)
	}
	w.Close()
	wg.Wait()
	if err != nil || !bytes.Equal(got, content[3:3+400<<10]) {
		t.Errorf("%d bytes through a pipe, %v", len(got), err)
	}
}

// TestDevice writes into a device, and does not replace it.
func TestDevice(t *testing.T) {
	o, err := Create(t.Context(), "/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Write([]byte("content")); err != nil {
		t.Error(err)
	}
	if err := o.Commit(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Fatalf("/dev/null is %v, %v", info, err)
	}
}

// TestFullDisk fills a file system.
func TestFullDisk(t *testing.T) {
	dir := treetest.Mount(t, "tmpfs", 1)
	outs(t, filepath.Join(dir, "out"), func(t *testing.T, o *Out) {
		_, err := o.Write(make([]byte, 2<<20))
		if _, ok := errors.AsType[*OutputError](err); !ok || !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%v", err)
		}
		o.Abort()
		if names(t, dir) != "" {
			t.Errorf("left are %s", names(t, dir))
		}
	})
	o, err := Create(t.Context(), filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	big, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer big.Close()
	err = o.Copy(big, 0, 2<<20)
	if _, ok := errors.AsType[*OutputError](err); !ok || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v", err)
	}
	o.Abort()
	p, err := NewPool(chunkSize*4, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, err = p.Hold(t.Context(), zeros{}, 2<<20)
	if _, ok := errors.AsType[*SpoolError](err); !ok || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestHold(t *testing.T) {
	treetest.Leaks(t)
	const memory = 8 * chunkSize
	dir := t.TempDir()
	p, err := NewPool(memory, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range 3 { // chunks are used again
		for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, memory, memory + 1, 3 * memory} {
			content := make([]byte, size)
			for i := range content {
				content[i] = byte(i / 7)
			}
			h, err := p.Hold(t.Context(), bytes.NewReader(content), int64(size))
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if (h.file != nil) != (size > memory) {
				t.Errorf("%d bytes are in a file: %v", size, h.file != nil)
			}
			got, err := io.ReadAll(io.NewSectionReader(h, 0, int64(size)+1))
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes: %d others, %v", size, len(got), err)
			}
			for _, off := range []int{0, 1, chunkSize - 1, chunkSize, size - 1, size, size + 1} {
				if off < 0 {
					continue
				}
				b := make([]byte, chunkSize+2)
				n, err := h.ReadAt(b, int64(off))
				want := content[min(off, size):min(off+len(b), size)]
				if !bytes.Equal(b[:n], want) || (err == io.EOF) != (len(want) < len(b)) {
					t.Errorf("%d bytes at %d of %d: %d, %v", len(b), off, size, n, err)
				}
			}
			h.Release()
			h.Release()
		}
	}
	if names(t, dir) != "" {
		t.Errorf("left are %s", names(t, dir))
	}
	if len(p.free) != 8 || len(p.spool) != 0 {
		t.Errorf("%d chunks are free, %d files in use", len(p.free), len(p.spool))
	}
}

// TestHoldWaits waits for room, and is woken by Release or the end of the context.
func TestHoldWaits(t *testing.T) {
	p, err := NewPool(8*chunkSize, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for name, size := range map[string]int64{"memory": 2 * chunkSize, "files": 9 * chunkSize} {
		var held []*Held
		for range map[string]int{"memory": 1, "files": spools}[name] {
			h, err := p.Hold(t.Context(), zeros{}, size)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, h)
		}
		if _, err := p.Hold(treetest.StopSoon(t), zeros{}, size); err != treetest.ErrStop {
			t.Errorf("%s: %v", name, err)
		}
		timer := time.AfterFunc(20*time.Millisecond, held[0].Release)
		h, err := p.Hold(t.Context(), zeros{}, size)
		if err != nil || timer.Stop() {
			t.Errorf("%s: %v, before there was room", name, err)
		}
		h.Release()
		for _, h := range held[1:] {
			h.Release()
		}
	}
}

func TestHoldShort(t *testing.T) {
	p, err := NewPool(4*chunkSize, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, size := range []int64{1, 4 * chunkSize, 5 * chunkSize} {
		for _, short := range []int64{0, size - 1} {
			if _, err := p.Hold(t.Context(), io.LimitReader(zeros{}, short), size); err != io.ErrUnexpectedEOF {
				t.Errorf("%d of %d bytes: %v", short, size, err)
			}
		}
	}
	if len(p.free) != 4 || len(p.spool) != 0 {
		t.Errorf("%d chunks are free, %d files in use", len(p.free), len(p.spool))
	}
	none, err := NewPool(chunkSize, filepath.Join(t.TempDir(), "gone"))
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	_, err = none.Hold(t.Context(), zeros{}, 2*chunkSize)
	if _, ok := errors.AsType[*SpoolError](err); !ok {
		t.Errorf("without a directory: %v", err)
	}
}
