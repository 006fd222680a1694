package rpms

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imaseal/internal/label"
	"imaseal/internal/report"
	"imaseal/internal/rpmfile/rpmtest"
	"imaseal/internal/runtest"
	"imaseal/internal/treetest"
	"imaseal/internal/verify"
)

// spec is a package as rpmbuild makes it.
const spec = `Name: seal
Version: 1
Release: 1
Summary: a test
License: none
BuildArch: noarch
AutoReqProv: no
%description
A test.
%install
cd %{buildroot}
mkdir -p usr/bin etc usr/lib/seal
printf '#!/bin/sh\n' >usr/bin/seal
chmod 755 usr/bin/seal
ln usr/bin/seal usr/bin/hard
ln -s seal usr/bin/link
echo a = 1 >etc/seal.conf
: >usr/lib/seal/empty
echo blank >"usr/lib/seal/with blank"
yes | head -c 300000 >usr/lib/seal/large
%files
/usr/bin/*
%config /etc/seal.conf
%dir /usr/lib/seal
/usr/lib/seal/*
%ghost /var/lib/seal.state
`

// rpmSigned are the files of it that get labels.
var rpmSigned = []string{"etc/seal.conf", "usr/bin/hard", "usr/bin/seal", "usr/lib/seal/empty", "usr/lib/seal/large", "usr/lib/seal/with blank"}

// rpmbuild builds the package with a payload in rpm's words and an algorithm by rpm's
// number.
func rpmbuild(t testing.TB, payload string, algorithm int) string {
	t.Helper()
	program := treetest.Tool(t, "rpmbuild")
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "seal.spec"), []byte(spec))
	cmd := exec.Command(program, "-bb", "--quiet", "--define", "_topdir "+dir, "--define", "_tmppath "+dir, "--define", "_binary_payload "+payload,
		"--define", fmt.Sprintf("_binary_filedigest_algorithm %d", algorithm), file)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("rpmbuild: %v\n%s", err, out)
	}
	return filepath.Join(dir, "RPMS", "noarch", "seal-1-1.noarch.rpm")
}

// tool runs a program and returns what it prints.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(treetest.Tool(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// checkedByRPM wants rpm to find a package as it should be, and returns what it says.
func checkedByRPM(t testing.TB, db, path string) string {
	t.Helper()
	out := tool(t, "rpm", "--dbpath", db, "-Kv", path)
	for line := range strings.Lines(strings.SplitN(out, "\n", 2)[1]) {
		if !strings.HasSuffix(line, ": OK\n") {
			t.Errorf("rpm -Kv says %s", line)
		}
	}
	return strings.SplitN(out, "\n", 2)[1]
}

// TestPrograms labels packages that rpmbuild made, has rpm look at them, and evmctl
// at a label.
func TestPrograms(t *testing.T) {
	labels, keys := signer(t)
	dir := t.TempDir()
	for name, algorithm := range map[string]int{"w.ufdio": 10, "w9.gzdio": 8, "w19.zstdio": 9, "w6.xzdio": 8, "w9.bzdio": 2} {
		t.Run(name, func(t *testing.T) {
			path := rpmbuild(t, name, algorithm)
			before := load(t, path)
			says := checkedByRPM(t, dir, path)
			got, sum, err := do(t.Context(), t, labels, Config{}, &Output{InPlace: true}, path)
			if err != nil || sum.Count[report.Labelled] != len(rpmSigned) {
				t.Fatalf("%v, %v", got, err)
			}
			if again := checkedByRPM(t, dir, path); again != says || !strings.Contains(says, "MD5 digest: OK") {
				t.Errorf("rpm said\n%sand says\n%s", says, again)
			}
			want := make(map[string]string)
			for _, f := range rpmSigned {
				want["/"+f] = hex.EncodeToString(got[path+":"+f].IMA)
			}
			for line := range strings.Lines(tool(t, "rpm", "-qp", "--qf", `[%{FILENAMES}|%{FILESIGNATURES}\n]`, path)) {
				file, label, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "|")
				if label != want[file] {
					t.Errorf("rpm says that %s has %q, want %q", file, label, want[file])
				}
			}
			if got, sum, err := do(t.Context(), t, &verify.Verifier{Keys: keys}, Config{Content: true}, nil, path); err != nil || sum.Count[report.Valid] != len(rpmSigned) {
				t.Errorf("%v, %v", got, err)
			}
			if deleted := filepath.Join(t.TempDir(), "x.rpm"); true {
				write(t, deleted, load(t, path))
				tool(t, "rpmsign", "--delfilesign", deleted)
				if !bytes.Equal(load(t, deleted), before) {
					t.Error("rpmsign --delfilesign leaves another package than it was")
				}
			}
			evmctl(t, path, got[path+":usr/lib/seal/large"].IMA)
			if _, _, err := do(t.Context(), t, label.Clearer{Attrs: label.All()}, Config{Mend: true}, &Output{InPlace: true}, path); err != nil || !bytes.Equal(load(t, path), before) {
				t.Errorf("without labels it is not what it was, %v", err)
			}
		})
	}
}

// evmctl verifies a label with the content as rpm2cpio and cpio unpack it, or bsdtar.
func evmctl(t testing.TB, path string, label []byte) {
	t.Helper()
	dir := t.TempDir()
	tool(t, "bsdtar", "-xf", path, "-C", dir)
	file := filepath.Join(dir, "usr/lib/seal/large")
	write(t, file+".sig", label)
	cert, err := filepath.Abs(filepath.Join("..", "..", "..", "testdata", "vectors", "keys", "p256.cert.der"))
	if err != nil {
		t.Fatal(err)
	}
	if out := tool(t, "evmctl", "ima_verify", "--sigfile", "--key", cert, file); !strings.Contains(out, "verification is OK") {
		t.Errorf("evmctl says %s", out)
	}
}

// TestOldDigests: packages of old have MD5, which RSA keys sign, and no ECDSA key.
func TestOldDigests(t *testing.T) {
	path := rpmbuild(t, "w9.gzdio", 1)
	labels, _ := signer(t)
	if got, sum, err := do(t.Context(), t, labels, Config{}, &Output{InPlace: true}, path); err != nil || sum.Count[report.Failed] != len(rpmSigned) {
		t.Errorf("%v, %v", got, err)
	}
	labels.Key.Signer = runtest.Key(t, "rsa2048")
	if got, sum, err := do(t.Context(), t, labels, Config{}, &Output{InPlace: true}, path); err != nil || sum.Count[report.Labelled] != len(rpmSigned) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestOpenPGP: packages that are signed stay so, and the two kinds of signatures can
// be made and removed in any order.
func TestOpenPGP(t *testing.T) {
	home, err := os.MkdirTemp("", "gpg") // a name that is short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GNUPGHOME", home)
	gpg := treetest.Tool(t, "gpg")
	t.Cleanup(func() {
		exec.Command("gpgconf", "--kill", "all").Run()
		os.RemoveAll(home)
	})
	db := t.TempDir()
	tool(t, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "Tester", "rsa2048", "sign", "never")
	tool(t, "rpmkeys", "--dbpath", db, "--import", write(t, filepath.Join(home, "key"), []byte(tool(t, "gpg", "--export", "-a", "Tester"))))
	addSign := func(path string) {
		t.Helper()
		tool(t, "rpmsign", "--define", "_gpg_name Tester", "--define", "__gpg "+gpg, "--addsign", path)
		if out := checkedByRPM(t, db, path); !strings.Contains(out, "Header V4 RSA/") {
			t.Errorf("rpm -Kv says %s", out)
		}
	}
	labels, keys := signer(t)
	run := func(path string) {
		t.Helper()
		if _, sum, err := do(t.Context(), t, labels, Config{}, &Output{InPlace: true}, path); err != nil || sum.Count[report.Labelled] != len(rpmSigned) {
			t.Errorf("%+v, %v", sum, err)
		}
	}
	first := rpmbuild(t, "w9.gzdio", 8)
	second := write(t, filepath.Join(t.TempDir(), "x.rpm"), load(t, first))
	addSign(first)
	before := load(t, first)
	run(first)
	if out := checkedByRPM(t, db, first); !strings.Contains(out, "Header V4 RSA/") {
		t.Errorf("rpm -Kv says %s", out)
	}
	run(second)
	addSign(second)
	for _, path := range []string{first, second} {
		if got, sum, err := do(t.Context(), t, &verify.Verifier{Keys: keys}, Config{Content: true}, nil, path); err != nil || sum.Count[report.Valid] != len(rpmSigned) {
			t.Errorf("%v, %v", got, err)
		}
		if _, _, err := do(t.Context(), t, label.Clearer{Attrs: label.All()}, Config{Mend: true}, &Output{InPlace: true}, path); err != nil {
			t.Error(err)
		}
		if out := checkedByRPM(t, db, path); !strings.Contains(out, "Header V4 RSA/") {
			t.Errorf("rpm -Kv says %s", out)
		}
	}
	if !bytes.Equal(load(t, first), before) {
		t.Error("without labels it is not what it was")
	}
}

// TestInstall installs labelled packages of both formats into a root of its own, where
// the database has the labels then.
func TestInstall(t *testing.T) {
	treetest.Root(t)
	labels, _ := signer(t)
	p := built(6)
	p.Files = slices.DeleteFunc(p.Files, func(f rpmtest.File) bool { return f.Path == "/var/fifo" }) // rpm waits for somebody who writes to it
	six := write(t, filepath.Join(t.TempDir(), "six.rpm"), p.Bytes())
	for _, path := range []string{rpmbuild(t, "w19.zstdio", 8), six} {
		root := t.TempDir()
		got, _, err := do(t.Context(), t, labels, Config{}, &Output{InPlace: true}, path)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(treetest.Tool(t, "rpm"), "--root", root, "--define", "_dbpath /var/lib/rpm", "-i", "--nodeps", "--noscripts", path)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("rpm -i: %v\n%s", err, out)
		}
		name := strings.TrimSpace(tool(t, "rpm", "-qp", "--qf", "%{NAME}", path))
		for line := range strings.Lines(tool(t, "rpm", "--root", root, "--define", "_dbpath /var/lib/rpm", "-q", "--qf", `[%{FILENAMES}|%{FILESIGNATURES}\n]`, name)) {
			file, label, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "|")
			if want := hex.EncodeToString(got[path+":"+file[1:]].IMA); label != want {
				t.Errorf("the database has %q for %s, want %q", label, file, want)
			}
		}
		if out, err := exec.Command("rpm", "--root", root, "--define", "_dbpath /var/lib/rpm", "-V", "--nodeps", name).CombinedOutput(); err != nil && name == "seal" {
			t.Errorf("rpm -V: %v\n%s", err, out)
		}
		load(t, filepath.Join(root, "usr/bin/hard"))
	}
}
