package runtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/tree"
	"imaseal/keys"
)

func userName(name string) string { return "user." + strings.TrimPrefix(name, "security.") }

func open(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Label returns a label that a file has in user.*, nil for none.
func Label(t testing.TB, name, attribute string) []byte {
	t.Helper()
	f := open(t, name)
	defer f.Close()
	value, err := attr.Get(f, userName(attribute))
	if err != nil && err != attr.ErrNotSet {
		t.Fatal(err)
	}
	return value
}

// SetLabel gives a file a label in user.*.
func SetLabel(t testing.TB, name, attribute string, value []byte) {
	t.Helper()
	f := open(t, name)
	defer f.Close()
	if err := attr.Set(f, userName(attribute), value); err != nil {
		t.Fatal(err)
	}
}

// RemoveLabel takes a label in user.* from a file, if it has one.
func RemoveLabel(t testing.TB, name, attribute string) {
	t.Helper()
	f := open(t, name)
	defer f.Close()
	if err := attr.Remove(f, userName(attribute)); err != nil && err != attr.ErrNotSet {
		t.Fatal(err)
	}
}

// HashLabel returns the label of a content by any algorithm.
func HashLabel(t testing.TB, a hash.Algorithm, content []byte) []byte {
	t.Helper()
	d, err := hash.Sum(a, content)
	if err != nil {
		t.Fatal(err)
	}
	b, err := imaevm.NewHash(d).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Right returns the SHA-256 label of a content.
func Right(t testing.TB, content string) []byte {
	t.Helper()
	return HashLabel(t, hash.SHA256, []byte(content))
}

// WantLabel compares the IMA label of a file in user.*; nil is none.
func WantLabel(t testing.TB, name string, want []byte) {
	t.Helper()
	if got := Label(t, name, imaevm.AttrIMA); !tree.Same(got, want) {
		t.Errorf("%s has label %x, want %x", filepath.Base(name), got, want)
	}
}

// Key opens a key of testdata, such as p256, with its certificate.
func Key(t testing.TB, name string) *keys.Key {
	t.Helper()
	base := filepath.Join(moduleDir(t), "testdata", "vectors", "keys", name)
	k, err := keys.Open(t.Context(), base+".key.pem", nil, keys.Options{Certificate: base + ".cert.der"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// moduleDir returns the directory of the module, above that of the test.
func moduleDir(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == "/" {
			t.Fatal("there is no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

// Write writes a file, in place if it is there.
func Write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Overwrite writes content over the beginning of a file.
func Overwrite(t testing.TB, name, content string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		t.Fatal(err)
	}
}
