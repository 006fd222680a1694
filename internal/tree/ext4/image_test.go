package ext4

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"imaseal/internal/extfs"
	"imaseal/internal/partition"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
)

// image makes a small image of a tree.
func image(t testing.TB, spec string, options ...string) string {
	t.Helper()
	return treetest.Ext4(t, treetest.Make(t, spec), 4, append([]string{"-b", "1024", "-O", "^has_journal"}, options...)...)
}

// label gives each file an attribute, and returns the first error.
func label(t testing.TB, name string, o Output, value []byte) error {
	t.Helper()
	im, err := Open(name, Config{})
	if err != nil {
		return err
	}
	defer im.Close()
	s, err := im.NewSink(t.Context(), o)
	if err != nil {
		return err
	}
	defer s.Abort()
	err = im.Walk(t.Context(), func(f tree.Found) error {
		if f.File == nil {
			return f.Err
		}
		return s.Apply(f.File, []tree.Change{{Attr: "security.ima", New: value}})
	})
	if err != nil {
		return err
	}
	return s.Commit(t.Context())
}

// values returns the label of each file.
func values(t testing.TB, name string) map[string]string {
	t.Helper()
	im, err := Open(name, Config{Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	found := make(map[string]string)
	err = im.Walk(t.Context(), func(f tree.Found) error {
		if f.File != nil {
			v, err := tree.Value(f.File, "security.ima")
			if err != nil {
				return err
			}
			found[f.File.Rel()] = string(v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestPartitions(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk@p1")
	treetest.Sparse(t, disk, 20<<20)
	cmd := exec.Command(treetest.Tool(t, "sfdisk"), "-q", disk)
	cmd.Stdin = strings.NewReader("label: gpt\nstart=2048, size=8192\nstart=16384, size=10000\nstart=28672, size=1000\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fs, err := os.ReadFile(image(t, "file f content=f\n"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(fs, 16384*512); err != nil {
		t.Fatal(err)
	}
	f.Close()
	out := filepath.Join(t.TempDir(), "out")
	for _, part := range []string{"@p2", "@8388608", "@8M", "@8192k"} {
		if err := label(t, disk+part, Output{Path: out}, []byte(part)); err != nil {
			t.Errorf("%s: %v", part, err)
			continue
		}
		if got := values(t, out+part)["f"]; got != part {
			t.Errorf("%s: the label is %q", part, got)
		}
		treetest.Fsck(t, out+"?offset=8388608")
		same(t, disk, out, 16384*512, len(fs))
	}
	for part, want := range map[string]string{
		"@p1": "there is no ext4 file system", "@p3": "there is no ext4 file system", "@p9": "there is no partition 9, but 1, 2, 3",
		"@p99999999999999999999": "no number of a partition", "@1": "multiples of 512 bytes", "@20M": "the file has 20971520 bytes", "@99999999999999999999": "no number of bytes",
		"@9999999999G": "no number of bytes", "@9M": "there is no ext4 file system", "@0": "there is no ext4 file system",
	} {
		_, err := Open(disk+part, Config{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", part, err, want)
		}
	}
	plain := filepath.Join(filepath.Dir(disk), "plain")
	if err := os.Rename(disk, plain); err != nil {
		t.Fatal(err)
	}
	_, err = Open(plain, Config{})
	if p, ok := errors.AsType[*PartitionedError](err); !ok || len(p.Ext4) != 1 || p.Ext4[0] != 2 {
		t.Errorf("%v", err)
	}
	b, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	b[512+40]++
	if err := os.WriteFile(plain, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"", "@p2"} {
		_, err = Open(plain+part, Config{})
		if _, ok := errors.AsType[*partition.TableError](err); !ok {
			t.Errorf("%q: %v", part, err)
		}
	}
}

// same compares two files but for a part.
func same(t *testing.T, a, b string, at, length int) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(x) != len(y) || !bytes.Equal(x[:at], y[:at]) || !bytes.Equal(x[at+length:], y[at+length:]) {
		t.Error("the rest of the disk is another")
	}
}

// TestRefuses refuses what is no image that nobody uses.
func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo, short := filepath.Join(dir, "fifo"), filepath.Join(dir, "short")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(short, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		dir: "is a directory", fifo: ErrNotFile.Error(), short: "there is no ext4", filepath.Join(dir, "none"): "no such file", "/dev/null": ErrNotFile.Error(),
	} {
		_, err := Open(name, Config{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	x := image(t, "file f content=f\n")
	f, err := os.OpenFile(x, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := label(t, x, Output{InPlace: true}, []byte("x")); !errors.Is(err, stream.ErrWritten) {
		t.Errorf("open for writing: %v", err)
	}
	f.Close()
	if err := label(t, x, Output{Path: x}, []byte("x")); err != ErrSameFile {
		t.Errorf("itself: %v", err)
	}
	for _, name := range []string{fifo, "/dev/null"} {
		if err := label(t, x, Output{Path: name}, []byte("x")); !errors.Is(err, stream.ErrPipe) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := label(t, x, Output{Path: fifo + "/x"}, []byte("x")); err == nil {
		t.Error("an output nowhere")
	}
	left(t, filepath.Dir(x), 1)
}

// left says how many files a directory has.
func left(t *testing.T, dir string, want int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != want {
		t.Errorf("%v, %v: want %d", entries, err, want)
	}
}

// TestFeatures refuses features by name, and what has to be repaired first.
func TestFeatures(t *testing.T) {
	for name, tt := range map[string]struct {
		options []string
		change  func(b []byte)
		read    bool
		want    string
	}{
		"quota":     {options: []string{"-O", "quota,^has_journal"}, read: true, want: "the file system has quota, with which its labels cannot be changed"},
		"mmp":       {options: []string{"-O", "mmp,^has_journal"}, read: true, want: "has mmp, with which"},
		"read-only": {change: func(b []byte) { b[1024+0x65] |= 0x10 }, read: true, want: "has read-only, with which"},
		"no attributes": {
			options: []string{"-O", "none"}, read: true, want: "holds no attributes",
		},
		"recovery": {options: []string{"-O", "^metadata_csum,^has_journal"}, change: func(b []byte) { b[1024+0x60] |= 4 }, want: "its journal needs recovery"},
		"unclean":  {options: []string{"-O", "^metadata_csum,^has_journal"}, change: func(b []byte) { b[1024+0x3a] = 0 }, want: "not marked as clean"},
		"errors":   {options: []string{"-O", "^metadata_csum,^has_journal"}, change: func(b []byte) { b[1024+0x3a] = 3 }, want: "not marked as clean"},
		"unknown":  {options: []string{"-O", "^metadata_csum,^has_journal"}, change: func(b []byte) { b[1024+0x62] |= 0x80 }, want: "has FEATURE_I23, which is not understood"},
	} {
		t.Run(name, func(t *testing.T) {
			x := image(t, "file f content=f\n", tt.options...)
			if tt.change != nil {
				change(t, x, tt.change)
			}
			before, err := os.ReadFile(x)
			if err != nil {
				t.Fatal(err)
			}
			if err := label(t, x, Output{InPlace: true}, []byte("x")); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			_, err = Open(x, Config{})
			if (err == nil) != tt.read {
				t.Errorf("reading: %v", err)
			}
			after, err := os.ReadFile(x)
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("the image is another, %v", err)
			}
			left(t, filepath.Dir(x), 1)
		})
	}
}

// change changes the bytes of an image, and makes the checksum of its superblock
// right where there is one.
func change(t *testing.T, path string, do func([]byte)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	do(b)
	if b[1024+0x65]&4 != 0 {
		binary.LittleEndian.PutUint32(b[1024+0x3fc:], superSum(b[1024:1024+0x3fc]))
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// debugfsRoom asks debugfs how large a value is that it has room for.
func debugfsRoom(t *testing.T, x string) int {
	t.Helper()
	var script strings.Builder
	dir := t.TempDir()
	for _, size := range []int{fits + 4, fits + 1, fits, fits - 4} {
		value := filepath.Join(dir, strconv.Itoa(size))
		if err := os.WriteFile(value, bytes.Repeat([]byte("v"), size), 0o600); err != nil {
			t.Fatal(err)
		}
		script.WriteString("ea_set -f " + value + " /a security.ima\n")
	}
	cmd := exec.Command(treetest.Tool(t, "debugfs"), "-w", "-f", "-", x)
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return fits + []int{4, 1, 0, -4}[strings.Count(string(out), "Insufficient space")]
}

// fits is how large a label may be in a block of 1,024 bytes: behind a header of
// 32, an entry of 20, and the end of the list.
const fits = 1024 - 32 - 20 - 4

// TestRoom compares what is said to fit with what debugfs does.
func TestRoom(t *testing.T) {
	for _, options := range [][]string{{"-I", "256"}, {"-I", "128"}, {"-I", "512"}, {"-O", "inline_data,^has_journal"}, {"-O", "ea_inode,^has_journal"}} {
		t.Run(strings.Join(options, " "), func(t *testing.T) {
			x := image(t, "file a content=small\nfile b size=3000\n", options...)
			for _, size := range []int{1, 34, 60, 200, fits - 1, fits, fits + 1, 1024, 1025, 3000} {
				out := filepath.Join(filepath.Dir(x), "out")
				err := label(t, x, Output{Path: out}, bytes.Repeat([]byte("v"), size))
				if _, full := errors.AsType[*extfs.NoRoomError](err); err != nil && !full {
					t.Errorf("%d bytes: %v", size, err)
				} else if full == (size <= fits) {
					t.Errorf("%d bytes: %v", size, err)
				}
				if size == 34 || size == fits {
					treetest.Fsck(t, out)
				}
			}
			if got := debugfsRoom(t, x); got != fits && options[1] != "ea_inode,^has_journal" {
				t.Errorf("debugfs has room for %d bytes, and %d are said to fit", got, fits)
			}
		})
	}
}

// TestFull fills a file system with labels.
func TestFull(t *testing.T) {
	var spec strings.Builder
	for _, c := range "abcdefghijklmnopqrstuvwxyz" {
		spec.WriteString("file " + string(c) + " size=1000\n")
	}
	x := image(t, spec.String())
	fill := filepath.Join(t.TempDir(), "fill")
	im, err := Open(x, Config{})
	if err != nil {
		t.Fatal(err)
	}
	free := im.fs.Free()
	im.Close()
	if err := os.WriteFile(fill, bytes.Repeat([]byte("x"), int(free)-20<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	treetest.Debugfs(t, x, "write "+fill+" zz")
	err = label(t, x, Output{InPlace: true}, bytes.Repeat([]byte("v"), 500))
	if _, ok := errors.AsType[*FullError](err); !ok {
		t.Fatal(err)
	}
	im, err = Open(x, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	q := tree.Space{IMA: "security.ima", EVM: "security.evm", Labels: func(tree.File) (has, want tree.Labels) { return tree.Labels{}, tree.Labels{IMA: 500, EVM: 200} }}
	if space, ok := errors.AsType[*tree.SpaceError](im.CheckSpace(t.Context(), q)); !ok || space.Files != 27 || space.Need != 27<<10 || space.Free > 20<<10 {
		t.Errorf("%+v", space)
	}
	q.Labels = func(tree.File) (has, want tree.Labels) { return tree.Labels{}, tree.Labels{IMA: 34} }
	if err := im.CheckSpace(t.Context(), q); err != nil {
		t.Error(err)
	}
	q.Labels = func(tree.File) (has, want tree.Labels) { return tree.Labels{}, tree.Labels{IMA: 500, EVM: 500} }
	if big, ok := errors.AsType[*tree.BlockError](im.CheckSpace(t.Context(), q)); !ok || big.Files != 27 {
		t.Errorf("%+v", big)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := im.CheckSpace(ctx, q); err != nil {
		t.Error(err)
	}
}

// superSum is the checksum of a superblock.
func superSum(b []byte) uint32 {
	return ^crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
}

// TestWritesAll writes into file systems of all forms.
func TestWritesAll(t *testing.T) {
	for name, options := range map[string][]string{
		"journal": {"-O", "has_journal", "-J", "size=1"}, "no checksums": {"-O", "^metadata_csum,uninit_bg,^has_journal"}, "bigalloc": {"-O", "bigalloc,^has_journal", "-C", "4096"},
		"meta_bg": {"-O", "meta_bg,^resize_inode,^has_journal", "-g", "1024"}, "sparse_super2": {"-O", "sparse_super2,^resize_inode,^has_journal"},
		"seed": {"-O", "metadata_csum_seed,^has_journal"}, "casefold": {"-O", "casefold,encrypt,verity,stable_inodes,^has_journal"}, "orphan_file": {"-O", "orphan_file,has_journal", "-J", "size=1"},
		"32 bits": {"-O", "^64bit,^flex_bg,^has_journal"}, "ext2": {"-t", "ext2"}, "project": {"-O", "project,large_dir,^has_journal"}, "4k": {"-b", "4096"},
	} {
		t.Run(name, func(t *testing.T) {
			x := image(t, "file a content=small\nfile d/b size=3000\nhard c a\n", options...)
			if err := label(t, x, Output{InPlace: true}, bytes.Repeat([]byte("v"), 500)); err != nil {
				t.Fatal(err)
			}
			treetest.Fsck(t, x)
			for path, value := range values(t, x) {
				if value != strings.Repeat("v", 500) {
					t.Errorf("%s has %q", path, value)
				}
			}
		})
	}
}
