package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

const (
	// seldom is how much garbage a small heap may gather, in percent of what lives;
	// usual is Go's own setting.
	seldom, usual = 400, 100
	// smallHeap is the size in bytes up to which it may: five times that stays
	// below the 64 MiB that a run may take.
	smallHeap = 8 << 20
)

// collectSeldom has garbage collected less often as long as little lives, as in
// most runs: each collection stops the workers and takes their caches. That saves a
// twentieth of the time of a run. Where much lives, as with a million hard links or
// an archive in a pipe, everything is as usual. GOGC in the environment goes first.
// The function returned ends it.
func collectSeldom() (end func()) {
	ended := new(atomic.Bool)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(seldom)
		runtime.SetFinalizer(&collection{seldom, ended}, (*collection).done)
	}
	return func() { ended.Store(true) }
}

// A collection is garbage at once, so that its finalizer runs when one is done.
type collection struct {
	percent int
	ended   *atomic.Bool
}

func (c *collection) done() {
	if c.ended.Load() {
		return
	}
	percent := usual
	if liveHeap() <= smallHeap {
		percent = seldom
	}
	if percent != c.percent {
		debug.SetGCPercent(percent)
		c.percent = percent
	}
	runtime.SetFinalizer(c, (*collection).done)
}

// liveHeap returns how many bytes the last collection found alive.
func liveHeap() uint64 {
	return metric("/gc/heap/live:bytes")
}

func metric(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
