package tpm

import (
	"context"
	"crypto"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"imaseal/hash"
	"imaseal/internal/treetest"
	"imaseal/keys/keytest"
)

// TestNoRoomForASession has a TPM that is full for a moment when the passphrase is
// to be proved. That is no wrong passphrase, and leaves nothing in the TPM.
func TestNoRoomForASession(t *testing.T) {
	m := keytest.NewTPM(t)
	treetest.Leaks(t)
	file := m.Generate("-algorithm", "EC", "-pkeyopt", "group:P-256", "-pkeyopt", "user-auth:secret")
	m.Make("0x81000010", "-G", "ecc256:ecdsa", "-p", "secret", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign")
	p := newProxy(t, strings.TrimPrefix(m.TCTI, "swtpm:path="))
	full := func(k *Key) {
		t.Helper()
		const sessionMemory = 0x903
		p.refuses(tpm2.TPMCCStartAuthSession, sessionMemory)
		for range 2 {
			_, err := k.Sign(t.Context(), make([]byte, 32), crypto.SHA256)
			temporary, ok := errors.AsType[*failure](err)
			if !ok || !temporary.Temporary() || !strings.HasPrefix(err.Error(), "starting a session: TPM_RC_SESSION_MEMORY: ") {
				t.Errorf("%s: %v", k.name, err)
			}
			if n := transient(t); n != 0 {
				t.Errorf("%s: %d objects are left in the TPM", k.name, n)
			}
		}
		p.refuses(tpm2.TPMCCStartAuthSession, 0)
		signs(t, k, hash.SHA256)
	}
	asked := 0
	o := Options{Device: p.TCTI(), Ask: answers(t, "secret", &asked)}
	persistent, err := Open(t.Context(), "tpm:0x81000010", o)
	opened(t, persistent, err)
	full(persistent) // the first signature asks
	keytest.Run(t, "tpm2_flushcontext", "-l")
	full(persistent)
	persistent.Close()
	k, err := OpenFile(t.Context(), file, content(t, file), o)
	opened(t, k, err)
	signs(t, k, hash.SHA256)
	keytest.Run(t, "tpm2_flushcontext", "-l")
	full(k)
	k.Close()
	if n := transient(t); asked != 2 || n != 0 {
		t.Errorf("asked %d times, %d objects are left in the TPM", asked, n)
	}
}

// TestInterruptedAnswer gives the passphrase when the run is over.
func TestInterruptedAnswer(t *testing.T) {
	m := keytest.NewTPM(t)
	treetest.Leaks(t)
	file := m.Generate("-algorithm", "EC", "-pkeyopt", "group:P-256", "-pkeyopt", "user-auth:secret")
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	k, err := OpenFile(ctx, file, content(t, file), Options{Device: m.TCTI, Ask: func(string) ([]byte, error) {
		cancel(interrupted)
		return []byte("secret"), nil
	}})
	if !errors.Is(err, interrupted) {
		t.Errorf("%v, %v", k, err)
	}
}

// TestAnotherKey finds another key at the handle when the key is loaded again. It
// neither signs nor is tried with the passphrase.
func TestAnotherKey(t *testing.T) {
	m := keytest.NewTPM(t)
	treetest.Leaks(t)
	const attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"
	p := newProxy(t, strings.TrimPrefix(m.TCTI, "swtpm:path="))
	for _, passphrase := range []string{"", "secret"} {
		m.Make("0x81000010", "-G", "ecc256:ecdsa", "-p", passphrase, "-a", attributes)
		asked := 0
		k, err := Open(t.Context(), "tpm:0x81000010", Options{Device: p.TCTI(), Ask: answers(t, passphrase, &asked)})
		opened(t, k, err)
		signs(t, k, hash.SHA256)
		first := k.Public()
		for _, kind := range []string{"ecc256:ecdsa", "rsa2048:rsassa"} {
			m.Tool("tpm2_evictcontrol", "-C", "o", "-c", "0x81000010")
			m.Make("0x81000010", "-G", kind, "-p", "other", "-a", attributes)
			keytest.Run(t, "tpm2_dictionarylockout", "-c")
			const handle = 0x18b
			p.refuses(tpm2.TPMCCSign, handle) // until it is loaded anew
			if _, err := k.Sign(t.Context(), make([]byte, 32), crypto.SHA256); err == nil {
				t.Error("signed though the TPM refuses it")
			}
			p.refuses(tpm2.TPMCCSign, 0)
			for range 2 {
				sig, err := k.Sign(t.Context(), make([]byte, 32), crypto.SHA256)
				if r, ok := errors.AsType[*RefusedError](err); !ok || sig != nil || r.Why != "the TPM has another key there than when it was opened" {
					t.Errorf("%s: %x, %v", kind, sig, err)
				}
			}
			if n := failedTries(t); k.Public() != first || n != 0 {
				t.Errorf("%s: public key %v, was %v; %d failed tries", kind, k.Public(), first, n)
			}
		}
		k.Close()
		m.Tool("tpm2_evictcontrol", "-C", "o", "-c", "0x81000010")
		if n := transient(t); n != 0 {
			t.Errorf("%d objects are left in the TPM", n)
		}
	}
}
