// Package treetest makes trees, file systems and other users for tests, and
// looks afterwards whether anything was left behind. Only tests import it.
package treetest

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Make makes a tree in a new temporary directory and returns its path. Each
// line of spec makes one entry, and the directories above it:
//
//	file etc/passwd mode=0644 owner=0 content=x
//	file var/log/lastlog size=2147483648
//	dir empty mode=0700
//	link a etc/passwd
//	hard b etc/passwd
//	fifo p
//	sock s
//	char null 1:3
//	block sda 8:0
//
// Words are separated by spaces; one that holds others is written as Go
// quotes strings: file "a\nb" content="two words". A size is a hole behind the
// content. Blank lines are ignored.
func Make(t testing.TB, spec string) string {
	t.Helper()
	root := tempDir(t)
	Add(t, root, spec)
	return root
}

// MemDir returns a temporary directory in memory, if there is a file system
// for that: making many files elsewhere takes too long for a test.
func MemDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "imaseal-test")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Add adds entries to a tree, as Make.
func Add(t testing.TB, root, spec string) {
	t.Helper()
	var late []entry // modes of directories, which may forbid adding to them
	for number, line := range strings.Split(spec, "\n") {
		e, err := parse(line)
		if err == nil && e.kind != "" {
			err = e.make(root)
		}
		if err != nil {
			t.Fatalf("tree, line %d: %v", number+1, err)
		}
		if e.kind == "dir" && e.chmod {
			late = append(late, e)
		}
	}
	for _, e := range late {
		path := filepath.Join(root, e.name)
		if err := os.Chmod(path, e.mode); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(path, 0o700) }) // so that it can be removed
	}
}

// An entry is a parsed line.
type entry struct {
	kind, name string
	arg        string // target, old name, or device number
	mode       fs.FileMode
	chmod      bool // mode is given
	owner      int  // -1 for none given
	size       int64
	content    string
}

// arguments is how many words follow the name, by kind.
var arguments = map[string]int{
	"file": 0, "dir": 0, "fifo": 0, "sock": 0,
	"link": 1, "hard": 1, "char": 1, "block": 1,
}

func parse(line string) (entry, error) {
	words, err := split(line)
	if err != nil || len(words) == 0 {
		return entry{}, err
	}
	e := entry{kind: words[0], owner: -1}
	args, known := arguments[e.kind]
	if !known || len(words) < 2+args {
		return e, fmt.Errorf("%q is no entry", line)
	}
	e.name = words[1]
	if args > 0 {
		e.arg = words[2]
	}
	for _, word := range words[2+args:] {
		key, value, _ := strings.Cut(word, "=")
		var n int64
		var err error
		switch key {
		case "content":
			e.content = value
		case "mode":
			n, err = strconv.ParseInt(value, 8, 32)
			e.mode, e.chmod = unixMode(n), true
		case "owner":
			e.owner, err = strconv.Atoi(value)
		case "size":
			e.size, err = strconv.ParseInt(value, 10, 64)
		default:
			err = fmt.Errorf("unknown key %q", key)
		}
		if err != nil {
			return e, err
		}
	}
	return e, nil
}

// unixMode turns the bits of chmod(1) into those of package fs.
func unixMode(n int64) fs.FileMode {
	mode := fs.FileMode(n) & fs.ModePerm
	for bit, m := range map[int64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if n&bit != 0 {
			mode |= m
		}
	}
	return mode
}

// split splits a line into words, where a quoted part may hold spaces.
func split(line string) ([]string, error) {
	var words []string
	for line = strings.TrimLeft(line, " \t"); line != ""; line = strings.TrimLeft(line, " \t") {
		end := strings.IndexAny(line, " \t\"")
		if end < 0 {
			return append(words, line), nil
		}
		word := line[:end]
		line = line[end:]
		if line[0] == '"' {
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, err
			}
			line = line[len(quoted):]
			text, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, err
			}
			word += text
		}
		words = append(words, word)
	}
	return words, nil
}

func (e entry) make(root string) error {
	path := filepath.Join(root, e.name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var err error
	switch e.kind {
	case "file":
		err = e.makeFile(path)
	case "dir":
		err = os.MkdirAll(path, 0o755)
	case "link":
		err = os.Symlink(e.arg, path)
	case "hard":
		err = os.Link(filepath.Join(root, e.arg), path)
	case "fifo":
		err = unix.Mkfifo(path, 0o644)
	case "sock":
		err = makeSocket(path)
	case "char":
		err = e.makeDevice(path, unix.S_IFCHR)
	case "block":
		err = e.makeDevice(path, unix.S_IFBLK)
	}
	if err == nil && e.owner >= 0 {
		err = os.Lchown(path, e.owner, -1)
	}
	return err
}

func (e entry) makeFile(path string) error {
	if err := os.WriteFile(path, []byte(e.content), 0o644); err != nil {
		return err
	}
	if e.size > int64(len(e.content)) {
		if err := os.Truncate(path, e.size); err != nil {
			return err
		}
	}
	if !e.chmod {
		return nil
	}
	return os.Chmod(path, e.mode)
}

func (e entry) makeDevice(path string, mode uint32) error {
	major, minor, _ := strings.Cut(e.arg, ":")
	a, err := strconv.ParseUint(major, 10, 32)
	if err != nil {
		return err
	}
	b, err := strconv.ParseUint(minor, 10, 32)
	if err != nil {
		return err
	}
	return unix.Mknod(path, mode|0o600, int(unix.Mkdev(uint32(a), uint32(b))))
}

// makeSocket binds a socket, whose name then stays without it.
func makeSocket(path string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	return l.Close()
}
