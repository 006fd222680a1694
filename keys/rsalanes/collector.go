package rsalanes

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A collector gathers what concurrent callers want signed into batches of at
// most eight. It has no goroutine: a batch is run by the caller that fills it,
// or by the one that began it when that gives up waiting for others. So a batch
// that is begun ends, whether others come or not, and never more batches run
// than there are callers.
type collector struct {
	run func(messages [][]byte) [][]byte

	callers atomic.Int32 // between enter and leave
	mu      sync.Mutex
	open    *batch // the one that callers can join, or nil
	before  int    // size of the batch before
}

// A batch is what some callers want signed.
type batch struct {
	messages   [][]byte
	sealed     atomic.Bool   // nobody can join any more; set with mu held
	done       chan struct{} // closed when signatures are there
	signatures [][]byte      // nil, or some of them nil: callers sign themselves
}

const (
	// worthwhile is the smallest batch that is run. It takes as long as a full
	// one, which is less than two signatures of crypto/rsa.
	worthwhile = 2
	// Who begins a batch lets others run so many times, each of which takes a
	// third of a microsecond if there is nobody to run, and waits no longer
	// than patience if there is. A full batch takes 0.6 ms with RSA-2048.
	yields   = 100
	patience = 2 * time.Millisecond
	// lonely is the number of yields after which a caller without company, now
	// and the time before, gives up.
	lonely = 2
)

// enter and leave stand around all that a caller does to get a signature.
func (c *collector) enter() { c.callers.Add(1) }
func (c *collector) leave() { c.callers.Add(-1) }

// sign returns the signature of a message, or nil if the caller has to sign it
// by other means.
func (c *collector) sign(message []byte) []byte {
	b, place := c.join(message)
	switch {
	case place == lanes-1:
		c.execute(b)
	case place == 0 && c.lead(b):
		c.execute(b)
	default:
		<-b.done
	}
	if b.signatures == nil {
		return nil
	}
	return b.signatures[place]
}

// join puts a message into the open batch and returns its place there.
func (c *collector) join(message []byte) (*batch, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = &batch{messages: make([][]byte, 0, lanes), done: make(chan struct{})}
	}
	b := c.open
	b.messages = append(b.messages, message)
	if len(b.messages) == lanes {
		c.seal(b)
	}
	return b, len(b.messages) - 1
}

// seal takes the open batch away from those who come. mu is held.
func (c *collector) seal(b *batch) {
	c.open, c.before = nil, len(b.messages)
	b.sealed.Store(true)
}

// lead waits until the batch is full, and returns false, or until nobody seems
// to come any more, seals it, and returns true. It lets the other goroutines
// run: they may be on their way here, and have no processor. A timer would not
// do, since one of less than a millisecond can last a millisecond when the
// program is idle (netpoll in runtime/netpoll_epoll.go).
func (c *collector) lead(b *batch) bool {
	begin := time.Now()
	for i := 0; i < yields && !b.sealed.Load() && time.Since(begin) < patience; i++ {
		if i >= lonely && c.alone(b) {
			break
		}
		runtime.Gosched()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.sealed.Load() {
		return false
	}
	c.seal(b)
	return true
}

// alone reports whether a batch has one caller, whom nobody joins soon, as far
// as one can see.
func (c *collector) alone(b *batch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(b.messages) == 1 && c.before <= 1 && c.callers.Load() == 1
}

// execute runs a sealed batch, if that is worthwhile.
func (c *collector) execute(b *batch) {
	defer close(b.done)
	if len(b.messages) >= worthwhile {
		b.signatures = c.run(b.messages)
	}
}
