package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// gcPercent returns the setting that is in force.
func gcPercent() int { return int(metric("/gc/gogc:percent")) }

// Garbage is collected seldom while little lives, as usual while much does, and
// seldom again.
func TestCollectSeldom(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(gcPercent())
	defer collectSeldom()()
	becomes := func(want int) {
		t.Helper()
		for end := time.Now().Add(time.Minute); gcPercent() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("garbage is collected at %d %%, want %d %%, with %d bytes alive", gcPercent(), want, liveHeap())
			}
			runtime.GC()
		}
	}
	becomes(seldom)
	much := make([]byte, smallHeap+1)
	becomes(usual)
	runtime.KeepAlive(much)
	becomes(seldom)
}

// A setting of the user's stays.
func TestCollectAsAsked(t *testing.T) {
	t.Setenv("GOGC", "50")
	defer debug.SetGCPercent(gcPercent())
	debug.SetGCPercent(50)
	defer collectSeldom()()
	runtime.GC()
	if got := gcPercent(); got != 50 {
		t.Errorf("%d %%", got)
	}
}
