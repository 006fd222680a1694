package mounted_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/treetest"
	"imaseal/walk"
)

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
				free(t, dir, &before)
				want := tt.ext4
				if fstype == "xfs" {
					want = tt.xfs
				}
				if got := mounted.Need(tt.labels, &before); got != uint64(want*4096) {
					t.Errorf("%+v are said to need %d bytes, not %d blocks", tt.labels, got, want)
				}
				for j := range files {
					name := filepath.Join(below, fmt.Sprint(j))
					for attr, size := range map[string]int{imaevm.AttrIMA: tt.labels.IMA, imaevm.AttrEVM: tt.labels.EVM} {
						value := make([]byte, size)
						copy(value, fmt.Sprintf("\x03 %d", j))
						if size == 0 {
							continue
						}
						if err := unix.Setxattr(name, attr, value, 0); err != nil {
							t.Fatal(err)
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

// needOf returns what labels of a file need more than it has on an ext4, in bytes.
func needOf(t *testing.T, l *label.Labeller, name string, sizes map[plan.Class]tree.Labels) uint64 {
	t.Helper()
	_, f := openFile(t, name)
	defer f.Close()
	fs := &unix.Statfs_t{Type: unix.EXT4_SUPER_MAGIC, Bsize: 4096}
	has, want := l.Sizes(runtest.User.File(f), sizes)
	return mounted.Need(want, fs) - mounted.Need(has, fs)
}

// The reckoning counts by class, and what is there already.
func TestNeedOfFiles(t *testing.T) {
	root := runtest.Make(t, "file signed mode=0755 content=x\nfile hashed content=x\nfile skipped content=x")
	l := &label.Labeller{Rules: plan.Rules{{Class: plan.Skip, Pattern: "**/skipped"}, {Class: plan.Sign, Pattern: plan.Executable}, {Class: plan.Hash, Pattern: plan.Any}}}
	sizes := map[plan.Class]tree.Labels{plan.Sign: {IMA: 265, EVM: 265}, plan.Hash: {IMA: 34, EVM: 21}}
	for name, want := range map[string]uint64{"signed": 4096, "hashed": 4096, "skipped": 0} {
		if got := needOf(t, l, filepath.Join(root, name), sizes); got != want {
			t.Errorf("%s: %d, not %d", name, got, want)
		}
	}
	runtest.SetLabel(t, filepath.Join(root, "signed"), imaevm.AttrIMA, make([]byte, 265))
	if got := needOf(t, l, filepath.Join(root, "signed"), sizes); got != 0 {
		t.Errorf("with a block already: %d", got)
	}
	sizes[plan.Hash] = tree.Labels{IMA: 34}
	if got := needOf(t, l, filepath.Join(root, "hashed"), sizes); got != 0 {
		t.Errorf("a hash: %d", got)
	}
}

// A file beside each signed one takes a block, too, if it is not there.
func TestNeedOfSigFiles(t *testing.T) {
	root := runtest.Make(t, "file new mode=0755 content=x\nfile old mode=0755 content=x\nfile hashed content=x")
	runtest.Write(t, filepath.Join(root, "old.sig"), string(byte(imaevm.TypeSignature)))
	l := &label.Labeller{SigFiles: true, Rules: plan.Rules{{Class: plan.Sign, Pattern: plan.Executable}, {Class: plan.Hash, Pattern: plan.Any}}}
	for name, want := range map[string]uint64{"new": 4096, "old": 0, "old.sig": 0, "hashed": 0} {
		if got := needOf(t, l, filepath.Join(root, name), nil); got != want {
			t.Errorf("%s: %d, not %d", name, got, want)
		}
	}
}

// question asks whether labels of the sizes fit.
func question(l *label.Labeller, names tree.Namespace, sizes map[plan.Class]tree.Labels) tree.Space {
	q := tree.Space{IMA: names.To + "ima", EVM: names.To + "evm"}
	for _, s := range sizes {
		q.Largest.IMA, q.Largest.EVM = max(q.Largest.IMA, s.IMA), max(q.Largest.EVM, s.EVM)
	}
	q.Labels = func(f tree.File) (has, want tree.Labels) { return l.Sizes(names.File(f), sizes) }
	return q
}

// Labels that no block of attributes holds are refused before the first of
// them takes a good one's place. Only trying tells where they have another place.
func TestCheckSpaceOfBlocks(t *testing.T) {
	treetest.Root(t)
	want := map[plan.Class]tree.Labels{plan.Sign: {IMA: 521, EVM: 521}} // RSA-4096, twice
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
			treetest.Leaks(t)
			size := 32
			if tt.fstype == "xfs" {
				size = 320
			}
			dir := treetest.Mount(t, tt.fstype, size, tt.options)
			treetest.Add(t, dir, "file a mode=0755 content=x\nfile b mode=0755 content=x\nfile hashed content=x")
			l := &label.Labeller{Rules: plan.Rules{{Class: plan.Sign, Pattern: plan.Executable}, {Class: plan.Hash, Pattern: plan.Any}}}
			opened, err := mounted.Open([]string{dir}, mounted.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer opened.Close()
			q := question(l, tree.Namespace{From: "security.", To: "security."}, want)
			err = opened.CheckSpace(t.Context(), q)
			var block *tree.BlockError
			if !errors.As(err, &block) && (tt.files > 0 || err != nil) {
				t.Fatalf("%v", err)
			}
			if tt.files > 0 && (block.Files != tt.files || block.Labels != want[plan.Sign] || block.Room != 988) {
				t.Errorf("%+v", block)
			}
			q.DryRun = true // tries nothing
			if err := opened.CheckSpace(t.Context(), q); err != nil {
				t.Errorf("dry run: %v", err)
			}
		})
	}
}

// A file system that is full is refused with figures, unless the run ends, or the
// files cannot be known before.
func TestCheckSpaceRefuses(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file f content=x\nfile g content=x\nlink l f")
	l := &label.Labeller{Rules: plan.Only(plan.Sign)}
	opened, err := mounted.Open([]string{root}, mounted.Config{Config: walk.Config{Workers: 2}})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	const huge = math.MaxInt >> 13
	large := question(l, runtest.User, map[plan.Class]tree.Labels{plan.Sign: {IMA: huge}})
	var space *tree.SpaceError
	if err := opened.CheckSpace(t.Context(), large); !errors.As(err, &space) || space.Files != 2 || space.Need < 2*huge {
		t.Errorf("%v", err)
	}
	if err := opened.CheckSpace(t.Context(), question(l, runtest.User, map[plan.Class]tree.Labels{plan.Sign: {IMA: 34}})); err != nil {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := opened.CheckSpace(ctx, large); err != nil {
		t.Errorf("interrupted: %v", err)
	}
	list, err := mounted.OpenList("-", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	once, err := mounted.Open([]string{root}, mounted.Config{List: list})
	if err != nil {
		t.Fatal(err)
	}
	defer once.Close()
	if err := once.CheckSpace(t.Context(), large); err != nil {
		t.Errorf("with a list that can be read once: %v", err)
	}
}
