package carriertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"imaseal/internal/tree"
)

const (
	modeType    = 0o170000 // S_IFMT of stat(2)
	modeRegular = 0o100000 // S_IFREG
)

var errVisit = errors.New("made up")

// findsEach: each file is found once, by one goroutine, as it was made, and what
// else there is has a reason.
func findsEach(t *testing.T, c Carrier) {
	of := c.New(t, files())
	for _, workers := range []int{1, 4} {
		var mu sync.Mutex
		seen := make(map[string]tree.Meta)
		var running atomic.Int64
		source, sink := of.Open(t, workers)
		err := source.Walk(t.Context(), func(found tree.Found) error {
			running.Add(1)
			defer running.Add(-1)
			mu.Lock()
			defer mu.Unlock()
			checkFound(t, found)
			if found.File == nil {
				return nil
			}
			defer found.File.Close()
			f := found.File
			if _, twice := seen[f.Rel()]; twice {
				t.Errorf("%s is found twice", f.Rel())
			}
			seen[f.Rel()] = f.Meta()
			return nil
		})
		if err != nil || running.Load() != 0 {
			t.Errorf("%v, %d visits go on when the walk has ended", err, running.Load())
		}
		for _, want := range files() {
			got, ok := seen[want.Name]
			if !ok {
				t.Errorf("%s is not found", want.Name)
			} else if got.Mode != modeRegular|want.Mode || got.Size != int64(len(want.Content)) || got.Executable() != (want.Mode&0o111 != 0) {
				t.Errorf("%s is %+v, want mode %o and %d bytes", want.Name, got, want.Mode, len(want.Content))
			}
			delete(seen, want.Name)
		}
		if len(seen) > 0 {
			t.Errorf("found, and not made: %v", seen)
		}
		checkCount(t, source)
		if err := sink.Abort(); err != nil {
			t.Error(err)
		}
	}
}

func checkFound(t *testing.T, found tree.Found) {
	t.Helper()
	set := 0
	for _, is := range []bool{found.File != nil, found.Skip != "", found.Err != nil} {
		if is {
			set++
		}
	}
	if set != 1 || found.Path == "" || found.Err != nil {
		t.Errorf("found %+v", found)
	}
	f := found.File
	if f == nil {
		return
	}
	if f.Name() != found.Path || f.Rel() != path.Clean(f.Rel()) || path.IsAbs(f.Rel()) || !path.IsAbs(f.Full()) || !strings.HasSuffix(f.Full(), f.Rel()) {
		t.Errorf("%q is named %q, %q and %q", found.Path, f.Name(), f.Rel(), f.Full())
	}
	if f.Meta().Mode&modeType != modeRegular {
		t.Errorf("%s has mode %o", f.Rel(), f.Meta().Mode)
	}
}

// checkCount: a source that can count finds as much as its walk.
func checkCount(t *testing.T, source tree.Source) {
	t.Helper()
	counter, ok := source.(tree.Counter)
	if !ok {
		return
	}
	var counted, want int64
	for _, f := range files() {
		want += int64(len(f.Content))
	}
	n := 0
	if err := counter.Count(t.Context(), func(size int64) { n++; counted += size }); err != nil {
		t.Error(err)
	}
	if n != len(files()) || counted != want {
		t.Errorf("counted %d files of %d bytes, want %d of %d", n, counted, len(files()), want)
	}
}

// walkCancelled: a walk whose context ends returns the cause, and visits no
// more files than are in hand.
func walkCancelled(t *testing.T, c Carrier) {
	of := c.New(t, files())
	for _, workers := range []int{1, 3} {
		ctx, cancel := context.WithCancelCause(t.Context())
		source, sink := of.Open(t, workers)
		var visits, late atomic.Int64 // late ones began when the context had ended
		err := source.Walk(ctx, func(found tree.Found) error {
			if found.File == nil {
				return nil
			}
			defer found.File.Close()
			if ctx.Err() != nil {
				late.Add(1)
			}
			if visits.Add(1) == 2 {
				cancel(errVisit)
			}
			return nil
		})
		if err != errVisit || late.Load() > int64(workers-1) {
			t.Errorf("%d workers: %v, %d of %d visits too late", workers, err, late.Load(), visits.Load())
		}
		if err := sink.Abort(); err != nil {
			t.Error(err)
		}
	}
}

// walkBroken: so does one whose visitor fails.
func walkBroken(t *testing.T, c Carrier) {
	source, sink := c.New(t, files()).Open(t, 1)
	visits := 0
	err := source.Walk(t.Context(), func(found tree.Found) error {
		if found.File != nil {
			found.File.Close()
		}
		if visits++; visits == 3 {
			return errVisit
		}
		return nil
	})
	if err != errVisit || visits != 3 {
		t.Errorf("%v after %d visits", err, visits)
	}
	if err := sink.Abort(); err != nil {
		t.Error(err)
	}
}

// reads: contents are those that were made, in whatever pieces they are read, and
// again.
func reads(t *testing.T, c Carrier) {
	of := c.New(t, files())
	source, sink := of.Open(t, 1)
	find(t, source, func(f tree.File) {
		i := slices.IndexFunc(files(), func(want File) bool { return want.Name == f.Rel() })
		if i < 0 {
			t.Fatalf("%s was not made", f.Rel())
		}
		want := []byte(files()[i].Content)
		for range 2 {
			got := make([]byte, 0, len(want))
			for len(got) < len(want) {
				b := make([]byte, min(buffer/3, len(want)-len(got)))
				n, err := f.ReadAt(b, int64(len(got)))
				if got = append(got, b[:n]...); n < len(b) {
					t.Errorf("%s: %d bytes at %d, %v", f.Rel(), n, len(got), err)
					break
				}
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: read forwards, the content is another", f.Rel())
			}
		}
		checkReadAt(t, f, want)
	})
	if err := sink.Abort(); err != nil {
		t.Error(err)
	}
}

// checkReadAt compares with what io.ReaderAt promises.
func checkReadAt(t *testing.T, f tree.File, want []byte) {
	t.Helper()
	size := len(want)
	for _, off := range []int{size, size - 1, size / 2, 1, 0, size + 1, size + buffer} { // backwards, too
		for _, n := range []int{0, 1, 2, size, size + 1} {
			if off < 0 {
				continue
			}
			b := bytes.Repeat([]byte{0xa5}, n)
			got, err := f.ReadAt(b, int64(off))
			there := min(max(0, size-off), n)
			if got != there || there > 0 && !bytes.Equal(b[:got], want[off:off+got]) {
				t.Errorf("%s: %d bytes at %d of %d are %d, %v", f.Rel(), n, off, size, got, err)
			}
			// io.EOF must come with less than was asked for, and may come with
			// the last byte.
			if there < n && err != io.EOF || err != nil && err != io.EOF || err == io.EOF && off+got < size {
				t.Errorf("%s: %d bytes at %d of %d give %v", f.Rel(), n, off, size, err)
			}
		}
	}
}
