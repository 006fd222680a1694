package stream

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	// startEvery is how many bytes are written before their way to the disk
	// begins: else Commit waits as long again as all before it took.
	startEvery = 8 << 20
	// flushEvery is how many are written before the disk is told to keep what it
	// has got: that takes a disk whose own disk is slower as long again.
	flushEvery = 32 << 20
)

// A flusher brings a file to the disk while it is written.
type flusher struct {
	upTo chan int64    // how far the file is written, in bytes
	done chan struct{} // closed when the flusher has ended
	err  error         // of the disk, which tells it once; set before done is closed
}

func newFlusher(f *os.File) *flusher {
	fl := &flusher{upTo: make(chan int64, 1), done: make(chan struct{})}
	fd := int(f.Fd())
	go func() {
		defer close(fl.done)
		var begun, flushed int64
		for to := range fl.upTo {
			unix.SyncFileRange(fd, begun, to-begun, unix.SYNC_FILE_RANGE_WRITE) // the end does it for certain
			begun = to
			if to-flushed >= flushEvery {
				if err := unix.Fdatasync(fd); err != nil && fl.err == nil {
					fl.err = err
				}
				flushed = to
			}
		}
	}()
	return fl
}

// tell says how far the file is written. It does not wait.
func (fl *flusher) tell(upTo int64) {
	select {
	case fl.upTo <- upTo:
	default: // it is not done with what it knows, and is told more later
	}
}

// end waits for the flusher to end, before the file is closed.
func (fl *flusher) end() error {
	close(fl.upTo)
	<-fl.done
	return fl.err
}
