package stream

import (
	"errors"
	"io"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

// TestFlusher brings a large file to the disk while it is written, and ends
// whatever becomes of the file.
func TestFlusher(t *testing.T) {
	treetest.Leaks(t)
	for _, commits := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "out")
		o, err := Create(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(o, zeros{}, flushEvery+startEvery+1); err != nil || o.flusher == nil {
			t.Fatalf("there is no flusher, or %v", err)
		}
		if !commits {
			o.Abort()
			continue
		}
		if err := o.Commit(); err != nil {
			t.Error(err)
		}
	}
}

// TestFlusherFails has a disk that does not keep what it gets: Commit says so,
// since the kernel tells it once.
func TestFlusherFails(t *testing.T) {
	_, w := treetest.Pipe(t) // cannot be synced
	fl := newFlusher(w)
	fl.tell(flushEvery)
	if err := fl.end(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("the flusher ended with %v", err)
	}
	o, err := Create(t.Context(), filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	o.flusher = newFlusher(w)
	o.flusher.tell(flushEvery)
	if err := o.Commit(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("it was committed: %v", err)
	}
}
