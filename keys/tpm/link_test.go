package tpm

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/keys/keytest"
)

func TestDeviceNames(t *testing.T) {
	for _, name := range []string{"", "/dev/tpm0", "device", "device:/dev/tpm0", "swtpm:path=/run/tpm", "swtpm:host=h,port=1", "swtpm:port=1", "swtpm:"} {
		if _, err := newLink(name, 0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"tpm0":           `TPM "tpm0": neither a path nor device:PATH nor swtpm:path=SOCKET`,
		"tabrmd":         `TPM "tabrmd": neither a path nor device:PATH nor swtpm:path=SOCKET`,
		"mssim:port=1":   `TPM "mssim:port=1": neither a path nor device:PATH nor swtpm:path=SOCKET`,
		"device:":        `TPM "device:": neither a path nor device:PATH nor swtpm:path=SOCKET`,
		"swtpm:x=1":      `TPM "swtpm:x=1": "x=1" is not path=SOCKET, host=HOST or port=PORT`,
		"swtpm:path=":    `TPM "swtpm:path=": "path=" is not path=SOCKET, host=HOST or port=PORT`,
		"swtpm:host=h,y": `TPM "swtpm:host=h,y": "y" is not path=SOCKET, host=HOST or port=PORT`,
	} {
		if _, err := newLink(name, 0); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if network, address, err := swtpm("port=1"); network != "tcp" || address != "localhost:1" || err != nil {
		t.Errorf("%s %s, %v", network, address, err)
	}
}

func TestNoDevice(t *testing.T) {
	file, none := keytest.File(t, nil), filepath.Join(t.TempDir(), "none")
	for device, want := range map[string]string{
		none:                 "reading the public key: stat " + none + ": no such file or directory",
		"device:" + file:     "reading the public key: open " + file + ": is not a device",
		"swtpm:path=" + none: "reading the public key: dial unix " + none + ": connect: no such file or directory",
		"/dev/null":          "reading the public key: EOF",
	} {
		if _, err := Open(t.Context(), "tpm:0x81000001", Options{Device: device}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", device, err, want)
		}
	}
}

// FuzzParse reads any bytes as a key file: what is taken can be asked for its
// public key.
func FuzzParse(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.pem")
	if err != nil || len(paths) == 0 {
		f.Fatalf("%v, %v", paths, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		b, _ := pem.Decode(text)
		f.Add(b.Bytes)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		key, err := parse(der)
		if (key == nil) == (err == nil) {
			t.Errorf("%v, %v", key, err)
		}
		if key == nil {
			return
		}
		public, err := key.Pubkey.Contents()
		if err != nil {
			t.Fatal(err)
		}
		usable(public)
	})
}

func TestParse(t *testing.T) {
	for name, want := range map[string]string{"ec": "", "rsa": "", "policy": "the key wants a policy to be fulfilled", "sealed": "the file holds sealed data, not a key"} {
		text, err := os.ReadFile("testdata/" + name + ".pem")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := pem.Decode(text)
		if _, err := parse(b.Bytes); (want == "") != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		for size := range b.Bytes {
			if _, err := parse(b.Bytes[:size]); err == nil {
				t.Errorf("%s: %d bytes of %d are a key", name, size, len(b.Bytes))
			}
		}
	}
}
