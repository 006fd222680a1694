package relabel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/inode"
	"imaseal/internal/report"
	"imaseal/internal/treetest"
)

// Whichever call fails, each file has one outcome, the one that it concerns
// fails with that cause, and no file is changed half-way without a word.
func TestFaultAtEveryCall(t *testing.T) {
	treetest.Leaks(t)
	names := []string{"a", "b", "c", "d"}
	old := right(t, []byte("old"))
	setUp := func(t *testing.T) string {
		root := tree(t, "file a content=a\nfile b content=b\nfile c content=c\nfile d content=d")
		setLabel(t, root+"/b", imaevm.AttrIMA, old)
		setLabel(t, root+"/c", imaevm.AttrIMA, right(t, []byte("c")))
		for _, n := range names {
			setLabel(t, root+"/"+n, imaevm.AttrEVM, []byte("evm"))
		}
		return root
	}
	jobs := map[string]func(s attr.Store) Job{
		"label": func(s attr.Store) Job { return labeller(s).Label },
		"clear": func(s attr.Store) Job {
			return (&Clearer{Attrs: []string{imaevm.AttrIMA, imaevm.AttrEVM}, Writer: Writer{Store: s}}).Clear
		},
		"verify": func(s attr.Store) Job { return (&Verifier{Store: s}).Verify },
	}
	for what, job := range jobs {
		t.Run(what, func(t *testing.T) {
			for n, failed := 1, true; failed; n++ {
				failed = false
				root := setUp(t)
				var calls atomic.Int64
				s := &spy{Store: renamed, before: func(op, name string) error {
					if calls.Add(1) == int64(n) {
						failed = true
						return fmt.Errorf("%s of %s: %w", op, name, unix.EIO)
					}
					return nil
				}}
				results := run(t, job(s), 1, root)
				if len(results) != len(names) {
					t.Errorf("call %d: %d results", n, len(results))
				}
				bad := 0
				for rel, res := range results {
					if res.Outcome == report.Failed {
						if bad++; !errors.Is(res.Err, unix.EIO) {
							t.Errorf("call %d: %s: %v", n, rel, res.Err)
						}
					}
					checkState(t, fmt.Sprintf("call %d: %s", n, rel), root+"/"+rel, rel, what, old, res)
				}
				if bad > 1 || bad == 0 && failed && what != "label" { // a warning may be lost to a fault
					t.Errorf("call %d: %d files failed", n, bad)
				}
			}
		})
	}
}

// checkState compares what is on a file with what its result says.
func checkState(t *testing.T, where, path, content, what string, old []byte, res report.Result) {
	t.Helper()
	ima, evm := label(t, path, imaevm.AttrIMA), label(t, path, imaevm.AttrEVM)
	untouched := string(evm) == "evm" && (ima == nil || bytes.Equal(ima, old) || bytes.Equal(ima, right(t, []byte("c"))))
	half := strings.Contains(fmt.Sprint(res.Err), "half ")
	var ok bool
	switch res.Outcome {
	case report.Labelled, report.Unchanged:
		ok = bytes.Equal(ima, right(t, []byte(content))) && string(evm) == "evm"
	case report.Cleared:
		ok = ima == nil && evm == nil
	case report.Failed:
		ok = untouched && !half || half && ima == nil && string(evm) == "evm"
	default:
		ok = what == "verify" && untouched
	}
	if !ok {
		t.Errorf("%s is %s, %v, with labels %x and %q", where, res.Outcome, res.Err, ima, evm)
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
	l := labeller(attr.FS{})
	results := run(t, l.Label, 2, root)
	count := make(map[report.Outcome]int)
	for rel, res := range results {
		count[res.Outcome]++
		if res.Outcome == report.Failed && !errors.Is(res.Err, unix.ENOSPC) {
			t.Errorf("%s: %v", rel, res.Err)
		}
	}
	if count[report.Labelled] == 0 || count[report.Failed] == 0 {
		t.Errorf("%v: want both", count)
	}
	for rel, res := range run(t, (&Verifier{Store: attr.FS{}}).Verify, 2, root) {
		if want := results[rel].Outcome == report.Labelled; (res.Outcome == report.Valid) != want {
			t.Errorf("%s was %s and is %s", rel, results[rel].Outcome, res.Outcome)
		}
	}
	// With room, the same command completes the job.
	if err := os.Remove(root + "/fill"); err != nil {
		t.Fatal(err)
	}
	for rel, res := range run(t, l.Label, 2, root) {
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
			l := labeller(attr.FS{})
			results := run(t, l.Label, 2, root)
			wantResults(t, results, map[string]string{"plain": "labelled", "immutable": "failed", "append": "failed", "both": "failed"})
			for name, want := range map[string]string{"immutable": "file is immutable (chattr +i)", "append": "file is append-only (chattr +a)", "both": "file is immutable (chattr +i)"} {
				var immutable *ImmutableError
				if err := results[name].Err; !errors.As(err, &immutable) || err.Error() != want || !errors.Is(err, unix.EPERM) {
					t.Errorf("%s: %v", name, err)
				}
			}
			l.Writer.Lift = true
			wantResults(t, run(t, l.Label, 2, root), map[string]string{"plain": "unchanged", "immutable": "labelled", "append": "labelled", "both": "labelled"})
			for name, flag := range flags {
				if got := changeFlags(t, root+"/"+name, flag); got != flag {
					t.Errorf("%s has flags %#x, want %#x", name, got, flag)
				}
			}
			wantResults(t, run(t, (&Verifier{Store: attr.FS{}}).Verify, 2, root), map[string]string{"plain": "valid", "immutable": "valid", "append": "valid", "both": "valid"})
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

// Where the flag was lifted it is put back, also if the label then fails.
func TestImmutableLiftFails(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Mount(t, "ext4", 8)
	treetest.Add(t, root, "file f content=x")
	changeFlags(t, root+"/f", inode.Immutable)
	t.Cleanup(func() { changeFlags(t, root+"/f", 0) })
	sets := 0
	s := &spy{Store: attr.FS{}, before: func(op, name string) error {
		if op != "set" {
			return nil
		}
		if sets++; sets == 2 {
			return unix.EIO
		}
		return nil
	}}
	l := labeller(s)
	l.Writer.Lift = true
	if res := run(t, l.Label, 1, root)["f"]; res.Outcome != report.Failed || !errors.Is(res.Err, unix.EIO) {
		t.Errorf("%+v", res)
	}
	if flags := changeFlags(t, root+"/f", inode.Immutable); flags != inode.Immutable {
		t.Errorf("flags %#x", flags)
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
	if res := run(t, labeller(attr.FS{}).Label, 1, root)["f"]; !errors.Is(res.Err, unix.EROFS) {
		t.Errorf("%+v", res)
	}
}

// Two runs over one tree at the same time end in the same labels.
func TestTwoRunsAtOnce(t *testing.T) {
	treetest.Leaks(t)
	root := tree(t, "")
	for i := range 200 {
		name := fmt.Sprintf("%s/%03d", root, i)
		if err := os.WriteFile(name, bytes.Repeat([]byte{byte(i)}, i*100), 0o644); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			setLabel(t, name, imaevm.AttrIMA, hashLabel(t, hash.SHA512, "old"))
		}
	}
	var wg sync.WaitGroup
	var runs [3]map[string]report.Result
	for i := range runs {
		wg.Go(func() { runs[i] = run(t, labeller(renamed).Label, 2, root) })
	}
	wg.Wait()
	for rel, res := range run(t, (&Verifier{Store: renamed}).Verify, 2, root) {
		if res.Outcome != report.Valid {
			t.Errorf("%s: %s, %s", rel, res.Outcome, res.Reason)
		}
	}
	for _, results := range runs {
		for rel, res := range results {
			if res.Outcome != report.Labelled && res.Outcome != report.Unchanged {
				t.Errorf("%s: %s, %v", rel, res.Outcome, res.Err)
			}
		}
	}
}

// What cannot be read fails by itself, with its cause.
func TestUnreadable(t *testing.T) {
	if !treetest.AsUser(t) {
		return
	}
	treetest.Leaks(t)
	root := tree(t, "file a content=x\nfile closed mode=0200\nfile readonly content=y mode=0400\nfile d/x\ndir d mode=0")
	results := run(t, labeller(renamed).Label, 2, root)
	wantResults(t, results, map[string]string{"a": "labelled", "closed": "failed", "readonly": "failed", "d": "failed"})
	for name, want := range map[string]string{
		"closed": "opening: permission denied", "d": "opening: permission denied",
		"readonly": "writing user.ima: permission denied",
	} {
		if got := fmt.Sprint(results[name].Err); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
