package program

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/mldsa"

	"imaseal/internal/treetest"
	"imaseal/internal/vectors"
	"imaseal/keys/child"
	"imaseal/keys/keyfile"
)

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// open opens the key, and closes it when the test ends. Nothing is left then.
func open(t *testing.T, ref string, o Options) *Key {
	t.Helper()
	k, err := Open(t.Context(), ref, o)
	if err != nil {
		t.Fatalf("%s: %v", ref, err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func digest(n int) []byte {
	d := sha256.Sum256(fmt.Append(nil, n))
	return d[:]
}

// signs checks that the key signs.
func signs(t *testing.T, k *Key, n int) {
	t.Helper()
	sig, err := k.Sign(t.Context(), digest(n), crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(k.Public().(*ecdsa.PublicKey), digest(n), sig) {
		t.Errorf("signature %d: %x, %v", n, sig, err)
	}
}

func TestScheme(t *testing.T) {
	for ref, want := range map[string]string{
		"awskms:///alias/x": "awskms", "a+b-1.c://x": "a+b-1.c", "x://": "x",
		"/etc/key.pem": "", "./x://y": "", "X://y": "", "pkcs11:token=x": "", "://x": "", "1x://y": "",
	} {
		if got, ok := Scheme(ref); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", ref, got, ok)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Open(t.Context(), "nope://x", Options{})
	if _, ok := errors.AsType[*MissingError](err); !ok || err.Error() != "no program imaseal-key-nope or sigstore-kms-nope in PATH" {
		t.Errorf("%v", err)
	}
}

func TestSigns(t *testing.T) {
	install(t, "imaseal-key-a", "sigstore-kms-a", "sigstore-kms-b")
	treetest.Leaks(t)
	a, b := open(t, "a://well", Options{}), open(t, "b://key", Options{})
	if a.Parallel() != 4 || b.Parallel() != sigstoreParallel {
		t.Errorf("%d and %d at once", a.Parallel(), b.Parallel())
	}
	for _, k := range []*Key{a, b} {
		signs(t, k, 1)
		signs(t, k, 2)
		if _, err := k.Sign(t.Context(), digest(1), crypto.Hash(0)); err == nil {
			t.Error("a signature over what is no digest")
		}
	}
	if k := open(t, "a://well", Options{Jobs: 1000}); k.Parallel() != maxParallel {
		t.Errorf("%d at once", k.Parallel())
	}
}

// TestMLDSA has a key that signs messages, which sigstore's programs cannot.
func TestMLDSA(t *testing.T) {
	install(t, "imaseal-key-a", "sigstore-kms-b")
	treetest.Leaks(t)
	k := open(t, "a://mldsa", Options{})
	sig, err := k.Sign(t.Context(), []byte("message"), crypto.Hash(0))
	if err != nil || mldsa.Verify(k.Public().(*mldsa.PublicKey), []byte("message"), sig, nil) != nil {
		t.Errorf("%d bytes, %v", len(sig), err)
	}
	_, err = open(t, "b://mldsa", Options{}).Sign(t.Context(), []byte("message"), crypto.Hash(0))
	if err == nil || !strings.Contains(err.Error(), "its protocol has no signatures over messages") {
		t.Errorf("%v", err)
	}
}

// TestAnswersInAnyOrder needs four requests under way, for the program answers
// none before.
func TestAnswersInAnyOrder(t *testing.T) {
	install(t, "imaseal-key-test")
	treetest.Leaks(t)
	k := open(t, "test://backwards", Options{})
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() { signs(t, k, n) })
	}
	wg.Wait()
}

// TestKeptBusy has a service sign that can do eight at once, and answers none before
// it has eight.
func TestKeptBusy(t *testing.T) {
	install(t, "imaseal-key-test")
	const count, ways = 160, 8
	var now, most atomic.Int64
	var mu sync.Mutex
	var waiting []chan struct{}
	// full returns when as many wait as can be done at once.
	full := func() {
		mu.Lock()
		answered := make(chan struct{})
		if waiting = append(waiting, answered); len(waiting) == ways {
			for _, w := range waiting {
				close(w)
			}
			waiting = nil
		}
		mu.Unlock()
		select {
		case <-answered:
		case <-time.After(time.Minute):
			t.Errorf("the service is not kept busy: it waits for %d signatures at once", ways)
		}
	}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		d, _ := io.ReadAll(r.Body)
		full()
		w.Write(sign(request{Digest: d}))
	}))
	defer service.Close()
	k := open(t, "test://http/"+strings.TrimPrefix(service.URL, "http://"), Options{})
	var wg sync.WaitGroup
	for n := range count {
		wg.Go(func() { signs(t, k, n) })
	}
	wg.Wait()
	if most.Load() != ways {
		t.Errorf("%d signatures at once, want %d", most.Load(), ways)
	}
}

// short is the time limit of programs that hang. It is long for a busy machine,
// and tests wait for several at once.
const short = 5 * time.Second

// TestStartFails has programs fail before they sign.
func TestStartFails(t *testing.T) {
	install(t, "imaseal-key-test", "sigstore-kms-other")
	treetest.Leaks(t)
	var wg sync.WaitGroup
	for _, test := range []struct{ ref, want string }{
		{"test://mute", "imaseal-key-test: starting: no answer within 5s"},
		{"test://dies-first", "imaseal-key-test: starting: ended without an answer: exit status 3: no configuration"},
		{"test://no-json", `imaseal-key-test: starting: not the protocol: "Welcome to the key program!" is not a first line in JSON: invalid character 'W' looking for beginning of value`},
		{"test://other-protocol", `imaseal-key-test: starting: not the protocol: the first line says "age-plugin" instead of "imaseal-key"`},
		{"test://other-version", "imaseal-key-test: starting: not the protocol: the first line says version 2, and only 1 is known"},
		{"test://no-key", "imaseal-key-test: starting: not the protocol: the public key: is empty"},
		{"test://says-no", "imaseal-key-test: starting: the token has [31m expired"},
		{"test://long-line", "imaseal-key-test: starting: not the protocol: a line of more than 1048576 bytes"},
		{"other://hangs", "sigstore-kms-other: asking for the public key: no answer within 5s"},
		{"other://dies", "sigstore-kms-other: asking for the public key: ended without an answer: exit status 3: no credentials"},
		{"other://nonsense", "sigstore-kms-other: asking for the public key: not the protocol: \"{\\n\" is not an answer in JSON: unexpected end of JSON input"},
		{"other://error", "sigstore-kms-other: asking for the public key: access denied"},
		{"other://empty", "sigstore-kms-other: asking for the public key: not the protocol: no public key in the answer"},
	} {
		wg.Go(func() {
			k, err := Open(t.Context(), test.ref, Options{Timeout: short})
			if k != nil || err == nil || err.Error() != test.want {
				t.Errorf("%s:\n%v, want\n%s", test.ref, err, test.want)
			}
		})
	}
	wg.Wait()
}

// TestSignFails has a program fail at the first request. Where another one can
// be started the error says so, and the next signature is made.
func TestSignFails(t *testing.T) {
	install(t, "imaseal-key-test")
	treetest.Leaks(t)
	var wg sync.WaitGroup
	for _, test := range []struct {
		behaviour, want string
		again           bool
	}{
		{"dies", "ended without an answer: exit status 3: panic: out of luck", true},
		{"killed", "ended without an answer: signal: killed", true},
		{"hangs", "no answer within 5s", true},
		{"child-hangs", "no answer within 5s", true},
		{"deaf", "no answer within 5s", true},
		{"closes-output", "not the protocol: it closed its output and did not end", false},
		{"nonsense", `not the protocol: "signed, I promise" is not an answer in JSON: invalid character 's' looking for beginning of value`, false},
		{"unasked", "not the protocol: an answer to request 6, which there was not", false},
		{"empty", "not the protocol: the answer to request 1 has neither a signature nor an error", false},
		{"temporary", "quota exceeded", true},
		{"permanent", "quota exceeded", false},
	} {
		wg.Go(func() { signFails(t, test.behaviour, test.want, test.again) })
	}
	wg.Wait()
}

func signFails(t *testing.T, behaviour, want string, again bool) {
	var notices []string
	o := Options{Timeout: short, Notice: func(s string) { notices = append(notices, s) }}
	k, err := Open(t.Context(), "test://"+behaviour+"-once"+filepath.Join(t.TempDir(), "ran"), o)
	if err != nil {
		t.Errorf("%s: %v", behaviour, err)
		return
	}
	defer k.Close()
	_, err = k.Sign(t.Context(), digest(1), crypto.SHA256)
	if err == nil || err.Error() != "imaseal-key-test: "+want {
		t.Errorf("%s: %v, want %s", behaviour, err, want)
	}
	temporary, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	if got := ok && temporary.Temporary(); got != again {
		t.Errorf("%s: worth another try: %v", behaviour, got)
	}
	if want == "quota exceeded" {
		return
	}
	signs(t, k, 2)
	told := "imaseal-key-test: " + want + "; started again"
	if !slices.Contains(notices, told) {
		t.Errorf("%s: told %q, want %q", behaviour, notices, told)
	}
}

func TestLateAndDoubledAnswersAreDropped(t *testing.T) {
	install(t, "imaseal-key-test")
	treetest.Leaks(t)
	twice := open(t, "test://twice", Options{})
	for n := range 10 {
		signs(t, twice, n)
	}
	late := open(t, "test://late", Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := late.Sign(ctx, digest(1), crypto.SHA256); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	signs(t, late, 2)
	if err := late.Close(); err != nil {
		t.Error(err)
	}
}

// TestInterrupted ends the context while a program thinks, at the start, at a
// signature, and while all are busy.
func TestInterrupted(t *testing.T) {
	install(t, "imaseal-key-test", "sigstore-kms-other")
	treetest.Leaks(t)
	interrupted := errors.New("interrupted")
	soon := func() context.Context {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(100*time.Millisecond, func() { cancel(interrupted) })
		return ctx
	}
	for _, ref := range []string{"test://mute", "other://hangs"} {
		begun := time.Now()
		if _, err := Open(soon(), ref, Options{}); !errors.Is(err, interrupted) || time.Since(begun) > 2*time.Second {
			t.Errorf("%s: %v after %v", ref, err, time.Since(begun))
		}
	}
	k := open(t, "test://hangs", Options{Jobs: 1})
	ctx := soon()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			begun := time.Now()
			if _, err := k.Sign(ctx, digest(1), crypto.SHA256); !errors.Is(err, interrupted) || time.Since(begun) > 2*time.Second {
				t.Errorf("%v after %v", err, time.Since(begun))
			}
		})
	}
	wg.Wait()
}

// TestCloseOfHanging does not wait for a program that has not answered.
func TestCloseOfHanging(t *testing.T) {
	install(t, "imaseal-key-test")
	treetest.Leaks(t)
	k := open(t, "test://hangs-for-ever", Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := k.Sign(ctx, digest(1), crypto.SHA256); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	begun := time.Now()
	if err := k.Close(); err != nil || time.Since(begun) > child.Grace/2 {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
}

// TestClose ends programs that do not want to.
func TestClose(t *testing.T) {
	install(t, "imaseal-key-test")
	treetest.Leaks(t)
	for _, behaviour := range []string{"well", "stays"} {
		k := open(t, "test://"+behaviour, Options{})
		signs(t, k, 1)
		begun := time.Now()
		if err := k.Close(); err != nil || time.Since(begun) > 2*child.Grace {
			t.Errorf("%s: %v after %v", behaviour, err, time.Since(begun))
		}
	}
}

// FuzzLines gives a session any lines of a program.
func FuzzLines(f *testing.F) {
	f.Add([]byte(`{"protocol":"imaseal-key","version":1}`), []byte(`{"id":1,"signature":"AAAA"}`))
	f.Add([]byte(`{"error":"x"}`), []byte(`{"id":1,"error":"x","temporary":true}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		answers := make(chan answer, 1)
		s := &session{greeted: make(chan struct{}), last: 1, waiting: map[uint64]chan<- answer{1: answers}}
		if s.greet(first) == nil && s.hello.Protocol != protocolName {
			t.Errorf("greeted by %q", first)
		}
		for range 2 {
			s.take(second)
		}
		if len(answers) == 1 {
			if a := <-answers; a.ID != 1 || a.Error == "" && len(a.Signature) == 0 {
				t.Errorf("%q is answer %v", second, a)
			}
		}
	})
}

// TestManual holds the conversation in the manual against what both sides say.
func TestManual(t *testing.T) {
	manual, err := os.ReadFile("../../doc/imaseal-key.7")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(manual), ".SH EXAMPLES\n")
	_, example, _ = strings.Cut(example, ".nf\n")
	example, _, ok := strings.Cut(example, ".fi\n")
	if !ok {
		t.Fatal("no conversation in the manual")
	}
	example = strings.NewReplacer("\\-", "-", "\n   ", "").Replace(example)
	der, err := os.ReadFile(vectors.Path(t, "keys/p256.cert.der"))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(vectors.Path(t, "files/hello.txt"))
	if err != nil {
		t.Fatal(err)
	}
	hello256, empty := sha256.Sum256(content), sha256.Sum256(nil)

	answers := map[uint64]chan answer{1: make(chan answer, 1), 2: make(chan answer, 1)}
	s := &session{
		greeted: make(chan struct{}), requests: make(chan []byte, 3), last: 2,
		waiting: map[uint64]chan<- answer{1: answers[1], 2: answers[2]},
	}
	for _, line := range []any{
		hello{Protocol: protocolName, Version: protocolVersion, Key: "demo://signing"},
		request{ID: 1, Hash: "sha256", Digest: hello256[:]},
		request{ID: 2, Hash: "sha256", Digest: empty[:]},
	} {
		if err := s.write(t.Context(), line); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(example) {
		from, line, _ := strings.Cut(line, " ")
		switch {
		case from == ">":
			if want := string(<-s.requests); line != want {
				t.Errorf("the manual has\n%swhere imaseal writes\n%s", line, want)
			}
		case s.hello.Protocol == "":
			if err := s.greet([]byte(line)); err != nil || s.hello.Parallel != 8 {
				t.Errorf("%s: %v", line, err)
			}
		default:
			if err := s.take([]byte(line)); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	public, err := keyfile.ParsePublic(s.hello.Public)
	if err != nil || !certificate.PublicKey.(*ecdsa.PublicKey).Equal(public) {
		t.Errorf("the public key: %v", err)
	}
	first, second := <-answers[1], <-answers[2]
	if !ecdsa.VerifyASN1(certificate.PublicKey.(*ecdsa.PublicKey), hello256[:], first.Signature) {
		t.Errorf("the signature does not verify")
	}
	if second.Error != "quota exceeded" || !second.Temporary {
		t.Errorf("the second answer is %v", second)
	}
}
