package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// fake makes a host of files.
func fake(t *testing.T, files map[string]string) Host {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Host{Root: root}
}

func TestPolicy(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		text  string
		err   error
	}{
		{"no securityfs", nil, "", ErrNoIMA},
		{"not shown", map[string]string{"sys/kernel/security/ima/violations": "0\n"}, "", ErrPolicyHidden},
		{"shown", map[string]string{"sys/kernel/security/ima/policy": "appraise fowner=0 \n"}, "appraise fowner=0 \n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := fake(t, c.files).Policy()
			if text != c.text || !errors.Is(err, c.err) {
				t.Errorf("got %q, %v", text, err)
			}
		})
	}
}

func TestSecureBoot(t *testing.T) {
	variable := secureBootVariable[1:]
	for _, c := range []struct {
		name      string
		files     map[string]string
		on, known bool
	}{
		{"nothing to see", nil, false, false},
		{"no UEFI", map[string]string{"sys/firmware/memmap/0": ""}, false, true},
		{"efivarfs is not mounted", map[string]string{"sys/firmware/efi/systab": ""}, false, false},
		{"no such variable", map[string]string{"sys/firmware/efi/efivars/BootOrder-x": ""}, false, true},
		{"on", map[string]string{variable: "\x06\x00\x00\x00\x01"}, true, true},
		{"off", map[string]string{variable: "\x06\x00\x00\x00\x00"}, false, true},
		{"short", map[string]string{variable: "\x06"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if on, known := fake(t, c.files).SecureBoot(); on != c.on || known != c.known {
				t.Errorf("got %v, %v", on, known)
			}
		})
	}
}
