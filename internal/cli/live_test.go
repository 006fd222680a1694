package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/host"
	"imaseal/internal/treetest"
)

// Promise 10: the running kernel is asked before anything is written. What it
// would refuse is refused first, with the way out; of what it may refuse there
// is a warning.
func TestPromise10LiveHosts(t *testing.T) {
	treetest.Root(t)
	const initial, container = `file proc/self/uid_map content="0 0 4294967295"`, `file proc/self/uid_map content="0 100000 65536"`
	const refused = "imaseal: error: writing security attributes needs CAP_SYS_ADMIN in the initial user namespace, and this process is in another one\n" +
		"imaseal: hint: run as root outside containers and user namespaces, or label the image from there; --namespace user is for tests\n"
	const active = "imaseal: warning: EVM is active on this kernel (state 1): it refuses to change labels of files whose security.evm it does not find right\n"
	tests := []struct {
		name, host, command string
		status              int
		want                string // on standard error
		labelled            bool
	}{
		{"nothing in the way", initial, "hash", exitOK, "", true},
		{"a container", container, "hash", exitFailure, refused, false},
		{"a container, clear", container, "clear", exitFailure, refused, false},
		{"a container, dry", container, "hash --dry-run", exitOK, "", false},
		{"a container, looking", container, "verify", exitVerdict, "imaseal: error: TREE/f: no security.ima\n", false},
		{"EVM", initial + "\nfile sys/kernel/security/evm content=1", "hash", exitOK, active, true},
		{"EVM, dry", initial + "\nfile sys/kernel/security/evm content=1", "hash --dry-run", exitOK, "", false},
		{"EVM not set up", initial + "\nfile sys/kernel/security/evm content=0", "hash", exitOK, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := treetest.Mount(t, "ext4", 8)
			treetest.Add(t, dir, "file f content=x")
			log := filepath.Join(t.TempDir(), "log")
			args := strings.Fields(tt.command + " " + dir)
			if tt.status == exitFailure {
				args = append(args, "--undo-log", log)
			}
			var out, errs bytes.Buffer
			status := Main(context.Background(), Program{
				Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Host: host.Host{Root: treetest.Make(t, tt.host)},
			})
			if want := strings.ReplaceAll(tt.want, "TREE", dir); status != tt.status || errs.String() != want {
				t.Errorf("status %d, want %d\n%s\nwant\n%s", status, tt.status, &errs, want)
			}
			_, err := unix.Getxattr(dir+"/f", "security.ima", make([]byte, 64))
			if labelled := err == nil; labelled != tt.labelled {
				t.Errorf("labelled %v: %v", labelled, err)
			}
			if _, err := os.Stat(log); err == nil {
				t.Error("a run that was refused left a log")
			}
		})
	}
}
