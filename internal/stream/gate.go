package stream

import (
	"io"
	"os"
	"sync/atomic"
)

// A Gate lets nothing through any more once it is shut: not the end of what was
// compressed, either, which a compressor writes when it is closed.
type Gate struct {
	io.Writer
	shut atomic.Bool
}

// Write implements io.Writer.
func (g *Gate) Write(b []byte) (int, error) {
	if g.shut.Load() {
		return 0, os.ErrClosed
	}
	return g.Writer.Write(b)
}

// Shut shuts it.
func (g *Gate) Shut() { g.shut.Store(true) }
