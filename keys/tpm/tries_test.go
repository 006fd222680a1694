package tpm

import (
	"crypto"
	"errors"
	"strconv"
	"strings"
	"testing"

	"imaseal/internal/treetest"
	"imaseal/keys/keyfile"
	"imaseal/keys/keytest"
)

// failedTries returns the counter of the protection against dictionary attacks.
func failedTries(t *testing.T) uint64 {
	t.Helper()
	const property = "TPM2_PT_LOCKOUT_COUNTER: "
	_, rest, ok := strings.Cut(string(keytest.Run(t, "tpm2_getcap", "properties-variable")), property)
	text, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseUint(text, 0, 32)
	if !ok || err != nil {
		t.Fatalf("%s%q", property, text)
	}
	return n
}

// TestFailedTries has persistent keys without noDA, of which the TPM counts each
// try with a wrong passphrase, and with none where there is one.
func TestFailedTries(t *testing.T) {
	m := keytest.NewTPM(t)
	treetest.Leaks(t)
	const attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"
	m.Make("0x81000010", "-G", "ecc256:ecdsa", "-p", "secret", "-a", attributes)
	m.Make("0x81000011", "-G", "ecc256:ecdsa", "-a", attributes)
	nobody := errors.New("there is no terminal")
	asked := 0
	noTerminal := func(string) ([]byte, error) { asked++; return nil, nobody }
	sign := func(handle string, ask keyfile.Ask) error {
		t.Helper()
		asked = 0
		k, err := Open(t.Context(), "tpm:"+handle, Options{Device: m.TCTI, Ask: ask})
		opened(t, k, err)
		defer k.Close()
		for range 3 {
			_, err = k.Sign(t.Context(), make([]byte, 32), crypto.SHA256)
		}
		if asked > 1 {
			t.Errorf("%s: asked %d times", handle, asked)
		}
		return err
	}
	for _, test := range []struct {
		handle string
		ask    keyfile.Ask
		want   string
		tries  uint64
	}{
		{"0x81000010", answers(t, "secret", &asked), "", 0},
		{"0x81000011", answers(t, "", &asked), "", 0},
		{"0x81000011", noTerminal, "", 0},
		{"0x81000011", nil, "", 0},
		// What is wrong is tried once.
		{"0x81000010", answers(t, "wrong", &asked), "wrong passphrase; for a key without one, give none", 1},
		{"0x81000011", answers(t, "wrong", &asked), "wrong passphrase; for a key without one, give none", 1},
		{"0x81000010", answers(t, "", &asked), "wrong passphrase", 1},
		{"0x81000010", noTerminal, "asking for the passphrase: there is no terminal", 1},
		{"0x81000010", nil, "the private key is encrypted, and no passphrase was given", 1},
	} {
		keytest.Run(t, "tpm2_dictionarylockout", "-c")
		for range 2 {
			before := failedTries(t)
			var got string
			if err := sign(test.handle, test.ask); err != nil {
				got = err.Error()
			}
			if n := failedTries(t) - before; got != test.want || n != test.tries {
				t.Errorf("%s: %q after %d failed tries, want %q after %d", test.handle, got, n, test.want, test.tries)
			}
		}
	}
}
