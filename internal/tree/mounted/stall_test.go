package mounted_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/treetest"
	"imaseal/internal/verify"
)

// Requests of userfaultfd(2), include/uapi/linux/userfaultfd.h.
const (
	uffdAPI         = 0xaa
	uffdioAPI       = 0xc018aa3f // _IOWR(0xaa, 0x3f, struct uffdio_api)
	uffdioRegister  = 0xc020aa00 // _IOWR(0xaa, 0x00, struct uffdio_register)
	uffdioCopy      = 0xc028aa03 // _IOWR(0xaa, 0x03, struct uffdio_copy)
	uffdModeMissing = 1
	uffdMsgSize     = 32
)

// A stall is memory of which the second half is not there before it is let go:
// who reads it waits in the middle.
type stall struct {
	mem []byte
	fd  int
	end []byte // the second half
}

// newStall returns memory of one letter.
func newStall(t *testing.T, letter byte, size int) *stall {
	t.Helper()
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		t.Skipf("needs userfaultfd: %v", errno)
	}
	s := &stall{fd: int(fd), end: bytes.Repeat([]byte{letter}, size/2)}
	var err error
	if s.mem, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Madvise(s.mem, unix.MADV_NOHUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) { // there are none
		t.Fatal(err)
	}
	copy(s.mem, s.end)
	t.Cleanup(func() {
		unix.Close(s.fd)
		unix.Munmap(s.mem)
	})
	s.ioctl(t, uffdioAPI, unsafe.Pointer(&struct{ api, features, ioctls uint64 }{api: uffdAPI}))
	s.ioctl(t, uffdioRegister, unsafe.Pointer(&struct{ start, size, mode, ioctls uint64 }{
		start: s.address(size / 2), size: uint64(size / 2), mode: uffdModeMissing,
	}))
	return s
}

func (s *stall) address(at int) uint64 {
	return uint64(uintptr(unsafe.Pointer(&s.mem[0]))) + uint64(at)
}

func (s *stall) ioctl(t *testing.T, request uintptr, arg unsafe.Pointer) {
	t.Helper()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.fd), request, uintptr(arg)); errno != 0 {
		t.Fatalf("userfaultfd %#x: %v", request, errno)
	}
}

// wait returns when somebody has come to the second half.
func (s *stall) wait(t *testing.T) {
	t.Helper()
	if _, err := unix.Read(s.fd, make([]byte, uffdMsgSize)); err != nil {
		t.Fatal(err)
	}
}

// release lets him go on.
func (s *stall) release(t *testing.T) {
	t.Helper()
	s.ioctl(t, uffdioCopy, unsafe.Pointer(&struct {
		dst, src, size, mode uint64
		copied               int64
	}{dst: s.address(len(s.end)), src: uint64(uintptr(unsafe.Pointer(&s.end[0]))), size: uint64(len(s.end))}))
}

// A slowWrite is a write(2) that is half done.
type slowWrite struct {
	*stall
	f    *os.File
	done chan error
}

func startSlowWrite(t *testing.T, path string, letter byte, size int) *slowWrite {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	w := &slowWrite{stall: newStall(t, letter, size), f: f, done: make(chan error, 1)}
	go func() {
		_, err := unix.Pwrite(int(f.Fd()), w.mem, 0)
		w.done <- err
	}()
	w.wait(t)
	time.Sleep(2 * mounted.TimestampStep) // so that the times it has set are old
	return w
}

// finish lets the write end.
func (w *slowWrite) finish(t *testing.T) {
	t.Helper()
	w.release(t)
	if err := <-w.done; err != nil {
		t.Fatal(err)
	}
}

// Promise 3: a write that takes as long as it likes is told of by the lease, or
// waited for. The times tell nothing: they are those of its beginning.
func TestPromise3SlowWrite(t *testing.T) {
	const size = 8 << 20 // more than a kernel copies at a time
	type row struct {
		race
		want error // nil for a label
		wait bool  // for the end of the write
	}
	rows := map[string]row{
		"refused":       {race{writers: run.Refuse}, run.ErrWriter, false},
		"allowed":       {race{writers: run.Allow}, nil, true},
		"no leases":     {race{writers: run.Refuse, lease: noLease}, nil, true},
		"denied leases": {race{writers: run.Refuse, lease: deniedLease}, nil, true},
	}
	for _, fstype := range []string{"ext4", "xfs", "btrfs", "tmpfs", "overlay"} {
		t.Run(fstype, func(t *testing.T) {
			treetest.Leaks(t)
			root := mountFor(t, fstype)
			for name, r := range rows {
				t.Run(name, func(t *testing.T) {
					path := filepath.Join(root, "f")
					if err := os.WriteFile(path, bytes.Repeat([]byte{'a'}, size), 0o644); err != nil {
						t.Fatal(err)
					}
					w := startSlowWrite(t, path, 'b', size)
					writer := &writer{path: path, size: size, isWhole: whole}
					labelled := make(chan report.Result, 1)
					go func() { labelled <- r.label(t, writer) }()
					var res report.Result
					select {
					case res = <-labelled:
						if r.wait {
							t.Errorf("%s before the write has ended", res.Outcome)
						}
					case <-time.After(10 * mounted.TimestampStep):
					}
					w.finish(t)
					if res.Outcome == "" {
						res = <-labelled
					}
					if !errors.Is(res.Err, r.want) {
						t.Errorf("%s, %v", res.Outcome, res.Err)
					}
					if want := runtest.HashLabel(t, hash.SHA256, w.mem); r.want == nil && !tree.Same(res.IMA, want) {
						t.Errorf("label %x, want that of what was written", res.IMA)
					}
					w.f.Close()
				})
			}
		})
	}
}

// mountFor mounts a file system of the type, an overlay on ext4.
func mountFor(t *testing.T, fstype string) string {
	t.Helper()
	if fstype != "overlay" {
		return treetest.Mount(t, fstype, map[string]int{"ext4": 64, "xfs": 320, "btrfs": 128, "tmpfs": 32}[fstype])
	}
	below := treetest.Mount(t, "ext4", 64)
	return treetest.Overlay(t, below)
}

// A run that only checks waits for no writer whom the lease tells of.
func TestSlowWriteKeepsNoCheckWaiting(t *testing.T) {
	const size = 8 << 20
	root := treetest.Mount(t, "ext4", 64)
	path := filepath.Join(root, "f")
	if err := os.WriteFile(path, bytes.Repeat([]byte{'a'}, size), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(path, "security.ima", runtest.HashLabel(t, hash.SHA256, bytes.Repeat([]byte{'a'}, size)), 0); err != nil {
		t.Fatal(err)
	}
	w := startSlowWrite(t, path, 'b', size)
	res := runtest.Run{Job: new(verify.Verifier), ReadOnly: true, Real: true}.One(t, path)
	if res.Outcome != report.Invalid {
		t.Errorf("%s, %v", res.Outcome, res.Err)
	}
	w.finish(t)
}

// Notes say once what could not be told, and only that.
func TestNotesOfLeases(t *testing.T) {
	for name, tt := range map[string]struct {
		lease func(uintptr, int) error
		want  string
	}{
		"leases": {nil, ""},
		"none":   {noLease, "a file system here has no leases, so that only times tell whether a file was written to while it was read"},
		"denied": {deniedLease, "leases of other users' files need CAP_LEASE, so that only times tell whether a file was written to while it was read"},
	} {
		t.Run(name, func(t *testing.T) {
			root := runtest.Make(t, "file a content=x\nfile b content=y\nfile c content=z")
			sum, err := runtest.Run{Job: hashes(), Tree: func(opened *mounted.Tree) {
				if tt.lease != nil {
					opened.SetLease(tt.lease)
				}
			}}.Do(t.Context(), t, root)
			if err != nil || sum.Count[report.Labelled] != 3 {
				t.Errorf("%+v, %v", sum, err)
			}
			var notes []string
			for _, n := range sum.Notes {
				notes = append(notes, n.Words)
			}
			if tt.want == "" && len(notes) != 0 || tt.want != "" && (len(notes) != 1 || notes[0] != tt.want) {
				t.Errorf("%q", notes)
			}
		})
	}
}

var _ tree.Live = (*mounted.File)(nil)
