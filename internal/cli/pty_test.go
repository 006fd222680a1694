package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

// TestMain lets the test be the program, for shells and terminals.
func TestMain(m *testing.M) {
	args := os.Args[1:]
	if IsEvmctl(os.Args[0]) {
		args = append([]string{evmctlName}, args...)
	}
	if filepath.Base(os.Args[0]) == "imaseal" || IsEvmctl(os.Args[0]) {
		os.Exit(Main(context.Background(), Program{
			Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		}))
	}
	os.Exit(m.Run())
}

// linkProgram makes DIR/imaseal the program.
func linkProgram(t *testing.T, dir string) string {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "imaseal")
	if err := os.Symlink(self, name); err != nil {
		t.Fatal(err)
	}
	return name
}

// A terminal is a pseudo-terminal and what was written to it.
type terminal struct {
	master, slave *os.File

	mu      sync.Mutex
	written bytes.Buffer
	ended   chan struct{} // closed when nobody has the slave open any more
}

func newTerminal(t *testing.T, columns uint16) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("needs pseudo-terminals: %v", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	err = errors.Join(err, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	size := unix.Winsize{Row: 24, Col: columns}
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &size); err != nil {
		t.Fatal(err)
	}
	term := &terminal{master: master, slave: slave, ended: make(chan struct{})}
	go func() {
		defer close(term.ended)
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			term.mu.Lock()
			term.written.Write(b[:n])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { slave.Close(); master.Close() })
	return term
}

func (term *terminal) text() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.written.String()
}

// wait waits until the terminal shows a text.
func (term *terminal) wait(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(term.text(), text); {
		if time.Now().After(deadline) {
			t.Fatalf("the terminal does not show %q:\n%q", text, term.text())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// lines are what a reader sees in the end: of each line, the text behind the
// last erasure.
func (term *terminal) lines() []string {
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(term.text(), "\r\n", "\n"), "\n"), "\n")
	for i, line := range lines {
		if at := strings.LastIndex(line, clearLine); at >= 0 {
			lines[i] = line[at+len(clearLine):]
		}
	}
	return lines
}

const clearLine = "\r\x1b[K"

// command prepares a program that runs in the terminal.
func (term *terminal) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.slave, term.slave, term.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 2}
	return cmd
}

func TestProgressOnTerminal(t *testing.T) {
	const (
		full   = "100% ████████████████████  12 B / 12 B  3 files  "
		failed = "imaseal: error: TREE/a: no security.ima"
		sum    = "imaseal: 0 valid, 0 invalid, 3 unlabelled, 0 failed"
	)
	errs := []string{failed, strings.Replace(failed, "/a", "/b", 1), strings.Replace(failed, "/a", "/c", 1)}
	tests := []struct {
		name    string
		args    string
		env     string
		columns uint16
		piped   bool // stdout
		want    []string
	}{
		{name: "all", columns: 80, want: append(errs[:3:3], full, sum, "imaseal: 0 B in ")},
		{name: "piped", columns: 80, piped: true, want: append(errs[:3:3], full)},
		{name: "narrow", columns: 40, piped: true, want: append(errs[:3:3], "100% ██████████  12 B / 12 B  3 files")},
		{name: "very narrow", columns: 12, piped: true, want: append(errs[:3:3], "12 B / 12 B")},
		{name: "no width", columns: 0, piped: true, want: append(errs[:3:3], full)},
		{name: "ascii", columns: 80, env: "LANG=C", piped: true, want: append(errs[:3:3], "100% [####################]  12 B / 12 B  3 files  ")},
		{name: "quiet", columns: 80, args: "-q", want: append(errs[:3:3], full)},
		{name: "never", columns: 80, args: "--progress never", piped: true, want: errs},
		{name: "dumb", columns: 80, env: "TERM=dumb", piped: true, want: errs},
		{name: "verbose on the same terminal", columns: 80, args: "--json", want: nil},
		{name: "nothing", columns: 80, args: "--owner 4294967294", piped: true, want: []string{"imaseal: warning: no file was selected: 3 skipped (other owner)"}},
		{name: "undecided", columns: 80, args: "--files-from -", piped: true, want: append(errs[:3:3], full)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := treetest.Make(t, "file a content=aaaa\nfile b content=bbbb\nfile c content=cccc\n")
			term := newTerminal(t, tt.columns)
			args := append([]string{"verify", "-j1"}, strings.Fields(tt.args)...)
			if !slices.Contains(args, "--owner") {
				args = append(args, "--owner", "any")
			}
			cmd := term.command(linkProgram(t, t.TempDir()), append(args, tree)...)
			cmd.Env = append([]string{"LANG=C.UTF-8", "TERM=xterm"}, tt.env)
			cmd.Stdin = nil
			if tt.piped {
				cmd.Stdout = io.Discard
			}
			if err := cmd.Run(); cmd.ProcessState == nil {
				t.Fatal(err)
			}
			term.slave.Close()
			<-term.ended
			got := slices.DeleteFunc(term.lines(), func(line string) bool { return strings.Contains(line, "no built-in policy appraises") })
			if tt.want == nil {
				if strings.Contains(term.text(), clearLine) {
					t.Errorf("a bar:\n%q", term.text())
				}
				return
			}
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			for i := range got {
				if want := strings.ReplaceAll(tt.want[i], "TREE", tree); !strings.HasPrefix(got[i], want) {
					t.Errorf("line %d is %q, want %q", i, got[i], want)
				}
			}
		})
	}
}

// A file that takes long moves the bar before it is done.
func TestProgressInBigFile(t *testing.T) {
	dir := t.TempDir()
	treetest.UserAttrs(t, dir)
	treetest.Add(t, dir, "file big size=1099511627776")
	label := append([]byte{4, 4}, make([]byte, 32)...)
	if err := unix.Setxattr(filepath.Join(dir, "big"), "user.ima", label, 0); err != nil {
		t.Fatal(err)
	}
	term := newTerminal(t, 80)
	cmd := term.command(linkProgram(t, t.TempDir()), "verify", "--namespace=user", "--owner=any", dir)
	cmd.Env = []string{"LANG=C.UTF-8", "TERM=xterm"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	term.wait(t, "0% ░")
	term.wait(t, "MiB / 1.0 TiB  0 files  ")
}

// shells tells how to start each shell without its owner's settings, and how to
// make the completion known.
var shells = []struct {
	name  string
	args  []string
	start string
}{
	{"bash", []string{"--norc", "--noprofile", "-i"}, `source <(imaseal completion bash)`},
	{"zsh", []string{"-f", "-i"}, `autoload -Uz compinit; compinit -u -D; source <(imaseal completion zsh)`},
	{"fish", []string{"--no-config", "-i"}, `imaseal completion fish | source`},
}

func TestCompletionInShells(t *testing.T) {
	tests := []struct{ typed, want string }{
		{"ver\t/x", "verify /x"},
		{"hash --undo-\tlog /x", "hash --undo-log log /x"},
		{"hash /x --jo\t4", "hash /x --jobs 4"},
		{"hash --algo sha22\t/x", "hash --algo sha224 /x"},
		{"clear --label ev\t/x", "clear --label evm /x"},
		{"hash --algo=sha51\t", "hash --algo=sha512"},
		{"completion fi\t", "completion fish"},
		{"hash onl\t", "hash only file"},
		{"verify -- onl\t", "verify -- only file"},
	}
	for _, shell := range shells {
		t.Run(shell.name, func(t *testing.T) {
			t.Parallel()
			program := treetest.Tool(t, shell.name)
			dir := t.TempDir()
			got := filepath.Join(dir, "got")
			linkProgram(t, dir)
			stub(t, filepath.Join(dir, "bin", "imaseal"), filepath.Join(dir, "imaseal"), got)
			if err := os.WriteFile(filepath.Join(dir, "only file"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			term := newTerminal(t, 100)
			cmd := term.command(program, shell.args...)
			cmd.Dir = dir
			cmd.Env = []string{
				"HOME=" + dir, "TERM=xterm", "LANG=C.UTF-8", "PS1=$ ",
				"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"),
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer cmd.Process.Kill()
			term.send(t, shell.start+"; echo rea''dy\r")
			term.wait(t, "ready")
			for _, tt := range tests {
				os.Remove(got)
				term.send(t, "imaseal "+tt.typed+"\r")
				if words := waitFile(t, got, term); words != tt.want {
					t.Errorf("%q is completed to %q, want %q", tt.typed, words, tt.want)
				}
			}
		})
	}
}

func (term *terminal) send(t *testing.T, keys string) {
	t.Helper()
	if _, err := io.WriteString(term.master, keys); err != nil {
		t.Fatal(err)
	}
}

// stub makes a program that answers completions with the real one, and
// otherwise writes down its arguments.
func stub(t *testing.T, name, program, got string) {
	text := fmt.Sprintf(`#!/bin/sh
case $1 in __complete) exec %[1]s "$@" ;; esac
case $1-$2 in completion-bash | completion-zsh | completion-fish) [ -e %[2]s.on ] || { : >%[2]s.on; exec %[1]s "$@"; } ;; esac
printf %%s "$*" >%[2]s.new
mv %[2]s.new %[2]s
`, program, got)
	if err := os.Mkdir(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func waitFile(t *testing.T, name string, term *terminal) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(name); err == nil {
			return string(b)
		}
	}
	t.Fatalf("the command did not run:\n%q", term.text())
	return ""
}
