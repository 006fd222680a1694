package walk

import (
	"strings"
	"testing"

	"imaseal/internal/reason"
	"imaseal/internal/treetest"
)

// A name that is left out does not stand for the others of its inode, in
// whatever order they come.
func TestLeave(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, "file a/x\nhard b/x a/x\nhard c/x a/x")
	for _, left := range []string{"a", "b", "c"} {
		for _, workers := range []int{1, 3} {
			cfg := Config{Workers: workers, Leave: func(e *Entry) reason.Code {
				if e.File == nil || e.Stat.Nlink != 3 {
					t.Errorf("asked about %+v", e)
				}
				if strings.Contains(e.Path, "/"+left+"/") {
					return "left"
				}
				return ""
			}}
			v := &visits{t: t}
			if err := Files(t.Context(), listOf([]string{root + "/a/x", root + "/b/x", root + "/c/x"}, nil), cfg, v.visit); err != nil {
				t.Fatal(err)
			}
			for _, entries := range [][]Entry{
				v.entries,
				collect(t, cfg, standard, root).entries,
				collect(t, cfg, standard, root+"/a/x", root+"/b/x", root+"/c/x").entries,
				collect(t, cfg, standard, root+"/a", root+"/b/x", root+"/c/x").entries,
				collect(t, cfg, standard, root+"/a/x", root+"/b/x", root+"/c").entries,
			} {
				count := make(map[string]int)
				for _, e := range entries {
					count[outcome(e)]++
				}
				if count["left"] != 1 || count["file"] != 1 || count["hard link"] != 1 {
					t.Errorf("without %s, %d workers: %v", left, workers, count)
				}
			}
		}
	}
}
