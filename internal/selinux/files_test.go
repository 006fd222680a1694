package selinux

import (
	"errors"
	"testing"

	"imaseal/internal/tree"
)

type file struct {
	tree.File
	full string
	mode uint32
}

func (f file) Full() string    { return f.full }
func (f file) Meta() tree.Meta { return tree.Meta{Mode: f.mode} }

func TestFiles(t *testing.T) {
	c, err := Parse(Sources{FileContexts: Source{"fc", []byte("/mnt/.* u:r:mnt:s0\n/etc(/.*)? -- u:r:etc:s0\n/etc/none <<none>>\n")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		root, full string
		mode       uint32
		want       string
	}{
		{"", "/etc/x", 0o100644, "u:r:etc:s0"},
		{"/", "/etc/x", 0o100644, "u:r:etc:s0"},
		{"", "/etc/x", 0o120777, ""},
		{"", "/etc/none", 0o100644, ""},
		{"", "/var/x", 0o100644, ""},
		{"", "etc/x", 0o100644, "outside"},
		{"", "/mnt/etc/x", 0o100644, "u:r:mnt:s0"},
		{"/mnt", "/mnt/etc/x", 0o100644, "u:r:etc:s0"},
		{"/mnt/", "/mnt/etc/x", 0o100644, "u:r:etc:s0"},
		{"/./mnt/..//mnt", "/root/../mnt/./etc//x", 0o100644, "u:r:etc:s0"},
		{"/", "/etc/../../mnt/x", 0o100644, "u:r:mnt:s0"},
		{"/mnt", "/mnt2/etc/x", 0o100644, "outside"},
		{"/mnt", "/etc/x", 0o100644, "outside"},
		{"/mnt", "/mnt", 0o100644, "outside"},
	} {
		got, err := Files{Contexts: c, Root: test.root}.Context(file{full: test.full, mode: test.mode})
		outside, is := errors.AsType[*OutsideError](err)
		if test.want == "outside" && is && outside.Root == test.root {
			continue
		}
		if got != test.want || err != nil {
			t.Errorf("%s in %q: %q, %v, want %q", test.full, test.root, got, err, test.want)
		}
	}
}
