package kernellab

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"imaseal/internal/keylime"
	"imaseal/internal/measure"
	"imaseal/internal/vectors"
)

// labelled are files of all kinds of labels, in a tree that is exported before it is used,
// and differs from what was measured afterwards.
const labelled = `
mkdir -p /tmp/m/d
for n in signed sha512 sha1 bare "with blank" upgraded gone stale; do echo "$n" >"/tmp/m/d/$n"; done
chown -R 5:5 /tmp/m
imaseal hash -q --owner any /tmp/m
imaseal sign -q --owner any --key /tmp/key --cert /tmp/cert /tmp/m/d/signed
imaseal hash -q --owner any --force --algo sha512 /tmp/m/d/sha512
imaseal hash -q --owner any --force --algo sha1 /tmp/m/d/sha1
imaseal clear -q --owner any /tmp/m/d/bare
ln /tmp/m/d/sha512 /tmp/m/d/hard
mkdir -p /tmp/jail/m
cp /tmp/m/d/bare /tmp/jail/m/jailed
cp /tmp/m/d/bare /tmp/jail/m/chrooted
chown 5:5 /tmp/jail/m/*
mkdir /tmp/jail/bin
cp /bin/busybox /tmp/jail/bin/cat
imaseal measurements export -q --output /tmp/policy /tmp/m 2>/dev/null
`

// contained reads a file in a mount namespace of its own, the root of which is another:
// what a container does.
const contained = `unshare -m sh -c 'mount --bind /tmp/jail /tmp/jail && cd /tmp/jail && mount --move . / && exec chroot . /bin/cat /m/jailed' >/dev/null`

// TestMeasuredTree has kernels measure a tree of which imaseal has written the policy, and
// compares the list with the policy, on digests, as Keylime does, and with the tree.
func TestMeasuredTree(t *testing.T) {
	l := Open(t)
	program, err := os.ReadFile(l.Imaseal(t))
	check(t, err)
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			res := l.Boot(t, Case{
				Kernel: l.Kernel(t, series), Setup: labelled, Policy: []string{"measure func=FILE_CHECK mask=MAY_READ fowner=5 template=ima-sig"},
				Files: map[string][]byte{"bin/imaseal": program, "tmp/key": vectors.Read(t, "keys/rsa2048.key.pem"), "tmp/cert": vectors.Read(t, "keys/rsa2048.cert.der")},
				Probes: []Probe{
					{Name: "use", Op: Sh, Script: "cat /tmp/m/d/* >/dev/null && chroot /tmp/jail /bin/cat /m/chrooted >/dev/null && " + contained},
					{Name: "policy", Op: Sh, Script: "base64 /tmp/policy"},
					{Name: "list", Op: Sh, Script: "base64 /sys/kernel/security/ima/binary_runtime_measurements"},
					{Name: "same", Op: Sh, Script: "rm /tmp/m/d/bare; imaseal measurements compare /tmp/m"},
					{Name: "changed", Op: Sh, Script: "cd /tmp/m/d; echo new >upgraded; rm gone; imaseal hash -q --owner any --force stale; imaseal measurements compare /tmp/m"},
					{Name: "root", Op: Sh, Script: "imaseal measurements compare --list running /"},
					{Name: "from-list", Op: Sh, Script: "imaseal policy from-list"},
				},
			})
			checkPolicy(t, res)
			checkCompared(t, res)
		})
	}
}

// checkPolicy has each file of the list be one of the policy.
func checkPolicy(t *testing.T, res Result) {
	t.Helper()
	policy, err := keylime.Parse(bytes.NewReader(decoded(t, res, "policy")))
	check(t, err)
	r, err := measure.Open(bytes.NewReader(decoded(t, res, "list")), measure.Layout{})
	check(t, err)
	found := 0
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		check(t, err)
		if !strings.HasPrefix(rec.Name(), "/tmp/m/") {
			continue
		}
		found++
		d, ok := rec.FileDigest()
		has := false
		for _, digest := range policy.Files.Of(rec.Name()) {
			has = has || bytes.Equal(digest, d.Digest.Bytes())
		}
		if !ok || !has {
			t.Errorf("%s was measured as %s, and the policy has %x", rec.Name(), d.Digest, policy.Files.Of(rec.Name()))
		}
	}
	if found != 8 {
		t.Errorf("%d files were measured", found)
	}
}

func checkCompared(t *testing.T, res Result) {
	t.Helper()
	for name, wants := range map[string][]string{
		"use":  {""},
		"same": {"imaseal: error: /tmp/m/d/bare: was measured, and is not there", "imaseal: 7 valid, 1 invalid, 0 unlabelled, 0 failed"},
		"changed": {
			"/tmp/m/d/upgraded: the content is sha256:", "/tmp/m/d/gone: was measured, and is not there",
		},
		"root":      {"/tmp/jail/m/chrooted: was measured, and has no security.ima", "/m/jailed: is not there; what was measured may be /tmp/jail/m/jailed, by a process of a container"},
		"from-list": {"the list names no file that is known and could be appraised"}, // all is in memory
	} {
		v := res.Verdict(t, name)
		for _, want := range wants {
			if !strings.Contains(v.Output, want) {
				t.Errorf("%s: %+v\nlacks %s", name, v, want)
			}
		}
	}
}
