package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"imaseal/internal/treetest"
)

// enforceTree makes what the sections of doc/enforce.md begin with: a tree that is
// signed with one's own key and in part by another, an image of it, and lists of a
// package's files.
const enforceTree = `
mkdir -p tree/usr/bin tree/etc
printf '#!/bin/sh\n' >tree/usr/bin/program
cp tree/usr/bin/program tree/usr/bin/vendors
chmod 755 tree/usr/bin/*
echo x >tree/etc/app.conf
imaseal keys generate --out signing
imaseal keys generate --out vendor
truncate -s 8M root.img
mke2fs -q -t ext4 -d tree root.img
imaseal sign -q --key vendor.key --cert vendor.der tree/usr/bin/vendors
imaseal relabel -q --key signing.key --cert signing.der --trust vendor.der tree
`

// enforceWrappers are imaseal, which labels as a user without privilege can, and a dpkg
// whose packages have the files of the tree.
const enforceWrappers = `#!/bin/sh
case $1 in
sign|verify|hash|relabel|check|show) set -- "$@" --namespace user ;;
esac
case $1 in
relabel|check) set -- "$@" --policy "$EVERYTHING" ;;
sign|hash|verify) set -- "$@" --owner any ;;
esac
case "$* " in
check*" --key "*) ;;
check*) set -- "$@" --key signing.der --key vendor.der ;; # which a host has in its keyring
esac
exec "$SELF" "$@"
`

// TestEnforceDocument runs the commands of doc/enforce.md that do not need the host to
// enforce, each section on a tree of its own, and looks whether there are the options
// of those that do, whose blocks have the word host.
func TestEnforceDocument(t *testing.T) {
	for _, tool := range []string{"mke2fs", "jq"} {
		treetest.Tool(t, tool)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config, err := filepath.Abs("internal/upgrade/testdata/config-6.12")
	if err != nil {
		t.Fatal(err)
	}
	ran, base, bin := 0, xattrDir(t), t.TempDir()
	for name, text := range map[string]string{"imaseal": enforceWrappers, "dpkg": "#!/bin/sh\nfind \"$PWD/tree\" -type f\n", "everything": "appraise\n"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(t.TempDir(), "imaseal") // which is how the test knows that it is meant
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	for i, section := range strings.Split(string(read(t, "doc/enforce.md")), "\n## ") {
		title, _, _ := strings.Cut(section, "\n")
		script := ""
		for _, b := range blocksOf(section) {
			if b.has("host") {
				checkOptions(t, b.text)
				continue
			}
			script += onTree(b.text, config) + "\n"
			ran++
		}
		if script == "" {
			continue
		}
		t.Run(title, func(t *testing.T) {
			dir := filepath.Join(base, "enforce", string(rune('a'+i)))
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", "-eux")
			cmd.Stdin = strings.NewReader(enforceTree + script)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH")+":/usr/sbin:/sbin", "SELF="+program, "EVERYTHING="+filepath.Join(bin, "everything"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	if ran < 10 {
		t.Errorf("only %d blocks", ran)
	}
}

// onTree has the commands of a block use the tree instead of a host's files, and those
// about HMACs the image, whose inodes are known everywhere.
func onTree(text, config string) string {
	root := "tree"
	if strings.Contains(text, "hmac") {
		root = "ext4:root.img"
	}
	for _, r := range []struct{ old, now string }{
		{`/boot/config-VERSION`, config}, {`VERSION`, "6.12"}, {`/mnt/root`, root}, {`FILE`, "tree/etc/app.conf"}, {`OLDID`, `'"$(imaseal keys id signing.der | cut -c1-8)"'`},
		{` PACKAGE`, ""}, {`dpkg -L`, "dpkg"},
	} {
		text = strings.ReplaceAll(text, r.old, r.now)
	}
	return regexp.MustCompile(`(?m) /$`).ReplaceAllString(text, " tree")
}

var longOption = regexp.MustCompile(` (--[a-z-]+)`)

// checkOptions looks whether imaseal has the options of the commands in a block.
func checkOptions(t *testing.T, text string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		args, ok := strings.CutPrefix(line, "imaseal ")
		if !ok {
			continue
		}
		words := strings.Fields(args)
		n := 1
		if words[0] == "keys" || words[0] == "policy" || words[0] == "config" {
			n = 2
		}
		cmd := exec.Command(self, append(words[:n:n], "--help")...)
		cmd.Args[0] = "imaseal"
		cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", line, err, out)
		}
		for _, o := range longOption.FindAllStringSubmatch(" "+args, -1) {
			if !strings.Contains(string(out), o[1]) {
				t.Errorf("%s: there is no %s", line, o[1])
			}
		}
	}
}
