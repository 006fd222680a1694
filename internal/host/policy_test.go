package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"imaseal/internal/policy"
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

// TestPolicyLoaded: the file to load policies tells whether one was.
func TestPolicyLoaded(t *testing.T) {
	const dir = "sys/kernel/security/ima/"
	there, gone := map[string]string{dir + "policy": ""}, map[string]string{dir + "violations": ""}
	for _, c := range []struct {
		name   string
		files  map[string]string
		config Config
		mode   os.FileMode // of the policy file
		want   policy.Truth
	}{
		{"once, and not yet", there, Config{}, 0o200, policy.False},
		{"once, and done", gone, Config{}, 0, policy.True},
		{"shown, and not yet", there, Config{"CONFIG_IMA_READ_POLICY": "y"}, 0o600, policy.False},
		{"shown, and done", there, Config{"CONFIG_IMA_READ_POLICY": "y"}, 0o400, policy.True},
		{"shown, and not there", gone, Config{"CONFIG_IMA_READ_POLICY": "y"}, 0, policy.Unknown},
		{"any number of times", there, Config{"CONFIG_IMA_WRITE_POLICY": "y"}, 0o600, policy.Unknown},
		{"no configuration", there, nil, 0o200, policy.Unknown},
		{"no IMA", nil, Config{}, 0, policy.Unknown},
	} {
		h := fake(t, c.files)
		if c.mode != 0 {
			if err := os.Chmod(filepath.Join(h.Root, dir+"policy"), c.mode); err != nil {
				t.Fatal(err)
			}
		}
		if got := h.PolicyLoaded(c.config); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
