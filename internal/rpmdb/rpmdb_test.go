package rpmdb

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imaseal/internal/rpmfile/rpmtest"
	"imaseal/internal/treetest"
)

func sum(content string) string { return hex.EncodeToString(rpmtest.Sum(8, content)) }

// label is a text of one, long enough to be one.
func label(n byte) string { return hex.EncodeToString([]byte{3, 2, 4, 1, 2, 3, 4, 0, 1, n}) }

func TestParse(t *testing.T) {
	d := sum("x")
	quoted := func(name, label string) string { return "'" + name + "' '" + label + "' '" + d + "' 8 0 33188\n" }
	for name, tt := range map[string]struct {
		printed string
		want    string // the paths and labels, or the error
		counts  Counts
	}{
		"nothing":       {"", "", Counts{}},
		"no files":      {"=\n=\n", "", Counts{Packages: 2}},
		"a file":        {"=\n" + quoted("/a/b", label(1)), "a/b " + label(1), Counts{Packages: 1, Files: 1, Signed: 1}},
		"odd names":     {"=\n" + quoted(`/a'\''b c`+"\nd\\", label(1)), "a'b c\nd\\ " + label(1), Counts{Packages: 1, Files: 1, Signed: 1}},
		"dots":          {"=\n" + quoted("/a/../../b", label(1)), "b " + label(1), Counts{Packages: 1, Files: 1, Signed: 1}},
		"no signatures": {"=\n'/a' (none) '" + d + "' 8 0 33188\n" + quoted("/b", ""), "", Counts{Packages: 1, Files: 2}},
		"a configuration": {"=\n'/a' '" + label(1) + "' '" + d + "' 8 17 33188\n'/b' '" + label(2) + "' '" + d + "' 8 1 33261\n", "b " + label(2),
			Counts{Packages: 1, Files: 2, Signed: 1, Config: 1}},
		"zeros":              {"=\n" + quoted("/a", strings.Repeat("00", 50)), "", Counts{Packages: 1, Files: 1}},
		"no signature":       {"=\n" + quoted("/a", "0404"+label(1)), "", Counts{Packages: 1, Files: 1, Malformed: 1}},
		"no digits":          {"=\n" + quoted("/a", "xyz"), "", Counts{Packages: 1, Files: 1, Malformed: 1}},
		"half a byte":        {"=\n" + quoted("/a", label(1)+"0"), "", Counts{Packages: 1, Files: 1, Malformed: 1}},
		"too short":          {"=\n" + quoted("/a", "0302"), "", Counts{Packages: 1, Files: 1, Malformed: 1}},
		"a relative name":    {"=\n" + quoted("a", label(1)), "", Counts{Packages: 1, Files: 1, Malformed: 1}},
		"another algorithm":  {"=\n'/a' '" + label(1) + "' '" + d + "' 10 0 33188\n", "", Counts{Packages: 1, Files: 1, Malformed: 1}},
		"no algorithm":       {"=\n'/a' '" + label(1) + "' '" + d[:32] + "' (none) 0 33188\n", "a " + label(1), Counts{Packages: 1, Files: 1, Signed: 1}},
		"an unknown one":     {"=\n'/a' '" + label(1) + "' '" + d + "' 99 0 33188\n", "", Counts{Packages: 1, Files: 1, Malformed: 1}},
		"no number":          {"=\n'/a' '" + label(1) + "' '" + d + "' x 0 33188\n", "", Counts{Packages: 1, Files: 1, Malformed: 1}},
		"fewer fields":       {"=\n'/a' '" + label(1) + "' '" + d + "' 8 0\n", errLine.Error(), Counts{Packages: 1}},
		"another line":       {"=\nerror: x\n", errLine.Error(), Counts{Packages: 1}},
		"no end":             {"=\n'/a", errLine.Error(), Counts{Packages: 1}},
		"a very long line":   {"=\n'/" + strings.Repeat("a", maxLine) + "\n", errLine.Error(), Counts{Packages: 1}},
		"a line in a string": {"=\n'/a\n=\n", errLine.Error(), Counts{Packages: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			var n Counts
			var got []string
			err := n.read(strings.NewReader(tt.printed), func(f File) error {
				got = append(got, f.Path+" "+hex.EncodeToString(f.Label))
				return nil
			})
			text := strings.Join(got, ", ")
			if err != nil {
				text = err.Error()
			}
			if !strings.HasPrefix(text, tt.want) || tt.want == "" && text != "" || n != tt.counts {
				t.Errorf("%q, %+v\nwant %q, %+v", text, n, tt.want, tt.counts)
			}
		})
	}
}

// FuzzRead: what is read has a name that is relative and clean, and a label.
func FuzzRead(f *testing.F) {
	f.Add("=\n'/a'\\''b' '" + label(1) + "' '" + sum("x") + "' 8 0 33188\n'/c' (none) (none) (none) 0 0\n")
	f.Fuzz(func(t *testing.T, printed string) {
		var n Counts
		n.read(strings.NewReader(printed), func(f File) error {
			if f.Path != filepath.Clean(f.Path) || filepath.IsAbs(f.Path) || strings.HasPrefix(f.Path, "../") || len(f.Label) < zeros || f.Digest.IsZero() {
				t.Errorf("%+v", f)
			}
			return nil
		})
	})
}

// system makes a root directory with a database, of packages.
func system(t testing.TB, place string, packages ...rpmtest.Package) *Root {
	t.Helper()
	rpm := treetest.Tool(t, "rpm")
	dir := t.TempDir()
	for i, p := range packages {
		name := fmt.Sprintf("p%d", i)
		header := p.Header
		p.Header = func(tags []rpmtest.Tag) []rpmtest.Tag {
			for i := range tags {
				if tags[i].Tag == 1000 {
					tags[i] = rpmtest.String(1000, name)
				}
			}
			if header != nil {
				tags = header(tags)
			}
			return tags
		}
		file := filepath.Join(t.TempDir(), "x.rpm")
		if err := errors.Join(os.WriteFile(file, p.Bytes(), 0o600), os.MkdirAll(filepath.Join(dir, place), 0o700)); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(rpm, "--dbpath", filepath.Join(dir, place), "-i", "--justdb", "--nodeps", "--replacefiles", file).CombinedOutput(); err != nil {
			t.Fatalf("rpm -i: %v\n%s", err, out)
		}
	}
	root, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// signed is a package with these files, each with a label of its number.
func signed(files ...rpmtest.File) rpmtest.Package {
	var labels []string
	for i := range files {
		labels = append(labels, label(byte(i)))
	}
	return rpmtest.Package{Format: 4, Algorithm: 8, Files: files, Signature: func(tags []rpmtest.Tag) []rpmtest.Tag {
		return append(tags[:2:2], append([]rpmtest.Tag{rpmtest.Strings(274, labels...), rpmtest.Int32(275, 10)}, tags[2:]...)...)
	}}
}

// TestRead reads databases where they are, with names that few have, and links among
// directories.
func TestRead(t *testing.T) {
	odd := "/usr/share/it's\na \"name\" $(x) \\"
	for _, place := range places {
		root := system(t, place, signed(rpmtest.File{Path: "/bin/a", Content: "a"}, rpmtest.File{Path: odd, Content: "b"}),
			rpmtest.Package{Format: 4, Algorithm: 8, Files: []rpmtest.File{{Path: "/usr/bin/unsigned"}}},
			signed(rpmtest.File{Path: "/up/b"}, rpmtest.File{Path: "/gone/c"}))
		for name, to := range map[string]string{"bin": "usr/bin", "up": "/../../usr/lib"} {
			if err := errors.Join(os.MkdirAll(filepath.Join(root.abs, "usr/bin"), 0o700), os.MkdirAll(filepath.Join(root.abs, "usr/lib"), 0o700),
				os.Symlink(to, filepath.Join(root.abs, name))); err != nil {
				t.Fatal(err)
			}
		}
		got := make(map[string]string)
		n, err := Read(t.Context(), root, t.TempDir(), func(f File) error {
			got[f.Path] = f.Digest.String() + " " + hex.EncodeToString(f.Label)
			return nil
		})
		if want := (Counts{Packages: 3, Files: 5, Signed: 4}); err != nil || n != want {
			t.Errorf("%+v, %v", n, err)
		}
		for path, want := range map[string]string{
			"usr/bin/a": "sha256:" + sum("a") + " " + label(0), odd[1:]: "sha256:" + sum("b") + " " + label(1),
			"usr/lib/b": "sha256:" + sum("") + " " + label(0), "gone/c": "sha256:" + sum("") + " " + label(1),
		} {
			if got[path] != want {
				t.Errorf("%q has %s, want %s", path, got[path], want)
			}
		}
		if len(got) != 4 {
			t.Errorf("%q", got)
		}
		broken := errors.New("broken")
		if _, err := Read(t.Context(), root, t.TempDir(), func(File) error { return broken }); err != broken {
			t.Errorf("%v", err)
		}
	}
}

// TestLeaves: a database is read where nothing can be written, nothing is left beside
// it, and nothing elsewhere.
func TestLeaves(t *testing.T) {
	root := system(t, places[0], signed(rpmtest.File{Path: "/a", Content: "a"}))
	dir, temp := filepath.Join(root.abs, places[0]), t.TempDir()
	os.Remove(filepath.Join(dir, ".rpm.lock"))
	before := list(t, dir)
	for range 2 {
		if n, err := Read(t.Context(), root, temp, func(File) error { return nil }); err != nil || n.Signed != 1 {
			t.Errorf("%+v, %v", n, err)
		}
		if after := list(t, dir); after != before {
			t.Errorf("there were\n%sand are\n%s", before, after)
		}
		if left := list(t, temp); left != "" {
			t.Errorf("left are\n%s", left)
		}
	}
	if _, err := Read(t.Context(), root, filepath.Join(temp, "none"), func(File) error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	if _, err := Read(ctx, root, temp, func(File) error { return nil }); err != stopped || list(t, temp) != "" {
		t.Errorf("%v, %s", err, list(t, temp))
	}
}

// list tells what is in a directory, with times.
func list(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&all, e.Name(), info.Size(), info.ModTime())
	}
	return all.String()
}

// TestRel: a file is found in the system, whatever its path leads through.
func TestRel(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "r/usr/bin"), 0o700), os.Symlink("usr/bin", filepath.Join(dir, "r/bin")), os.Symlink("r", filepath.Join(dir, "link")),
		os.Symlink("r/usr", filepath.Join(dir, "inner"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"r", "link"} {
		root, err := OpenRoot(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for full, want := range map[string]string{
			"r/usr/bin/a": "usr/bin/a", "r/bin/a": "usr/bin/a", "link/bin/a": "usr/bin/a", "inner/bin/a": "usr/bin/a", "r/a": "a", "r/none/a": "none/a", "r/./usr//bin/../bin/a": "usr/bin/a",
			"a": "", "rr/a": "", "none/a": "",
		} {
			if got, ok := root.Rel(filepath.Join(dir, "x")[:len(dir)+1] + full); ok != (want != "") || ok && got != want {
				t.Errorf("%s below %s is %q, %v, want %q", full, name, got, ok, want)
			}
		}
		root.Close()
	}
	root, err := OpenRoot("/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if got, ok := root.Rel("/nosuchdir/a"); got != "nosuchdir/a" || !ok {
		t.Errorf("%q, %v", got, ok)
	}
	if _, err := OpenRoot(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// fake puts a program in the place of rpm.
func fake(t *testing.T, script string) *Root {
	t.Helper()
	bin, dir := t.TempDir(), t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(bin, "rpm"), []byte("#!/bin/sh\n"+script), 0o700), os.MkdirAll(filepath.Join(dir, places[1]), 0o700),
		os.WriteFile(filepath.Join(dir, places[1], "Packages.db"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	root, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// TestProgram: what rpm does instead of what it is asked for.
func TestProgram(t *testing.T) {
	treetest.Leaks(t)
	none := func(File) error { return nil }
	for script, want := range map[string]string{
		"echo =; exit 0":                           "",
		"echo =; echo no such thing >&2; exit 3":   "rpm: exit status 3: no such thing",
		"echo dummy database >&2":                  "rpm read nothing: dummy database",
		"echo nonsense":                            errLine.Error(),
		"echo =; yes x | head -c 5000 >&2; echo =": "",
		`[ "$1 $5" = "--dbpath -qa" ] && [ -f "$2/Packages.db" ] || exit 9`: "",
	} {
		_, err := Read(t.Context(), fake(t, script), t.TempDir(), none)
		if got := fmt.Sprint(err); got != want && (want != "" || err != nil) {
			t.Errorf("%s: %v, want %s", script, err, want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	time.AfterFunc(50*time.Millisecond, func() { cancel(stopped) })
	if _, err := Read(ctx, fake(t, "echo =; exec sleep 60"), t.TempDir(), none); err != stopped {
		t.Errorf("%v", err)
	}
	root := fake(t, "")
	t.Setenv("PATH", t.TempDir())
	if _, err := Read(t.Context(), root, t.TempDir(), none); err != ErrProgram {
		t.Errorf("%v", err)
	}
	if root.abs = t.TempDir(); root.abs != "" {
		if _, err := Read(t.Context(), root, t.TempDir(), none); !errors.Is(err, ErrNone) {
			t.Errorf("%v", err)
		}
	}
}
