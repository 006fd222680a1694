package mounted_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/imaevm"
	"imaseal/internal/inode"
	"imaseal/internal/report"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/treetest"
	"imaseal/internal/verify"
	"imaseal/walk"
)

// Promise 4, for writing: labels of EVM come last, and a file with only the first
// is said to be half labelled.
func TestPromise4Order(t *testing.T) {
	treetest.Leaks(t)
	path := runtest.Make(t, "file f content=x") + "/f"
	_, f := openFile(t, path)
	defer f.Close()
	sink := runtest.User.Sink(new(mounted.Sink))
	tooLarge := make([]byte, 64<<10+1) // XATTR_SIZE_MAX and one
	err := sink.Apply(f, []tree.Change{{Attr: imaevm.AttrIMA, New: []byte("ima")}, {Attr: imaevm.AttrEVM, New: tooLarge}})
	if !strings.HasPrefix(fmt.Sprint(err), "half labelled: security.ima is written: writing user.evm: ") || !errors.Is(err, unix.E2BIG) {
		t.Error(err)
	}
	partial, ok := errors.AsType[*tree.PartialError](err)
	if !ok || len(partial.Done) != 1 || partial.Done[0].Attr != imaevm.AttrIMA {
		t.Errorf("%+v", partial)
	}
	runtest.WantLabel(t, path, []byte("ima"))
	if err := sink.Abort(); err != nil {
		t.Error(err)
	}
}

// A sink of mounted files takes no others.
func TestForeignFile(t *testing.T) {
	type foreign struct{ tree.File }
	if err := new(mounted.Sink).Apply(foreign{}, []tree.Change{{Attr: imaevm.AttrIMA}}); fmt.Sprint(err) != "mounted_test.foreign is no file of a mounted file system" {
		t.Error(err)
	}
}

// Promise 6: what was written is synced before the run says that it is done,
// each file system once.
func TestPromise6Durable(t *testing.T) {
	root := runtest.Make(t, "file a content=1\nfile b content=2")
	do := func(force bool, outer func(tree.Sink) tree.Sink, fail error) (int, error) {
		calls := 0
		rec, spy, sink := new(runtest.Recorder), new(runtest.Spy), new(mounted.Sink)
		sink.SetSyncfs(func(fd int) error {
			calls++
			if spy.Sets.Load() != 2 || rec.Finished != 0 {
				t.Errorf("synced after %d writes and %d summaries", spy.Sets.Load(), rec.Finished)
			}
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				t.Error(err)
			}
			return fail
		})
		l := hashes()
		l.Force = force
		_, err := runtest.Run{Job: l, Jobs: 2, Sink: sink, Spy: spy, Report: rec, Outer: outer}.Do(t.Context(), t, root)
		return calls, err
	}
	dry := func(tree.Sink) tree.Sink { return tree.DryRun{} }
	if n, err := do(false, dry, nil); n != 0 || err != nil {
		t.Errorf("dry run: %d syncs, %v", n, err)
	}
	if n, err := do(false, nil, nil); n != 1 || err != nil {
		t.Errorf("%d syncs, %v", n, err)
	}
	if n, err := do(false, nil, nil); n != 0 || err != nil {
		t.Errorf("nothing written: %d syncs, %v", n, err)
	}
	if n, err := do(true, nil, unix.EIO); n != 1 || !errors.Is(err, unix.EIO) || err.Error() != "syncing the labels to disk: input/output error" {
		t.Errorf("failing: %d syncs, %v", n, err)
	}
}

// Each file system is synced, and none of a run before.
func TestSyncsEachFileSystem(t *testing.T) {
	a, b := treetest.Mount(t, "tmpfs", 1), treetest.Mount(t, "tmpfs", 1)
	treetest.Add(t, a, "file 1\nfile 2\nfile 3")
	treetest.Add(t, b, "file 1\nfile 2")
	synced := make(map[uint64]int)
	sink := new(mounted.Sink)
	sink.SetSyncfs(func(fd int) error {
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		synced[walk.InodeOf(&st).Dev]++
		return err
	})
	for range 2 {
		if _, err := (runtest.Run{Job: hashes(), Real: true, Sink: sink}).Do(t.Context(), t, a, b, a); err != nil {
			t.Error(err)
		}
	}
	for dev, n := range synced {
		if n != 2 || len(synced) != 2 {
			t.Errorf("device %#x is synced %d times in two runs", dev, n)
		}
	}
	// Of two that cannot be synced one is told of, and no descriptor stays.
	sink.SetSyncfs(func(int) error { return unix.EIO })
	before := len(treetest.Descriptors())
	if _, err := (runtest.Run{Job: hashes(), Real: true, Sink: sink}).Do(t.Context(), t, a, b); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
	if after := len(treetest.Descriptors()); after != before {
		t.Errorf("%d descriptors more", after-before)
	}
}

// A file system that is full fails the files that do not fit; those that are
// labelled stay so, and the cause is said.
func TestFullFileSystem(t *testing.T) {
	treetest.Leaks(t)
	// Each label takes a block, since the inodes have no room.
	root := treetest.Mount(t, "ext4", 2, "-I 128 -b 1024 -m 0 -N 512")
	for i := range 300 {
		if err := os.WriteFile(fmt.Sprintf("%s/%03d", root, i), []byte{byte(i), byte(i >> 8)}, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fill, err := os.Create(root + "/fill")
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 1024))
	}
	size, err := fill.Seek(0, io.SeekCurrent)
	if err := errors.Join(err, fill.Truncate(size-100<<10), fill.Close()); err != nil { // for a third of the labels
		t.Fatal(err)
	}
	label := runtest.Run{Job: unforced(), Jobs: 2, Real: true}
	results := label.On(t, root)
	for rel, res := range results {
		if res.Outcome == report.Failed && !errors.Is(res.Err, unix.ENOSPC) {
			t.Errorf("%s: %v", rel, res.Err)
		}
	}
	if runtest.Count(results, report.Labelled) == 0 || runtest.Count(results, report.Failed) == 0 {
		t.Errorf("%v: want both", runtest.Outcomes(results))
	}
	for rel, res := range (runtest.Run{Job: new(verify.Verifier), Jobs: 2, Real: true, ReadOnly: true}).On(t, root) {
		if want := results[rel].Outcome == report.Labelled; (res.Outcome == report.Valid) != want {
			t.Errorf("%s was %s and is %s", rel, results[rel].Outcome, res.Outcome)
		}
	}
	// With room, the same command completes the job.
	if err := os.Remove(root + "/fill"); err != nil {
		t.Fatal(err)
	}
	for rel, res := range label.On(t, root) {
		if res.Outcome == report.Failed {
			t.Errorf("%s: %v", rel, res.Err)
		}
	}
}

// Immutable and append-only files fail and say what they are; with Lift they
// are labelled and have their flags again.
func TestImmutable(t *testing.T) {
	treetest.Leaks(t)
	for _, fstype := range []string{"ext4", "xfs"} {
		t.Run(fstype, func(t *testing.T) {
			root := treetest.Mount(t, fstype, map[string]int{"ext4": 8, "xfs": 320}[fstype])
			flags := map[string]uint32{"plain": 0, "immutable": inode.Immutable, "append": inode.AppendOnly, "both": inode.Immutable | inode.AppendOnly}
			for name, flag := range flags {
				treetest.Add(t, root, "file "+name+" content="+name)
				changeFlags(t, root+"/"+name, flag)
				t.Cleanup(func() { changeFlags(t, root+"/"+name, 0) })
			}
			results := runtest.Run{Job: unforced(), Jobs: 2, Real: true}.On(t, root)
			runtest.WantOutcomes(t, results, map[string]string{"plain": "labelled", "immutable": "failed", "append": "failed", "both": "failed"})
			for name, want := range map[string]string{"immutable": "file is immutable (chattr +i)", "append": "file is append-only (chattr +a)", "both": "file is immutable (chattr +i)"} {
				var immutable *mounted.ImmutableError
				if err := results[name].Err; !errors.As(err, &immutable) || err.Error() != want || !errors.Is(err, unix.EPERM) {
					t.Errorf("%s: %v", name, err)
				}
			}
			lifting := runtest.Run{Job: unforced(), Jobs: 2, Real: true, Sink: &mounted.Sink{Lift: true}}
			runtest.WantOutcomes(t, lifting.On(t, root), map[string]string{"plain": "unchanged", "immutable": "labelled", "append": "labelled", "both": "labelled"})
			for name, flag := range flags {
				if got := changeFlags(t, root+"/"+name, flag); got != flag {
					t.Errorf("%s has flags %#x, want %#x", name, got, flag)
				}
			}
			checked := runtest.Run{Job: new(verify.Verifier), Jobs: 2, Real: true, ReadOnly: true}.On(t, root)
			runtest.WantOutcomes(t, checked, map[string]string{"plain": "valid", "immutable": "valid", "append": "valid", "both": "valid"})
		})
	}
}

// changeFlags sets the two flags and returns what they were.
func changeFlags(t *testing.T, name string, set uint32) uint32 {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const both = inode.Immutable | inode.AppendOnly
	flags, err := inode.Flags(f)
	if err == nil {
		err = inode.SetFlags(f, flags&^both|set)
	}
	if err != nil {
		t.Fatal(err)
	}
	return flags & both
}

// Where the flag was lifted it is put back, also if the label then fails: the
// first one, or the one after it.
func TestImmutableLiftFails(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Mount(t, "ext4", 8, "-b1024")
	small, large := []byte("x"), make([]byte, 2000) // more than a block
	for name, values := range map[string][2][]byte{"first": {large, small}, "second": {small, large}} {
		path := filepath.Join(root, name)
		treetest.Add(t, root, "file "+name+" content=x")
		changeFlags(t, path, inode.Immutable)
		t.Cleanup(func() { changeFlags(t, path, 0) })
		_, f := openFile(t, path)
		sink := &mounted.Sink{Lift: true}
		err := sink.Apply(f, []tree.Change{{Attr: "security.imaseal-a", New: values[0]}, {Attr: "security.imaseal-b", New: values[1]}})
		if _, half := errors.AsType[*tree.PartialError](err); !errors.Is(err, unix.ENOSPC) || half != (name == "second") {
			t.Errorf("%s: %v", name, err)
		}
		f.Close()
		if err := sink.Commit(t.Context()); err != nil {
			t.Error(err)
		}
		if flags := changeFlags(t, path, inode.Immutable); flags != inode.Immutable {
			t.Errorf("%s: flags %#x", name, flags)
		}
	}
}

// A read-only file system fails each file, and says so.
func TestReadOnly(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Mount(t, "tmpfs", 1)
	treetest.Add(t, root, "file f content=x")
	if err := unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if res := (runtest.Run{Job: unforced(), Real: true}).On(t, root)["f"]; !errors.Is(res.Err, unix.EROFS) {
		t.Errorf("%+v", res)
	}
}

// What cannot be read fails by itself, with its cause.
func TestUnreadable(t *testing.T) {
	if !treetest.AsUser(t) {
		return
	}
	treetest.Leaks(t)
	root := runtest.Make(t, "file a content=x\nfile closed mode=0200\nfile readonly content=y mode=0400\nfile d/x\ndir d mode=0")
	results := runtest.Run{Job: unforced(), Jobs: 2}.On(t, root)
	runtest.WantOutcomes(t, results, map[string]string{"a": "labelled", "closed": "failed", "readonly": "failed", "d": "failed"})
	for name, want := range map[string]string{
		"closed": "opening: permission denied", "d": "opening: permission denied",
		"readonly": "writing user.ima: permission denied",
	} {
		if got := fmt.Sprint(results[name].Err); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// A long run syncs while it goes on, one sync at a time; what fails then fails the
// run, although the kernel tells of an error once only.
func TestSyncsAhead(t *testing.T) {
	file := filepath.Join(runtest.Make(t, "file a content=1"), "a")
	for _, fail := range []error{nil, unix.EIO} {
		_, found := mounted.OpenFile(file)
		if found.Err != nil {
			t.Fatal(found.Err)
		}
		sink, began, goOn := new(mounted.Sink), make(chan bool), make(chan error)
		sink.SetSyncfs(func(int) error {
			began <- true
			return <-goOn
		})
		apply := func(times int) {
			for i := range times {
				label := []tree.Change{{Attr: "user.ima", New: fmt.Appendf(nil, "%d", i)}}
				if err := sink.Apply(found.File, label); err != nil {
					t.Fatal(err)
				}
			}
		}
		apply(mounted.AheadEvery)
		<-began
		apply(2 * mounted.AheadEvery) // would block if there were another
		ended := make(chan error)
		go func() { ended <- sink.Commit(t.Context()) }()
		select {
		case <-began:
			t.Error("two syncs at once")
		case <-ended:
			t.Error("did not wait for the sync under way")
		case goOn <- fail:
		}
		if fail == nil {
			<-began // the last
			goOn <- nil
		}
		if err := <-ended; !errors.Is(err, fail) {
			t.Errorf("%v, want %v", err, fail)
		}
		found.File.Close()
	}
}
