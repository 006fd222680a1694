package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// A JournalError says that there is no journal to be read, and what journalctl said.
type JournalError struct {
	Said string // "" where it could not be started
	Err  error
}

func (e *JournalError) Error() string {
	if e.Said != "" {
		return "journalctl: " + e.Said
	}
	return "journalctl: " + e.Err.Error()
}

func (e *JournalError) Unwrap() error { return e.Err }

// fields are what package audit looks at. Without the rest the journal is read in
// half the time.
const fields = "MESSAGE,_TRANSPORT,_BOOT_ID,_HOSTNAME,_AUDIT_TYPE,_AUDIT_ID,_SOURCE_REALTIME_TIMESTAMP"

// HasJournal reports whether the program is there that reads the journal.
func HasJournal() bool {
	_, err := exec.LookPath("journalctl")
	return err == nil
}

// Journal opens the journal of this machine: what the kernel wrote to it, by audit or
// among its messages. The caller closes it. Errors are of type *JournalError.
func Journal(ctx context.Context, o Options) (io.ReadCloser, error) {
	args := []string{"--output=json", "--output-fields=" + fields, "--no-pager", "--quiet", "--all"}
	if o.Boot {
		args = append(args, "--boot=0")
	}
	if !o.Since.IsZero() {
		args = append(args, fmt.Sprintf("--since=@%d", o.Since.Unix()))
	}
	if o.Follow {
		args = append(args, "--follow", "--lines=0")
	}
	args = append(args, "_TRANSPORT=audit", "+", "_TRANSPORT=kernel", "+", "_TRANSPORT=driver")
	j := &journal{ctx: ctx, cmd: exec.CommandContext(ctx, "journalctl", args...)}
	j.cmd.Stderr = &j.said
	var err error
	if j.out, err = j.cmd.StdoutPipe(); err == nil {
		err = j.cmd.Start()
	}
	if err != nil {
		return nil, &JournalError{Err: err}
	}
	return j, nil
}

// A journal is a journalctl that runs.
type journal struct {
	ctx  context.Context
	cmd  *exec.Cmd
	out  io.ReadCloser
	said bytes.Buffer
	done bool
}

// Read implements io.Reader.
func (j *journal) Read(b []byte) (int, error) {
	n, err := j.out.Read(b)
	if n > 0 || err == nil {
		return n, nil
	}
	if j.done {
		return 0, io.EOF
	}
	j.done = true
	if err := j.cmd.Wait(); err != nil && j.ctx.Err() == nil {
		return 0, &JournalError{Said: strings.TrimSpace(j.said.String()), Err: err}
	}
	return 0, io.EOF
}

// Close ends journalctl, if it runs.
func (j *journal) Close() error {
	if !j.done {
		j.done = true
		j.cmd.Process.Kill()
		j.cmd.Wait()
	}
	return nil
}
