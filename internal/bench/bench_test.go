// Package bench measures imaseal side by side with its peers: the same tree,
// one run, commands in turn, medians and ratios. It judges nothing.
package bench

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"imaseal/internal/kernellab"
)

var rounds = flag.Int("rounds", 7, "how often each command is run")

// A contender is a command that is timed.
type contender struct {
	name string
	argv []string
	// before is run untimed, before each run.
	before []string
	// every lets slow commands have fewer turns: one in so many rounds.
	every int
}

// A sample is what one run took.
type sample struct {
	wall, cpu time.Duration
	peak      int64 // KiB
}

func run(b *testing.B, argv []string) sample {
	b.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	if argv[0] == "evmctl" { // it prints every digest on stderr
		cmd.Stderr = nil
	}
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		b.Fatalf("%q: %v", argv, err)
	}
	s := cmd.ProcessState
	return sample{wall: wall, cpu: s.UserTime() + s.SystemTime(), peak: int64(s.SysUsage().(*syscall.Rusage).Maxrss)}
}

// compare runs the contenders in turn and prints a row for each, with its
// ratio to the first.
func compare(b *testing.B, title string, cold bool, contenders []contender) {
	samples := make([][]sample, len(contenders))
	for round := range *rounds + 1 {
		for i, c := range contenders {
			if c.every > 1 && round%c.every != 1 {
				continue
			}
			if c.before != nil {
				run(b, c.before)
			}
			syscall.Sync()
			if cold {
				dropCaches(b)
			}
			s := run(b, c.argv)
			if round > 0 { // the first is a warm-up
				samples[i] = append(samples[i], s)
			}
		}
	}
	fmt.Printf("\n%s, %d rounds\n%-34s %9s %9s %9s %9s %9s\n", title, *rounds, "", "median s", "min s", "cpu s", "ratio", "peak MiB")
	first := wallMedian(samples[0])
	for i, c := range contenders {
		s := samples[i]
		if len(s) == 0 {
			continue
		}
		fmt.Printf("%-34s %9.3f %9.3f %9.3f %9.2f %9.1f\n", c.name, wallMedian(s).Seconds(),
			slices.MinFunc(s, func(a, b sample) int { return int(a.wall - b.wall) }).wall.Seconds(),
			median(s, func(s sample) time.Duration { return s.cpu }).Seconds(),
			float64(wallMedian(s))/float64(first),
			float64(slices.MaxFunc(s, func(a, b sample) int { return int(a.peak - b.peak) }).peak)/1024)
	}
}

func wallMedian(s []sample) time.Duration {
	return median(s, func(s sample) time.Duration { return s.wall })
}

func median(s []sample, of func(sample) time.Duration) time.Duration {
	d := make([]time.Duration, 0, len(s))
	for _, s := range s {
		d = append(d, of(s))
	}
	slices.Sort(d)
	return d[len(d)/2]
}

func dropCaches(b *testing.B) {
	b.Helper()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0); err != nil {
		b.Fatal(err)
	}
}

// build builds a program of this module.
func build(b *testing.B, pkg, name string) string {
	b.Helper()
	out := filepath.Join(b.TempDir(), name)
	cmd := exec.Command("go", "build", "-trimpath", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("go build %s: %v\n%s", pkg, err, msg)
	}
	return out
}

// BenchmarkHash labels the Debian tree with hashes.
func BenchmarkHash(b *testing.B) {
	lab := kernellab.Open(b)
	imaseal, floor := build(b, "imaseal", "imaseal"), build(b, "imaseal/internal/bench/floor", "floor")
	dir := lab.TreeImage(b, kernellab.Ext4).Mount(b)
	clear := []string{imaseal, "clear", "-q", dir}
	contenders := []contender{
		{name: "imaseal hash", argv: []string{imaseal, "hash", "-q", dir}, before: clear},
		{name: "evmctl ima_hash -r", argv: []string{"evmctl", "ima_hash", "-a", "sha256", "-r", dir}, before: clear},
		{name: "floor: read and SHA-256", argv: []string{floor, dir}},
		{name: "imaseal hash, nothing to do", argv: []string{imaseal, "hash", "-q", dir}, before: []string{imaseal, "hash", "-q", dir}},
		{name: "imaseal verify", argv: []string{imaseal, "verify", "-q", dir}, before: []string{imaseal, "hash", "-q", dir}},
		{name: "find -exec head -n 1 {} \\;", argv: []string{"sh", "-c", `find "$1" -fstype ext4 -type f -uid 0 -exec head -n 1 {} \; >/dev/null`, "sh", dir}, every: 3},
	}
	compare(b, "sha256 hashes, warm cache", false, contenders)
	compare(b, "sha256 hashes, cold cache", true, contenders[:4])
}

// BenchmarkSign labels the Debian tree with signatures, IMA's and EVM's.
func BenchmarkSign(b *testing.B) {
	lab := kernellab.Open(b)
	imaseal := build(b, "imaseal", "imaseal")
	for _, kind := range []string{"rsa2048", "p256"} {
		prefix := filepath.Join(b.TempDir(), kind)
		run(b, []string{imaseal, "keys", "generate", "--type", kind, "--out", prefix})
		dir := lab.TreeImage(b, kernellab.Ext4).Mount(b)
		clear := []string{imaseal, "clear", "-q", dir}
		sign := []string{imaseal, "sign", "-q", "--key", prefix + ".key", "--cert", prefix + ".pem"}
		evmctl := []string{"evmctl", "ima_sign", "-a", "sha256", "-r", "-k", prefix + ".key", dir}
		compare(b, kind+" signatures, warm cache", false, []contender{
			{name: "imaseal sign", argv: append(slices.Clone(sign), dir), before: clear},
			{name: "evmctl ima_sign -r", argv: evmctl, before: clear, every: 3},
			{name: "imaseal sign, nothing to do", argv: append(slices.Clone(sign), dir), before: append(slices.Clone(sign), dir)},
		})
		if kind != "p256" {
			continue
		}
		portable := []string{"evmctl", "sign", "--imasig", "-o", "-a", "sha256", "-r", "-k", prefix + ".key", dir}
		compare(b, kind+" IMA and portable EVM signatures, warm cache", false, []contender{
			{name: "imaseal sign --evm portable", argv: append(slices.Clone(sign), "--evm", "portable", dir), before: clear},
			{name: "evmctl sign -r --imasig -o", argv: portable, before: clear, every: 3},
		})
	}
}

// bytesPerInode is more than mke2fs wants for each inode that it makes.
const bytesPerInode = 17 << 10

// BenchmarkMemory shows that memory does not grow with the tree.
func BenchmarkMemory(b *testing.B) {
	lab := kernellab.Open(b)
	imaseal := build(b, "imaseal", "imaseal")
	fmt.Printf("\npeak memory\n%-34s %9s %9s\n", "", "wall s", "peak MiB")
	for _, files := range []int{10_000, 1_000_000} {
		dir := lab.NewImage(b, kernellab.Ext4, int64(files)*bytesPerInode+64<<20, "").Mount(b)
		fill(b, dir, files)
		for _, command := range []string{"hash", "verify"} {
			s := run(b, []string{imaseal, command, "-q", dir})
			fmt.Printf("%-34s %9.2f %9.1f\n", fmt.Sprintf("%s, %d files", command, files), s.wall.Seconds(), float64(s.peak)/1024)
		}
	}
}

// fill makes small files with different contents, a thousand a directory.
func fill(b *testing.B, dir string, files int) {
	b.Helper()
	for i := range files {
		sub := filepath.Join(dir, fmt.Sprintf("d%04d", i/1000))
		if i%1000 == 0 {
			if err := os.Mkdir(sub, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		name := filepath.Join(sub, fmt.Sprintf("file-%06d", i))
		if err := os.WriteFile(name, []byte(name), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}
