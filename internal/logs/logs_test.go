package logs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	io.WriteString(zip, "one\n")
	zip.Close()
	for name, test := range map[string]struct {
		holds, want string
		err         error
	}{
		"plain": {"one\n", "one\n", nil}, "empty": {"", "", nil}, "short": {"x", "x", nil},
		"zipped.gz": {zipped.String(), "one\n", nil}, "system.journal": {magic + "\x00\x01", "", ErrBinary},
	} {
		path := filepath.Join(dir, name)
		write(t, path, test.holds)
		f, err := File(t.Context(), path, Options{})
		if test.err != nil {
			if !errors.Is(err, test.err) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f); string(got) != test.want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		f.Close()
	}
	if _, err := File(t.Context(), dir, Options{}); err == nil || err.Error() != "read "+dir+": is a directory" {
		t.Errorf("%v", err)
	}
	if _, err := File(t.Context(), filepath.Join(dir, "none"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestTail follows a log that grows, is renamed, and is emptied.
func TestTail(t *testing.T) {
	name := filepath.Join(t.TempDir(), "audit.log")
	write(t, name, "old\n")
	ctx, cancel := context.WithCancel(t.Context())
	f, err := File(ctx, name, Options{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	want := func(line string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != line {
			t.Errorf("%q, %v, want %q", lines.Text(), lines.Err(), line)
		}
	}
	write(t, name, "a\nb")
	want("a")
	write(t, name, "c\n")
	want("bc")
	write(t, name, "last\n")
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	want("last")
	write(t, name, "new\n")
	want("new")
	if err := os.Truncate(name, 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * poll)
	write(t, name, "n\n")
	want("n")
	cancel()
	if lines.Scan() || lines.Err() != nil {
		t.Errorf("%q, %v at the end", lines.Text(), lines.Err())
	}
}

func TestAuditd(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, filepath.Dir(auditd))
	if err := os.MkdirAll(filepath.Join(dir, "audit.log.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := Auditd(root, Options{Follow: true}); got != nil {
		t.Errorf("%q where there are none", got)
	}
	now := time.Now()
	for i, name := range []string{"audit.log", "audit.log.1", "audit.log.2.gz", "other"} {
		path := filepath.Join(dir, name)
		write(t, path, "x")
		at := now.Add(-time.Duration(i) * time.Hour)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for want, o := range map[string]Options{
		"audit.log.2.gz audit.log.1 audit.log": {}, "audit.log.1 audit.log": {Since: now.Add(-90 * time.Minute)}, "audit.log": {Follow: true},
		"": {Since: now.Add(time.Hour)},
	} {
		var got []string
		for _, name := range Auditd(root, o) {
			got = append(got, filepath.Base(name))
		}
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%+v: %q, want %s", o, got, want)
		}
	}
}

// TestJournal has a program in place of journalctl.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	program := filepath.Join(dir, "journalctl")
	write(t, program, "#!/bin/sh\necho \"$*\"\n[ \"$FAIL\" ] && echo broken >&2 && exit 1\n[ \"$HANG\" ] && exec sleep 60\nexit 0\n")
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	if !HasJournal() {
		t.Fatal("no journal")
	}
	j, err := Journal(t.Context(), Options{Boot: true, Since: time.Unix(7, 0)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(j)
	if err != nil || !strings.Contains(string(got), "--output=json ") || !strings.Contains(string(got), "--boot=0 --since=@7 _TRANSPORT=audit + _TRANSPORT=kernel") {
		t.Errorf("%q, %v", got, err)
	}
	j.Close()
	t.Setenv("FAIL", "1")
	j, err = Journal(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.ReadAll(j); err == nil || err.Error() != "journalctl: broken" {
		t.Errorf("%v", err)
	}
	t.Setenv("FAIL", "")
	t.Setenv("HANG", "1")
	ctx, cancel := context.WithCancel(t.Context())
	if j, err = Journal(ctx, Options{Follow: true}); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(j)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "--follow --lines=0") {
		t.Errorf("%q, %v", line, err)
	}
	cancel()
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("%v when it was ended", err)
	}
	j.Close()
	if j, err = Journal(t.Context(), Options{}); err == nil {
		err = j.Close() // while it runs
	}
	if err != nil {
		t.Error(err)
	}
	t.Setenv("PATH", filepath.Join(dir, "none"))
	if _, err := Journal(t.Context(), Options{}); err == nil || HasJournal() {
		t.Errorf("%v where there is none", err)
	}
}

func TestKernelMessages(t *testing.T) {
	k := &kmsg{known: true}
	for _, test := range []struct{ in, want string }{
		{"5,0,0,-;Linux version 7.2\n", "<5>Linux version 7.2\n"},
		{"5,1,1000,-,caller=T1;audit: a \\x5c b\\x09\\xff\n SUBSYSTEM=x\n DEVICE=y\n", "<5>audit: a \\ b\t\xff\n"},
		{"6,4,2000,-;audit: type=1800", "<4>** 2 printk messages dropped **\n<6>audit: type=1800\n"},
		{"14,5,2000,-;audit: type=1800 forged\n", ""}, // a program wrote it
		{"6,6,2000,-;a\\x0aaudit: type=1800\n", "<6>a\\x0aaudit: type=1800\n"},
		{"6,7,2000,-;end\\x4\n", "<6>end\\x4\n"},
		{"x,8,2000,-;m\n", ""}, {"6,8;m\n", ""}, {"6\n", ""}, {"", ""},
	} {
		if got := string(k.message([]byte(test.in))); got != test.want {
			t.Errorf("%q is %q, want %q", test.in, got, test.want)
		}
	}
	if got := string((&kmsg{}).message([]byte("6,9,1,-;m\n"))); got != "<6>m\n" {
		t.Errorf("the first of a log that is followed is %q", got)
	}
}

// TestKernel reads the messages of the kernel that runs the test, if it shows them.
func TestKernel(t *testing.T) {
	k, err := Kernel(t.Context(), Options{})
	if err != nil {
		t.Skipf("the kernel's messages: %v", err)
	}
	defer k.Close()
	b, err := io.ReadAll(k)
	if err != nil || len(b) == 0 || b[0] != '<' {
		t.Errorf("%.80q, %v", b, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), poll/2)
	defer cancel()
	k, err = Kernel(ctx, Options{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if _, err := io.Copy(io.Discard, k); err != nil {
		t.Error(err)
	}
}

func FuzzKernelMessage(f *testing.F) {
	f.Add([]byte("6,7,2000,-;end\\x41\n A=b\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k := &kmsg{known: true}
		line := k.message(b)
		if n := bytes.Count(line, []byte("\n")); n > 2 || len(line) > 0 && line[len(line)-1] != '\n' {
			t.Errorf("%q becomes %q", b, line)
		}
	})
}
