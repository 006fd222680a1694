package ext4

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imaseal/internal/tree"
	"imaseal/internal/treetest"
)

// fake puts a program before debugfs in PATH: a shell script that has the true one
// as $debugfs.
func fake(t *testing.T, script string) {
	t.Helper()
	real, dir := treetest.Tool(t, "debugfs"), t.TempDir()
	script = "#!/bin/sh\ndebugfs=" + real + "\nif [ \"$1\" = -V ]; then exec $debugfs -V; fi\n" + script
	if err := os.WriteFile(filepath.Join(dir, "debugfs"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// TestDebugfsFails has debugfs fail, say so or not: nothing is left, and the image
// is what it was.
func TestDebugfsFails(t *testing.T) {
	for name, tt := range map[string]struct{ script, want string }{
		"missing program": {"exit 127", "debugfs: "},
		"refuses":         {`echo "debugfs 1.47.0"; echo "debugfs: Bad magic number in super-block while trying to open x"; while read -r x; do echo "$x"; done`, "debugfs: Bad magic number"},
		"no space":        {`exec $debugfs "$@" | sed -u 's/^debugfs: ea_set.*/&\nea_set: Insufficient space/'`, "debugfs: ea_set: Insufficient space"},
		"disk full":       {`exec $debugfs "$@" | sed -u 's/^debugfs: ea_set.*/&\nea_set: No space left on device while setting extended attribute/'`, "writing "},
		"says nothing":    {`while read -r x; do case $x in \#*) echo "$x";; esac; done`, "does not say that it has done"},
		"does nothing":    {`while read -r x; do case $x in \#*) echo "$x";; *) echo "debugfs: $x";; esac; done`, "has not written what it was told to"},
		"cuts off":        {`sed -u 's/^ea_set -f [^ ]* \(.*\)/ea_set \1 short/' | $debugfs "$@" | sed -u "s,^debugfs: ea_set \(.*\) short,debugfs: ea_set -f /proc/self/fd/4 \1,"`, "has not written what it was told to: the attributes of inode"},
		"dies":            {`read -r x; echo "$x"; kill -9 $$`, "debugfs: it has ended"},
		"dies at the end": {`$debugfs "$@"; kill -9 $$`, "debugfs: signal: killed"},
		"fails":           {`$debugfs "$@"; exit 3`, "debugfs: exit status 3"},
		"last words":      {`$debugfs "$@"; echo "while trying to close it"`, "debugfs: while trying to close it"},
	} {
		t.Run(name, func(t *testing.T) {
			treetest.Leaks(t)
			x := image(t, "file f content=f\n")
			before, err := os.ReadFile(x)
			if err != nil {
				t.Fatal(err)
			}
			fake(t, tt.script)
			out := filepath.Join(filepath.Dir(x), "out")
			for _, o := range []Output{{Path: out}, {InPlace: true}} {
				if err := label(t, x, o, []byte("value")); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %q", err, tt.want)
				}
			}
			if after, err := os.ReadFile(x); err != nil || !bytes.Equal(before, after) {
				t.Errorf("the image is another, %v", err)
			}
			left(t, filepath.Dir(x), 1)
		})
	}
}

// TestDebugfsHangs ends a run whose debugfs does nothing any more.
func TestDebugfsHangs(t *testing.T) {
	treetest.Leaks(t)
	x := image(t, "file f content=f\n")
	fake(t, "exec sleep 1000")
	im, err := Open(x, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	s, err := im.NewSink(ctx, Output{InPlace: true})
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	time.AfterFunc(50*time.Millisecond, func() { cancel(enough) })
	err = im.Walk(ctx, func(f tree.Found) error {
		return s.Apply(f.File, []tree.Change{{Attr: "security.ima", New: []byte("x")}})
	})
	if err != enough {
		t.Errorf("%v", err)
	}
	if err := s.Commit(t.Context()); err != ErrUnread {
		t.Errorf("%v", err)
	}
	left(t, filepath.Dir(x), 1)
}

func TestVersions(t *testing.T) {
	for line, want := range map[string]bool{
		"debugfs 1.47.0 (5-Feb-2023)": true, "debugfs 1.48-WIP (1-Jan-2025)": true, "debugfs 2.0": true, "debugfs 1.46.6 (1-Feb-2023)": false,
		"debugfs 0.99": false, "debugfs": false, "": false, "debugfs x.y": false,
	} {
		if got := isRecent(line); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
	x := image(t, "file f content=f\n")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "debugfs"), []byte("#!/bin/sh\necho 'debugfs 1.45.5 (07-Jan-2020)' >&2"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	err := label(t, x, Output{InPlace: true}, []byte("x"))
	if tool, ok := errors.AsType[*ToolError](err); !ok || !tool.Old || !strings.Contains(err.Error(), "too old to be trusted with labels: debugfs 1.45.5") {
		t.Errorf("%v", err)
	}
}

// TestReproducible writes the same image whatever the number of workers, and
// nothing where nothing is to be changed.
func TestReproducible(t *testing.T) {
	var spec strings.Builder
	for i := range 300 {
		fmt.Fprintf(&spec, "file %d/f%d content=%d\n", i%7, i, i)
	}
	x := treetest.Ext4(t, treetest.Make(t, spec.String()), 8)
	const written = 1_000_000_000 // not now
	change(t, x, func(b []byte) { binary.LittleEndian.PutUint32(b[1024+0x30:], written) })
	value := bytes.Repeat([]byte("label"), 30)
	var first []byte
	for _, jobs := range []int{1, 4, 4} {
		out := filepath.Join(t.TempDir(), "out")
		im, err := Open(x, Config{Jobs: jobs})
		if err != nil {
			t.Fatal(err)
		}
		s, err := im.NewSink(t.Context(), Output{Path: out})
		if err != nil {
			t.Fatal(err)
		}
		err = im.Walk(t.Context(), func(f tree.Found) error {
			return s.Apply(f.File, []tree.Change{{Attr: "security.ima", New: value}, {Attr: "security.evm", New: []byte(f.File.Rel())}})
		})
		if err := errors.Join(err, s.Commit(t.Context()), im.Close()); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		} else if !bytes.Equal(first, b) {
			t.Errorf("%d workers: the image is another", jobs)
		}
		if at := binary.LittleEndian.Uint32(b[1024+0x30:]); at != written {
			t.Errorf("the superblock was written at %d", at)
		}
		treetest.Fsck(t, out)
		again(t, out, value)
	}
}

// again labels an image that has the labels.
func again(t *testing.T, path string, value []byte) {
	t.Helper()
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := label(t, path, Output{InPlace: true}, value); err != nil {
		t.Error(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the image was written, %v", err)
	}
}

// TestReplaces keeps mode and holes of what it replaces, and follows a link.
func TestReplaces(t *testing.T) {
	x := image(t, "file f content=f\n")
	if err := os.Chmod(x, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(x, 64<<20); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(x, link); err != nil {
		t.Fatal(err)
	}
	if err := label(t, link, Output{InPlace: true}, []byte("x")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(x)
	if err != nil || info.Mode() != 0o640 || info.Size() != 64<<20 {
		t.Errorf("%v, %v", info, err)
	}
	if got := values(t, x)["f"]; got != "x" {
		t.Errorf("the label is %q", got)
	}
	if out, err := exec.Command("du", "-k", x).Output(); err != nil || len(strings.Fields(string(out))[0]) > 4 {
		t.Errorf("%s, %v", out, err)
	}
}

// TestWants keeps more than there is memory for, in order.
func TestWants(t *testing.T) {
	treetest.Leaks(t)
	var w wants
	defer w.release()
	const n = wantedInMemory + 5000
	for i := range n {
		if err := w.add(wanted{uint32(i), uint64(i) << 33}); err != nil {
			t.Fatal(err)
		}
	}
	i := 0
	if err := w.each(func(one wanted) error {
		if one != (wanted{uint32(i), uint64(i) << 33}) {
			t.Fatalf("%d is %v", i, one)
		}
		i++
		return nil
	}); err != nil || i != n {
		t.Errorf("%d, %v", i, err)
	}
	enough := errors.New("enough")
	if err := w.each(func(one wanted) error { return enough }); err != enough {
		t.Errorf("%v", err)
	}
}
