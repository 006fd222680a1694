package pkcs11

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"imaseal/hash"
	"imaseal/internal/treetest"
	"imaseal/internal/vectors"
	"imaseal/keys/keyfile"
	"imaseal/keys/keytest"
)

// verifies reports whether the key made the signature.
func verifies(key crypto.PublicKey, h crypto.Hash, digest, sig []byte) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, h, digest, sig) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, sig)
	}
	return false
}

// signs has the key sign and checks the signature.
func signs(t *testing.T, k *Key, a hash.Algorithm) {
	t.Helper()
	d, err := hash.Sum(a, []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := k.Sign(t.Context(), d.Bytes(), a.Crypto())
	if err != nil || !verifies(k.Public(), a.Crypto(), d.Bytes(), sig) {
		t.Errorf("%s: %x, %v", a, sig, err)
	}
}

func open(t *testing.T, ref string, o Options) *Key {
	t.Helper()
	k, err := Open(t.Context(), ref, o)
	if err != nil {
		t.Fatalf("%s: %v", ref, err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func TestSigns(t *testing.T) {
	h := keytest.NewHSM(t, "signing", "other")
	for i, name := range []string{"rsa2048", "rsa4096", "p256", "p384", "p521"} {
		h.Put("signing", name, name, fmt.Sprintf("0%d", i+1))
	}
	h.Put("other", "p256", "p256", "01")
	treetest.Leaks(t)
	for i, name := range []string{"rsa2048", "rsa4096", "p256", "p384", "p521"} {
		for _, path := range []string{"token=signing;object=" + name, fmt.Sprintf("token=signing;id=%%0%d;type=private", i+1)} {
			k := open(t, h.URI(path), withPIN())
			if !k.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(certificate(t, name).PublicKey) {
				t.Errorf("%s: another public key", path)
			}
			if k.Parallel() != 1 || len(k.Certificates()) != 0 {
				t.Errorf("%s: %d at once, %d certificates", path, k.Parallel(), len(k.Certificates()))
			}
			for _, a := range []hash.Algorithm{hash.SHA1, hash.SHA256, hash.SHA512, hash.SHA3_256} {
				signs(t, k, a)
			}
			k.Close()
		}
	}
}

// TestRIPEMD signs a DigestInfo that is made elsewhere.
func TestDigestInfo(t *testing.T) {
	h := keytest.NewHSM(t, "signing")
	h.Put("signing", "rsa2048", "key", "01")
	k := open(t, h.URI("object=key"), withPIN())
	info := append([]byte{0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x24, 0x03, 0x02, 0x01, 0x05, 0x00, 0x04, 0x14}, make([]byte, 20)...)
	sig, err := k.Sign(t.Context(), info, crypto.Hash(0))
	if err != nil || !verifies(k.Public(), 0, info, sig) {
		t.Errorf("%x, %v", sig, err)
	}
	if _, err := k.Sign(t.Context(), make([]byte, 20), crypto.RIPEMD160); err == nil {
		t.Error("a digest without an identifier is signed")
	}
}

// TestEveryModule finds the token among all modules that p11-kit is configured
// with, one of which holds trusted certificates.
func TestEveryModule(t *testing.T) {
	h := keytest.NewHSM(t, "signing")
	h.Put("signing", "p256", "key", "01")
	if out, err := keytest.Try(t, "p11-kit", "list-modules"); err != nil || !strings.Contains(string(out), "token: signing") {
		t.Skipf("p11-kit is not configured with SoftHSM: %v", err)
	}
	treetest.Leaks(t)
	k := open(t, "pkcs11:object=key", withPIN())
	signs(t, k, hash.SHA256)
	k.Close()
}

// TestCertificate finds the certificate beside the key, and takes the public key
// from there if it is nowhere else.
func TestCertificate(t *testing.T) {
	h := keytest.NewHSM(t, "signing")
	for i, name := range []string{"rsa2048", "p256"} {
		id := fmt.Sprintf("0%d", i+1)
		h.Put("signing", name, name, id)
		h.Tool("signing", "--write-object", vectors.Path(t, "keys/"+name+".cert.der"), "--type", "cert", "--id", id)
		h.Tool("signing", "--delete-object", "--type", "pubkey", "--id", id)
		k := open(t, h.URI("object="+name), withPIN())
		if len(k.Certificates()) != 1 || !k.Certificates()[0].Equal(certificate(t, name)) {
			t.Errorf("%s: %d certificates", name, len(k.Certificates()))
		}
		signs(t, k, hash.SHA256)
	}
	h.Tool("signing", "--delete-object", "--type", "cert", "--id", "02")
	if _, err := Open(t.Context(), h.URI("object=p256"), withPIN()); !errors.Is(err, errNoPublic) {
		t.Errorf("the private half of an EC key alone: %v", err)
	}
}

// TestMatches has URIs mean several things, or none.
func TestMatches(t *testing.T) {
	h := keytest.NewHSM(t, "signing", "other")
	h.Put("signing", "p256", "one", "01")
	h.Put("signing", "p384", "two", "02")
	h.Put("signing", "p521", "two", "03")
	treetest.Leaks(t)
	for _, test := range []struct{ path, want string }{
		{"object=one", `2 tokens match, say more in the URI: "`},
		{"token=nope", `no token matches; there is "`},
		{"token=signing;serial=1", "no token matches; there is "},
		{"token=signing;model=x", "no token matches; there is "},
		{"slot-id=77;token=signing", "no token matches; there is "},
		{"library-description=x", "no token matches; there is "},
		{"token=signing", `3 private keys match, say more in the URI: object=one;id=%01, object=two;id=%02, object=two;id=%03`},
		{"token=signing;object=two", `2 private keys match, say more in the URI: object=two;id=%02, object=two;id=%03`},
		{"token=signing;object=two;id=%01", "no private key matches; there is object="},
		{"token=other", "there is no private key"},
	} {
		_, err := Open(t.Context(), h.URI(test.path), withPIN())
		miss, ok := errors.AsType[*MatchError](err)
		if !ok || !sameButOrder(miss.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.path, err, test.want)
		}
	}
	for _, path := range []string{
		"token=signing;object=two;id=%03", "token=signing;object=one", "token=sign%69ng;id=%01",
		"token=signing;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;object=one;library-manufacturer=SoftHSM;library-description=Implementation%20of%20PKCS11;slot-manufacturer=SoftHSM%20project",
	} {
		k := open(t, h.URI(path), withPIN())
		signs(t, k, hash.SHA256)
		k.Close()
	}
}

// sameButOrder compares a text with what it should begin with, of which a list
// behind a colon is in any order.
func sameButOrder(got, want string) bool {
	head, items, ok := strings.Cut(want, ": ")
	if !ok || strings.HasPrefix(items, `"`) {
		return strings.HasPrefix(got, want)
	}
	if !strings.HasPrefix(got, head) || len(got) != len(want) {
		return false
	}
	for item := range strings.SplitSeq(items, ", ") {
		if !strings.Contains(got, item) {
			return false
		}
	}
	return true
}

func TestUnusable(t *testing.T) {
	h := keytest.NewHSM(t, "signing")
	h.Tool("signing", "--keypairgen", "--key-type", "EC:secp256k1", "--id", "02", "--label", "koblitz")
	h.Tool("signing", "--keypairgen", "--key-type", "EC:edwards25519", "--id", "03", "--label", "edwards")
	treetest.Leaks(t)
	none := filepath.Join(t.TempDir(), "none")
	for _, test := range []struct{ ref, want string }{
		{h.URI("object=koblitz"), (&keyfile.UnsupportedError{Kind: "secp256k1"}).Error()},
		{h.URI("object=edwards"), (&keyfile.UnsupportedError{Kind: "PKCS#11 type 0x40"}).Error()},
		{"pkcs11:object=x?module-path=" + none, "module: stat " + none + ": no such file or directory"},
		{"pkcs11:object=x?module-path=/etc/passwd", "ended without an answer: exit status 1: p11-kit: couldn't load module: /etc/passwd: /etc/passwd: "},
	} {
		if _, err := Open(t.Context(), test.ref, withPIN()); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.ref, err, test.want)
		}
	}
	h.Put("signing", "p256", "decrypts", "04")
	fault(t, "no-sign")
	if _, err := Open(t.Context(), h.URI("object=decrypts"), withPIN()); err != errNotForSigning {
		t.Errorf("CKA_SIGN is false: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Open(t.Context(), h.URI("object=x"), withPIN()); err == nil || !strings.HasPrefix(err.Error(), "the program p11-kit is missing") {
		t.Errorf("without p11-kit: %v", err)
	}
}

func TestPIN(t *testing.T) {
	h := keytest.NewHSM(t, "signing")
	h.Put("signing", "p256", "key", "01")
	file := func(content string, mode os.FileMode) string {
		path := keytest.File(t, []byte(content))
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	asked := 0
	ask := func(answer string) keyfile.Ask {
		return func(prompt string) ([]byte, error) {
			if asked++; prompt != `PIN of token "signing"` {
				t.Errorf("prompt %q", prompt)
			}
			return []byte(answer), nil
		}
	}
	calls := fault(t, "")
	none := filepath.Join(t.TempDir(), "none")
	for _, test := range []struct {
		name, source string
		o            Options
		want         string // the error
		logins       int
	}{
		{"file", file(keytest.PIN+"\nmore\n", 0o600), Options{PIN: []byte("wrong")}, "", 1},
		{"file of DOS", file(keytest.PIN+"\r\n", 0o600), Options{}, "", 1},
		{"empty file", file("\n", 0o600), Options{PIN: []byte(keytest.PIN)}, `PIN of token "signing": none is given`, 0},
		{"no file", none, Options{PIN: []byte(keytest.PIN)}, `pin-source: "` + none + `": no such file or directory`, 0},
		{"asked for", "", Options{Ask: ask(keytest.PIN)}, "", 1},
		{"not answered", "", Options{Ask: ask("")}, `PIN of token "signing": none is given`, 0},
		{"nobody to ask", "", Options{}, `PIN of token "signing": none is given`, 0},
		{"variable before asking", "", Options{PIN: []byte(keytest.PIN), Ask: ask("wrong")}, "", 1},
		{"wrong", "", Options{PIN: []byte("4321"), Ask: ask(keytest.PIN)}, `PIN of token "signing": wrong (CKR_PIN_INCORRECT); it is not tried again, for tokens lock after some tries`, 1},
		{"too short", "", Options{Ask: ask("1")}, `PIN of token "signing": wrong (CKR_PIN_`, 1},
	} {
		os.Remove(calls)
		ref := h.URI("object=key")
		if test.source != "" {
			ref += "&pin-source=file:" + test.source
		}
		k, err := Open(t.Context(), ref, test.o)
		switch {
		case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		case err == nil:
			signs(t, k, hash.SHA256)
			k.Close()
			if strings.Trim(string(k.pin), "\x00") != "" {
				t.Errorf("%s: the PIN is kept", test.name)
			}
		}
		if n := count(t, calls, callLogin); n != test.logins {
			t.Errorf("%s: %d logins, want %d", test.name, n, test.logins)
		}
	}
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}

	var told []string
	open(t, h.URI("object=key")+"&pin-source="+file(keytest.PIN, 0o644), Options{Notice: func(s string) { told = append(told, s) }})
	if len(told) != 1 || !strings.HasSuffix(told[0], "the PIN can be read by others; chmod 600 it") {
		t.Errorf("told %q", told)
	}
}

// count counts the calls of a function in a log of fault.
func count(t *testing.T, log string, call int) (n int) {
	t.Helper()
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if line == fmt.Sprintln(call) {
			n++
		}
	}
	return n
}

// TestPINIsNotTriedWhenItWouldLock has tokens whose PIN is about to lock, or is
// locked.
func TestPINIsNotTriedWhenItWouldLock(t *testing.T) {
	h := keytest.NewHSM(t, "signing")
	h.Put("signing", "p256", "key", "01")
	for what, test := range map[string]struct {
		want   string
		logins int
	}{
		"final-try": {"only one try is left before the token locks; log in with another program first", 0},
		"is-locked": {"locked after too many wrong ones", 0},
		"locked":    {"locked after too many wrong ones", 1},
	} {
		calls := fault(t, what)
		_, err := Open(t.Context(), h.URI("object=key"), withPIN())
		if want := `PIN of token "signing": ` + test.want; err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
		if n := count(t, calls, callLogin); n != test.logins {
			t.Errorf("%s: %d logins, want %d", what, n, test.logins)
		}
		t.Setenv("PATH", filepath.Dir(os.Getenv("REAL_P11_KIT"))+":"+os.Getenv("PATH"))
	}
}

// TestAlwaysAuthenticate has a key that wants the PIN for each signature.
func TestAlwaysAuthenticate(t *testing.T) {
	h := keytest.NewHSM(t, "signing")
	h.Tool("signing", "--keypairgen", "--key-type", "EC:prime256v1", "--id", "01", "--label", "key", "--usage-sign", "--always-auth")
	calls := fault(t, "")
	k := open(t, h.URI("object=key"), withPIN())
	for range 3 {
		signs(t, k, hash.SHA256)
	}
	if n := count(t, calls, callLogin); n != 4 {
		t.Errorf("%d logins, want one and one for each signature", n)
	}
}

// TestSessionLost loses the session at the first signature, in ways after which
// another one does.
func TestSessionLost(t *testing.T) {
	h := keytest.NewHSM(t, "signing")
	h.Put("signing", "p256", "key", "01")
	treetest.Leaks(t)
	path := os.Getenv("PATH")
	for what, why := range map[string]string{
		"dies":    "ended without an answer: exit status 139: p11-kit: Segmentation fault",
		"closed":  "C_Sign: CKR_SESSION_HANDLE_INVALID",
		"removed": "C_SignInit: CKR_DEVICE_REMOVED",
	} {
		t.Setenv("PATH", path)
		calls := fault(t, "once-"+what)
		var told []string
		k := open(t, h.URI("object=key"), Options{PIN: []byte(keytest.PIN), Notice: func(s string) { told = append(told, s) }})
		signs(t, k, hash.SHA256)
		signs(t, k, hash.SHA256)
		want := "the session with the token is lost (" + why + "), and opened again"
		if len(told) == 0 || told[len(told)-1] != want {
			t.Errorf("%s: told %q, want %q", what, told, want)
		}
		if n := count(t, calls, callLogin); n != 2 {
			t.Errorf("%s: %d logins, want 2", what, n)
		}
		k.Close()

		// It is opened again once.
		t.Setenv("PATH", path)
		calls = fault(t, what)
		k = open(t, h.URI("object=key"), withPIN())
		if _, err := k.Sign(t.Context(), make([]byte, 32), crypto.SHA256); err == nil || err.Error() != why {
			t.Errorf("%s: %v, want %s", what, err, why)
		}
		if n := count(t, calls, callInitialize); n != 2 {
			t.Errorf("%s: %d sessions, want 2", what, n)
		}
		k.Close()
	}
}

// TestTokenPulledOut removes the token in the middle, and its session.
func TestTokenPulledOut(t *testing.T) {
	h := keytest.NewHSM(t, "signing")
	h.Put("signing", "p256", "key", "01")
	treetest.Leaks(t)
	fault(t, "once-dies")
	k := open(t, h.URI("object=key"), withPIN())
	keytest.Run(t, "softhsm2-util", "--delete-token", "--token", "signing")
	_, err := k.Sign(t.Context(), make([]byte, 32), crypto.SHA256)
	if _, ok := errors.AsType[*MatchError](err); !ok || err.Error() != "there is no token" {
		t.Errorf("%v", err)
	}
	k.Close()
}

// TestModuleFails has the module or p11-kit do what another session does not
// mend.
func TestModuleFails(t *testing.T) {
	h := keytest.NewHSM(t, "signing")
	h.Put("signing", "p256", "key", "01")
	treetest.Leaks(t)
	path := os.Getenv("PATH")
	for what, want := range map[string]string{
		"forbidden":  errNotForSigning.Error(),
		"failed":     "C_Sign: CKR_FUNCTION_FAILED",
		"garbage":    "p11-kit answered with a message 2779096485 of ",
		"short":      "an answer is cut short",
		"other-call": "p11-kit answered to C_Sign with something else",
		"code-0":     "p11-kit answered to C_Sign with something else",
	} {
		t.Setenv("PATH", path)
		fault(t, what)
		k := open(t, h.URI("object=key"), withPIN())
		if _, err := k.Sign(t.Context(), make([]byte, 32), crypto.SHA256); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
		k.Close()
	}
}

// TestHangs has the module not return: it is killed when its time is up, and
// when the caller gives up.
func TestHangs(t *testing.T) {
	h := keytest.NewHSM(t, "signing")
	h.Put("signing", "p256", "key", "01")
	treetest.Leaks(t)
	interrupted := errors.New("interrupted")
	soon := func() context.Context {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(200*time.Millisecond, func() { cancel(interrupted) })
		return ctx
	}
	path := os.Getenv("PATH")
	fault(t, "hangs-first")
	if _, err := Open(soon(), h.URI("object=key"), withPIN()); !errors.Is(err, interrupted) {
		t.Errorf("%v", err)
	}
	t.Setenv("PATH", path)
	fault(t, "hangs")
	k := open(t, h.URI("object=key"), Options{PIN: []byte(keytest.PIN), Timeout: 2 * time.Second})
	defer k.Close()
	ctx := soon()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if _, err := k.Sign(ctx, make([]byte, 32), crypto.SHA256); !errors.Is(err, interrupted) {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	begun := time.Now()
	_, err := k.Sign(t.Context(), make([]byte, 32), crypto.SHA256)
	if err == nil || err.Error() != "waiting for the token: no answer within 2s" || time.Since(begun) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
}

// TestVersions speaks with p11-kit of other versions.
func TestVersions(t *testing.T) {
	h := keytest.NewHSM(t, "signing")
	h.Put("signing", "rsa2048", "key", "01")
	path := os.Getenv("PATH")
	for _, what := range []string{"version-0.23", "version-2"} {
		t.Setenv("PATH", path)
		fault(t, what)
		k := open(t, h.URI("object=key"), withPIN())
		signs(t, k, hash.SHA256)
		k.Close()
	}
	t.Setenv("PATH", path)
	fault(t, "version-3")
	if _, err := Open(t.Context(), h.URI("object=key"), withPIN()); err == nil || err.Error() != "p11-kit answered to version 2 with 3" {
		t.Errorf("%v", err)
	}
}

// TestJobs has four sessions sign at once; they are opened when they are needed.
func TestJobs(t *testing.T) {
	h := keytest.NewHSM(t, "signing")
	h.Put("signing", "p256", "key", "01")
	treetest.Leaks(t)
	calls := fault(t, "")
	k := open(t, h.URI("object=key"), Options{PIN: []byte(keytest.PIN), Jobs: 4})
	if k.Parallel() != 4 {
		t.Errorf("%d at once", k.Parallel())
	}
	signs(t, k, hash.SHA256)
	if n := count(t, calls, callInitialize); n > 2 {
		t.Errorf("%d sessions for one signature", n)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { signs(t, k, hash.SHA256) })
	}
	wg.Wait()
	if n := count(t, calls, callInitialize); n != 4 {
		t.Errorf("%d sessions, want 4", n)
	}
	k.Close()
}
