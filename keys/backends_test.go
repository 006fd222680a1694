package keys_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/treetest"
	"imaseal/internal/vectors"
	"imaseal/keys"
	"imaseal/keys/keytest"
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
	none := filepath.Join(t.TempDir(), "none")
	_, err = keys.Open(t.Context(), "openssl://"+none, nil, keys.Options{})
	if want := `key "openssl://` + none + `": imaseal-key-openssl: starting: openssl cannot read the key`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// getenv has the PIN of tokens.
func getenv(name string) string {
	if name == "IMASEAL_PKCS11_PIN" {
		return keytest.PIN
	}
	return ""
}

// TestToken signs with keys in a token, by key ids and certificates as well.
func TestToken(t *testing.T) {
	hsm := keytest.NewHSM(t, "signing")
	treetest.Leaks(t)
	for i, name := range []string{"rsa2048", "p256", "p521"} {
		id := fmt.Sprintf("0%d", i+1)
		hsm.Put("signing", name, name, id)
		ref := hsm.URI("token=signing;object=" + name)
		path := vectors.Path(t, "keys/"+name+".key.pem")
		sameLabels(t, path, ref, keys.Options{Getenv: getenv}, hash.SHA1, hash.SHA256, hash.SHA512, hash.SHA3_256)

		// The certificate beside the key gives the id.
		certificate := vectors.Path(t, "keys/"+name+".cert.der")
		if name == "rsa2048" {
			certificate = vectors.Path(t, "keys/rsa2048-customskid.cert.der")
		}
		hsm.Tool("signing", "--write-object", certificate, "--type", "cert", "--id", id)
		k, err := keys.Open(t.Context(), ref, nil, keys.Options{Getenv: getenv})
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		if k.Certificate() == nil || name == "rsa2048" && k.KeyID() != 0xc0ffee01 || k.Parallel() != 1 {
			t.Errorf("%s: certificate %v, id %s, %d at once", name, k.Certificate(), k.KeyID(), k.Parallel())
		}
		if k.Source() != "pkcs11:token=signing;object="+name {
			t.Errorf("source %s", k.Source())
		}
	}
	// Another key's certificate.
	hsm.Put("signing", "p384", "p384", "09")
	hsm.Tool("signing", "--write-object", vectors.Path(t, "keys/p256.cert.der"), "--type", "cert", "--id", "09")
	_, err := keys.Open(t.Context(), hsm.URI("object=p384"), nil, keys.Options{Getenv: getenv})
	if _, ok := errors.AsType[*keys.MismatchError](err); !ok {
		t.Errorf("another's certificate: %v", err)
	}
}

// TestTPM signs with keys in a TPM, at persistent handles and in files.
func TestTPM(t *testing.T) {
	m := keytest.NewTPM(t)
	treetest.Leaks(t)
	o := keys.Options{TPM: m.TCTI}
	for name, handle := range map[string]string{"rsa2048": "0x81000010", "p256": "0x81000011"} {
		path := vectors.Path(t, "keys/"+name+".key.pem")
		file := m.Import(path, handle)
		sameLabels(t, path, "tpm:"+handle, o, hash.SHA1, hash.SHA256, hash.SHA512)
		sameLabels(t, path, file, o, hash.SHA256)

		// A certificate behind the key in its file gives the id.
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, keytest.Run(t, "openssl", "x509", "-in", vectors.Path(t, "keys/"+name+".cert.der"))...)
		file = keytest.File(t, text)
		k, err := keys.Open(t.Context(), file, nil, keys.Options{Getenv: os.Getenv}) // with the variable
		if err != nil {
			t.Fatal(err)
		}
		if k.Certificate() == nil || len(k.Warnings()) != 0 || k.Parallel() != 1 || k.Source() != file {
			t.Errorf("%s: %v, certificate %v, warnings %v, %d at once", name, k, k.Certificate(), k.Warnings(), k.Parallel())
		}
		k.Close()
		_, err = keys.OpenVerifiers(keytest.File(t, text[:len(text)/4]))
		if err == nil {
			t.Errorf("%s: half a file is a public key", name)
		}
	}
}

// TestErrorsHideThePIN has a URI that holds a PIN, which nothing repeats.
func TestErrorsHideThePIN(t *testing.T) {
	_, err := keys.Open(t.Context(), "pkcs11:object=x?pin-value=s3cret", nil, keys.Options{})
	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "pin-source") {
		t.Errorf("%v", err)
	}
}

// TestVariableAndStandardInput reads the text of a key file from elsewhere.
func TestVariableAndStandardInput(t *testing.T) {
	text, err := os.ReadFile(vectors.Path(t, "keys/p256.key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	variable := func(name string) string { return map[string]string{"KEY": string(text), "BAD": "x"}[name] }
	for ref, source := range map[string]string{"env:KEY": "env:KEY", "-": "standard input"} {
		k, err := keys.Open(t.Context(), ref, nil, keys.Options{Getenv: variable, Stdin: bytes.NewReader(text)})
		if err != nil || k.KeyID() != 0x6bca908e || k.Source() != source {
			t.Errorf("%s: %v, %v", ref, k, err)
		}
	}
	for _, test := range []struct {
		ref   string
		stdin io.Reader
		want  string
	}{
		{"env:NONE", nil, `key "env:NONE": there is no such variable, or it is empty`},
		{"env:", nil, `key "env:": there is no such variable, or it is empty`},
		{"env:BAD", nil, `"env:BAD": neither PEM nor DER`},
		{"-", nil, `key "standard input": there is none`},
		{"-", strings.NewReader(""), `"standard input": is empty`},
		{"-", strings.NewReader("x"), `"standard input": neither PEM nor DER`},
		{"-", iotest.ErrReader(errors.New("gone")), `"standard input": gone`},
	} {
		_, err := keys.Open(t.Context(), test.ref, nil, keys.Options{Getenv: variable, Stdin: test.stdin})
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", test.ref, err, test.want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	silent, writer := io.Pipe()
	defer writer.Close()
	if _, err := keys.Open(ctx, "-", nil, keys.Options{Stdin: silent}); !errors.Is(err, interrupted) {
		t.Errorf("%v", err)
	}
}

func TestIsFile(t *testing.T) {
	for ref, want := range map[string]bool{
		"key.pem": true, "./env:x": true, "./-": true, "/dev/stdin": true, "Env:x": true,
		"-": false, "env:X": false, "pkcs11:x": false, "tpm:0x81000001": false, "x://y": false,
	} {
		if keys.IsFile(ref) != want {
			t.Errorf("%s: %v", ref, !want)
		}
	}
}

// TestFilesLikeReferences has files whose names only begin like other references.
func TestFilesLikeReferences(t *testing.T) {
	text, err := os.ReadFile(vectors.Path(t, "keys/p256.key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for _, name := range []string{"env", "tpm", "pkcs11", "-:x", "-x", "ENV:x", "envy:x", "./tpm:0x81000001"} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := keys.Check(name, ""); err != nil || !keys.IsFile(name) {
			t.Errorf("%s: %v, a file: %v", name, err, keys.IsFile(name))
		}
		k, err := keys.Open(t.Context(), name, nil, keys.Options{Stdin: strings.NewReader("x")})
		if err != nil || k.Source() != name {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
}

// TestSchemesOfOurOwn has references that would be those of programs, too. Before
// and after opening they are the same kind.
func TestSchemesOfOurOwn(t *testing.T) {
	for ref, want := range map[string]string{
		"tpm://0x81000001":                   `key "tpm://0x81000001": "//0x81000001" is not the handle of a persistent key, such as 0x81000001`,
		"pkcs11://object=x?pin-value=s3cret": `key "pkcs11://object=x": PKCS#11 URI: unknown attribute "//object"`,
	} {
		_, err := keys.Open(t.Context(), ref, nil, keys.Options{})
		if check := keys.Check(ref, ""); check == nil || err == nil || err.Error() != check.Error() || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, after %v, want %s", ref, err, check, want)
		}
		if keys.IsFile(ref) {
			t.Errorf("%s is a file", ref)
		}
	}
}
