package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imaseal/internal/host"
	"imaseal/internal/treetest"
)

// journalRemote writes journals; it needs no systemd that runs.
const journalRemote = "/lib/systemd/systemd-journal-remote"

// A realJournal is a directory with a journal in it.
type realJournal struct{ file string }

// newJournal makes a journal, and journalctl read it instead of the machine's.
func newJournal(t *testing.T) realJournal {
	t.Helper()
	reader := treetest.Tool(t, "journalctl")
	treetest.Tool(t, journalRemote)
	dir, bin := t.TempDir(), t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nexec %s --directory=%s \"$@\"\n", reader, dir)
	if err := os.WriteFile(filepath.Join(bin, "journalctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return realJournal{filepath.Join(dir, "test.journal")}
}

// add adds entries in the journal's export format.
func (j realJournal) add(t *testing.T, entries ...map[string]string) {
	t.Helper()
	var b bytes.Buffer
	for _, e := range entries {
		for name, value := range e {
			if name != "__CURSOR" { // which is the journal's own business
				fmt.Fprintf(&b, "%s=%s\n", name, value)
			}
		}
		b.WriteByte('\n')
	}
	cmd := exec.Command(journalRemote, "--output="+j.file, "-")
	cmd.Stdin = &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// recordedJournal is what journalctl printed of the boot of a kernel that enforces.
func recordedJournal(t *testing.T) (name string, entries []map[string]string) {
	t.Helper()
	name = filepath.Join("..", "audit", "testdata", "journal.json")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(bytes.NewReader(b)); ; {
		var e map[string]string
		err := d.Decode(&e)
		if err == io.EOF {
			return name, entries
		}
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
}

// otherBoot is an entry as another boot had it, some days before.
func otherBoot(e map[string]string) map[string]string {
	other := make(map[string]string)
	for name, value := range e {
		switch name {
		case "_BOOT_ID":
			value = strings.Repeat("ab", 16)
		case "__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP":
			value = "1795" + "0" + value[5:]
		}
		other[name] = value
	}
	return other
}

// TestDenialsJournal reads a journal by journalctl: what is in it is what journalctl
// prints of it.
func TestDenialsJournal(t *testing.T) {
	name, entries := recordedJournal(t)
	boot := entries[0]["_BOOT_ID"]
	newJournal(t).add(t, entries...)
	root := treetest.Make(t, fmt.Sprintf("file proc/sys/kernel/random/boot_id content=%s\n", boot))
	denials := func(status int, args ...string) string {
		var out, errs strings.Builder
		p := Program{Args: append([]string{"denials"}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Host: host.Host{Root: root}}
		if got := Main(context.Background(), p); got != status {
			t.Errorf("%q: status %d: %s", args, got, &errs)
		}
		return out.String()
	}
	want := denials(exitVerdict, "--elsewhere", "--json", name)
	if got := denials(exitVerdict, "--elsewhere", "--json", "journal"); got != want || !strings.Contains(got, `"records":25`) {
		t.Errorf("the journal has\n%s\nand what journalctl printed\n%s", got, want)
	}
	var before []map[string]string
	for _, e := range entries {
		before = append(before, otherBoot(e))
	}
	newJournal(t).add(t, append(before, entries...)...)
	if got := denials(exitVerdict, "--elsewhere", "--json", "journal"); !strings.Contains(got, `"records":50`) {
		t.Errorf("of two boots: %s", got)
	}
	for _, option := range []string{"--since=2026-11-25", "--boot"} {
		if got := denials(0, option, "--json", "journal"); !strings.Contains(got, `"records":25`) { // whose files are not here
			t.Errorf("%s: %s", option, got)
		}
	}
}

// TestFollowJournal has a denial written to the journal that is followed.
func TestFollowJournal(t *testing.T) {
	_, entries := recordedJournal(t)
	i := slices.IndexFunc(entries, func(e map[string]string) bool { return strings.Contains(e["MESSAGE"], "cause=invalid-hash") })
	j := newJournal(t)
	j.add(t, entries[0])
	out, to := io.Pipe()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	status := make(chan int)
	go func() {
		p := Program{Args: []string{"denials", "--follow", "--elsewhere", "journal"}, Stdin: strings.NewReader(""), Stdout: to, Stderr: io.Discard, Host: host.Host{Root: t.TempDir()}}
		n := Main(ctx, p)
		to.Close()
		status <- n
	}()
	lines := make(chan string)
	go func() {
		in := bufio.NewScanner(out)
		for in.Scan() {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
			}
		}
	}()
	for try := range 40 { // journalctl needs a while until it looks
		e := make(map[string]string)
		for name, value := range entries[i] {
			e[name] = value
		}
		e["__MONOTONIC_TIMESTAMP"] = fmt.Sprint(90_000_000 + try)
		j.add(t, e)
		select {
		case line := <-lines:
			if !strings.Contains(line, ": invalid-hash, ") {
				t.Errorf("got %q", line)
			}
			cancel(nil)
			<-status
			return
		case <-time.After(250 * time.Millisecond):
		}
	}
	t.Error("nothing was printed")
}
