package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestPassphraseLine reads one line of standard input, and leaves the rest.
func TestPassphraseLine(t *testing.T) {
	for input, want := range map[string]string{
		"secret\nmore\n": "secret", "secret\r\nmore": "secret", "secret": "secret", "": "", "\nmore": "",
	} {
		stdin := strings.NewReader(input)
		got, err := Program{Stdin: iotest.OneByteReader(stdin)}.readPassphraseLine(t.Context())
		if err != nil || got == nil || string(got) != want {
			t.Errorf("%q: %q, %v", input, got, err)
		}
		if _, rest, ok := strings.Cut(input, "\n"); ok && stdin.Len() != len(rest) {
			t.Errorf("%q: %d bytes are left, want %d", input, stdin.Len(), len(rest))
		}
	}
	gone := errors.New("gone")
	if _, err := (Program{Stdin: iotest.ErrReader(gone)}).readPassphraseLine(t.Context()); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

func TestPassphraseLineInterrupted(t *testing.T) {
	silent, writer := io.Pipe()
	defer writer.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	if _, err := (Program{Stdin: silent}).readPassphraseLine(ctx); !errors.Is(err, interrupted) {
		t.Errorf("%v", err)
	}
}
