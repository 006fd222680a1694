package mounted_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/reason"
	"imaseal/internal/shard"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/treetest"
	"imaseal/walk"
)

// shardFound is what the shards of a tree find between them.
type shardFound struct {
	files map[string]string // the inode of each file that was handed over, by its path
	skips map[string]int    // by path and reason
	came  map[string]int    // how often the walks came to a path, but for other shards
}

// find opens the paths as a tree of each shard in its turn, and walks them.
// With a list, its files are found too.
func find(t *testing.T, count int, cfg mounted.Config, list string, paths ...string) shardFound {
	t.Helper()
	all := shardFound{files: make(map[string]string), skips: make(map[string]int), came: make(map[string]int)}
	for i := range max(count, 1) {
		if count > 0 {
			cfg.Shard = shard.Shard{Index: i + 1, Count: count}
		}
		if list != "" {
			var err error
			if cfg.List, err = mounted.OpenList(list, nil, false); err != nil {
				t.Fatal(err)
			}
		}
		of, err := mounted.Open(paths, cfg)
		if err != nil {
			t.Fatal(err)
		}
		counted := 0
		if err := of.Count(t.Context(), func(int64) { counted++ }); err != nil {
			t.Error(err)
		}
		var mu sync.Mutex
		handed := 0
		err = of.Walk(t.Context(), func(f tree.Found) error {
			mu.Lock()
			defer mu.Unlock()
			if f.Skip == reason.OtherShard {
				all.came[f.Path] += 0
				return nil
			}
			all.came[f.Path]++
			if f.File == nil {
				all.skips[fmt.Sprint(f.Path, " ", f.Skip, f.Err)]++
				return nil
			}
			defer f.File.Close()
			handed++
			bound, _ := tree.As[tree.Bound](f.File)
			all.files[f.Path] = fmt.Sprint(bound.Inode())
			return nil
		})
		of.Close()
		if err != nil || counted != handed && cfg.Leave == nil {
			t.Errorf("shard %d of %d: %v, %d counted, %d found", i+1, count, err, counted, handed)
		}
	}
	return all
}

// linkedTree makes a tree of files of which many have several names, in directories
// that are far apart.
func linkedTree(t *testing.T, random *rand.Rand) string {
	root := treetest.MemDir(t)
	var dirs []string
	for d := range 12 {
		dir := filepath.Join(root, fmt.Sprint("d", d))
		if d > 0 && random.IntN(2) == 0 {
			dir = filepath.Join(dirs[random.IntN(d)], fmt.Sprint("sub", d))
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	for f := range 150 {
		first := filepath.Join(dirs[random.IntN(len(dirs))], fmt.Sprint("f", f))
		if err := os.WriteFile(first, []byte(first), 0o600); err != nil {
			t.Fatal(err)
		}
		for l := range random.IntN(4) {
			if err := os.Link(first, filepath.Join(dirs[random.IntN(len(dirs))], fmt.Sprint("f", f, "-", l))); err != nil {
				t.Fatal(err)
			}
		}
		if f%10 == 0 {
			if err := os.Symlink("x", first+".symlink"); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

// TestShardsAreTheWhole: over trees with hard links, whatever the number of shards
// and of workers, and with filters, each path is in one shard, each inode is handed
// over once, and all names of it are in the same shard.
func TestShardsAreTheWhole(t *testing.T) {
	treetest.Leaks(t)
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 0))
		root := linkedTree(t, random)
		for _, cfg := range []mounted.Config{
			{},
			{Config: walk.Config{Workers: 4}},
			{Config: walk.Config{Workers: 2, Exclude: func(rel string) bool { return strings.Contains(rel, "-1") || rel == "d3" }}},
			{Config: walk.Config{Workers: 2, Include: func(rel string) bool { return strings.HasPrefix(rel, "d1") }}},
			{Config: walk.Config{Workers: 2}, Leave: func(f tree.File) reason.Code {
				if strings.HasSuffix(f.Rel(), "0") {
					return reason.ByRule
				}
				return ""
			}},
		} {
			whole := find(t, 0, cfg, "", root)
			count := 1 + random.IntN(9)
			parts := find(t, count, cfg, "", root)
			if !maps.Equal(parts.came, whole.came) {
				t.Errorf("seed %d, %d shards came to %v, all to %v", seed, count, parts.came, whole.came)
			}
			inodes := func(f shardFound) []string { return slices.Sorted(maps.Values(f.files)) }
			if got, want := inodes(parts), inodes(whole); !slices.Equal(got, want) {
				t.Errorf("seed %d, %d shards: inodes\n%q, all\n%q", seed, count, got, want)
			}
			if got, want := total(parts.skips), total(whole.skips); got != want {
				t.Errorf("seed %d, %d shards: skipped %s, all %s", seed, count, got, want)
			}
		}
	}
}

// total counts skips by their reason.
func total(skips map[string]int) string {
	count := make(map[string]int)
	for what, n := range skips {
		count[what[strings.LastIndex(what, " ")+1:]] += n
	}
	return fmt.Sprint(count)
}

// TestShardsOfCopies: another copy of the tree, with other inodes and elsewhere, has
// the same files in each shard, those with several names too.
func TestShardsOfCopies(t *testing.T) {
	root := linkedTree(t, rand.New(rand.NewPCG(7, 7)))
	copied := filepath.Join(treetest.MemDir(t), "elsewhere")
	links := make(map[uint64]string)
	err := filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := copied + strings.TrimPrefix(name, root)
		switch {
		case d.IsDir():
			return os.Mkdir(to, 0o700)
		case !d.Type().IsRegular():
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return err
		}
		if first, ok := links[st.Ino]; ok {
			return os.Link(first, to)
		}
		links[st.Ino] = to
		return os.WriteFile(to, nil, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		one, other := namesIn(t, shard.Shard{Index: i + 1, Count: 3}, root), namesIn(t, shard.Shard{Index: i + 1, Count: 3}, copied)
		if !slices.Equal(one, other) || len(one) == 0 {
			t.Errorf("shard %d: %q, in the copy %q", i+1, one, other)
		}
	}
}

// namesIn returns the paths of the regular files, within the tree, that a shard has
// under any name.
func namesIn(t *testing.T, part shard.Shard, root string) []string {
	t.Helper()
	of, err := mounted.Open([]string{root}, mounted.Config{Config: walk.Config{Shard: part}})
	if err != nil {
		t.Fatal(err)
	}
	defer of.Close()
	var all []string
	if err := of.Walk(t.Context(), func(f tree.Found) error {
		if f.File != nil {
			f.File.Close()
		}
		if f.File != nil || f.Skip == reason.HardLink {
			all = append(all, strings.TrimPrefix(f.Path, root))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(slices.Values(all))
}

// TestShardsOfNamed: files that are named themselves, in lists too, and trees that
// share inodes, are divided like any.
func TestShardsOfNamed(t *testing.T) {
	root := treetest.Make(t, "file a/one\nfile a/two\nfile a/three\nfile b/four\nhard b/one a/one\nhard b/two2 a/two\nhard c a/one\nlink l a")
	list := filepath.Join(treetest.Make(t, ""), "list")
	var text strings.Builder
	for _, name := range []string{"a/one", "a/two", "b/one", "b/four", "l", "a", "missing"} {
		fmt.Fprintln(&text, filepath.Join(root, name))
	}
	if err := os.WriteFile(list, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		list  string
		paths []string
	}{
		{"", []string{root + "/a", root + "/b", root + "/c", root + "/b/one"}},
		{list, nil},
		{list, []string{root + "/b", root + "/c"}},
	} {
		whole := find(t, 0, mounted.Config{}, c.list, c.paths...)
		for count := 1; count <= 6; count++ {
			parts := find(t, count, mounted.Config{}, c.list, c.paths...)
			if !maps.Equal(parts.came, whole.came) || len(parts.files) != len(whole.files) || total(parts.skips) != total(whole.skips) {
				t.Errorf("%d shards of %v: %v, %v; all of them %v, %v", count, c, parts.files, parts.skips, whole.files, whole.skips)
			}
		}
	}
}

// TestShardsOfMountedFiles: where a directory has another number for a file than
// the file itself, since one is mounted on it, each inode is still in one shard.
func TestShardsOfMountedFiles(t *testing.T) {
	treetest.Root(t)
	root := treetest.Make(t, "file a/one content=x\nhard b/two a/one\nfile c/three content=y\nhard d/four c/three\nfile e/under\nfile f/under\nfile g")
	for from, to := range map[string]string{"/a/one": "/e/under", "/d/four": "/f/under"} {
		if err := unix.Mount(root+from, root+to, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(root+to, 0) })
	}
	whole := find(t, 0, mounted.Config{}, "", root)
	for count := 1; count <= 9; count++ {
		parts := find(t, count, mounted.Config{}, "", root)
		if !maps.Equal(parts.came, whole.came) || len(parts.files) != len(whole.files) || total(parts.skips) != total(whole.skips) {
			t.Errorf("%d shards: %v, %v; all of them %v, %v", count, parts.files, parts.skips, whole.files, whole.skips)
		}
	}
}
