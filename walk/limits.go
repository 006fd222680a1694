package walk

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	// maxWaiting bounds the names that wait for a worker. One that finds more
	// takes some itself before it goes on reading its directory.
	maxWaiting = 64 << 10
	// perWorker are the descriptors of a worker besides those of a batch: of
	// the directory that it reads, of one that it opens, and of what a visitor
	// opens beside the file.
	perWorker = 4
	// spareDescriptors are left for the rest of the process.
	spareDescriptors = 16
)

// limits bound what a walk holds at a time. Tests lower them.
type limits struct {
	batch    int // batchNames
	openDirs int // maxOpenDirs
	waiting  int // maxWaiting
	chunk    int // chunkEntries
}

// standard are the limits of every walk but those of tests and of processes
// that may open few files.
var standard = limits{batch: batchNames, openDirs: maxOpenDirs, waiting: maxWaiting, chunk: chunkEntries}

// fit lowers limits, and the number of workers, to what a process can hold that
// may open so many more descriptors. An eighth is for directories, and a
// quarter for a walk that counts at the same time.
func (l limits) fit(workers, free int) (limits, int) {
	l.openDirs = min(l.openDirs, max(1, free/8))
	forFiles := free*3/4 - l.openDirs
	workers = min(workers, max(1, forFiles/(perWorker+1)))
	l.batch = min(l.batch, max(1, forFiles/workers-perWorker))
	return l, workers
}

// freeDescriptors returns how many more descriptors the process may open.
func freeDescriptors() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	open := spareDescriptors // where /proc is not mounted
	if names, err := os.ReadDir("/proc/self/fd"); err == nil {
		open = len(names)
	}
	return int(min(limit.Cur, 1<<20)) - open - spareDescriptors
}
