package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/treetest"
)

// needed are the options without which a command does nothing, and its
// arguments. All files there are in a directory that is watched.
var needed = map[string]string{
	"measurements compare": "--list DIR/log DIR/tree", "policy from-list": "DIR/log",
	"measurements show": "DIR/log", "measurements verify": "DIR/log", "boot-aggregate": "DIR/log",
	"hash":                "DIR/tree",
	"sign":                "--key DIR/key DIR/tree",
	"sign-digests":        "--key DIR/key DIR/log",
	"relabel":             "--policy DIR/policy DIR/tree",
	"verify":              "--key DIR/key DIR/tree",
	"check":               "--policy DIR/policy --key DIR/key DIR/tree",
	"denials":             "DIR/log",
	"measurements export": "DIR/tree",
	"show":                "DIR/tree/f",
	"apply":               "DIR/log DIR/tree",
	"request":             "DIR/tree",
	"answer":              "--key DIR/key DIR/log",
	"clear":               "DIR/tree",
	"undo":                "DIR/log",
	"report merge":        "DIR/log",
	"policy show":         "DIR/policy",
	"policy lint":         "DIR/policy",
	"policy explain":      "--policy DIR/policy DIR/tree/f",
	"keys generate":       "--ca DIR/key --ca-key DIR/key --out DIR/new",
	"keys id":             "DIR/key",
	"keys cert":           "--key DIR/key --out DIR/new",
	"keys import":         "DIR/key",
	"keys list":           "imaseal-none",
	"keys remove":         "DIR/key",
	"keys evm-key":        "--from DIR/key --master DIR/key --blob DIR/new",
	"integrate":           "apt",
	"config check":        "DIR/key",
	"config show":         "DIR/key",
	"load":                "--dry-run",
}

// wrong are values that an option does not take, by its name or by command and
// name. Options that are not here take any text.
var wrong = map[string][]string{
	"tpm":      {"bogus", "swtpm:x=1"},
	"key-jobs": {"0", "-1", "x"}, "key-timeout": {"0s", "-1s", "x"},
	"output": {"DIR/new"}, "in-place": {""}, "tmpdir": {"DIR"}, // without an archive
	"labels-format": {"bogus", "json"}, "as": {"0:0", "root", "0", "0:0:0", "-1:0"},
	"compress":                {"bogus", "xz"},
	"signatures":              {"ftp://x", "http://me:x@host", "http://"},
	"shard":                   {"0/2", "3/2", "1", "x/2", "auto/0", "1/0"},
	"since":                   {"soon", "-3h", "2026-13-01"},
	"owner":                   {"no-such-user", "-1", "4294967296"},
	"user":                    {"no-such-user", "-1"},
	"include":                 {"[", "{a"},
	"exclude":                 {"["},
	"0":                       {""}, // without a list
	"root":                    {"DIR/tree"},
	"algo":                    {"sha265", "wp256", "none"},
	"keyid":                   {"xyz", "123456789", "00000000", "0", "0x0"},
	"sig-version":             {"0", "4", "-2", "x"},
	"evm":                     {"bogus", ",", "portable,signature", "hmac,hmac", "none,hmac"},
	"evm-uuid":                {"bogus", "1122"},
	"evm-xattr":               {"bogus", "user.x", "security.evm"},
	"evm-uid":                 {"root", "-1", "4294967296"},
	"evm-gid":                 {"root", "-1", "4294967296"},
	"evm-mode":                {"rw", "888", "1000000"},
	"evm-inode":               {"x", "-1"},
	"evm-generation":          {"x", "4294967296"},
	"evm-value":               {"bogus", "user.x=1", "security.evm=1", "security.ima=0x0"},
	"initramfs-loads":         {"sha265", "sha256,sha512"},
	"evm-state":               {"bogus", "hmac,hmac", "none,hmac", "sigv3"},
	"kernel-version":          {"bogus", "6", "six.one"},
	"target-arch":             {"bogus", "AMD64"},
	"secure-boot":             {"bogus"},
	"target-fs":               {"bogus", "ext5"},
	"operation":               {"bogus"},
	"require":                 {"bogus", "imasig,bogus", ","},
	"bank":                    {"bogus", "md5"},
	"byte-order":              {"bogus"},
	"pcrs":                    {"", "sha1,"},
	"quote":                   {"DIR/log"}, // without its signature
	"quote-signature":         {"DIR/log"}, // without --quote
	"quote-key":               {"DIR/log"},
	"quote-nonce":             {"00", "x"},
	"quote-pcrs":              {"DIR/log"},
	"label":                   {"bogus"},
	"contexts-root":           {"DIR/tree"}, // without --file-contexts
	"immutable":               {"bogus"},
	"namespace":               {"bogus", "trusted"},
	"progress":                {"bogus"},
	"jobs":                    {"0", "-1", "x"},
	"type":                    {"bogus", "rsa1024"},
	"days":                    {"0", "-1", "3000000", "9223372036854775807"},
	"name":                    {strings.Repeat("n", 65)},
	"size":                    {"19", "129", "x"},
	"format":                  {"bogus", "ecryptfs"},
	"prefix":                  {"relative"},
	"policy-exclude":          {"", "("},
	"master-name":             {"a b", "logon:x", "user:"},
	"keys generate out":       {strings.Repeat("n", 65)},
	"keys cert out":           {strings.Repeat("n", 65)},
	"keys generate new-ca":    {"DIR/new"},
	"verify evm-xattr":        {"bogus"},
	"policy explain evm-uuid": {"bogus"},
	"check evm-uuid":          {"bogus"},
	"sign replace-signatures": {""}, // without --rules
	"sign evm-key":            {"DIR/key"},
	"sign evm-no-uuid":        {""},
	"hash key":                {"DIR/key"},
	"sign key":                {"pkcs11:colour=red", "pkcs11:?pin-value=1", "tpm:0x80000000", "tpm:x"},
	"keys cert key":           {"pkcs11:colour=red", "tpm:x"},
	"keys cert ca-key":        {"pkcs11:colour=red", "tpm:x"},
	"request as":              {"root", "0", "0:0:0", "-1:0"},
	"answer evm-sign-key":     {"pkcs11:colour=red", "tpm:x"},
	"answer evm-sign-cert":    {"DIR/key"}, // without --evm-sign-key
	"hash cert":               {"DIR/key"},
	"hash passphrase-file":    {"DIR/key"},
	"relabel cert":            {"DIR/key"},
	"relabel evm-no-uuid":     {""},
	"load root":               {""},
	"copy-to":                 {"DIR/new"}, // beside --dry-run
	"keys evm-key open":       {"DIR/key"}, // beside --from
	"keys evm-key new-master": {"DIR/new2"},
	"keys evm-key out":        {"DIR/new"},
	"hash evm-key":            {"DIR/key"},
	"hash evm-no-uuid":        {""},
	"relabel evm-key":         {"DIR/key"},
	"program":                 {"imaseal", "/a b", "/usr/../imaseal"},
}

// right are options by command and name that take what the options of that name of
// other commands do not.
var right = map[string]bool{"request output": true, "measurements export output": true, "request as": true, "answer output": true, "answer tmpdir": true, "integrate root": true, "policy from-list root": true, "load root": true}

// anything are the options that take any value: of files that there may not be,
// and of what only the running kernel knows.
var anything = map[string]bool{
	"list": true, "files-from": true, "undo-log": true, "key": true, "cert": true, "passphrase-file": true, "rules": true, "policy": true, "file-contexts": true,
	"evm-key": true, "trust": true, "kernel-config": true, "ca": true, "ca-key": true, "from": true, "blob": true, "open": true, "master": true,
	"new-master": true, "labels-to": true, "html": true, "allow": true, "output": true, "tmpdir": true, "event-log": true, "keyring": true, "out": true, "new-ca": true,
	"config": true,
}

// TestWrongUsageFirst gives each option of each command a value that it does not
// take: that is wrong usage, whatever else is wrong, and nothing is opened.
func TestWrongUsageFirst(t *testing.T) {
	dir := treetest.Make(t, `file tree/f content=x
file key content=x
file policy content=x
file log content=x`)
	opened := watch(t, dir, filepath.Join(dir, "tree"))
	if _, err := os.ReadFile(filepath.Join(dir, "key")); err != nil || !slices.Equal(opened(), []string{"key"}) {
		t.Fatalf("what is opened is not seen: %v", err)
	}
	leaves(Program{}.grammar().App, func(path string, inv cmdline.Invocation) {
		if path == "completion" || path == evmctlName { // which have no options
			return
		}
		args, ok := needed[path]
		if !ok {
			t.Fatalf("%s: what does it need?", path)
		}
		for _, f := range inv.Command.Flags {
			name := f.Names()[0]
			values := slices.Clone(wrong[name])
			if right[path+" "+name] {
				values = nil
			}
			values = append(values, wrong[path+" "+name]...)
			if takesValue(f) && values == nil && !anything[name] && !right[path+" "+name] {
				t.Errorf("%s --%s: what does it not take?", path, name)
			}
			for _, value := range values {
				option := "--" + name + "=" + value
				if !takesValue(f) {
					option = strings.TrimSuffix(option, "=")
				}
				if len(name) == 1 {
					option = option[1:]
				}
				usage := &usageCase{dir: dir, opened: opened, path: path, args: append(without(strings.Fields(args), name), option)}
				usage.run(t)
			}
		}
	})
}

func takesValue(f urfave.Flag) bool { return f.(urfave.DocGenerationFlag).TakesValue() }

// without takes an option and its value from arguments.
func without(args []string, name string) []string {
	if i := slices.Index(args, "--"+name); i >= 0 {
		return slices.Delete(slices.Clone(args), i, i+2)
	}
	return slices.Clone(args)
}

// A usageCase is a command that is used wrongly.
type usageCase struct {
	dir    string          // of the files
	opened func() []string // in dir
	path   string          // of the command
	args   []string        // with DIR for dir
}

// run runs the command where its files are not, and where they are.
func (c *usageCase) run(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"/nonexistent", c.dir} {
		args := strings.Fields(c.path)
		for _, arg := range c.args {
			args = append(args, strings.ReplaceAll(arg, "DIR", dir))
		}
		var out, errs bytes.Buffer
		status := Main(context.Background(), Program{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: os.Getenv})
		if status != exitUsage || out.Len() > 0 {
			t.Errorf("imaseal %q: status %d, want %d: %s%s", args, status, exitUsage, &out, &errs)
		}
		if files := c.opened(); len(files) > 0 {
			t.Errorf("imaseal %q: opens %q", args, files)
		}
	}
}

// watch returns a function that tells what in the directories was opened since it
// was called last.
func watch(t *testing.T, dirs ...string) func() []string {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	for _, dir := range dirs {
		if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_OPEN|unix.IN_CREATE); err != nil {
			t.Fatal(err)
		}
	}
	return func() []string {
		var names []string
		b := make([]byte, 16<<10)
		n, _ := unix.Read(fd, b)
		for n >= unix.SizeofInotifyEvent {
			size := unix.SizeofInotifyEvent + int(b[12])
			names = append(names, string(bytes.TrimRight(b[unix.SizeofInotifyEvent:size], "\x00")))
			b, n = b[size:], n-size
		}
		return names
	}
}
