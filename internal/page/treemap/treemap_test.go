package treemap

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// TestForest: paths of all forms are counted where they belong.
func TestForest(t *testing.T) {
	for _, c := range []struct {
		archive string
		paths   []string
		want    string
	}{
		{"", []string{"/a", "/b/c", "/b/d/e"}, "/:3 b:2 :1 b:2 d:1 :1"},
		{"", []string{"./a", "b/c", "b//c", "b/./d"}, "all files:4 b:3 :1"},
		{"", []string{"x"}, "all files:1 :1"},
		{"", []string{"/x/y/z"}, "/x/y:1 :1"},
		{"dir/im.tar:", []string{"dir/im.tar:a", "dir/im.tar:b/c"}, "dir/im.tar:2 b:1 :1"},
		{"-:", []string{"-:a/b/c", "-:a/b/d"}, "-/a/b:2 :2"},
	} {
		f := Forest{Archive: c.archive}
		for _, path := range c.paths {
			f.Add(path, Allowed)
		}
		var got []string
		for _, m := range New(&f).Maps {
			got = append(got, fmt.Sprintf("%s:%d", m.Name, m.Count.Files()))
			for _, i := range m.Items {
				got = append(got, fmt.Sprintf("%s:%d", strings.TrimPrefix(i.Name, "files in it"), i.Count.Files()))
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%q: %q, want %q", c.paths, s, c.want)
		}
	}
}

// TestShrink: the largest directories stay, of equal ones always the same, and what is
// not allowed weighs more.
func TestShrink(t *testing.T) {
	for range 3 {
		var f Forest
		for i := range 997 {
			for range 3 {
				f.Add(fmt.Sprintf("/same/%03d/sub/f", i), Allowed)
			}
		}
		f.Add("/one/bad/file", Denied)
		f.shrink(10)
		var names []string
		same := f.root.below["/"].below["same"]
		for name, d := range same.below {
			names = append(names, name)
			if d.total().Files() != 3 {
				t.Errorf("%s: %v", name, d.total())
			}
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); f.nodes != 10 || got != "000 001 002 003 004 005" || f.root.below["/"].below["one"].below["bad"] == nil || !same.merged || f.root.total().Files() != 2992 {
			t.Errorf("%d directories, %s, %v", f.nodes, got, f.root.total())
		}
	}
}

// TestSquarify: areas are shares, nothing overlaps or sticks out.
func TestSquarify(t *testing.T) {
	for _, c := range []struct {
		sizes  []int
		aspect float64
	}{
		{nil, 2}, {[]int{0, 0}, 2}, {[]int{5}, 2}, {[]int{6, 6, 4, 3, 2, 2, 1}, 1.5}, {[]int{1 << 30, 1}, 0.7}, {[]int{3, 2, 1, 0}, 2}, {make([]int, 200), 1},
		{slices.Repeat([]int{1}, 1000), 2},
	} {
		boxes := squarify(c.sizes, c.aspect)
		if len(boxes) != len(c.sizes) {
			t.Fatalf("%v: %d boxes", c.sizes, len(boxes))
		}
		total := 0
		for _, s := range c.sizes {
			total += s
		}
		for i, b := range boxes {
			if total == 0 {
				continue
			}
			if want := 1e4 * float64(c.sizes[i]) / float64(total); math.Abs(b.W*b.H-want) > 1e-6*1e4 {
				t.Errorf("%v: box %d has %g, want %g", c.sizes, i, b.W*b.H, want)
			}
			if b.X < -1e-9 || b.Y < -1e-9 || b.X+b.W > 100+1e-6 || b.Y+b.H > 100+1e-6 {
				t.Errorf("%v: %v sticks out", c.sizes, b)
			}
			for j, o := range boxes[:min(i, 50)] {
				if w, h := min(b.X+b.W, o.X+o.W)-max(b.X, o.X), min(b.Y+b.H, o.Y+o.H)-max(b.Y, o.Y); w > 1e-6 && h > 1e-6 {
					t.Errorf("%v: %d and %d overlap", c.sizes, i, j)
				}
			}
		}
	}
	if got := squarify([]int{6, 6, 4, 3, 2, 2, 1}, 1.5); len(got) == 7 && (got[0].W != got[1].W || got[0].H != got[1].H) {
		t.Errorf("%v: the first two are not a row", got)
	}
}
