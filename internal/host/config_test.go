package host

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const someConfig = "#\n# Linux/x86 6.12\n#\nCONFIG_EVM=y\r\nCONFIG_EVM_ATTR_FSUUID=y\n# CONFIG_IMA is not set\n" +
	"CONFIG_DEFAULT_HOSTNAME=\"CONFIG_X=y\"\nCONFIG_TUN=m\n"

func compressed(t *testing.T, s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReadConfig(t *testing.T) {
	for name, text := range map[string]string{"plain": someConfig, "compressed": compressed(t, someConfig)} {
		c, err := readConfig(strings.NewReader(text))
		if err != nil || len(c) != 5 || c["CONFIG_IMA"] != "n" {
			t.Errorf("%s: %v, %v", name, c, err)
		}
		for option, want := range map[string]bool{"CONFIG_EVM": true, "CONFIG_EVM_ATTR_FSUUID": true, "CONFIG_IMA": false, "CONFIG_TUN": false, "CONFIG_X": false} {
			if c.Enabled(option) != want {
				t.Errorf("%s: %s is %q", name, option, c[option])
			}
		}
	}
	for _, text := range []string{"", "CONFIG_EVM y\n", "# CONFIG_EVM is not set\n", strings.Repeat("\x00", 1<<20), compressed(t, "")} {
		if c, err := readConfig(strings.NewReader(text)); !errors.Is(err, ErrNoConfig) || c != nil {
			t.Errorf("%.20q: %v, %v", text, c, err)
		}
	}
	torn := compressed(t, someConfig)
	for n := 2; n < len(torn); n++ {
		if c, err := readConfig(strings.NewReader(torn[:n])); err == nil {
			t.Errorf("cut at %d: %v", n, c)
		}
	}
}

func TestOpenConfigErrors(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "text")
	if err := os.WriteFile(name, []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		name:                       ErrNoConfig.Error(),
		dir:                        "is a directory",
		filepath.Join(dir, "none"): "no such file or directory",
	} {
		_, err := OpenConfig(name)
		var path *fs.PathError
		if !errors.As(err, &path) || path.Path != name || path.Err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfigVersion(t *testing.T) {
	const head = "#\n# Automatically generated file; DO NOT EDIT.\n"
	for text, want := range map[string]string{
		head + "# Linux/x86 6.12.9 Kernel Configuration\n#\nCONFIG_A=y\n": "6.12.9",
		"# Linux/arm64 6.1.0-30-cloud-amd64 Kernel Configuration":         "6.1.0-30-cloud-amd64",
		head + someConfig:                    "",
		"# Linux/x86 Kernel Configuration\n": "",
		"":                                   "",
	} {
		name := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := ConfigVersion(name); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
	if v, ok := ConfigVersion(t.TempDir()); ok {
		t.Errorf("a directory: %q", v)
	}
}
