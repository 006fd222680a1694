package command

import (
	"context"
	"strings"
	"testing"

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
