// Package child runs the programs that keys lie behind: each in a process group
// of its own, with what it writes to standard error passed on line by line.
//
// The process group keeps Ctrl-C on the terminal from the program, so that it
// ends when its user wants it to, and it ends what the program has started. A
// program in it cannot read from the terminal.
package child

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"
)

// Grace is how long a program has to end by itself, and what it has started to
// close what it inherited.
const Grace = 3 * time.Second

// DefaultTimeout is how long an answer may take.
const DefaultTimeout = time.Minute

// WithTimeout returns a context that ends with a *TimeoutError after a time, 0
// standing for DefaultTimeout.
func WithTimeout(ctx context.Context, after time.Duration) (context.Context, context.CancelFunc) {
	after = cmp.Or(after, DefaultTimeout)
	return context.WithTimeoutCause(ctx, after, &TimeoutError{After: after})
}

// Prepare lets a command that is not started yet run in a process group of its
// own, and returns what it will have written to standard error; notice is told
// each line. One made by exec.CommandContext is killed with what it has started.
func Prepare(cmd *exec.Cmd, name string, notice func(text string)) *LastWords {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	words := &LastWords{name: name, notice: notice}
	cmd.Stderr = words
	cmd.WaitDelay = Grace
	if cmd.Cancel != nil {
		cmd.Cancel = func() error { return Kill(cmd) }
	}
	return words
}

// Kill kills a started command that was not waited for, and what it has
// started.
func Kill(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// maxLine bounds a line of standard error and how much of it an error holds.
const maxLine = 1000

// maxLines bounds how many lines of standard error are passed on in one run:
// some programs say something about each signature.
const maxLines = 20

// FirstLines returns a function that passes lines on as long as there are not
// too many. It is safe for concurrent use if notice is.
func FirstLines(name string, notice func(string)) func(line string) {
	var n atomic.Int64
	return func(line string) {
		switch n := n.Add(1); {
		case n <= maxLines:
			notice(line)
		case n == maxLines+1:
			notice(fmt.Sprintf("%s writes more to standard error, which is not shown", name))
		}
	}
}

// LastWords passes on what a program writes to standard error, line by line,
// and remembers the last line.
type LastWords struct {
	name   string
	notice func(string)

	mu   sync.Mutex
	line []byte // so far
	last string
}

// Write takes a piece of the output.
func (w *LastWords) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if room := maxLine - len(w.line); len(line) > room {
			line = line[:room]
		}
		w.line = append(w.line, line...)
		if whole {
			w.end()
		}
		b = rest
	}
	return n, nil
}

// end passes the line on. The caller holds mu.
func (w *LastWords) end() {
	text := Printable(string(w.line))
	w.line = w.line[:0]
	if text != "" {
		w.last = text
		w.notice(w.name + ": " + text)
	}
}

// Printable returns a program's words such that they cannot do anything to a
// terminal.
func Printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD")))
}

// String returns the last line.
func (w *LastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.line) > 0 {
		w.end()
	}
	return w.last
}

// How says how a command ended, in a few words.
func How(cmd *exec.Cmd, err error) string {
	if cmd.ProcessState != nil {
		return cmd.ProcessState.String()
	}
	return err.Error()
}

// An EndedError says that the program ended before it answered.
type EndedError struct {
	How    string // its exit status or signal
	Stderr string // the last that it wrote to standard error
}

func (e *EndedError) Error() string {
	if e.Stderr == "" {
		return "ended without an answer: " + e.How
	}
	return fmt.Sprintf("ended without an answer: %s: %s", e.How, e.Stderr)
}

// Temporary is true: another one can be started.
func (*EndedError) Temporary() bool { return true }

// A TimeoutError says that the program took too long, and was killed.
type TimeoutError struct{ After time.Duration }

func (e *TimeoutError) Error() string { return fmt.Sprintf("no answer within %v", e.After) }

// Temporary is true: another one can be started.
func (*TimeoutError) Temporary() bool { return true }
