package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/hash"
)

// write makes files below a root.
func write(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPCRs(t *testing.T) {
	one, two := strings.Repeat("A1", 20), strings.Repeat("B2", 32)
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // values, or the error
	}{
		{"no TPM", nil, ErrNoTPM.Error()},
		{"an old kernel", map[string]string{"tpm0/caps": "x"}, ErrNoPCRs.Error()},
		{"two banks", map[string]string{"tpm0/pcr-sha1/0": one + "\n", "tpm0/pcr-sha256/0": two + "\n", "tpm0/pcr-sha256/23": two + "\n", "tpm0/pcr-bogus/0": "x"}, "sha1 1, sha256 2"},
		{"the second TPM", map[string]string{"tpm0/caps": "x", "tpm1/pcr-sha1/0": one}, "sha1 1"},
		{"TPM 1.2", map[string]string{"tpm0/pcrs": "PCR-00: " + strings.Repeat("A1 ", 20) + "\nPCR-01: " + one}, "sha1 2"},
		{"away", map[string]string{"tpm0/pcr-sha256/0": "\n"}, ErrTPMAway.Error()},
		{"another size", map[string]string{"tpm0/pcr-sha256/0": one}, "pcr-sha256/0: a value of 20 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			write(t, filepath.Join(root, "sys/class/tpm"), c.files)
			values, err := Host{Root: root}.PCRs()
			var got []string
			for _, bank := range values.Banks() {
				got = append(got, fmt.Sprintf("%s %d", bank, len(values[bank])))
			}
			text := strings.Join(got, ", ")
			if err != nil {
				text = err.Error()
			}
			if !strings.Contains(text, c.want) || err != nil && values != nil {
				t.Errorf("%s, want %s", text, c.want)
			}
		})
	}
	if _, err := ReadPCRs(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestMeasurementList(t *testing.T) {
	const dir, prefix = "sys/kernel/security/ima/", "binary_runtime_measurements"
	for _, c := range []struct {
		suffixes []string
		bank     hash.Algorithm
		want     string // suffix, or the error
	}{
		{nil, 0, ErrNoIMA.Error()},
		{[]string{""}, 0, ""},
		{[]string{"", "_sha1"}, 0, "_sha1"},
		{[]string{"", "_sha1", "_sha512", "_sha256"}, 0, "_sha256"},
		{[]string{"", "_sha1", "_sha512"}, 0, "_sha512"},
		{[]string{"", "_sha1", "_sha256"}, hash.SHA1, "_sha1"},
		{[]string{""}, hash.SHA1, ""},
		{[]string{""}, hash.SHA256, ErrNoBank.Error()},
	} {
		root := t.TempDir()
		for _, s := range c.suffixes {
			write(t, root, map[string]string{dir + prefix + s: "x"})
		}
		path, err := Host{Root: root}.MeasurementList(c.bank)
		got := strings.TrimPrefix(path, filepath.Join(root, dir+prefix))
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("of %q, bank %s: %q, want %q", c.suffixes, c.bank, got, c.want)
		}
	}
}

func TestEventLog(t *testing.T) {
	root := t.TempDir()
	if _, err := (Host{Root: root}).EventLog(); !errors.Is(err, ErrNoEvents) {
		t.Error(err)
	}
	write(t, root, map[string]string{"sys/kernel/security/tpm1/binary_bios_measurements": "", "sys/kernel/security/tpm0/binary_bios_measurements": ""})
	if path, err := (Host{Root: root}).EventLog(); err != nil || !strings.Contains(path, "/tpm0/") {
		t.Error(path, err)
	}
}
