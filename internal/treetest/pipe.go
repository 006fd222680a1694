package treetest

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

// Pipe returns the ends of a pipe, which are closed when the test ends.
func Pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// ErrStop is the cause of the end of StopSoon's contexts.
var ErrStop = errors.New("stop")

// StopSoon returns a context that ends with ErrStop while something waits.
func StopSoon(t testing.TB) context.Context {
	ctx, cancel := context.WithCancelCause(t.Context())
	timer := time.AfterFunc(50*time.Millisecond, func() { cancel(ErrStop) })
	t.Cleanup(func() { timer.Stop(); cancel(nil) })
	return ctx
}
