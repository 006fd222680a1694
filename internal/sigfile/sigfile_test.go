package sigfile

import (
	"bytes"
	"errors"
	"testing"

	"imaseal/internal/imaevm"
	"imaseal/internal/tree"
)

var errTest = errors.New("made up")

// A file is one of a name and a content.
type file struct {
	tree.File
	rel string
	bytes.Reader
	err error
}

func (f *file) Rel() string { return f.rel }

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.Reader.ReadAt(b, off)
}

func newFile(rel, content string) *file {
	return &file{rel: rel, Reader: *bytes.NewReader([]byte(content))}
}

// A detached signature is known by its name and by what it holds.
func TestIs(t *testing.T) {
	signature, verity, hash := string(byte(imaevm.TypeSignature)), string(byte(imaevm.TypeVerity)), string(byte(imaevm.TypeHash))
	for _, tt := range []struct {
		rel, content string
		want         bool
	}{
		{"bin/cat.sig", signature + "\x02", true},
		{"cat.sig", verity, true},
		{"cat.sig", "", true}, // a crash left it
		{"cat.sig", hash, false},
		{"cat.sig", "-----BEGIN PGP SIGNATURE-----", false},
		{"cat.sig.sig", signature, true},
		{"cat", signature, false},
		{"catsig", signature, false},
		{"cat.SIG", signature, false},
		{".sig", signature, false}, // of no file
		{"d/.sig", signature, false},
		{"d.sig/cat", signature, false},
	} {
		if got := Is(newFile(tt.rel, tt.content)); got != tt.want {
			t.Errorf("%s with %q: %v", tt.rel, tt.content, got)
		}
	}
	if f := newFile("cat.sig", signature); Is(&file{rel: f.rel, err: errTest}) {
		t.Error("what cannot be read is taken for a signature")
	}
}

// beside is a file with one beside it.
type beside struct {
	*file
	label []byte
	err   error
}

func (b beside) Sidecar() ([]byte, error) { return b.label, b.err }

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		file tree.File
		want string
		err  error
	}{
		{newFile("f", ""), "", tree.ErrNoAttr}, // a carrier without such files
		{beside{file: newFile("f", ""), label: []byte("x")}, "x", nil},
		{beside{file: newFile("f", ""), err: errTest}, "", errTest},
		{tree.Namespace{From: "a", To: "b"}.File(beside{file: newFile("f", ""), label: []byte("x")}), "x", nil},
	} {
		if got, err := Read(tt.file); string(got) != tt.want || err != tt.err {
			t.Errorf("%q, %v; want %q, %v", got, err, tt.want, tt.err)
		}
	}
}
