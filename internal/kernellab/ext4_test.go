package kernellab

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// ext4 makes an ext4 image of the bench's archive, as nobody.
func (b bench) ext4() {
	b.t.Helper()
	b.run("", "fakeroot", "sh", "-c", "mkdir tree && tar -C tree --numeric-owner -xf t.tar && mke2fs -q -t ext4 -b 4096 -E lazy_itable_init=0 -d tree image 700M && rm -r tree")
}

// spoilExt4 changes a file's content, another one's mode, and takes the EVM label
// from a third.
func (b bench) spoilExt4() Image {
	b.t.Helper()
	img := Image{FS: Ext4, Path: b.path("image")}
	content, err := os.ReadFile(img.Path)
	check(b.t, err)
	at := bytes.Index(content, []byte("the content of a file in an archive"))
	if at < 0 {
		b.t.Fatal("the image has no such content")
	}
	f, err := os.OpenFile(img.Path, os.O_WRONLY, 0)
	check(b.t, err)
	_, err = f.WriteAt([]byte("The"), int64(at))
	check(b.t, errors.Join(err, f.Close()))
	img.Debugfs(b.t, "set_inode_field /lab/mode mode 0100755\nea_rm /lab/record security.evm\n")
	return img
}

// named returns the probes that have a name.
func named(probes []Probe) []Probe {
	return slices.DeleteFunc(slices.Clone(probes), func(p Probe) bool { return p.Name == "" })
}

// TestExt4Image boots ext4 images that nobody has made and labelled without mounting
// them: with a kind of EVM label for each kernel, of which two cover inodes.
func TestExt4Image(t *testing.T) {
	l := Open(t)
	probes := treeProbes(t, l)
	for series, kind := range map[string]string{"6.1": "hmac", "6.12": "signature", "7.x": "portable"} {
		t.Run(series+" "+kind, func(t *testing.T) {
			t.Parallel()
			kernel := l.Kernel(t, series)
			b := newBench(t, l)
			b.ext4()
			config, err := os.ReadFile(kernel.Config())
			check(t, errors.Join(err, os.WriteFile(b.path("config"), config, 0o644)))
			c := Case{Kernel: kernel, Probes: probes, Timeout: 20 * time.Minute}
			version := strings.Join(strings.SplitN(kernel.Version, ".", 3)[:2], ".")
			judge := []string{"imaseal", "check", "--quiet", "--policy", "appraise_tcb", "--kernel-version", version, "--kernel-config", "config"}
			mode, content := "invalid-HMAC", "invalid-signature"
			if kind == "hmac" {
				b.run("", "imaseal", "keys", "evm-key", "--out", "evm.key", "--new-master", "kmk", "--blob", "blob")
				b.run("", "imaseal", "hash", "--quiet", "--evm", "hmac", "--evm-key", "evm.key", "--kernel-config", "config", "ext4:image")
				b.run("", append(judge, "--evm-state", "hmac", "--evm-key", "evm.key", "ext4:image")...)
				key := evmKey{plain: b.path("evm.key"), master: b.path("kmk"), blob: b.path("blob")}
				c.Append, c.EVM, c.Keys = EnforceTCB, []string{"1"}, key.keys(t)
				content = "invalid-hash"
			} else {
				key := generate(t, l, "p256")
				private, err := os.ReadFile(key.private)
				check(t, errors.Join(err, os.WriteFile(b.path("key"), private, 0o600), os.Chown(b.path("key"), nobody, nobody), os.WriteFile(b.path("key.der"), key.der(t), 0o644)))
				sign := []string{"imaseal", "sign", "--quiet", "--key", "key", "--cert", "key.der", "--evm", kind}
				if kind == "signature" {
					sign = append(sign, "--kernel-config", "config")
				} else {
					mode = "invalid-fail-immutable"
				}
				b.run("", append(sign, "ext4:image")...)
				b.run("", append(judge, "--key", "key.der", "--evm-state", "x509", "ext4:image")...)
				c.Append, c.EVM = "ima_appraise=enforce", []string{"2"}
				c.Keys = []Key{IMAKey(key.der(t)), EVMKey(key.der(t))}
				c.Policy = append(slices.Clone(unjudged), "appraise fowner=0 appraise_type=imasig")
			}
			b.run("", "e2fsck", "-fn", "image")
			c.Image = b.spoilExt4()
			if kind != "signature" { // the whole tree once is enough: it takes minutes
				c.Probes = named(probes)
			}
			res := l.Boot(t, c)
			if kind == "signature" {
				expectTree(t, res, nil)
			}
			expectAllowed(t, res, "programs run")
			expectAllowed(t, res, "whole")
			expectDenied(t, res, "content", "EACCES", content)
			expectDenied(t, res, "mode", "EACCES", mode)
			expectDenied(t, res, "record", "EACCES", "missing-HMAC")
		})
	}
}
