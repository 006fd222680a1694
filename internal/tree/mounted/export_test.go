package mounted

import (
	"time"

	"imaseal/internal/tree"
	"imaseal/walk"
)

// For the tests of this package, which see it from outside.
const (
	TimestampStep = timestampStep
	AheadEvery    = aheadEvery
)

var (
	ParseLeaseTime = parseLeaseTime
	Need           = need
	ErrTimes       = errTimes
)

// SetLease makes files ask f for leases.
func (t *Tree) SetLease(f func(fd uintptr, kind int) error) { t.setLease = f }

// SetLeaseFor sets for how long a lease surely holds.
func (t *Tree) SetLeaseFor(d time.Duration) { t.leaseFor = d }

// EndLease ends the file's lease, as closing it does.
func (f *File) EndLease() { f.endLease() }

// SetMagic makes the file's file system look like another one.
func (f *File) SetMagic(magic uint32) { f.tree.filesystem(f).fs.Magic = magic }

// SetSyncfs makes a sink call f to sync.
func (s *Sink) SetSyncfs(f func(fd int) error) { s.syncfs = f }

// Entry returns what the walk found.
func (f *File) Entry() *walk.Entry { return &f.entry }

// OpenFile opens a file of a tree of its own.
func OpenFile(name string) (*Tree, tree.Found) {
	t, err := Open(nil, Config{})
	if err != nil {
		return nil, tree.Found{Err: err}
	}
	return t, t.OpenFile(name)
}
