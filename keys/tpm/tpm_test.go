package tpm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	tss "github.com/foxboron/go-tpm-keyfiles"
	"github.com/google/go-tpm/tpm2"

	"imaseal/hash"
	"imaseal/internal/treetest"
	"imaseal/internal/vectors"
	"imaseal/keys/keyfile"
	"imaseal/keys/keytest"
)

// content is what the file holds in PEM.
func content(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pem.Decode(text)
	if b == nil || b.Type != "TSS2 PRIVATE KEY" {
		t.Fatalf("%s holds %.40q", file, text)
	}
	return b.Bytes
}

// answers returns an Ask with one answer, which counts.
func answers(t *testing.T, passphrase string, asked *int) keyfile.Ask {
	return func(prompt string) ([]byte, error) {
		if *asked++; !strings.HasPrefix(prompt, `passphrase of "`) {
			t.Errorf("prompt %q", prompt)
		}
		return []byte(passphrase), nil
	}
}

func signs(t *testing.T, k *Key, algorithms ...hash.Algorithm) {
	t.Helper()
	for _, a := range algorithms {
		d, err := hash.Sum(a, []byte("content"))
		if err != nil {
			t.Fatal(err)
		}
		sig, err := k.Sign(t.Context(), d.Bytes(), a.Crypto())
		if err == nil {
			switch public := k.Public().(type) {
			case *rsa.PublicKey:
				err = rsa.VerifyPKCS1v15(public, a.Crypto(), d.Bytes(), sig)
			case *ecdsa.PublicKey:
				if !ecdsa.VerifyASN1(public, d.Bytes(), sig) {
					err = errors.New("another signature")
				}
			}
		}
		if err != nil {
			t.Errorf("%s with %s: %v", k.name, a, err)
		}
	}
}

func opened(t *testing.T, k *Key, err error) *Key {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// transient returns how many keys and sessions are in the TPM.
func transient(t *testing.T) int {
	t.Helper()
	n := 0
	for _, kind := range []string{"handles-transient", "handles-loaded-session"} {
		n += strings.Count(string(keytest.Run(t, "tpm2_getcap", kind)), "- 0x")
	}
	return n
}

// TestFiles signs with files of tpm2-openssl and tpm2-tools.
func TestFiles(t *testing.T) {
	m := keytest.NewTPM(t)
	treetest.Leaks(t)
	o := Options{Device: m.TCTI}
	for _, file := range []string{
		m.Generate("-algorithm", "RSA", "-pkeyopt", "bits:2048"),
		m.Generate("-algorithm", "EC", "-pkeyopt", "group:P-256"),
		m.Generate("-algorithm", "EC", "-pkeyopt", "group:P-384"),
	} {
		k, err := OpenFile(t.Context(), file, content(t, file), o)
		opened(t, k, err)
		signs(t, k, hash.SHA1, hash.SHA256, hash.SHA384, hash.SHA512)
		if _, err := k.Sign(t.Context(), make([]byte, 16), crypto.MD5); err == nil {
			t.Error("an MD5 digest is signed")
		}
		// Loaded once, without the parent, and flushed at the end.
		if n := transient(t); n != 1 {
			t.Errorf("%d objects are in the TPM, want the key", n)
		}
		k.Close()
		if n := transient(t); n != 0 {
			t.Errorf("%d objects are left in the TPM", n)
		}
	}
}

// TestEncodedFile has a file of tpm2-tools, which say that there is a passphrase
// when there is none, and a persistent parent.
func TestEncodedFile(t *testing.T) {
	m := keytest.NewTPM(t)
	m.Make("0x81000010", "-G", "ecc256:ecdsa", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign")
	key := filepath.Join(m.Files, "0x81000010")
	m.Tool("tpm2_evictcontrol", "-C", "o", "-c", m.Primary(), "0x81000001")
	for _, parent := range []string{m.Primary(), "0x81000001"} {
		file := filepath.Join(t.TempDir(), "key.pem")
		m.Tool("tpm2_encodeobject", "-C", parent, "-u", key+".pub", "-r", key+".priv", "-o", file)
		asked := 0
		for _, ask := range []keyfile.Ask{nil, answers(t, "", &asked)} {
			k, err := OpenFile(t.Context(), file, content(t, file), Options{Device: m.TCTI, Ask: ask})
			opened(t, k, err)
			signs(t, k, hash.SHA256)
			k.Close()
		}
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
	}
}

// TestImported has a file with a key that was made elsewhere.
func TestImported(t *testing.T) {
	m := keytest.NewTPM(t)
	for _, name := range []string{"p256", "rsa2048"} {
		path := vectors.Path(t, "keys/"+name+".key.pem")
		file := m.Import(path, "0x81000010")
		k, err := OpenFile(t.Context(), file, content(t, file), Options{Device: m.TCTI})
		opened(t, k, err)
		signs(t, k, hash.SHA256)
		private, err := keyfile.OpenPrivate(path, nil)
		if err != nil || !private.Key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(k.Public()) {
			t.Errorf("%s: another public key, %v", name, err)
		}
		k.Close()
		m.Tool("tpm2_evictcontrol", "-C", "o", "-c", "0x81000010")
	}
}

// TestImportable has a file that was made without the TPM, for it: the TPM imports
// the key each time.
func TestImportable(t *testing.T) {
	m := keytest.NewTPM(t)
	private, err := keyfile.OpenPrivate(vectors.Path(t, "keys/p256.key.pem"), nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Tool("tpm2_evictcontrol", "-C", "o", "-c", m.Primary(), "0x81000001")
	l, err := newLink(m.TCTI, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, root, err := tss.ReadPublic(run{t.Context(), l}, 0x81000001)
	if err != nil {
		t.Fatal(err)
	}
	for _, parent := range []tpm2.TPMHandle{0x81000001, tpm2.TPMRHOwner} {
		key, err := tss.NewImportablekey(root, *private.Key.(*ecdsa.PrivateKey), tss.WithParent(parent))
		if err != nil {
			t.Fatal(err)
		}
		key.EmptyAuth = true
		k, err := OpenFile(t.Context(), "imported", tss.Marshal(key), Options{Device: m.TCTI})
		opened(t, k, err)
		signs(t, k, hash.SHA256)
		k.Close()
	}
	if n := transient(t); n != 0 {
		t.Errorf("%d objects are left in the TPM", n)
	}
}

func TestPersistent(t *testing.T) {
	m := keytest.NewTPM(t)
	treetest.Leaks(t)
	m.Make("0x81000010", "-G", "ecc256:ecdsa", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign")
	m.Make("0x81000011", "-G", "rsa2048:rsassa:null", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign")
	m.Make("0x81000012", "-G", "rsa2048", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|decrypt")
	for _, ref := range []string{"tpm:0x81000010", "tpm:0x81000011", "tpm:0x81000012", "tpm:2164260880"} {
		k, err := Open(t.Context(), ref, Options{Device: m.TCTI})
		opened(t, k, err)
		signs(t, k, hash.SHA256)
		k.Close()
	}
	for ref, want := range map[string]string{
		"tpm:0x81000077":  "the TPM has no persistent key 0x81000077",
		"tpm:0x80000000":  `"0x80000000" is not the handle of a persistent key, such as 0x81000001`,
		"tpm:":            `"" is not the handle of a persistent key, such as 0x81000001`,
		"tpm:0x181000001": `"0x181000001" is not the handle of a persistent key, such as 0x81000001`,
	} {
		if _, err := Open(t.Context(), ref, Options{Device: m.TCTI}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", ref, err, want)
		}
	}
	if n := transient(t); n != 0 {
		t.Errorf("%d objects are left in the TPM", n)
	}
}

// TestUnusable has keys that cannot sign labels.
func TestUnusable(t *testing.T) {
	m := keytest.NewTPM(t)
	const base = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|"
	m.Make("0x81000010", "-G", "rsa2048", "-a", base+"decrypt")
	m.Make("0x81000011", "-G", "ecc256:ecdsa-sha256:null", "-a", base+"sign|restricted")
	m.Make("0x81000012", "-G", "rsa2048:rsapss-sha256:null", "-a", base+"sign")
	m.Make("0x81000013", "-G", "ecc256:ecdsa-sha384", "-a", base+"sign")
	for ref, want := range map[string]string{
		"tpm:0x81000010": "the key is not one for signing",
		"tpm:0x81000011": "the key is restricted: it signs only what the TPM itself has made, no digests of files",
		"tpm:0x81000012": "the key only signs by scheme 0x0016, which no kernel verifies",
	} {
		_, err := Open(t.Context(), ref, Options{Device: m.TCTI})
		if _, ok := errors.AsType[*RefusedError](err); !ok || err.Error() != want {
			t.Errorf("%s: %v, want %s", ref, err, want)
		}
	}
	// The key has one digest algorithm.
	k, err := Open(t.Context(), "tpm:0x81000013", Options{Device: m.TCTI})
	opened(t, k, err)
	signs(t, k, hash.SHA384)
	_, err = k.Sign(t.Context(), make([]byte, 32), crypto.SHA256)
	if err == nil || !strings.HasSuffix(err.Error(), "the TPM or the key does not have this digest algorithm") {
		t.Errorf("%v", err)
	}
	// A file of another TPM.
	file := m.Generate("-algorithm", "EC", "-pkeyopt", "group:P-256")
	m.Tool("tpm2_clear")
	_, err = OpenFile(t.Context(), file, content(t, file), Options{Device: m.TCTI})
	if err == nil || !strings.HasSuffix(err.Error(), "the file is of another TPM, or the TPM was cleared") {
		t.Errorf("%v", err)
	}
	m.Tool("tpm2_changeauth", "-c", "o", "owner")
	if _, err = OpenFile(t.Context(), file, content(t, file), Options{Device: m.TCTI}); err == nil || !strings.HasPrefix(err.Error(), "the TPM's owner has a passphrase") {
		t.Errorf("%v", err)
	}
}

// TestPassphrase asks once, whatever comes of it.
func TestPassphrase(t *testing.T) {
	m := keytest.NewTPM(t)
	treetest.Leaks(t)
	file := m.Generate("-algorithm", "EC", "-pkeyopt", "group:P-256", "-pkeyopt", "user-auth:secret")
	m.Make("0x81000010", "-G", "rsa2048", "-p", "secret", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign|decrypt")
	for name, open := range map[string]func(Options) (*Key, error){
		"file":       func(o Options) (*Key, error) { return OpenFile(t.Context(), file, content(t, file), o) },
		"persistent": func(o Options) (*Key, error) { return Open(t.Context(), "tpm:0x81000010", o) },
	} {
		asked := 0
		k, err := open(Options{Device: m.TCTI, Ask: answers(t, "secret", &asked)})
		opened(t, k, err)
		signs(t, k, hash.SHA256, hash.SHA1, hash.SHA256)
		k.Close()
		if n := transient(t); asked != 1 || n != 0 || strings.Trim(string(k.auth), "\x00") != "" {
			t.Errorf("%s: asked %d times, %d objects left, passphrase %q", name, asked, n, k.auth)
		}
		for _, wrong := range []keyfile.Ask{answers(t, "wrong", &asked), answers(t, "", &asked), nil} {
			asked = 0
			k, err := open(Options{Device: m.TCTI, Ask: wrong})
			opened(t, k, err)
			for range 3 {
				_, err := k.Sign(t.Context(), make([]byte, 32), crypto.SHA256)
				if p, ok := errors.AsType[*keyfile.PassphraseError](err); !ok || p.Wrong != (wrong != nil) {
					t.Errorf("%s, asked %d times: %v", name, asked, err)
				}
			}
			if asked > 1 {
				t.Errorf("%s: asked %d times", name, asked)
			}
			k.Close()
		}
	}
}

// TestLost loses the key and the session with it.
func TestLost(t *testing.T) {
	m := keytest.NewTPM(t)
	treetest.Leaks(t)
	file := m.Generate("-algorithm", "EC", "-pkeyopt", "group:P-256", "-pkeyopt", "user-auth:secret")
	m.Make("0x81000010", "-G", "ecc256:ecdsa", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign")
	asked := 0
	var told []string
	o := Options{Device: m.TCTI, Ask: answers(t, "secret", &asked), Notice: func(s string) { told = append(told, s) }}
	k, err := OpenFile(t.Context(), file, content(t, file), o)
	opened(t, k, err)
	persistent, err := Open(t.Context(), "tpm:0x81000010", o)
	opened(t, persistent, err)
	for what, lose := range map[string]func(){
		"flushed":   func() { keytest.Run(t, "tpm2_flushcontext", "-t") },
		"session":   func() { keytest.Run(t, "tpm2_flushcontext", "-l") },
		"restarted": func() { m.Stop(); m.Start() },
	} {
		signs(t, k, hash.SHA256)
		told = nil
		lose()
		signs(t, k, hash.SHA256, hash.SHA256)
		signs(t, persistent, hash.SHA256)
		if len(told) != 1 || !strings.Contains(told[0], "is loaded into the TPM again: signing: ") {
			t.Errorf("%s: told %q", what, told)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	m.Stop()
	for _, k := range []*Key{k, persistent} {
		if _, err := k.Sign(t.Context(), make([]byte, 32), crypto.SHA256); err == nil || !strings.Contains(err.Error(), "connect: no such file or directory") {
			t.Errorf("%v", err)
		}
	}
	m.Start()
	signs(t, k, hash.SHA256)
}

// TestOneAtATime has many callers sign.
func TestOneAtATime(t *testing.T) {
	m := keytest.NewTPM(t)
	treetest.Leaks(t)
	file := m.Generate("-algorithm", "EC", "-pkeyopt", "group:P-256")
	k, err := OpenFile(t.Context(), file, content(t, file), Options{Device: m.TCTI})
	opened(t, k, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { signs(t, k, hash.SHA256, hash.SHA1) })
	}
	wg.Wait()
}

// TestTroubled stands between the key and the TPM.
func TestTroubled(t *testing.T) {
	m := keytest.NewTPM(t)
	treetest.Leaks(t)
	file := m.Generate("-algorithm", "EC", "-pkeyopt", "group:P-256")
	p := newProxy(t, strings.TrimPrefix(m.TCTI, "swtpm:path="))
	var told []string
	open := func() *Key {
		k, err := OpenFile(t.Context(), file, content(t, file), Options{
			Device: p.TCTI(), Timeout: time.Second, Notice: func(s string) { told = append(told, s) },
		})
		return opened(t, k, err)
	}
	k := open()
	for _, test := range []struct {
		fault     func(answer []byte) []byte
		want      string
		temporary bool
	}{
		{code(0x922), "signing: TPM_RC_RETRY: ", true},
		{code(0x908), "signing: TPM_RC_YIELDED: ", true},
		{code(0x902), "signing: TPM_RC_OBJECT_MEMORY: ", true},
		{code(0x921), "signing: TPM_RC_LOCKOUT: ", false},
		{func([]byte) []byte { return nil }, "signing: EOF", false},
		{func(b []byte) []byte { return b[:8] }, "signing: unexpected EOF", false},
		{func(b []byte) []byte { return b[:20] }, "signing: unexpected EOF", false},
		{func(b []byte) []byte { b[2] = 1; return b }, "signing: an answer of ", false},
		{func(b []byte) []byte { b[9] = 0xff; return b }, "signing: ", false},
	} {
		p.set(test.fault)
		_, err := k.Sign(t.Context(), make([]byte, 32), crypto.SHA256)
		temporary, ok := errors.AsType[interface {
			error
			Temporary() bool
		}](err)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) || test.temporary != (ok && temporary.Temporary()) {
			t.Errorf("%v, want %s", err, test.want)
		}
		p.set(nil)
		signs(t, k, hash.SHA256)
	}

	interrupted := errors.New("interrupted")
	p.set(func(b []byte) []byte { time.Sleep(3 * time.Second); return b })
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(interrupted) })
	begun := time.Now()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := k.Sign(ctx, make([]byte, 32), crypto.SHA256); !errors.Is(err, interrupted) || time.Since(begun) > 900*time.Millisecond {
				t.Errorf("%v after %v", err, time.Since(begun))
			}
		})
	}
	wg.Wait()
	if _, err := k.Sign(t.Context(), make([]byte, 32), crypto.SHA256); err == nil || err.Error() != "signing: waiting for the TPM: no answer within 1s" {
		t.Errorf("%v", err)
	}
	p.set(nil)
	signs(t, k, hash.SHA256)
}
