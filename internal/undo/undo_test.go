package undo

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

var header = Header{Namespace: "user", Command: "hash", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}

// files are what a log can hold.
func files() []File {
	big := bytes.Repeat([]byte{0xab}, 64<<10)
	return []File{
		{Path: "/bin/cat", Inode: 12, Changes: []Change{{Attr: "security.ima", New: []byte{4, 4, 1}}}},
		{Path: "/empty and none", Inode: 1, Changes: []Change{{Attr: "security.ima", Old: []byte{}, New: nil}, {Attr: "security.evm", Old: []byte{2}, New: []byte{}}}},
		{Path: "/not \xff UTF-8\n", Inode: 1<<64 - 1, Changes: []Change{{Attr: "security.ima", Old: big, New: big}}},
		{Path: "/html <&> \u2028 \"\\", Inode: 3, Changes: []Change{{Attr: "security.ima", New: []byte{1}}}, Again: true},
		{Path: "/" + strings.Repeat(strings.Repeat("d", 255)+"/", 1<<14) + "deeper than PATH_MAX", Inode: 4, Changes: []Change{{Attr: "security.ima", New: []byte{1}}}},
	}
}

func write(t testing.TB, name string, files ...File) {
	t.Helper()
	l, err := Create(name, header)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := l.Record(f); err != nil {
			t.Error(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// readAll reads a log to its start.
func readAll(name string) ([]File, error) {
	r, err := Open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var all []File
	for {
		n := r.Len()
		f, err := r.Prev()
		if errors.Is(err, io.EOF) && n == 0 {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, f)
	}
}

func TestRoundTrip(t *testing.T) {
	treetest.Leaks(t)
	name := filepath.Join(t.TempDir(), "log")
	write(t, name, files()...)
	r, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if r.Header != header || r.Len() != len(files()) {
		t.Errorf("header %+v of %d lines", r.Header, r.Len())
	}
	r.Close()
	got, err := readAll(name)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(got) // it is read from its end
	if !reflect.DeepEqual(got, files()) {
		t.Errorf("read %d lines that are not those written", len(got))
	}
	if info, err := os.Stat(name); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// Every line that was written is on the first page of the format.
	b, _ := os.ReadFile(name)
	for line := range bytes.Lines(b) {
		if !json.Valid(line) {
			t.Errorf("line %.60q is not JSON", line)
		}
	}
}

func TestEmptyLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	write(t, name)
	if got, err := readAll(name); len(got) != 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, "file there content=precious\nlink link nowhere\ndir dir")
	for _, name := range []string{"there", "link", "dir"} {
		if _, err := Create(filepath.Join(root, name), header); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b, _ := os.ReadFile(filepath.Join(root, "there")); string(b) != "precious" {
		t.Errorf("content %q", b)
	}
	if _, err := Create(filepath.Join(root, "no/log"), header); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// A log that cannot be begun leaves no file in the way of the next.
func TestCreateFails(t *testing.T) {
	treetest.Leaks(t)
	dir := treetest.Mount(t, "tmpfs", 1)
	if err := os.WriteFile(filepath.Join(dir, "fill"), make([]byte, 2<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "log")
	if _, err := Create(name, header); !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the log is there: %v", err)
	}
}

// A run that is killed leaves a torn line, wherever it is cut: the lines before
// it are read.
func TestTornLastLine(t *testing.T) {
	treetest.Leaks(t)
	name := filepath.Join(t.TempDir(), "log")
	all := files()[:2]
	write(t, name, all...)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for size := len(whole); size >= 0; size-- {
		if err := os.Truncate(name, int64(size)); err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(whole[:size], []byte("\n"))
		got, err := readAll(name)
		if lines == 0 {
			if err == nil {
				t.Errorf("cut at %d bytes: no error", size)
			}
			continue
		}
		if err != nil || len(got) != lines-1 {
			t.Errorf("cut at %d bytes: %d lines, want %d, %v", size, len(got), lines-1, err)
		}
	}
}

func TestNoLog(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, `
		file empty
		file newline content="\n"
		file text content="hello\n"
		file json content="{}\n"
		file array content="[1]\n"
		file future content="{\"imaseal_undo\":2,\"namespace\":\"user\"}\n"
		file nowhere content="{\"imaseal_undo\":1}\n"
		file trusted content="{\"imaseal_undo\":1,\"namespace\":\"trusted\"}\n"
		file twice content="{\"imaseal_undo\":1,\"namespace\":\"user\"}{}\n"
		file holes size=1073741824
		dir dir
		fifo fifo
		link zero /dev/zero
		link null /dev/null
	`)
	if err := os.WriteFile(root+"/long", append(bytes.Repeat([]byte{'{'}, 1<<20), '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		name := filepath.Join(root, n.Name())
		start := time.Now()
		r, err := Open(name)
		if err == nil {
			r.Close()
			t.Errorf("%s is taken for a log", n.Name())
			continue
		}
		if !strings.Contains(err.Error(), "undo log") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", n.Name(), err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: %v", n.Name(), took)
		}
	}
	if _, err := Open(root + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// A line that is none is an error with its number; those around it are read.
func TestBadLine(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	write(t, name, files()[0])
	good := `{"path":"/a","inode":1,"changes":[{"attr":"security.ima","old":null,"new":"01"}]}`
	for _, bad := range []string{
		"", "x", "{}", good + good, good + " ", " " + good,
		strings.Replace(good, "/a", "a", 1), // relative
		strings.Replace(good, "01", "0", 1),
		strings.Replace(good, "01", "0A", 1),
		strings.Replace(good, `"inode"`, `"colour":1,"inode"`, 1),
		strings.Replace(good, `"path"`, `"PATH"`, 1),
		strings.Replace(good, `/a`, "/\xff", 1),
		`{"path":"/a","inode":1,"changes":[]}`,
	} {
		file := filepath.Join(t.TempDir(), "log")
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(b, bad+"\n"+good+"\n"...), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readAll(file)
		if len(got) != 1 || err == nil || !strings.HasPrefix(err.Error(), "line 3: ") {
			t.Errorf("%q: %d lines, %v", bad, len(got), err)
		}
		r, err := Open(file)
		if err != nil {
			t.Fatal(err)
		}
		var line *LineError
		if _, err := r.Prev(); err != nil {
			t.Error(err)
		}
		if _, err := r.Prev(); !errors.As(err, &line) || line.Line != 3 {
			t.Errorf("%q: %v", bad, err)
		}
		if f, err := r.Prev(); err != nil || f.Path != files()[0].Path {
			t.Errorf("behind %q: %+v, %v", bad, f, err)
		}
		r.Close()
	}
}

// After a failed write nothing is appended to what may be half a line.
func TestRecordFails(t *testing.T) {
	treetest.Leaks(t)
	name := filepath.Join(t.TempDir(), "log")
	write(t, name)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("needs /dev/full:", err)
	}
	l := &Log{f: full}
	if err := l.Record(files()[0]); !errors.Is(err, unix.ENOSPC) || strings.Contains(err.Error(), "/dev/full") {
		t.Errorf("%v", err)
	}
	full.Close()
	if l.f, err = os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(files()[1]); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the next: %v", err)
	}
	l.Close()
	if got, err := readAll(name); len(got) != 0 || err != nil {
		t.Errorf("%d lines, %v", len(got), err)
	}
}

// Lines of several goroutines are whole.
func TestRecordConcurrently(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	l, err := Create(name, header)
	if err != nil {
		t.Fatal(err)
	}
	line := files()[1]
	line.Path = "/" + strings.Repeat("d", 10_000) // more than a page
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if err := l.Record(line); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if got, err := readAll(name); len(got) != 400 || err != nil {
		t.Errorf("%d lines, %v", len(got), err)
	}
}

// FuzzParseFile: what parses is encoded to the same bytes, and what does not
// gives nothing.
func FuzzParseFile(f *testing.F) {
	for _, file := range files()[:4] {
		b, err := json.Marshal(lineOf(file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(b, '\n'))
	}
	f.Add([]byte(`{"path":"/a","inode":1,"changes":[{"attr":"security.ima","old":null,"new":""}],"again":true}` + "\n"))
	f.Add([]byte(`{"path_base64":"L/8=","inode":1,"changes":[{"attr":"security.ima","old":null,"new":""}]}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := parseFile(b)
		if err != nil {
			if !reflect.DeepEqual(file, File{}) {
				t.Errorf("%v and %+v", err, file)
			}
			return
		}
		again, err := json.Marshal(lineOf(file))
		if err != nil || !bytes.Equal(append(again, '\n'), b) {
			t.Errorf("%q becomes %q, %v", b, again, err)
		}
	})
}

// FuzzOpen: whatever a file holds, reading it ends.
func FuzzOpen(f *testing.F) {
	name := filepath.Join(f.TempDir(), "log")
	write(f, name, files()[:2]...)
	b, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(name); err == nil && len(got) != bytes.Count(b, []byte("\n"))-1 {
			t.Errorf("%d lines of %d", len(got), bytes.Count(b, []byte("\n"))-1)
		}
	})
}
