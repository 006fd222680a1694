package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

// A path longer than PATH_MAX can be given to every command, and is told as it
// was given.
func TestPathsBeyondPathMax(t *testing.T) {
	treetest.Leaks(t)
	const depth = 40
	dir, name := t.TempDir(), strings.Repeat("d", 200)
	treetest.UserAttrs(t, dir)
	treetest.Deep(t, dir, name, depth, func(at, n int) {
		if n < depth {
			return
		}
		fd, err := unix.Openat(at, "file", unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
	})
	file := dir + strings.Repeat("/"+name, depth) + "/file"
	log := filepath.Join(t.TempDir(), "log")
	for _, tt := range []struct {
		args string
		path string // replaces @
		want string
	}{
		{"hash -v --undo-log " + log + " @", dir, "labelled     " + file + "  sha256:"},
		{"hash -v @", file, "unchanged    " + file + "  sha256:"},
		{"verify -v @", file, "valid        " + file + "  sha256:"},
		{"verify -v @", filepath.Dir(file), "valid        " + file + "  sha256:"},
		{"show @", file, file + "\n  security.ima  hash\n"},
		{"undo -v @", log, "restored     " + file + "\n"},
		{"hash -v --algo sha1 @", file, "labelled     " + file + "  sha1:"},
		{"clear -v @", file, "cleared      " + file + "\n"},
		{"show @", file, file + "\n  security.ima  none\n"},
	} {
		command, rest, _ := strings.Cut(tt.args, " ")
		args := append([]string{command}, strings.Fields(strings.ReplaceAll(rest, "@", tt.path))...)
		if command != "undo" {
			args = append(args, "--namespace=user")
		}
		if command != "undo" && command != "show" {
			args = append(args, "--owner=any")
		}
		var out, errs bytes.Buffer
		status := Main(context.Background(), Program{
			Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: os.Getenv,
		})
		if status != exitOK || !strings.HasPrefix(out.String(), tt.want) || errs.Len() > 0 {
			t.Errorf("%s: status %d\n%.300s\n%s", tt.args, status, out.String(), errs.String())
		}
	}
}
