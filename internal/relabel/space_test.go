package relabel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/treetest"
	"imaseal/walk"
)

// Labels take as much of real file systems as they are said to, or less.
func TestNeed(t *testing.T) {
	treetest.Root(t)
	tests := []struct {
		labels    Labels
		ext4, xfs int // blocks a file
	}{
		{Labels{34, 0}, 0, 0},    // SHA-256
		{Labels{66, 0}, 0, 0},    // SHA-512
		{Labels{34, 21}, 1, 0},   // and an HMAC
		{Labels{81, 0}, 1, 0},    // P-256
		{Labels{81, 81}, 1, 0},   // and a portable signature
		{Labels{265, 0}, 1, 1},   // RSA-2048
		{Labels{521, 521}, 1, 1}, // RSA-4096, twice
	}
	const files = 64
	for _, fstype := range []string{"ext4", "xfs"} {
		t.Run(fstype, func(t *testing.T) {
			options := []string{"-b4096"}
			if fstype == "xfs" {
				options = []string{"-bsize=4096"}
			}
			dir := treetest.Mount(t, fstype, 320, options...)
			for i, tt := range tests {
				var before, after unix.Statfs_t
				below := filepath.Join(dir, fmt.Sprint(i))
				for j := range files {
					treetest.Add(t, below, fmt.Sprintf("file %d content=x", j))
				}
				free(t, dir, &before)
				want := tt.ext4
				if fstype == "xfs" {
					want = tt.xfs
				}
				if got := tt.labels.need(&before); got != uint64(want*4096) {
					t.Errorf("%+v are said to need %d bytes, not %d blocks", tt.labels, got, want)
				}
				for j := range files {
					name := filepath.Join(below, fmt.Sprint(j))
					for attr, size := range map[string]int{imaevm.AttrIMA: tt.labels.IMA, imaevm.AttrEVM: tt.labels.EVM} {
						value := make([]byte, size)
						copy(value, fmt.Sprintf("\x03 %d", j))
						if size > 0 {
							mustSet(t, name, attr, value)
						}
					}
				}
				free(t, dir, &after)
				took := int(before.Bfree) - int(after.Bfree)
				if most := want*files + files/8; took > most {
					t.Errorf("%+v of %d files took %d blocks, more than %d", tt.labels, files, took, most)
				}
			}
		})
	}
}

func free(t *testing.T, dir string, st *unix.Statfs_t) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	if err := unix.Statfs(dir, st); err != nil {
		t.Fatal(err)
	}
}

// The reckoning counts by class, and what is there already.
func TestNeedOfFiles(t *testing.T) {
	root := tree(t, "file signed mode=0755 content=x\nfile hashed content=x\nfile skipped content=x")
	l := &Labeller{Writer: Writer{Store: renamed}, Rules: plan.Rules{{Class: plan.Skip, Pattern: "**/skipped"}, {Class: plan.Sign, Pattern: plan.Executable}, {Class: plan.Hash, Pattern: plan.Any}}}
	sizes := map[plan.Class]Labels{plan.Sign: {IMA: 265, EVM: 265}, plan.Hash: {IMA: 34, EVM: 21}}
	fs := &unix.Statfs_t{Type: unix.EXT4_SUPER_MAGIC, Bsize: 4096}
	need := func(name string) uint64 {
		e := walk.OpenFile(filepath.Join(root, name))
		defer e.File.Close()
		has, want := l.labels(&e, sizes)
		return want.need(fs) - has.need(fs)
	}
	for name, want := range map[string]uint64{"signed": 4096, "hashed": 4096, "skipped": 0} {
		if got := need(name); got != want {
			t.Errorf("%s: %d, not %d", name, got, want)
		}
	}
	mustSet(t, filepath.Join(root, "signed"), "user.ima", make([]byte, 265))
	if got := need("signed"); got != 0 {
		t.Errorf("with a block already: %d", got)
	}
	sizes[plan.Hash] = Labels{IMA: 34}
	if got := need("hashed"); got != 0 {
		t.Errorf("a hash: %d", got)
	}
}

// A file beside each signed one takes a block, too, if it is not there.
func TestNeedOfSigFiles(t *testing.T) {
	root := tree(t, "file new mode=0755 content=x\nfile old mode=0755 content=x\nfile hashed content=x")
	if err := os.WriteFile(filepath.Join(root, "old.sig"), []byte{byte(imaevm.TypeSignature)}, 0o644); err != nil {
		t.Fatal(err)
	}
	l := &Labeller{Writer: Writer{Store: renamed}, SigFiles: true, Rules: plan.Rules{{Class: plan.Sign, Pattern: plan.Executable}, {Class: plan.Hash, Pattern: plan.Any}}}
	for name, want := range map[string]uint64{"new": 4096, "old": 0, "old.sig": 0, "hashed": 0} {
		e := walk.OpenFile(filepath.Join(root, name))
		if got := l.sigFileNeed(&e, &unix.Statfs_t{Bsize: 4096}); got != want {
			t.Errorf("%s: %d, not %d", name, got, want)
		}
		e.File.Close()
	}
}

// Labels that no block of attributes holds are refused before the first of
// them takes a good one's place. Only trying tells where they have another place.
func TestCheckSpaceOfBlocks(t *testing.T) {
	treetest.Root(t)
	want := map[plan.Class]Labels{plan.Sign: {IMA: 521, EVM: 521}} // RSA-4096, twice
	tests := map[string]struct {
		fstype, options string
		files           int
	}{
		"small blocks":       {"ext4", "-b1024", 2},
		"usual blocks":       {"ext4", "-b4096", 0},
		"with inodes for it": {"ext4", "-b1024 -O ea_inode", 0},
		"no such blocks":     {"xfs", "-bsize=1024", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			size := 32
			if tt.fstype == "xfs" {
				size = 320
			}
			dir := treetest.Mount(t, tt.fstype, size, tt.options)
			treetest.Add(t, dir, "file a mode=0755 content=x\nfile b mode=0755 content=x\nfile hashed content=x")
			l := &Labeller{Writer: Writer{Store: attr.FS{}}, Rules: plan.Rules{{Class: plan.Sign, Pattern: plan.Executable}, {Class: plan.Hash, Pattern: plan.Any}}}
			find := func(ctx context.Context, visit walk.Visitor) error {
				for _, name := range []string{"a", "b", "hashed"} {
					if err := visit(walk.OpenFile(filepath.Join(dir, name))); err != nil {
						return err
					}
				}
				return nil
			}
			err := l.CheckSpace(t.Context(), want, find, find)
			var block *BlockError
			if !errors.As(err, &block) && (tt.files > 0 || err != nil) {
				t.Fatalf("%v", err)
			}
			if tt.files > 0 && (block.Files != tt.files || block.Labels != want[plan.Sign] || block.Room != 988) {
				t.Errorf("%+v", block)
			}
			l.Writer.DryRun = true // tries nothing
			if err := l.CheckSpace(t.Context(), want, find, find); err != nil {
				t.Errorf("dry run: %v", err)
			}
		})
	}
}

// A file system that is full is refused with figures, unless the run ends.
func TestCheckSpaceRefuses(t *testing.T) {
	root := tree(t, "file f content=x")
	l := &Labeller{Writer: Writer{Store: renamed}, Rules: plan.Only(plan.Sign)}
	sizes := map[plan.Class]Labels{plan.Sign: {IMA: 1 << 50}}
	find := func(ctx context.Context, visit walk.Visitor) error {
		return visit(walk.OpenFile(filepath.Join(root, "f")))
	}
	var space *SpaceError
	if err := l.CheckSpace(context.Background(), sizes, find, find); !errors.As(err, &space) || space.Files != 1 || space.Need < 1<<50 {
		t.Errorf("%v", err)
	}
	if err := l.CheckSpace(context.Background(), map[plan.Class]Labels{plan.Sign: {IMA: 34}}, find, find); err != nil {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.CheckSpace(ctx, sizes, find, find); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}

var _ attr.Store = hookedStore{}
