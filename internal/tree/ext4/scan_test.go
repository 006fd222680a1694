package ext4

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"imaseal/internal/extfs"
	"imaseal/internal/reason"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
)

// outcomes walks an image, and returns what became of each path: "file", a reason,
// or an error.
func outcomes(t *testing.T, name string, cfg Config) map[string]string {
	t.Helper()
	im, err := Open(name, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	var mu sync.Mutex
	found := make(map[string]string)
	err = im.Walk(t.Context(), func(f tree.Found) error {
		mu.Lock()
		defer mu.Unlock()
		rel := strings.TrimPrefix(f.Path, name+":")
		switch {
		case f.File != nil:
			found[rel] = "file"
		case f.Err != nil:
			found[rel] = f.Err.Error()
		default:
			found[rel] = string(f.Skip)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func want(t *testing.T, got map[string]string, want string) {
	t.Helper()
	var lines []string
	for path, outcome := range got {
		lines = append(lines, path+" "+outcome)
	}
	slices.Sort(lines)
	wanted := strings.Split(strings.Trim(strings.ReplaceAll(want, "\t", ""), "\n"), "\n")
	slices.Sort(wanted)
	if !slices.Equal(lines, wanted) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(wanted, "\n"))
	}
}

const tree1 = `
file a/b/c content=c
file a/b/d content=d
file a/e content=e
file f content=f
link a/link f
hard a/hard f
fifo pipe
`

func TestSelects(t *testing.T) {
	x := image(t, tree1)
	want(t, outcomes(t, x, Config{}), `
		a/b/c file
		a/b/d file
		a/e file
		a/hard file
		a/link symbolic-link
		f hard-link
		pipe special-file`)
	if got := outcomes(t, x, Config{EveryName: true}); got["a/hard"] != "file" || got["f"] != "file" {
		t.Errorf("by every name: %v", got)
	}
	want(t, outcomes(t, x, Config{Exclude: func(rel string) bool { return rel == "a/b" || rel == "a/hard" }}), `
		a/b filtered
		a/e file
		a/hard filtered
		a/link symbolic-link
		f file
		pipe special-file`)
	want(t, outcomes(t, x, Config{Include: func(rel string) bool { return rel == "a/b" || rel == "f" }}), `
		a/b/c file
		a/b/d file
		a/e filtered
		a/hard filtered
		a/link filtered
		f file
		pipe filtered`)
	want(t, outcomes(t, x, Config{
		Owner: func(uid uint32) bool { return uid != uint32(os.Getuid()) },
		Leave: func(f tree.File) reason.Code { t.Errorf("%s is asked for", f.Rel()); return "" },
	}), `
		a/b/c other-owner
		a/b/d other-owner
		a/e other-owner
		a/hard other-owner
		a/link symbolic-link
		f other-owner
		pipe special-file`)
	// A name that is left out does not stand for its inode.
	leave := func(f tree.File) reason.Code {
		if f.Rel() == "a/hard" || f.Meta().Size == 0 {
			return reason.ByRule
		}
		return ""
	}
	if got := outcomes(t, x, Config{Leave: leave}); got["a/hard"] != string(reason.ByRule) || got["f"] != "file" {
		t.Errorf("%v", got)
	}
}

// TestDirectoriesThatLoop enters no directory twice.
func TestDirectoriesThatLoop(t *testing.T) {
	x := image(t, tree1)
	treetest.Debugfs(t, x, "link /a /a/b/loop", "link /a/b /twice")
	want(t, outcomes(t, x, Config{}), `
		a/b/c file
		a/b/d file
		a/b/loop `+twoNames(t, x, "a")+`
		a/e file
		a/hard file
		a/link symbolic-link
		f hard-link
		pipe special-file
		twice `+twoNames(t, x, "a/b"))
}

func twoNames(t *testing.T, image, name string) string {
	return fmt.Sprintf("opening: inode %d: a directory has two names", number(t, image, name))
}

func number(t *testing.T, image, name string) uint32 {
	t.Helper()
	im, err := Open(image, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	in, err := im.fs.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return in.Number
}

// TestDamagedFiles goes on behind what cannot be read.
func TestDamagedFiles(t *testing.T) {
	x := image(t, tree1, "-O", "encrypt,^has_journal")
	treetest.Debugfs(t, x, "sif /a/b flags 0x80800", "sif /a/e flags 0x80800", fmt.Sprintf("sif <%d> links_count 0", number(t, x, "pipe")))
	want(t, outcomes(t, x, Config{}), fmt.Sprintf(`
		a/b reading the directory: %v
		a/e opening: %v
		a/hard file
		a/link symbolic-link
		f hard-link
		pipe opening: inode %d: it is deleted, and still has a name`, extfs.ErrEncrypted, extfs.ErrEncrypted, number(t, image(t, tree1, "-O", "encrypt,^has_journal"), "pipe")))
}

// TestDeep goes into directories up to a depth.
func TestDeep(t *testing.T) {
	if os.Getenv("CI") == "" && testing.Short() {
		t.Skip("-short")
	}
	x := image(t, "file f content=f\n", "-N", "200")
	var commands []string
	name := strings.Repeat("d", 250)
	for range maxPath/len(name) + 3 {
		commands = append(commands, "mkdir "+name, "cd "+name)
	}
	treetest.Debugfs(t, x, commands...)
	deepest := 0
	for path, outcome := range outcomes(t, x, Config{}) {
		if strings.Contains(outcome, ErrTooDeep.Error()) {
			deepest = len(path)
		}
	}
	if deepest <= maxPath || deepest > maxPath+len(name)+1 {
		t.Errorf("too deep is a path of %d bytes", deepest)
	}
}

func TestHolds(t *testing.T) {
	x := image(t, `
		file usr/sbin/init content=x
		link sbin usr/sbin
		link bin /usr/sbin
		link up/there ../../..//sbin
		link loop loop
		link out ../../../etc
		file dir/x
	`)
	im, err := Open(x, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	for name, want := range map[string]bool{
		"sbin/init": true, "bin/init": true, "up/there/init": true, "usr/sbin/init": true, "sbin": true, "dir": true, "loop": false, "loop/x": false,
		"out/passwd": false, "none": false, "usr/sbin/init/x": false,
	} {
		if got := im.Holds(t.Context(), []string{"nothing", name}); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestWritten notices an image that is written to while it is read.
func TestWritten(t *testing.T) {
	x := image(t, tree1)
	im, err := Open(x, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	err = im.Walk(t.Context(), func(tree.Found) error {
		return os.Chmod(x, 0o600+fs.FileMode(len(filepath.Base(x))))
	})
	if !errors.Is(err, stream.ErrWritten) {
		t.Errorf("%v", err)
	}
}
