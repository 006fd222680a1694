package treetest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Leaks fails the test if, when it has ended, there are file descriptors,
// goroutines, mounts or loop devices that were not there when Leaks was
// called. It is called first, so that it looks last. Tests that run in
// parallel with others cannot use it. Mounts and loop devices count below the
// directories that Make and Mount made for this process: another one may run
// tests of the same name.
func Leaks(t testing.TB) {
	t.Helper()
	before := state()
	t.Cleanup(func() {
		var left []string
		// What ends in its own time, such as a goroutine that has done its
		// last send, gets a second.
		for deadline := time.Now().Add(time.Second); ; time.Sleep(time.Millisecond) {
			left = more(before, state())
			if len(left) == 0 || time.Now().After(deadline) {
				break
			}
		}
		for _, what := range left {
			t.Errorf("left behind: %s", what)
		}
		if slices.ContainsFunc(left, func(s string) bool { return strings.HasSuffix(s, "goroutines") }) {
			buf := make([]byte, 1<<20)
			t.Logf("%s", buf[:runtime.Stack(buf, true)])
		}
	})
}

// Descriptors returns what the process's open descriptors stand for.
func Descriptors() []string {
	var open []string
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	for _, n := range names {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", n.Name()))
		if err != nil || strings.HasPrefix(target, "/proc/") || strings.HasPrefix(target, "anon_inode:") {
			continue // of the reading itself, or of Go's poller
		}
		open = append(open, fmt.Sprintf("descriptor %s of %s", n.Name(), target))
	}
	return open
}

// own are the temporary directories that tests of this process had from tempDir.
var own struct {
	sync.Mutex
	dirs []string
}

// tempDir returns a temporary directory of the test below which Leaks looks.
func tempDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	own.Lock()
	defer own.Unlock()
	own.dirs = append(own.dirs, dir)
	return dir
}

// isOwn tells whether a path is below one of tempDir's.
func isOwn(path string) bool {
	own.Lock()
	defer own.Unlock()
	return slices.ContainsFunc(own.dirs, func(dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") })
}

// state lists what can be left behind.
func state() []string {
	all := Descriptors()
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && isOwn(f[4]) {
			all = append(all, "mount on "+f[4])
		}
	}
	backing, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, name := range backing {
		if file, err := os.ReadFile(name); err == nil && isOwn(string(file)) {
			all = append(all, "loop device of "+strings.TrimSpace(string(file)))
		}
	}
	for range runtime.NumGoroutine() {
		all = append(all, "goroutines")
	}
	return all
}

// more returns what there is more of in after than in before.
func more(before, after []string) []string {
	count := make(map[string]int)
	for _, s := range before {
		count[s]++
	}
	var left []string
	for _, s := range after {
		if count[s]--; count[s] < 0 {
			left = append(left, s)
		}
	}
	return left
}
