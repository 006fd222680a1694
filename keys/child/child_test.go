package child

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStandardError(t *testing.T) {
	var told []string
	w := &LastWords{name: "p", notice: func(s string) { told = append(told, s) }}
	for _, s := range []string{"one\ntw", "o\n\n", "\x1b]0;title\x07\xff", strings.Repeat("x", 2*maxLine) + "\nlast"} {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if w.String() != "last" {
		t.Errorf("the last line is %q", w)
	}
	want := []string{"p: one", "p: two", "p: ]0;title �" + strings.Repeat("x", maxLine-len("\x1b]0;title\x07\xff")), "p: last"}
	if !slices.Equal(told, want) {
		t.Errorf("%.80q, want\n%.80q", told, want)
	}
}

func TestStandardErrorIsBounded(t *testing.T) {
	var told []string
	pass := FirstLines("x", func(s string) { told = append(told, s) })
	for n := range 3 * maxLines {
		pass(fmt.Sprint(n))
	}
	if len(told) != maxLines+1 || told[maxLines-1] != fmt.Sprint(maxLines-1) ||
		told[maxLines] != "x writes more to standard error, which is not shown" {
		t.Errorf("told %q", told)
	}
}

// TestKill ends a program, and what it has started and would not end by itself.
func TestKill(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "echo begun >&2; sleep 3600; true")
	begun := make(chan string, 1)
	words := Prepare(cmd, "sh", func(s string) { begun <- s })
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if s := <-begun; s != "sh: begun" {
		t.Errorf("told %q", s)
	}
	if err := Kill(cmd); err != nil {
		t.Fatal(err)
	}
	ended := time.Now()
	err := cmd.Wait()
	if _, ok := errors.AsType[*exec.ExitError](err); !ok || How(cmd, err) != "signal: killed" || words.String() != "begun" {
		t.Errorf("%v, %s, %q", err, How(cmd, err), words)
	}
	// The sleep holds standard error open, and would be waited for.
	if took := time.Since(ended); took > Grace/2 {
		t.Errorf("it took %v to end", took)
	}
}
