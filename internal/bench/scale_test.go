package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/kernellab"
)

// bytesPerInode is more than mke2fs wants for each inode that it makes.
const bytesPerInode = 17 << 10

// BenchmarkScale shows how time and memory grow with the tree.
func BenchmarkScale(b *testing.B) {
	wanted(b, "scale")
	imaseal := build(b, "imaseal", "imaseal")
	lab := kernellab.Open(b)
	*rounds = min(*rounds, 3)
	large(b, lab, imaseal)
	shapes(b, lab, imaseal)
	counts(b, lab, imaseal)
}

// large hashes one file that is read as fast as memory can be.
func large(b *testing.B, lab *kernellab.Lab, imaseal string) {
	const size = 20 << 30
	dir := lab.NewImage(b, kernellab.Ext4, 64<<20, "").Mount(b)
	name := filepath.Join(dir, "large")
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		b.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil { // whoever has it open for writing is a writer to imaseal
		b.Fatal(err)
	}
	floor := command{argv: []string{build(b, "imaseal/internal/bench/floor", "floor"), dir}}
	kept := *rounds
	*rounds = 1
	measure(b, row{group: "scale", job: "one sparse file of 20 GiB", ours: command{argv: []string{imaseal, "hash", "-q", "--force", dir}}, peerName: "the floor", peer: &floor})
	*rounds = kept
}

// shapes labels as many tiny files in one directory, and in a chain of many.
func shapes(b *testing.B, lab *kernellab.Lab, imaseal string) {
	const files, depth = 100_000, 1000
	for _, shape := range []struct {
		name string
		dir  func(i int) string
	}{
		{"in one directory", func(int) string { return "d" }},
		{"in a chain of 1,000 directories", func(i int) string { return strings.Repeat("d/", 1+i*depth/files) }},
	} {
		dir := lab.NewImage(b, kernellab.Ext4, files*bytesPerInode+64<<20, "").Mount(b)
		fill(b, dir, files, shape.dir)
		one := command{argv: []string{imaseal, "hash", "-q", "-j1", dir}, before: []string{imaseal, "clear", "-q", dir}}
		for _, jobs := range []string{"1", "2", "4"} {
			ours := command{argv: []string{imaseal, "hash", "-q", "-j" + jobs, dir}, before: one.before}
			measure(b, row{group: "scale", job: fmt.Sprintf("100,000 files %s, -j%s", shape.name, jobs), ours: ours, peerName: "-j1", peer: &one})
		}
	}
}

// counts labels and checks few files and many: each many takes as long as each few,
// and memory does not grow.
func counts(b *testing.B, lab *kernellab.Lab, imaseal string) {
	const few, many = 10_000, 1_000_000
	prefix := filepath.Join(b.TempDir(), "k")
	run(b, []string{imaseal, "keys", "generate", "--type", "p256", "--out", prefix})
	key := []string{"--key", prefix + ".key", "--cert", prefix + ".pem"}
	*rounds = 1
	trees := make(map[int]string)
	for _, files := range []int{few, many} {
		trees[files] = lab.NewImage(b, kernellab.Ext4, int64(files)*(bytesPerInode+4<<10)+64<<20, "").Mount(b)
		fill(b, trees[files], files, func(i int) string { return fmt.Sprintf("d%04d", i/1000) })
	}
	for _, job := range []struct {
		name   string
		argv   []string
		before []string
	}{
		{"hash", []string{"hash", "-q"}, []string{"clear", "-q"}},
		{"check", []string{"check", "-q", "--kernel-version", "6.12"}, nil},
		{"sign", append([]string{"sign", "-q"}, key...), []string{"clear", "-q"}},
		{"verify", []string{"verify", "-q", "--key", prefix + ".pem"}, nil},
	} {
		on := func(files int) command {
			c := command{argv: append(append([]string{imaseal}, job.argv...), trees[files])}
			if job.before != nil {
				c.before = append(append([]string{imaseal}, job.before...), trees[files])
			}
			return c
		}
		small := on(few)
		small.files, small.of = few, many
		measure(b, row{group: "scale", job: job.name + ", 1,000,000 files", ours: on(many), peerName: "a hundred times 10,000 files", peer: &small, bar: 1.3, most: true})
	}
}

// fill makes small files with different contents in the directories that dir
// names.
func fill(b *testing.B, root string, files int, dir func(i int) string) {
	b.Helper()
	last := ""
	for i := range files {
		sub := filepath.Join(root, dir(i))
		if sub != last {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				b.Fatal(err)
			}
			last = sub
		}
		name := fmt.Sprintf("file-%06d", i)
		if err := os.WriteFile(filepath.Join(sub, name), []byte(name), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}
