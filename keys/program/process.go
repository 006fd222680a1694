package program

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"
)

// grace is how long a program has to end by itself, and what it has started to
// close what it inherited.
const grace = 3 * time.Second

// command returns a command that runs in a process group of its own, with what
// it writes to standard error. A command made by exec.CommandContext is killed
// together with what it has started.
func command(cmd *exec.Cmd, name string, notice func(string)) *lastWords {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	words := &lastWords{name: name, notice: notice}
	cmd.Stderr = words
	cmd.WaitDelay = grace
	if cmd.Cancel != nil {
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	}
	return words
}

// maxLine bounds a line of standard error and how much of it an error holds.
const maxLine = 1000

// maxLines bounds how many lines of standard error are passed on in one run:
// some programs say something about each signature.
const maxLines = 20

// firstLines returns a function that passes lines on as long as there are not
// too many.
func firstLines(scheme string, notice func(string)) func(line string) {
	var n atomic.Int64
	return func(line string) {
		switch n := n.Add(1); {
		case n <= maxLines:
			notice(line)
		case n == maxLines+1:
			notice(fmt.Sprintf("the program of %s:// writes more to standard error, which is not shown", scheme))
		}
	}
}

// lastWords passes on what a program writes to standard error, line by line,
// and remembers the last line.
type lastWords struct {
	name   string
	notice func(string)

	mu   sync.Mutex
	line []byte // so far
	last string
}

// Write takes a piece of the output.
func (w *lastWords) Write(b []byte) (int, error) {
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
func (w *lastWords) end() {
	text := printable(string(w.line))
	w.line = w.line[:0]
	if text != "" {
		w.last = text
		w.notice(w.name + ": " + text)
	}
}

// printable returns a program's words such that they cannot do anything to a
// terminal.
func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD")))
}

// String returns the last line.
func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.line) > 0 {
		w.end()
	}
	return w.last
}

// how says how a command ended, in a few words.
func how(cmd *exec.Cmd, err error) string {
	if cmd.ProcessState != nil {
		return cmd.ProcessState.String()
	}
	return err.Error()
}

// limited is a buffer that takes no more than a megabyte.
type limited struct{ bytes.Buffer }

const maxAnswer = 1 << 20

// Write refuses what is too much, which ends the program that writes it.
func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > maxAnswer {
		return 0, io.ErrShortBuffer
	}
	return l.Buffer.Write(b)
}
