package cli

import (
	"context"
	"strings"
	"testing"

	"imaseal/internal/cmdline"
	"imaseal/internal/host"
)

// TestHostTableOnTerminal: lines of the table fit on a terminal, and are whole
// elsewhere.
func TestHostTableOnTerminal(t *testing.T) {
	const columns = 90
	term := newTerminal(t, columns)
	p := Program{Args: []string{"check", "--host"}, Stdin: strings.NewReader(""), Stdout: term.slave, Stderr: term.slave, Host: host.Host{Root: t.TempDir()}}
	if status := Main(context.Background(), p); status != exitVerdict {
		t.Errorf("status %d", status)
	}
	term.wait(t, "imaseal: host: ")
	text := strings.ReplaceAll(term.text(), "\r", "")
	for line := range strings.Lines(text) {
		if len(line) > columns+1 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
	const said = "warn  ima_policy=    is not given: without it nothing is appraised\n" +
		"                     -> ima_policy=appraise_tcb on the kernel's command line, or rules in\n" +
		"                        /etc/ima/ima-policy\n"
	if !strings.Contains(text, said) {
		t.Errorf("got\n%s", text)
	}
	if _, stdout, _ := onHost(t, nil, "check", "--host"); !strings.Contains(stdout, "command line, or rules in /etc/ima/ima-policy\n") {
		t.Errorf("got\n%s", stdout)
	}
}

// TestLintOnTerminal: what is broken stands further in.
func TestLintOnTerminal(t *testing.T) {
	term := newTerminal(t, cmdline.Width)
	p := Program{Args: []string{"policy", "lint", "--kernel-version", "6.12", "secure_boot"}, Stdin: strings.NewReader(""), Stdout: term.slave, Stderr: term.slave}
	if status := Main(context.Background(), p); status != 0 {
		t.Errorf("status %d", status)
	}
	const said = "   put dont_appraise rules in front: fsmagic=0x1021994 (tmpfs),\n     fsmagic=0x858458f6 (ramfs); or load the policy when the initramfs is done\n"
	term.wait(t, "write their path to the policy file")
	text := strings.ReplaceAll(term.text(), "\r", "")
	if !strings.Contains(text, said) {
		t.Errorf("got\n%s", text)
	}
	for line := range strings.Lines(text) {
		if len(line) > cmdline.Width+1 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
}

// TestRemedyOnTerminal: commands stay whole, what is said of them does not.
func TestRemedyOnTerminal(t *testing.T) {
	term := newTerminal(t, cmdline.Width)
	command := "imaseal relabel " + strings.Repeat("etc/a ", 30)
	prose := strings.Repeat("word ", 30)
	p := Program{Stdout: term.slave}
	got := p.fitProse([]string{prose, command})
	if len(got) != 3 || len(got[0]) > cmdline.Width-2 || got[2] != command {
		t.Errorf("%q", got)
	}
	if got := (Program{Stdout: new(strings.Builder)}).fitProse([]string{prose, command}); len(got) != 2 {
		t.Errorf("%q", got)
	}
	term.slave.Close()
}
