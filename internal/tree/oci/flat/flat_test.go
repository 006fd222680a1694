package flat

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// parse reads entries, one a word: a/ is a directory, a=>b a symbolic link, a==b a hard
// link, !a a device, and all else a file.
func parse(word string) (kind Kind, name, link string) {
	if name, link, ok := strings.Cut(word, "=>"); ok {
		return Symlink, name, link
	}
	if name, link, ok := strings.Cut(word, "=="); ok {
		return HardLink, name, link
	}
	if name, ok := strings.CutPrefix(word, "!"); ok {
		return Special, name, ""
	}
	if strings.HasSuffix(word, "/") {
		return Directory, word, ""
	}
	return File, word, ""
}

// flatten returns the files that are there, as LAYER:NAME, and hard links with = before
// them.
func flatten(t testing.TB, layers ...string) []string {
	tree := New()
	defer tree.Close()
	for _, l := range layers {
		if err := tree.Next(); err != nil {
			t.Fatal(err)
		}
		for i, word := range strings.Fields(l) {
			kind, name, link := parse(word)
			if err := tree.Add(i, kind, name, link); err != nil {
				t.Fatal(err)
			}
		}
	}
	tree.Done()
	var there []string
	for l := range layers {
		for i, word := range strings.Fields(layers[l]) {
			kind, name, _ := parse(word)
			if kind != File && kind != HardLink {
				continue
			}
			if at, ok := tree.At(l, i, name); ok {
				is := ""
				if kind == HardLink {
					is = "="
				}
				there = append(there, fmt.Sprintf("%s%d:%s", is, l, at))
			}
		}
	}
	slices.Sort(there)
	return there
}

func TestFlatten(t *testing.T) {
	tests := []struct {
		name   string
		layers []string
		want   string
	}{
		{"one layer", []string{"a d/ d/b d/c"}, "0:a 0:d/b 0:d/c"},
		{"replaced in a layer", []string{"a b a"}, "0:a 0:b"},
		{"replaced by another", []string{"a b", "a"}, "0:b 1:a"},
		{"spelt another way", []string{"./a /b", "a b"}, "1:a 1:b"},
		{"gone", []string{"a b", ".wh.a"}, "0:b"},
		{"gone, and back", []string{"a", ".wh.a", "a"}, "2:a"},
		{"gone, in the layer that has it", []string{"a", ".wh.a a"}, "1:a"},
		{"gone behind it", []string{"a", "a .wh.a"}, "1:a"},
		{"a directory gone", []string{"d/ d/a d/e/b", ".wh.d", "d/c"}, "2:d/c"},
		{"a directory made anew", []string{"d/ d/a", ".wh.d d/ d/b"}, "1:d/b"},
		{"opaque", []string{"d/ d/a d/e/b x", "d/ d/.wh..wh..opq d/c"}, "0:x 1:d/c"},
		{"opaque behind", []string{"d/ d/a", "d/c d/.wh..wh..opq"}, "1:d/c"},
		{"all of it opaque", []string{"a d/b", ".wh..wh..opq c"}, "1:c"},
		{"a file in place of a directory", []string{"d/ d/a", "d"}, "1:d"},
		{"and a directory again", []string{"d/ d/a", "d", "d/ d/b"}, "2:d/b"},
		{"a directory in place of a file", []string{"d", "d/ d/a"}, "1:d/a"},
		{"a device in place of a file", []string{"a", "!a"}, ""},
		{"a link in place of a file", []string{"a", "a=>b"}, ""},
		{"through a link", []string{"usr/lib/ usr/lib/a lib=>usr/lib", "lib/a"}, "1:lib/a"},
		{"through an absolute link", []string{"usr/lib/ usr/lib/a lib=>/usr/lib", "lib/a"}, "1:lib/a"},
		{"gone through a link", []string{"usr/lib/a usr/lib/b lib=>usr/lib", "lib/.wh.a"}, "0:usr/lib/b"},
		{"through a link upwards", []string{"a/b x/y=>../a", "x/y/b"}, "1:x/y/b"},
		{"not through one that is gone", []string{"usr/lib/a lib=>usr/lib", ".wh.lib lib/a"}, "0:usr/lib/a 1:lib/a"},
		{"not through one that is a directory now", []string{"usr/lib/a lib=>usr/lib", "lib/ lib/a"}, "0:usr/lib/a 1:lib/a"},
		{"in a circle", []string{"a=>b b=>a", "a/c d"}, "1:d"},
		{"out of the root", []string{"a b=>../..", "b/a ../../c"}, "1:b/a 1:../../c"},
		{"hard links", []string{"a b==a"}, "0:a =0:b"},
		{"one to a lower layer", []string{"a", "b==./a"}, "0:a =1:b"},
		{"whose target is gone", []string{"a", "b==a", ".wh.a"}, "0:b"},
		{"whose target is another by now", []string{"a b==a", "a"}, "0:b 1:a"},
		{"of which two are left", []string{"a b==a c==b", ".wh.a"}, "0:b =0:c"},
		{"to nothing", []string{"b==a"}, ""},
		{"to what is gone", []string{"a", ".wh.a", "b==a"}, ""},
		{"to a directory", []string{"d/ b==."}, ""},
		{"that is gone", []string{"a b==a", ".wh.b"}, "0:a"},
		{"files of aufs", []string{".wh..wh.plnk/1.2 .wh..wh.aufs a"}, "0:a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := strings.Fields(tt.want)
			slices.Sort(want)
			if got := flatten(t, tt.layers...); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestIsWhiteout(t *testing.T) {
	for rel, want := range map[string]bool{
		".wh.a": true, "d/.wh.a": true, "d/.wh..wh..opq": true, ".wh..wh.plnk/1": true, "a": false, "d/a.wh.b": false, ".wh": false, ".wh.d/a": false,
	} {
		if IsWhiteout(rel) != want {
			t.Errorf("%s: %v", rel, !want)
		}
	}
}

// Whatever layers say, it ends; and what the last layer has of files is there.
func FuzzFlatten(f *testing.F) {
	f.Add("a d/b|.wh.a d=>e d/f|d/ .wh..wh..opq")
	f.Add("a=>b/../a b=>/a|b/c==a/b")
	f.Fuzz(func(t *testing.T, text string) {
		flatten(t, strings.Split(text, "|")...)
	})
}

// TestMany finds each of very many nodes again.
func TestMany(t *testing.T) {
	tree := New()
	defer tree.Close()
	const many = 3*chunk + 1
	for layer := range 2 {
		if err := tree.Next(); err != nil {
			t.Fatal(err)
		}
		for i := layer; i < many; i += layer + 1 {
			if err := tree.Add(i, File, fmt.Sprintf("d%d/f%d", i%100, i), ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := tree.table.count; n != many+101 {
		t.Errorf("there are %d nodes", n)
	}
	tree.Done()
	for i := range many {
		_, below := tree.At(0, i, "")
		_, above := tree.At(1, i, "")
		if below != (i%2 == 0) || above != (i%2 == 1) {
			t.Fatalf("%d: %v, %v", i, below, above)
		}
	}
}
