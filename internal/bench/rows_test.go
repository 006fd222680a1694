package bench

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/cpu"

	"imaseal/internal/kernellab"
)

// A tree is a mounted Debian tree, and the program that labels it.
type tree struct {
	imaseal, dir string
}

func debian(b *testing.B) tree {
	b.Helper()
	lab := kernellab.Open(b)
	return tree{build(b, "imaseal", "imaseal"), lab.TreeImage(b, kernellab.Ext4).Mount(b)}
}

// ours returns a command of imaseal over the tree.
func (t tree) ours(words ...string) []string {
	return slices.Concat([]string{t.imaseal}, words, []string{t.dir})
}

// key makes a key of a type, and returns its files without the suffix.
func (t tree) key(b *testing.B, kind string) string {
	b.Helper()
	prefix := filepath.Join(b.TempDir(), kind)
	run(b, []string{t.imaseal, "keys", "generate", "--type", kind, "--out", prefix})
	return prefix
}

// BenchmarkHash labels the Debian tree with hashes.
func BenchmarkHash(b *testing.B) {
	wanted(b, "hash")
	t := debian(b)
	floor := build(b, "imaseal/internal/bench/floor", "floor")
	hash, clear := t.ours("hash", "-q"), t.ours("clear", "-q")
	evmctl := command{argv: []string{"evmctl", "ima_hash", "-a", "sha256", "-r", t.dir}, before: clear}
	read := command{argv: []string{floor, t.dir}}
	fresh := command{argv: hash, before: clear}
	measure(b, row{group: "hash", job: "sha256 hashes", ours: fresh, peerName: "evmctl ima_hash -r", peer: &evmctl, floor: &read, bar: 1.9})
	measure(b, row{group: "hash", job: "sha256 hashes, cold cache", ours: fresh, peerName: "evmctl ima_hash -r", peer: &evmctl, floor: &read, cold: true})
	measure(b, row{group: "hash", job: "second run, nothing to do", ours: command{argv: hash, before: hash}, peerName: "the hash job", peer: &fresh, bar: 0.6, most: true})
	head := command{argv: []string{"sh", "-c", `find "$1" -fstype ext4 -type f -uid 0 -exec head -n 1 {} \; >/dev/null`, "sh", t.dir}, every: 4}
	measure(b, row{group: "hash", job: "hashes, against fix mode's reading", ours: fresh, peerName: "find -exec head -n 1", peer: &head, bar: 40})
}

// BenchmarkSign labels the Debian tree with signatures, IMA's and EVM's.
func BenchmarkSign(b *testing.B) {
	wanted(b, "sign")
	t := debian(b)
	clear := t.ours("clear", "-q")
	rsaBar := 3.5
	if cpu.X86.HasAVX512IFMA {
		rsaBar = 12
	}
	for _, kind := range []struct {
		name string
		bar  float64
	}{{"p256", 15}, {"rsa2048", rsaBar}} {
		prefix := t.key(b, kind.name)
		sign := []string{"sign", "-q", "--key", prefix + ".key", "--cert", prefix + ".pem"}
		evmctl := command{argv: []string{"evmctl", "ima_sign", "-a", "sha256", "-r", "-k", prefix + ".key", t.dir}, before: clear, every: 4}
		fresh := command{argv: t.ours(sign...), before: clear}
		measure(b, row{group: "sign", job: kind.name + " signatures", ours: fresh, peerName: "evmctl ima_sign -r", peer: &evmctl, bar: kind.bar})
		measure(b, row{group: "sign", job: kind.name + ", nothing to do", ours: command{argv: t.ours(sign...), before: t.ours(sign...)}, peerName: "the sign job", peer: &fresh})
		if kind.name != "p256" {
			continue
		}
		portable := command{argv: []string{"evmctl", "sign", "--imasig", "-o", "-a", "sha256", "-r", "-k", prefix + ".key", t.dir}, before: clear, every: 4}
		both := command{argv: t.ours(append(sign, "--evm", "portable")...), before: clear}
		measure(b, row{group: "sign", job: "p256 IMA and portable EVM signatures", ours: both, peerName: "evmctl sign -r --imasig -o", peer: &portable, bar: 25})
	}
}

// verified is how many files evmctl verifies, one process each: of all it would
// take minutes.
const verified = 200

// BenchmarkVerify checks signatures and predicts a kernel's verdicts.
func BenchmarkVerify(b *testing.B) {
	wanted(b, "verify")
	t := debian(b)
	prefix := t.key(b, "p256")
	run(b, t.ours("clear", "-q"))
	run(b, t.ours("sign", "-q", "--key", prefix+".key", "--cert", prefix+".pem"))
	out, err := exec.Command("find", t.dir, "-type", "f", "-uid", "0").Output()
	if err != nil {
		b.Fatal(err)
	}
	evmctl := command{
		argv: []string{"sh", "-c", `find "$1" -type f -uid 0 | head -n "$2" | xargs -d '\n' -n 1 evmctl ima_verify -k "$3" >/dev/null 2>&1 || :`,
			"sh", t.dir, strconv.Itoa(verified), prefix + ".der"},
		every: 4, files: verified, of: strings.Count(string(out), "\n"),
	}
	ours := command{argv: t.ours("verify", "-q", "--key", prefix+".der")}
	measure(b, row{group: "verify", job: "verify p256 signatures", ours: ours, peerName: "evmctl ima_verify per file", peer: &evmctl, bar: 100})

	run(b, t.ours("clear", "-q"))
	hash := command{argv: t.ours("hash", "-q"), before: t.ours("clear", "-q")}
	check := command{argv: t.ours("check", "-q", "--kernel-version", "6.12"), before: t.ours("hash", "-q")}
	measure(b, row{group: "verify", job: "check, appraise_tcb", ours: check, peerName: "the hash job", peer: &hash, bar: 1.2, most: true})
}
