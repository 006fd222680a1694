package keyfile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imaseal/keys/keytest"
)

func TestUnsupportedSaysWhatToDo(t *testing.T) {
	for kind, want := range map[string]string{
		"Ed25519":  "the kernel cannot verify signatures of Ed25519 keys; use RSA with 2048, 3072 or 4096 bits, or P-256, P-384, P-521",
		"RSA-2560": "the kernel cannot verify signatures of RSA-2560 keys; use 2048, 3072 or 4096 bits",
		"RSA-512":  "RSA keys of 512 bits are not supported: anyone can break them; use 2048, 3072 or 4096 bits",
	} {
		if got := (&UnsupportedError{Kind: kind}).Error(); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}

func TestEncodePrivate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, passphrase := range []string{"", "secret"} {
		data, err := EncodePrivate(key, []byte(passphrase))
		if err != nil {
			t.Fatal(err)
		}
		path := keytest.File(t, data)
		p, err := OpenPrivate(path, func(string) ([]byte, error) { return []byte(passphrase), nil })
		if err != nil || !key.Equal(p.Key) {
			t.Errorf("passphrase %q: %v", passphrase, err)
		}
		if encrypted := strings.Contains(string(data), "ENCRYPTED"); encrypted != (passphrase != "") {
			t.Errorf("passphrase %q gives %.30s", passphrase, data)
		}
		keytest.Run(t, "openssl", "pkey", "-in", path, "-passin", "pass:"+passphrase, "-noout")
	}
}

func TestWriteFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	check := func(want string, perm fs.FileMode) {
		t.Helper()
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%q, %v", got, err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != perm {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("the directory holds %v, %v", entries, err)
		}
	}
	write := func(path, text string, perm fs.FileMode, force bool) error {
		return WriteFiles([]File{{path, []byte(text), perm}}, force)
	}
	if err := write(path, "one", 0o600, false); err != nil {
		t.Fatal(err)
	}
	check("one", 0o600)
	err := write(path, "two", 0o644, false)
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("written over: %v", err)
	}
	check("one", 0o600)
	if err := write(path, "two", 0o644, true); err != nil {
		t.Fatal(err)
	}
	check("two", 0o644)

	// A link is not followed: the file it names stays what it was.
	other := keytest.File(t, []byte("other"))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, path); err != nil {
		t.Fatal(err)
	}
	if err := write(path, "three", 0o600, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("written through a link: %v", err)
	}
	if err := write(path, "three", 0o600, true); err != nil {
		t.Fatal(err)
	}
	check("three", 0o600)
	if got, err := os.ReadFile(other); err != nil || string(got) != "other" {
		t.Errorf("%q, %v", got, err)
	}

	err = write(filepath.Join(dir, "none", "key"), "", 0o600, false)
	if want := `writing "` + filepath.Join(dir, "none", "key") + `": no such file or directory`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// All files are written, or none, and nothing is left beside them.
func TestWriteFilesAllOrNone(t *testing.T) {
	dir := t.TempDir()
	name := func(s string) string { return filepath.Join(dir, s) }
	write := func(names ...string) error {
		var files []File
		for _, s := range names {
			files = append(files, File{name(s), []byte(s), 0o600})
		}
		return WriteFiles(files, len(names) > 3)
	}
	list := func() (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	if err := write("a", "none/b"); err == nil || len(list()) != 0 {
		t.Errorf("%v, and there are %q", err, list())
	}
	if err := write("a", "b", "a"); !errors.Is(err, fs.ErrExist) || len(list()) != 0 {
		t.Errorf("one name twice: %v, and there are %q", err, list())
	}
	if err := write("a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := write("c", "b", "d"); !errors.Is(err, fs.ErrExist) || !slices.Equal(list(), []string{"a", "b"}) {
		t.Errorf("%v, and there are %q", err, list())
	}

	// With force too, what is no file stays.
	if err := os.Symlink(os.DevNull, name("null")); err != nil {
		t.Fatal(err)
	}
	if err := write("a", "b", "c", "null"); err == nil || !slices.Equal(list(), []string{"a", "b", "null"}) {
		t.Errorf("%v, and there are %q", err, list())
	}
}

// Two files that appear at the same time: one wins, none is lost.
func TestRenameNew(t *testing.T) {
	dir := t.TempDir()
	old, path := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	for _, name := range []string{old, path} {
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := renameNew(old, path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != path {
		t.Errorf("%q, %v", got, err)
	}
}

// Whatever is in a file, reading it as key or as certificates does not panic,
// and gives either something or an error.
// TestPKCS12 reads files of openssl with ciphers of today and of long ago.
func TestPKCS12(t *testing.T) {
	key, cert := "../../testdata/vectors/keys/p256.key.pem", filepath.Join(t.TempDir(), "p256.cert.pem")
	keytest.Run(t, "openssl", "x509", "-in", "../../testdata/vectors/keys/p256.cert.der", "-out", cert)
	want, err := OpenPrivate(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, old := range []string{"", "-legacy"} {
		for _, passphrase := range []string{"", "secret"} {
			path := filepath.Join(t.TempDir(), "p256.p12")
			args := []string{"pkcs12", "-export", "-inkey", key, "-in", cert, "-certfile", "../../testdata/vectors/keys/ca.cert.pem", "-passout", "pass:" + passphrase, "-out", path}
			if old != "" {
				args = append(args, old)
			}
			keytest.Run(t, "openssl", args...)
			asked := 0
			answer := func(text string) Ask {
				return func(prompt string) ([]byte, error) {
					if asked++; prompt != fmt.Sprintf("passphrase of %q", path) {
						t.Errorf("prompt %q", prompt)
					}
					return []byte(text), nil
				}
			}
			p, err := OpenPrivate(path, answer(passphrase))
			if err != nil || !want.Key.(*ecdsa.PrivateKey).Equal(p.Key) || len(p.Certificates) != 2 {
				t.Errorf("%s, passphrase %q: %v", old, passphrase, err)
				continue
			}
			if !p.Certificates[0].PublicKey.(*ecdsa.PublicKey).Equal(want.Key.Public()) {
				t.Errorf("%s, passphrase %q: the first certificate is another key's", old, passphrase)
			}
			public, err := OpenPublic(path)
			if passphrase == "" {
				if asked != 0 || err != nil || len(public.Certificates) != 2 {
					t.Errorf("%s: asked %d times, %v", old, asked, err)
				}
				continue
			}
			if asked != 1 || err != nil || len(public.Left) != 1 || len(public.Certificates) != 0 {
				t.Errorf("%s: asked %d times, %v, %v", old, asked, public, err)
			}
			_, err = OpenPrivate(path, answer("wrong"))
			if e, ok := errors.AsType[*PassphraseError](err); !ok || !e.Wrong {
				t.Errorf("%s, a wrong passphrase: %v", old, err)
			}
			_, err = OpenPrivate(path, nil)
			if e, ok := errors.AsType[*PassphraseError](err); !ok || e.Wrong {
				t.Errorf("%s, no passphrase: %v", old, err)
			}
		}
	}
}

func FuzzFile(f *testing.F) {
	for _, pattern := range []string{"../testdata/*.*", "../../testdata/vectors/keys/*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			f.Fatalf("%s: %v, %v", pattern, paths, err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
			if b, _ := pem.Decode(data); b != nil {
				f.Add(b.Bytes)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return // readFile refuses it
		}
		private, err := parsePrivateFile(bytes.Clone(data), "fuzz", nil)
		if err == nil && (private.Key == nil) == (private.TPM == nil) {
			t.Error("neither key nor error")
		}
		p, err := parsePublicFile(bytes.Clone(data), "fuzz")
		if err != nil {
			if p != nil {
				t.Error("both keys and an error")
			}
			return
		}
		if private != nil && len(private.Certificates) > len(p.Certificates) {
			t.Errorf("%d certificates, then %d", len(private.Certificates), len(p.Certificates))
		}
		for _, c := range p.Certificates {
			if c.PublicKey == nil {
				t.Error("a certificate without a key")
			}
		}
		for _, k := range p.Keys {
			if Kind(k) == "unknown" {
				t.Errorf("a key of type %T", k)
			}
		}
	})
}
