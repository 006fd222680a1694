package mounted_test

import (
	"bytes"
	"errors"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/treetest"
)

// openFile opens a file of a tree of its own, where it can be given other leases.
func openFile(t *testing.T, name string) (*mounted.Tree, *mounted.File) {
	t.Helper()
	of, found := mounted.OpenFile(name)
	if found.File == nil {
		t.Fatalf("%+v", found)
	}
	t.Cleanup(func() { found.File.Close() })
	return of, found.File.(*mounted.File)
}

func begin(t *testing.T, f tree.Live, want tree.Hold) {
	t.Helper()
	if hold, err := f.Begin(false); hold != want || err != nil {
		t.Errorf("%d, %v; want %d", hold, err, want)
	}
}

// wantOpen says whether the file can be opened for writing at once.
func wantOpen(t *testing.T, name string, want error) {
	t.Helper()
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	if !errors.Is(err, want) {
		t.Errorf("opening for writing: %v, want %v", err, want)
	}
}

// While a lease lasts nobody can open the file for writing; it ends with Close.
func TestLease(t *testing.T) {
	root := treetest.Make(t, "file f content=x")
	_, f := openFile(t, root+"/f")
	wantOpen(t, root+"/f", nil)
	begin(t, f, tree.Alone)
	wantOpen(t, root+"/f", unix.EAGAIN)
	if err := f.Unchanged(true); err != nil {
		t.Error(err)
	}
	f.Close()
	wantOpen(t, root+"/f", nil)
}

// Readers and other leases are no writers, whoever writes is: by a descriptor, by
// a mapping that has none any more.
func TestLeaseTellsOfWriters(t *testing.T) {
	root := treetest.Make(t, "file read content=x\nfile leased content=x\nfile written content=x\nfile appended content=x\nfile mapped content=x\nfile closed content=x")
	open := func(name string, flags int) *os.File {
		f, err := os.OpenFile(root+"/"+name, flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	open("read", os.O_RDONLY)
	open("written", os.O_RDWR)
	open("appended", os.O_WRONLY|os.O_APPEND)
	open("closed", os.O_WRONLY).Close()
	_, other := openFile(t, root+"/leased")
	begin(t, other, tree.Alone)
	m := open("mapped", os.O_RDWR)
	mapping, err := unix.Mmap(int(m.Fd()), 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	for name, want := range map[string]tree.Hold{
		"read": tree.Alone, "leased": tree.Alone, "closed": tree.Alone,
		"written": tree.Writer, "appended": tree.Writer, "mapped": tree.Writer,
	} {
		_, f := openFile(t, root+"/"+name)
		begin(t, f, want)
	}
	if err := unix.Munmap(mapping); err != nil {
		t.Fatal(err)
	}
	_, f := openFile(t, root+"/mapped")
	begin(t, f, tree.Alone)
}

// An attempt after one that somebody waits for begins with a lease of its own:
// the old one would be ended by the kernel while it seems new.
func TestLeaseIsTakenAnew(t *testing.T) {
	root := treetest.Make(t, "file f content=x")
	_, f := openFile(t, root+"/f")
	begin(t, f, tree.Alone)
	wantOpen(t, root+"/f", unix.EAGAIN) // from now on the kernel counts
	begin(t, f, tree.Alone)
	if kind, err := unix.FcntlInt(f.Entry().File.Fd(), unix.F_GETLEASE, 0); kind != unix.F_RDLCK || err != nil {
		t.Errorf("the lease is %d, %v", kind, err)
	}
	opened := make(chan *os.File)
	go func() {
		w, err := os.OpenFile(root+"/f", os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
		}
		opened <- w
	}()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) { // until it waits
		kind, err := unix.FcntlInt(f.Entry().File.Fd(), unix.F_GETLEASE, 0)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the lease is %d, %v", kind, err)
		}
		if kind == unix.F_UNLCK {
			break
		}
	}
	f.EndLease()
	w := <-opened
	begin(t, f, tree.Writer)
	w.Close()
}

// A lease that is so old that the kernel may have ended it still holds if nobody
// has asked for the file. Else the times have to tell.
func TestOldLease(t *testing.T) {
	root := treetest.Make(t, "file f content=x")
	of, f := openFile(t, root+"/f")
	of.SetLeaseFor(0)
	chmod := func() {
		if err := os.Chmod(root+"/f", 0o640); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * mounted.TimestampStep)
	begin(t, f, tree.Alone)
	chmod() // changes ctime
	if err := f.Unchanged(false); err != nil {
		t.Errorf("held: %v", err)
	}
	begin(t, f, tree.Alone)
	wantOpen(t, root+"/f", unix.EAGAIN)
	if err := f.Unchanged(false); err != nil {
		t.Errorf("somebody waits: %v", err)
	}
	time.Sleep(2 * mounted.TimestampStep)
	chmod()
	if err := f.Unchanged(false); !tree.IsChanged(err) {
		t.Errorf("somebody waits, or not any more: %v", err)
	}
}

func TestLeaseTime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"45\n": 22500 * time.Millisecond, "1\n": 500 * time.Millisecond, "0\n": 0, "-1\n": 0, "": 0, "soon": 0,
		"2147483647\n": 2147483647 * time.Second / 2, "9223372036854775807": math.MaxInt64, "99999999999999999999": 0,
	} {
		if got := mounted.ParseLeaseTime(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// A file system of the network that grants no lease has not said that somebody
// writes.
func TestRefusedLease(t *testing.T) {
	root := treetest.Make(t, "file f content=x")
	for magic, want := range map[uint32]tree.Hold{
		unix.EXT4_SUPER_MAGIC: tree.Writer, unix.NFS_SUPER_MAGIC: tree.Untold, unix.CIFS_SUPER_MAGIC: tree.Untold, unix.SMB2_SUPER_MAGIC: tree.Untold,
	} {
		of, f := openFile(t, root+"/f")
		of.SetLease(func(uintptr, int) error { return unix.EAGAIN })
		f.SetMagic(magic)
		begin(t, f, want)
	}
}

// An opener who cuts the file off without writing ends no lease. What is read
// then is too short, and what was read is not the file's any more.
func TestCutOffUnderLease(t *testing.T) {
	const size = 1 << 20
	for _, when := range []string{"while it is read", "before it is labelled"} {
		t.Run(when, func(t *testing.T) {
			root := runtest.Make(t, "")
			path := root + "/f"
			if err := os.WriteFile(path, bytes.Repeat([]byte{'x'}, size), 0o644); err != nil {
				t.Fatal(err)
			}
			cut := 0
			read := &reading{after: func(content []byte) {
				if when == "while it is read" && len(content) == size || cut > 0 {
					return
				}
				if when == "before it is labelled" && len(content) < size {
					return
				}
				cut++
				fd, err := unix.Open(path, unix.O_RDONLY|unix.O_TRUNC|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
				if err != nil {
					t.Error(err)
					return
				}
				unix.Close(fd)
			}}
			res := runtest.Run{Job: hashes(), Source: read.source}.One(t, path)
			if res.Outcome != report.Labelled || cut != 1 {
				t.Errorf("%s, %v, cut off %d times", res.Outcome, res.Err, cut)
			}
			runtest.WantLabel(t, path, runtest.Right(t, ""))
		})
	}
}

// On an overlay a mapping whose descriptor is closed ends no lease and is told of
// by none, so that times have to tell.
func TestMappedOnOverlay(t *testing.T) {
	const size = 1 << 20
	root := mountFor(t, "overlay")
	path := root + "/f"
	if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	mapping, err := unix.Mmap(int(m.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapping)
	m.Close()
	mapping[0], mapping[size-1] = 1, 1 // from now on stores change no times by themselves
	time.Sleep(2 * mounted.TimestampStep)
	stored := false
	read := &reading{after: func(content []byte) {
		if !stored && len(content) < size {
			stored = true
			mapping[0], mapping[size-1] = 2, 2
		}
	}}
	res := runtest.Run{Job: hashes(), Real: true, Source: read.source}.One(t, path)
	if res.Outcome != report.Labelled || !stored || !tree.Same(res.IMA, runtest.HashLabel(t, hash.SHA256, mapping)) {
		t.Errorf("%s, %v, label %x", res.Outcome, res.Err, res.IMA)
	}
}

// Without CAP_LEASE there is no lease of another user's file, which is said.
func TestOthersFile(t *testing.T) {
	root := treetest.Mount(t, "tmpfs", 1)
	treetest.Add(t, root, "file own content=x\nfile other content=x owner=1")
	for name, want := range map[string]int{"own": 0, "other": 1} {
		sum, err := runtest.Run{Job: hashes(), Real: true, Tree: func(of *mounted.Tree) { of.SetLease(withoutCapLease) }}.Do(t.Context(), t, root+"/"+name)
		if err != nil || sum.Count[report.Labelled] != 1 || len(sum.Notes) != want {
			t.Errorf("%s: %+v, %v", name, sum, err)
		}
		for _, n := range sum.Notes {
			if n.Code != reason.NoLeases || !strings.Contains(n.Words, "CAP_LEASE") {
				t.Errorf("%s: %+v", name, n)
			}
		}
	}
}

// withoutCapLease asks for a lease as a thread without that capability does.
func withoutCapLease(fd uintptr, kind int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var all [2]unix.CapUserData
	if err := unix.Capget(&header, &all[0]); err != nil {
		return err
	}
	less := all
	less[0].Effective &^= 1 << unix.CAP_LEASE
	if err := unix.Capset(&header, &less[0]); err != nil {
		return err
	}
	_, err := unix.FcntlInt(fd, unix.F_SETLEASE, kind)
	if err := unix.Capset(&header, &all[0]); err != nil {
		return err
	}
	return err
}

// On file systems that keep times in whole seconds, as ext4 with the small inodes
// of ext3, a change is seen that comes within the second of the one before.
func TestWholeSeconds(t *testing.T) {
	path := treetest.Mount(t, "ext4", 8, "-I 128 -b 1024") + "/f"
	w, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second + 5*mounted.TimestampStep)))
	if _, err := w.WriteAt([]byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * mounted.TimestampStep)
	_, f := openFile(t, path)
	if hold, err := f.Begin(true); hold != tree.Writer || err != nil {
		t.Fatalf("%d, %v", hold, err)
	}
	if err := f.Unchanged(false); err != nil {
		t.Error(err)
	}
	if _, err := w.WriteAt([]byte("2"), 0); err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*tree.ChangedError](f.Unchanged(false)); !ok {
		t.Error("the change is not seen")
	}
}
