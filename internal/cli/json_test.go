package cli

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"imaseal/internal/treetest"
	"imaseal/internal/vectors"
)

// jsonLines runs a command, and returns the objects that it prints.
func jsonLines(t *testing.T, args ...string) []map[string]any {
	t.Helper()
	var out, errs bytes.Buffer
	Main(context.Background(), Program{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: os.Getenv})
	var all []map[string]any
	for line := range strings.Lines(out.String()) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("imaseal %q: %v: %s", args, err, line)
		}
		all = append(all, o)
	}
	if len(all) == 0 {
		t.Fatalf("imaseal %q prints nothing: %s", args, &errs)
	}
	return all
}

// TestJSON: commands about keys and policies print an object for each thing, and
// then a summary, which has the warnings that were printed.
func TestJSON(t *testing.T) {
	dir := treetest.Make(t, `file policy content="dont_appraise fsname=vfat\nappraise subj_type=x\n"
file unfinished content="measure"
file program mode=0755 content=x`)
	p256 := vectors.Path(t, "keys/p256.cert.der")
	public := filepath.Join(dir, "key\xff.pem")
	crt, err := x509.ParseCertificate(vectors.Read(t, "keys/rsa2048.cert.der"))
	if err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{Type: "PUBLIC KEY", Bytes: crt.RawSubjectPublicKeyInfo}
	if err := os.WriteFile(public, pem.EncodeToMemory(block), 0o644); err != nil {
		t.Fatal(err)
	}
	no, number := false, func(n int) any { return float64(n) }
	tests := []struct {
		args  []string
		first map[string]any // what there is among the fields of the first object
		count int            // of objects before the summary
		notes bool
	}{
		{[]string{"keys", "id", p256, public}, map[string]any{"path": p256, "keyid": "6bca908e", "type": "P-256", "certificate": true}, 2, false},
		{[]string{"keys", "id", public}, map[string]any{"path": filepath.Join(dir, "key\ufffd.pem"), "path_base64": true, "keyid": "dd65a4eb", "keyid_v1": true, "certificate": no}, 1, false},
		{[]string{"keys", "generate", "--type", "p256", "--out", filepath.Join(dir, "made")}, map[string]any{"path": filepath.Join(dir, "made.key"), "holds": "private-key", "type": "P-256", "keyid": true}, 3, false},
		{[]string{"keys", "cert", "--key", filepath.Join(dir, "made.key"), "--out", filepath.Join(dir, "more")}, map[string]any{"holds": "certificate", "keyid": true}, 2, false},
		{[]string{"keys", "cert", "--key", filepath.Join(dir, "made.key"), "--request", "--out", filepath.Join(dir, "more")}, map[string]any{"holds": "certificate-request"}, 1, false},
		{[]string{"keys", "evm-key", "--out", filepath.Join(dir, "evm"), "--new-master", filepath.Join(dir, "kmk"), "--blob", filepath.Join(dir, "blob")}, map[string]any{"holds": "master-key"}, 3, false},
		{[]string{"policy", "lint", "--kernel-version", "9.9", filepath.Join(dir, "unfinished")}, map[string]any{"line": number(1), "severity": "warning", "code": "odd-text", "hint": "end the file with a newline"}, 1, true},
		{
			[]string{"policy", "explain", "--kernel-version", "5.4", "--policy", filepath.Join(dir, "policy"), "--target-fs", "ext4", "--operation", "read", filepath.Join(dir, "program")},
			map[string]any{"path": filepath.Join(dir, "program"), "filesystem": "ext4", "uses": []any{map[string]any{
				"operation": "read", "accesses": []any{"FILE_CHECK with MAY_READ"}, "answers": []any{map[string]any{
					"action": "appraise", "taken": nil, "rules": []any{
						map[string]any{"rule": "dont_appraise fsname=vfat", "number": number(1), "line": number(1), "asked": true, "takes": false, "failed": []any{map[string]any{"condition": "fsname=vfat", "is": "ext4"}}},
						map[string]any{"rule": "appraise subj_type=x", "number": number(2), "line": number(2), "asked": true, "takes": nil, "unknown": []any{map[string]any{"condition": "subj_type=x", "is": "unknown"}}},
					},
				}},
			}}},
			1, true,
		},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args[:2], " "), func(t *testing.T) {
			all := jsonLines(t, append(tt.args, "--json")...)
			summary, ok := all[len(all)-1]["summary"].(map[string]any)
			if !ok || summary["command"] != strings.Join(tt.args[:2], " ") || (summary["notes"] != nil) != tt.notes {
				t.Errorf("the summary is %v", all[len(all)-1])
			}
			if len(all) != tt.count+1 {
				t.Errorf("%d objects, want %d: %v", len(all), tt.count+1, all)
			}
			for field, want := range tt.first {
				got := all[0][field]
				if want == true && got != nil { // whatever it is
					continue
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s is %v, want %v", field, got, want)
				}
			}
		})
	}
}
