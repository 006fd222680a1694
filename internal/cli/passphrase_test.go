package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestPassphraseLine reads the first line of standard input. None at all is no
// empty passphrase.
func TestPassphraseLine(t *testing.T) {
	for input, want := range map[string]string{
		"secret\nmore\n": "secret", "secret\r\nmore": "secret", "secret": "secret", "\nmore": "",
	} {
		got, err := Program{Stdin: iotest.OneByteReader(strings.NewReader(input))}.readPassphrase(t.Context(), "-")
		if err != nil || got == nil || string(got) != want {
			t.Errorf("%q: %q, %v", input, got, err)
		}
	}
	if got, err := (Program{Stdin: strings.NewReader("")}).readPassphrase(t.Context(), "-"); err == nil {
		t.Errorf("of nothing: %q", got)
	}
	gone := errors.New("gone")
	if _, err := (Program{Stdin: iotest.ErrReader(gone)}).readPassphrase(t.Context(), "-"); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

func TestPassphraseLineInterrupted(t *testing.T) {
	silent, writer := io.Pipe()
	defer writer.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	if _, err := (Program{Stdin: silent}).readPassphrase(ctx, "-"); !errors.Is(err, interrupted) {
		t.Errorf("%v", err)
	}
}
