package measured

import (
	"bytes"
	"context"
	"io"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/tree"
)

func TestPlaces(t *testing.T) {
	for _, test := range []struct {
		places     Places
		full, want string
	}{
		{nil, "/a/b", "/a/b"},
		{Places{{"/", "/opt"}}, "/a/b", "/opt/a/b"},
		{Places{{"/mnt/root", "/"}}, "/mnt/root/usr/bin/x", "/usr/bin/x"},
		{Places{{"/mnt/root", "/"}}, "/mnt/root", "/"},
		{Places{{"/mnt/root", "/"}}, "/mnt/rooted/x", "/mnt/rooted/x"},
		{Places{{"/mnt", "/a"}, {"/mnt/root", "/b"}}, "/mnt/root/x", "/b/x"},
		{Places{{"/mnt/root", "/b"}, {"/mnt", "/a"}}, "/mnt/root/x", "/b/x"},
		{Places{{"/lib", "/usr/lib"}}, "/lib/x", "/usr/lib/x"},
	} {
		if got := test.places.Of(test.full); got != test.want {
			t.Errorf("%v: %s is %s, want %s", test.places, test.full, got, test.want)
		}
	}
}

// A file has a label, or none.
type file struct {
	tree.File
	content, label []byte
	err            error
}

func (f file) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(f.content).ReadAt(b, off)
}
func (f file) Meta() tree.Meta { return tree.Meta{Size: int64(len(f.content))} }

func (f file) Attr(string) ([]byte, error) {
	switch {
	case f.err != nil:
		return nil, f.err
	case f.label == nil:
		return nil, tree.ErrNoAttr
	}
	return f.label, nil
}

// TestDigester takes the algorithm of the label, whatever its digest is.
func TestDigester(t *testing.T) {
	label := func(kind imaevm.Type, b ...byte) []byte {
		return append(append([]byte{byte(kind)}, b...), make([]byte, 64)...)
	}
	for name, test := range map[string]struct {
		file file
		want hash.Algorithm
	}{
		"no label":      {file{}, hash.SHA256},
		"empty label":   {file{label: []byte{}}, hash.SHA256},
		"hash":          {file{label: label(imaevm.TypeHash, hash.SHA512.Number())}, hash.SHA512},
		"unknown hash":  {file{label: label(imaevm.TypeHash, 99)}, hash.SHA256},
		"signature":     {file{label: label(imaevm.TypeSignature, 2, hash.SHA384.Number())}, hash.SHA384},
		"no attributes": {file{err: errUnsupported{}}, hash.SHA256},
	} {
		test.file.content = []byte("content")
		d := &Digester{Default: hash.SHA256}
		got, err := d.Decide(t.Context(), hash.NewReader(), test.file)
		want, sumErr := hash.Sum(test.want, test.file.content)
		if err != nil || sumErr != nil || got.Result.Digest != want || got.Result.Outcome != report.Exported || !got.Content || got.Changes != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := (&Digester{Default: hash.SHA256}).Decide(t.Context(), hash.NewReader(), file{err: io.ErrClosedPipe}); err == nil {
		t.Error("a label that cannot be read is no label")
	}
}

type errUnsupported struct{}

func (errUnsupported) Error() string   { return "no" }
func (errUnsupported) Is(e error) bool { return e.Error() == "unsupported operation" }

type founds []tree.Found

func (f founds) Walk(_ context.Context, visit func(tree.Found) error) error {
	for _, x := range f {
		if err := visit(x); err != nil {
			return err
		}
	}
	return nil
}

func TestLinker(t *testing.T) {
	l := &Linker{Like: tree.Like{Source: founds{
		{Rel: "a", Skip: reason.HardLink, Target: "b"}, {Rel: "c", Skip: reason.HardLink}, {Rel: "d", Skip: reason.Symlink, Target: "b"},
	}}, Name: func(rel string) string { return "/x/" + rel }}
	n := 0
	if err := l.Walk(t.Context(), func(tree.Found) error { n++; return nil }); err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	if got := l.Links(); len(got) != 1 || got[0] != (Link{"/x/a", "/x/b"}) {
		t.Errorf("%v", got)
	}
}
