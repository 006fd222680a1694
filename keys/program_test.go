package keys_test

import (
	"os"
	"path/filepath"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/treetest"
	"imaseal/internal/vectors"
	"imaseal/keys"
	"imaseal/sign"
)

// sameLabels has two references to one private key make labels: the same bytes
// with RSA, and otherwise such as the other verifies.
func sameLabels(t *testing.T, file, ref string, o keys.Options, algorithms ...hash.Algorithm) {
	t.Helper()
	want, err := keys.Open(t.Context(), file, nil, keys.Options{KeyID: o.KeyID})
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	k, err := keys.Open(t.Context(), ref, nil, o)
	if err != nil {
		t.Fatalf("%s: %v", ref, err)
	}
	defer k.Close()
	for _, a := range algorithms {
		d, err := hash.Sum(a, []byte("content"))
		if err != nil {
			t.Fatal(err)
		}
		label, err := sign.Label(t.Context(), k, imaevm.TypeSignature, 2, d)
		if err != nil {
			t.Errorf("%s with %s: %v", ref, a, err)
			continue
		}
		if err := sign.Verify(label, d, want); err != nil {
			t.Errorf("%s with %s: %v", ref, a, err)
		}
		if k.Scheme() != sign.RSA {
			continue
		}
		wanted, err := sign.Label(t.Context(), want, imaevm.TypeSignature, 2, d)
		if err != nil || string(label.Raw) != string(wanted.Raw) || label.KeyID != wanted.KeyID {
			t.Errorf("%s with %s: another label, %v", ref, a, err)
		}
	}
}

// TestProgramInShell signs through the shell script that the manual shows.
func TestProgramInShell(t *testing.T) {
	treetest.Tool(t, "openssl")
	dir, err := filepath.Abs("../doc/examples")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	treetest.Leaks(t)
	for _, name := range []string{"rsa2048", "p256", "p384"} {
		path, err := filepath.Abs(vectors.Path(t, "keys/"+name+".key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		sameLabels(t, path, "openssl://"+path, keys.Options{}, hash.SHA1, hash.SHA256, hash.SHA512)
	}
	_, err = keys.Open(t.Context(), "openssl:///nonexistent", nil, keys.Options{})
	if want := `key "openssl:///nonexistent": imaseal-key-openssl: starting: openssl cannot read the key`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
