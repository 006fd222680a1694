package bench

import (
	"archive/tar"
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"imaseal/internal/kernellab"
)

// BenchmarkArchive labels the Debian tree in an archive.
func BenchmarkArchive(b *testing.B) {
	wanted(b, "archive")
	t := debian(b)
	run(b, t.ours("clear", "-q"))
	// All on the file system of the tree, which is no slower than others.
	dir := kernellab.Open(b).NewImage(b, kernellab.Ext4, 8<<30, "").Mount(b)
	in, out, copied := filepath.Join(dir, "in.tar"), filepath.Join(dir, "out.tar"), filepath.Join(dir, "copy.tar")
	run(b, []string{"tar", "-C", t.dir, "-cf", in, "."})
	prefix := t.key(b, "p256")

	sign := []string{t.imaseal, "sign", "-q", "--key", prefix + ".key", "--cert", prefix + ".pem", "--evm", "portable", "tar:" + in, "--output", out}
	byHand := command{argv: []string{"sh", "-c", `set -e
mkdir "$1/tree"
tar -C "$1/tree" --numeric-owner --xattrs --xattrs-include='*' -xpf "$2"
evmctl sign --imasig -o -a sha256 -r -k "$3" "$1/tree" >/dev/null 2>&1
tar -C "$1/tree" --numeric-owner --xattrs --xattrs-include='*' -cf "$4" .`, "sh", dir, in, prefix + ".key", copied},
		before: []string{"rm", "-rf", filepath.Join(dir, "tree")}, every: 4}
	fresh := []string{"rm", "-f", out, copied}
	measure(b, row{group: "archive", job: "archive: p256 IMA and portable EVM", ours: command{argv: sign, before: fresh}, peerName: "unpack, evmctl sign -r, pack", peer: &byHand, bar: 20})

	hash := command{argv: []string{t.imaseal, "hash", "-q", "tar:" + in, "--output", out}, before: fresh}
	cat := command{argv: []string{"sh", "-c", `cat "$1" >"$2"`, "sh", in, copied}, before: fresh}
	measure(b, row{group: "archive", job: "archive: sha256 hashes", ours: hash, peerName: "cat", peer: &cat, bar: 2, most: true})
	synced := command{argv: []string{"sh", "-c", `cat "$1" >"$2" && sync "$2"`, "sh", in, copied}, before: fresh}
	measure(b, row{group: "archive", job: "archive: sha256 hashes, against the disk", ours: hash, peerName: "cat, then sync", peer: &synced})
	again := command{argv: []string{t.imaseal, "hash", "-q", "--in-place", "tar:" + out}, before: hash.argv}
	measure(b, row{group: "archive", job: "archive: second run, nothing to do", ours: again, peerName: "the hash job", peer: &hash})
	verify := command{argv: []string{t.imaseal, "verify", "-q", "tar:" + out}, before: hash.argv}
	measure(b, row{group: "archive", job: "archive: verify hashes", ours: verify, peerName: "cat", peer: &cat})
	run(b, fresh)
	for _, c := range []struct{ program, suffix string }{{"gzip", ".gz"}, {"zstd", ".zst"}} {
		run(b, []string{c.program, "-q", "-k", in})
		ours := command{argv: []string{t.imaseal, "hash", "-q", "tar:" + in + c.suffix, "--output", out}, before: fresh}
		peer := command{argv: []string{"sh", "-c", `"$1" -dc "$2" | "$1" -c >"$3"`, "sh", c.program, in + c.suffix, copied}, before: fresh}
		measure(b, row{group: "archive", job: "archive: hashes, " + c.program, ours: ours, peerName: c.program + " -dc | " + c.program, peer: &peer})
	}
	many := filepath.Join(dir, "many.tar")
	writeMany(b, many, 1_000_000)
	kept := *rounds
	*rounds = 1
	measure(b, row{group: "archive", job: "archive: hashes, 1,000,000 entries", ours: command{argv: []string{t.imaseal, "hash", "-q", "tar:" + many, "--output", out}}, mib: 64})
	// What takes the most memory: signatures to remember, and all that is compressed
	// held until it has its labels.
	run(b, []string{"zstd", "-q", "-k", many})
	piped := append([]string{"sh", "-c", `zstd="$1"; shift; exec "$@" <"$zstd"`, "sh", many + ".zst"}, t.imaseal, "sign", "-q", "--key", prefix+".key", "--cert", prefix+".pem", "--evm", "portable", "tar:-", "--output", out)
	measure(b, row{group: "archive", job: "archive: signatures, 1,000,000 entries in zstd, piped", ours: command{argv: piped}, mib: 64})
	*rounds = kept
}

// writeMany makes an archive of many small files.
func writeMany(b *testing.B, name string, files int) {
	b.Helper()
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	buf := bufio.NewWriterSize(f, 1<<20)
	w := tar.NewWriter(buf)
	for i := range files {
		content := fmt.Sprintf("file-%06d", i)
		err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%04d/%s", i/1000, content), Mode: 0o644, Size: int64(len(content))})
		if err == nil {
			_, err = w.Write([]byte(content))
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, end := range []func() error{w.Close, buf.Flush, f.Close} {
		if err := end(); err != nil {
			b.Fatal(err)
		}
	}
}
