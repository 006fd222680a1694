package rsalanes

import (
	"bytes"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// echo runs batches by giving back the messages, after a time.
type echo struct {
	collector
	takes    time.Duration
	batches  atomic.Int64
	messages atomic.Int64
	largest  atomic.Int64
}

func newEcho(takes time.Duration) *echo {
	e := &echo{takes: takes}
	e.run = func(messages [][]byte) [][]byte {
		e.batches.Add(1)
		e.messages.Add(int64(len(messages)))
		for {
			n := e.largest.Load()
			if int64(len(messages)) <= n || e.largest.CompareAndSwap(n, int64(len(messages))) {
				break
			}
		}
		work(e.takes)
		return messages
	}
	return e
}

// work keeps the processor busy.
func work(d time.Duration) {
	for begin := time.Now(); time.Since(begin) < d; {
	}
}

// callers has so many goroutines sign so many messages each, with some work
// before every one, and returns how many had to sign by other means.
func (e *echo) callers(t *testing.T, n, each int, before time.Duration) (alone int64) {
	t.Helper()
	var wait sync.WaitGroup
	var others atomic.Int64
	for i := range n {
		wait.Go(func() {
			for j := range each {
				work(before)
				message := []byte{byte(i), byte(j)}
				e.enter()
				switch got := e.sign(message); {
				case got == nil:
					others.Add(1)
					work(e.takes)
				case !bytes.Equal(got, message):
					t.Errorf("caller %d, message %d: got those of caller %d", i, j, got[0])
				}
				e.leave()
			}
		})
	}
	wait.Wait()
	if e.messages.Load()+others.Load() != int64(n*each) {
		t.Errorf("%d messages in batches and %d alone, of %d", e.messages.Load(), others.Load(), n*each)
	}
	if e.open != nil || e.collector.callers.Load() != 0 {
		t.Errorf("%d callers are inside, the open batch is %v", e.collector.callers.Load(), e.open)
	}
	return others.Load()
}

// TestCollectorEnds has every number of callers, so that batches of every size
// are left at the end.
func TestCollectorEnds(t *testing.T) {
	for n := 1; n <= 4*lanes+1; n++ {
		e := newEcho(0)
		e.callers(t, n, 20, 0)
		if e.largest.Load() > lanes {
			t.Errorf("%d callers: a batch of %d", n, e.largest.Load())
		}
	}
}

// TestCollectorAlone is a caller that no other comes to.
func TestCollectorAlone(t *testing.T) {
	e := newEcho(0)
	if alone := e.callers(t, 1, 1000, 0); alone != 1000 || e.batches.Load() != 0 {
		t.Errorf("%d messages alone, %d batches", alone, e.batches.Load())
	}
}

// TestCollectorFills wants batches nearly full, with as many callers as
// Parallel says, who have something else to do between two calls.
func TestCollectorFills(t *testing.T) {
	e := newEcho(200 * time.Microsecond)
	n := lanes * (runtime.GOMAXPROCS(0) + 1)
	alone := e.callers(t, n, 100, 10*time.Microsecond)
	fill := float64(n*100) / float64(e.batches.Load()+alone)
	t.Logf("%d callers: %.1f messages a batch, %d alone", n, fill, alone)
	if fill < 4 {
		t.Error("that is too few")
	}
}

// TestCollectorPanic has a run that breaks: the others in the batch sign by
// other means.
func TestCollectorPanic(t *testing.T) {
	var broken atomic.Int64
	c := &collector{run: func([][]byte) [][]byte { panic("broken") }}
	var wait sync.WaitGroup
	for range lanes {
		wait.Go(func() {
			defer func() {
				if recover() != nil {
					broken.Add(1)
				}
			}()
			if c.sign([]byte{1}) != nil {
				t.Error("a signature")
			}
		})
	}
	wait.Wait()
	if c.open != nil || broken.Load() > lanes/worthwhile {
		t.Errorf("the open batch is %v, %d panics", c.open, broken.Load())
	}
}
