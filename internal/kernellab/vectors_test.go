package kernellab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/vectors"
)

// vectorUUID is the filesystem UUID that went into the inode-bound labels.
const vectorUUID = "11223344-5566-7788-99aa-bbccddeeff00"

// A fixture is a file with the content of hello.txt and labels of the vectors.
// Other tools than imaseal made them: the lab must judge them right before it
// may judge us.
type fixture struct {
	name       string
	attrs      string // attribute=vector, separated by blanks
	mode       uint32
	uid, gid   int
	generation uint32
	cause      string // of the denial, "" if it must open
}

func TestIMASignatures(t *testing.T) {
	l := Open(t)
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			files := []fixture{
				{name: "rsa", attrs: "ima=hello.txt.rsa2048.sha256.imasig", mode: 0o644},
				{name: "hash", attrs: "ima=hello.txt.sha256.imahash", mode: 0o644, cause: "IMA-signature-required"},
				{name: "bare", mode: 0o644, cause: "IMA-signature-required"},
			}
			keys := []Key{IMAKey(vectors.Read(t, "keys/rsa2048.cert.der"))}
			if series != "6.1" { // it has no ECDSA
				files = append(files, fixture{name: "p256", attrs: "ima=hello.txt.p256.sha256.imasig", mode: 0o644},
					fixture{name: "p192", attrs: "ima=hello.txt.p192.sha256.imasig", mode: 0o644})
				keys = append(keys, IMAKey(vectors.Read(t, "keys/p256.cert.der")), IMAKey(vectors.Read(t, "keys/p192.cert.der")))
			}
			judgeFixtures(t, l, files, Case{
				Kernel: l.Kernel(t, series), Keys: keys,
				Policy: []string{"appraise func=FILE_CHECK appraise_type=imasig fsuuid=" + vectorUUID},
			})
		})
	}
}

func TestPortableEVMSignatures(t *testing.T) {
	l := Open(t)
	e4 := "selinux=E4.selinux capability=E4.capability ima=E4.ima evm=E4.portable.p384.sha384.evm"
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			files := []fixture{
				{name: "E1", attrs: "ima=E1.ima evm=E1.portable.rsa2048.sha256.evm", mode: 0o755},
				{name: "E2", attrs: "ima=E2.ima evm=E2.portable.rsa4096.sha512.evm", mode: 0o755},
				{name: "E1-mode", attrs: "ima=E1.ima evm=E1.portable.rsa2048.sha256.evm", mode: 0o711,
					cause: "invalid-fail-immutable"},
				{name: "E1-bare", attrs: "ima=E1.ima", mode: 0o755, cause: "missing-HMAC"},
			}
			keys := []Key{EVMKey(vectors.Read(t, "keys/rsa2048.cert.der")), EVMKey(vectors.Read(t, "keys/rsa4096.cert.der")),
				IMAKey(vectors.Read(t, "keys/rsa2048.cert.der"))}
			if series != "6.1" { // it has no ECDSA
				files = append(files, fixture{name: "E4", attrs: e4, mode: 0o755},
					fixture{name: "E3", attrs: "ima=E3.ima evm=E3.portable.p256.sha256.evm", mode: 0o644, uid: 1000, gid: 1000})
				keys = append(keys, EVMKey(vectors.Read(t, "keys/p256.cert.der")), EVMKey(vectors.Read(t, "keys/p384.cert.der")))
			}
			judgeFixtures(t, l, files, Case{
				Kernel: l.Kernel(t, series), Keys: keys, EVM: []string{"2"},
				Policy: []string{"appraise func=FILE_CHECK appraise_type=imasig fsuuid=" + vectorUUID},
			})
		})
	}
}

func TestHMAC(t *testing.T) {
	l := Open(t)
	files := []fixture{ // the first gets inode number 12, and so on
		{name: "H1", attrs: "ima=H1.ima evm=H1.hmac.evm", mode: 0o644, generation: 0xdeadbeef},
		{name: "H2", attrs: "selinux=H2.selinux capability=H2.capability ima=H2.ima evm=H2.hmac.evm",
			mode: 0o4755, uid: 1000, gid: 1001, generation: 0x01020304},
		{name: "H3", attrs: "ima=H1.ima evm=H3.hmac.evm", mode: 0o644, generation: 7},
		{name: "moved", attrs: "ima=H1.ima evm=H1.hmac.evm", mode: 0o644, generation: 0xdeadbeef, cause: "invalid-HMAC"},
		{name: "bare", attrs: "ima=H1.ima", mode: 0o644, cause: "missing-HMAC"},
	}
	master := vectors.ReadHex(t, "evm-key/kmk-user.hex")
	blob := strings.TrimSpace(string(vectors.Read(t, "evm-key/evm-key.default.blob")))
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			judgeFixtures(t, l, files, Case{
				Kernel: l.Kernel(t, series), Keys: HMACKeys(master, blob), EVM: []string{"1"},
				Policy: []string{"appraise func=FILE_CHECK fsuuid=" + vectorUUID},
				Probes: []Probe{{
					Name:   "renewed by chmod",
					Op:     Sh,
					Script: "busybox chmod 600 /newroot/H3 && cat /newroot/H3",
				}},
			})
		})
	}
}

// judgeFixtures boots an ext4 image of the files. The case may have probes of
// its own, made last, which must be allowed.
func judgeFixtures(t *testing.T, l *Lab, files []fixture, c Case) {
	t.Helper()
	c.Image = l.NewImage(t, Ext4, 0, vectorUUID)
	c.Append += " ima_appraise=enforce"
	fixtures(t, c.Image, files)
	own := c.Probes
	c.Probes = nil
	for _, f := range files {
		c.Probes = append(c.Probes, Probe{Name: f.name, Op: Read, Path: f.name})
	}
	c.Probes = append(c.Probes, own...)
	res := l.Boot(t, c)
	for _, f := range files {
		if f.cause == "" {
			expectAllowed(t, res, f.name)
		} else {
			expectDenied(t, res, f.name, "EACCES", f.cause)
		}
	}
	for _, p := range own {
		expectAllowed(t, res, p.Name)
	}
}

// fixtures writes the files. The labels are written with debugfs, since a kernel
// with EVM, as this machine's may be, lets nobody set an HMAC.
func fixtures(t *testing.T, img Image, files []fixture) {
	t.Helper()
	content := vectors.Read(t, "files/hello.txt")
	dir := img.Mount(t)
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, f.uid, f.gid); err != nil {
			t.Fatal(err)
		}
	}
	img.Unmount(t)
	var script bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&script, "set_inode_field %s mode 0%o\n", f.name, 0o100000|f.mode)
		fmt.Fprintf(&script, "set_inode_field %s generation %d\n", f.name, f.generation)
		for _, attr := range strings.Fields(f.attrs) {
			name, id, _ := strings.Cut(attr, "=")
			file := filepath.Join(t.TempDir(), "value")
			if err := os.WriteFile(file, vectors.ReadHex(t, "xattrs/"+id+".hex"), 0o600); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&script, "ea_set -f %s %s security.%s\n", file, f.name, name)
		}
	}
	img.Debugfs(t, script.String())
}
