package mounted

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
)

// user keeps labels where no privilege is needed.
var user = tree.Namespace{From: "security.", To: "user."}

// userTree makes a tree in which user attributes work.
func userTree(t *testing.T, spec string) string {
	t.Helper()
	root := treetest.Make(t, spec)
	treetest.UserAttrs(t, root)
	return root
}

func setAttr(t *testing.T, path, name string, value []byte) {
	t.Helper()
	if err := unix.Setxattr(path, name, value, 0); err != nil {
		t.Fatal(err)
	}
}

// Labels take as much of real file systems as they are said to, or less.
func TestNeed(t *testing.T) {
	treetest.Root(t)
	tests := []struct {
		labels    tree.Labels
		ext4, xfs int // blocks a file
	}{
		{tree.Labels{IMA: 34}, 0, 0},            // SHA-256
		{tree.Labels{IMA: 66}, 0, 0},            // SHA-512
		{tree.Labels{IMA: 34, EVM: 21}, 1, 0},   // and an HMAC
		{tree.Labels{IMA: 81}, 1, 0},            // P-256
		{tree.Labels{IMA: 81, EVM: 81}, 1, 0},   // and a portable signature
		{tree.Labels{IMA: 265}, 1, 1},           // RSA-2048
		{tree.Labels{IMA: 521, EVM: 521}, 1, 1}, // RSA-4096, twice
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
				statfs(t, dir, &before)
				want := tt.ext4
				if fstype == "xfs" {
					want = tt.xfs
				}
				if got := need(tt.labels, &before); got != uint64(want*4096) {
					t.Errorf("%+v are said to need %d bytes, not %d blocks", tt.labels, got, want)
				}
				for j := range files {
					name := filepath.Join(below, fmt.Sprint(j))
					for attr, size := range map[string]int{imaevm.AttrIMA: tt.labels.IMA, imaevm.AttrEVM: tt.labels.EVM} {
						value := make([]byte, size)
						copy(value, fmt.Sprintf("\x03 %d", j))
						if size > 0 {
							setAttr(t, name, attr, value)
						}
					}
				}
				statfs(t, dir, &after)
				took := int(before.Bfree) - int(after.Bfree)
				if most := want*files + files/8; took > most {
					t.Errorf("%+v of %d files took %d blocks, more than %d", tt.labels, files, took, most)
				}
			}
		})
	}
}

// statfs tells what is free when all is on the disk.
func statfs(t *testing.T, dir string, st *unix.Statfs_t) {
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

// needOf returns how many bytes more a file needs if it is labelled.
func needOf(t *testing.T, l *label.Labeller, name string, sizes map[plan.Class]tree.Labels, fs *unix.Statfs_t) uint64 {
	t.Helper()
	opened, err := Open(nil, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	found := opened.OpenFile(name)
	if found.File == nil {
		t.Fatalf("%+v", found)
	}
	defer found.File.Close()
	has, want := l.Sizes(user.File(found.File), sizes)
	return need(want, fs) - need(has, fs)
}

// The reckoning counts by class, and what is there already.
func TestNeedOfFiles(t *testing.T) {
	root := userTree(t, "file signed mode=0755 content=x\nfile hashed content=x\nfile skipped content=x")
	l := &label.Labeller{Rules: plan.Rules{{Class: plan.Skip, Pattern: "**/skipped"}, {Class: plan.Sign, Pattern: plan.Executable}, {Class: plan.Hash, Pattern: plan.Any}}}
	sizes := map[plan.Class]tree.Labels{plan.Sign: {IMA: 265, EVM: 265}, plan.Hash: {IMA: 34, EVM: 21}}
	fs := &unix.Statfs_t{Type: unix.EXT4_SUPER_MAGIC, Bsize: 4096}
	for name, want := range map[string]uint64{"signed": 4096, "hashed": 4096, "skipped": 0} {
		if got := needOf(t, l, filepath.Join(root, name), sizes, fs); got != want {
			t.Errorf("%s: %d, not %d", name, got, want)
		}
	}
	setAttr(t, filepath.Join(root, "signed"), "user.ima", make([]byte, 265))
	if got := needOf(t, l, filepath.Join(root, "signed"), sizes, fs); got != 0 {
		t.Errorf("with a block already: %d", got)
	}
	sizes[plan.Hash] = tree.Labels{IMA: 34}
	if got := needOf(t, l, filepath.Join(root, "hashed"), sizes, fs); got != 0 {
		t.Errorf("a hash: %d", got)
	}
}

// A file beside each signed one takes a block, too, if it is not there.
func TestNeedOfSigFiles(t *testing.T) {
	root := userTree(t, "file new mode=0755 content=x\nfile old mode=0755 content=x\nfile hashed content=x")
	if err := os.WriteFile(filepath.Join(root, "old.sig"), []byte{byte(imaevm.TypeSignature)}, 0o644); err != nil {
		t.Fatal(err)
	}
	l := &label.Labeller{SigFiles: true, Rules: plan.Rules{{Class: plan.Sign, Pattern: plan.Executable}, {Class: plan.Hash, Pattern: plan.Any}}}
	for name, want := range map[string]uint64{"new": 4096, "old": 0, "old.sig": 0, "hashed": 0} {
		if got := needOf(t, l, filepath.Join(root, name), nil, &unix.Statfs_t{Bsize: 4096}); got != want {
			t.Errorf("%s: %d, not %d", name, got, want)
		}
	}
}

// checkSpace asks whether labels of a tree's files fit, in security.* or user.* as
// q says.
func checkSpace(ctx context.Context, t *testing.T, root string, l *label.Labeller, sizes map[plan.Class]tree.Labels, q Space) error {
	t.Helper()
	opened, err := Open([]string{root}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	q.Largest = sizes[plan.Sign]
	q.Labels = func(f tree.File) (has, want tree.Labels) {
		if q.IMA != imaevm.AttrIMA {
			f = user.File(f)
		}
		return l.Sizes(f, sizes)
	}
	return opened.CheckSpace(ctx, q)
}

// Labels that no block of attributes holds are refused before the first of
// them takes a good one's place. Only trying tells where they have another place.
func TestCheckSpaceOfBlocks(t *testing.T) {
	treetest.Root(t)
	sizes := map[plan.Class]tree.Labels{plan.Sign: {IMA: 521, EVM: 521}} // RSA-4096, twice
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
			l := &label.Labeller{Rules: plan.Rules{{Class: plan.Sign, Pattern: plan.Executable}, {Class: plan.Hash, Pattern: plan.Any}}}
			q := Space{IMA: imaevm.AttrIMA, EVM: imaevm.AttrEVM}
			err := checkSpace(t.Context(), t, dir, l, sizes, q)
			var block *BlockError
			if !errors.As(err, &block) && (tt.files > 0 || err != nil) {
				t.Fatalf("%v", err)
			}
			if tt.files > 0 && (block.Files != tt.files || block.Labels != sizes[plan.Sign] || block.Room != 988) {
				t.Errorf("%+v", block)
			}
			q.DryRun = true // tries nothing
			if err := checkSpace(t.Context(), t, dir, l, sizes, q); err != nil {
				t.Errorf("dry run: %v", err)
			}
		})
	}
}

// A file system that is full is refused with figures, unless the run ends.
func TestCheckSpaceRefuses(t *testing.T) {
	root := userTree(t, "file f content=x")
	l := &label.Labeller{Rules: plan.Only(plan.Sign)}
	q := Space{IMA: "user.ima", EVM: "user.evm"}
	sizes := map[plan.Class]tree.Labels{plan.Sign: {IMA: 1 << 50}}
	var space *SpaceError
	if err := checkSpace(t.Context(), t, root, l, sizes, q); !errors.As(err, &space) || space.Files != 1 || space.Need < 1<<50 {
		t.Errorf("%v", err)
	}
	if err := checkSpace(t.Context(), t, root, l, map[plan.Class]tree.Labels{plan.Sign: {IMA: 34}}, q); err != nil {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := checkSpace(ctx, t, root, l, sizes, q); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}
