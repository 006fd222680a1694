package main

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/measure"
	"imaseal/internal/policy"
	"imaseal/internal/policy/lint"
	"imaseal/internal/treetest"
	"imaseal/keys/keytest"
)

// TestAttestDocument runs the commands of doc/attest.md, in their order, with a simulated
// TPM that is extended as a kernel does it that has measured the tree. Blocks with the word
// host behind "sh" are not run: they are for a machine that measures, or has Keylime.
func TestAttestDocument(t *testing.T) {
	tpm := keytest.NewTPM(t)
	for _, tool := range []string{"tar", "tpm2_quote", "tpm2_checkquote", "tpm2_pcrextend"} {
		treetest.Tool(t, tool)
	}
	dir := filepath.Join(xattrDir(t), "attest")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	treetest.Add(t, dir, `
		file root/sbin/init mode=0755 content=init
		file root/usr/bin/program mode=0755 content=old
		file root/etc/configuration content=x
	`)
	if err := os.WriteFile(filepath.Join(dir, "root/etc/with blank"), []byte("y"), 0o600); err != nil {
		t.Fatal(err)
	}
	list := measureTree(t, tpm, filepath.Join(dir, "root"))
	if err := os.WriteFile(filepath.Join(dir, "measurements_sha256"), list, 0o600); err != nil {
		t.Fatal(err)
	}
	script := "tar -C root -cf root.tar .\nmkdir new\ncp -r root/. new\nprintf new >new/usr/bin/program\ntar -C new -cf upgraded.tar .\n"
	for _, b := range docBlocks(t, "doc/attest.md", 12) {
		if !b.has("host") {
			script += b.text + "\n"
		}
	}
	cmd := exec.Command("sh", "-eux")
	cmd.Stdin = strings.NewReader(script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+attestWrappers(t)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"imaseal: PCR 10 of bank sha256 is that of the list\n", "imaseal: 4 valid, 0 invalid, 0 unlabelled, 0 failed\n",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%s\nlacks %s", out, want)
		}
	}
	wantDigests(t, filepath.Join(dir, "both.json"), map[string]int{"/usr/bin/program": 2, "/etc/with_blank": 1, "boot_aggregate": 1})
	wantDigests(t, filepath.Join(dir, "policy.json"), map[string]int{"/usr/bin/program": 1, "/etc/with_blank": 1, "boot_aggregate": 0})
}

// wantDigests compares how many digests a policy has of some paths.
func wantDigests(t *testing.T, name string, want map[string]int) {
	t.Helper()
	var policy struct{ Digests map[string][]string }
	if err := json.Unmarshal(read(t, name), &policy); err != nil {
		t.Fatal(err)
	}
	for path, n := range want {
		if got := policy.Digests[path]; len(got) != n {
			t.Errorf("%s: %s has %q, want %d", name, path, got, n)
		}
	}
}

// measureTree returns the list of a kernel that has measured all files of a tree, in a
// bank of SHA-256, and extends the TPM as that does.
func measureTree(t *testing.T, tpm *keytest.TPM, root string) []byte {
	t.Helper()
	var list []byte
	add := func(name string, d hash.Digest) {
		t.Helper()
		field := func(b []byte, text string) []byte {
			return append(binary.LittleEndian.AppendUint32(b, uint32(len(text))), text...)
		}
		data := field(nil, d.Algorithm().String()+":\x00"+string(d.Bytes()))
		data = field(data, measure.EscapeName(name)+"\x00")
		r := measure.Record{
			Layout: measure.Layout{Form: measure.Binary, Bank: hash.SHA256, Order: binary.LittleEndian}, PCR: 10, Template: "ima-ng", Data: data,
		}
		template, err := r.TemplateDigest(hash.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		r.Digest = template.Bytes()
		if list, err = r.AppendBinary(list); err != nil {
			t.Fatal(err)
		}
		tpm.Tool("tpm2_pcrextend", "10:sha256="+hex.EncodeToString(r.Digest))
	}
	sum := func(b []byte) hash.Digest {
		d, err := hash.Sum(hash.SHA256, b)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	add("boot_aggregate", sum(make([]byte, 10*32))) // of PCRs that nothing has extended
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			add(strings.TrimPrefix(name, root), sum(read(t, name)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// attestWrappers is a directory with imaseal, and with tpm2-tools that flush what they
// leave in a TPM without a resource manager.
func attestWrappers(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "imaseal")); err != nil {
		t.Fatal(err)
	}
	flush := treetest.Tool(t, "tpm2_flushcontext")
	for _, tool := range []string{"tpm2_createprimary", "tpm2_create", "tpm2_load", "tpm2_readpublic", "tpm2_quote"} {
		text := fmt.Sprintf("#!/bin/sh\n%s \"$@\" && exec %s -t\n", treetest.Tool(t, tool), flush)
		if err := os.WriteFile(filepath.Join(dir, tool), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestAttestPolicy has the rules in the document be ones that kernels take.
func TestAttestPolicy(t *testing.T) {
	var rules string
	for line := range strings.Lines(string(read(t, "doc/attest.md"))) {
		if rule, ok := strings.CutPrefix(line, "    measure "); ok {
			rules += "measure " + rule
		}
	}
	k := policy.Kernel{Major: 6, Minor: 12}
	if p, err := policy.Parse(rules, k); err != nil || len(p.Rules) != 6 {
		t.Errorf("%d rules, %v", len(p.Rules), err)
	}
	for _, f := range lint.Text(rules, k) {
		if f.Severity > lint.Note {
			t.Errorf("%+v", f)
		}
	}
}
