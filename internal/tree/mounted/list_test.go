package mounted_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/runtest"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/treetest"
)

func names(l *mounted.List) (all []string, err error) {
	for name, nameErr := range l.Names(context.Background()) {
		if nameErr != nil {
			return all, nameErr
		}
		all = append(all, name)
	}
	return all, nil
}

// Names end in newlines or zero bytes, the last one need not, and empty ones are
// none.
func TestList(t *testing.T) {
	for _, tt := range []struct {
		text string
		nul  bool
		want []string
	}{
		{"", false, nil},
		{"a", false, []string{"a"}},
		{"a\nb c\n\n\nd", false, []string{"a", "b c", "d"}},
		{"a\nb\x00\x00c", true, []string{"a\nb", "c"}},
		{"\x00", true, nil},
		{strings.Repeat("d/", 8000) + "f\n", false, []string{strings.Repeat("d/", 8000) + "f"}},
	} {
		l, err := mounted.OpenList("-", strings.NewReader(tt.text), tt.nul)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := names(l); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%.40q: %.40q, %v", tt.text, got, err)
		}
		if l.Again() {
			t.Error("a stream can be read again")
		}
		file := t.TempDir() + "/list"
		runtest.Write(t, file, tt.text)
		if l, err = mounted.OpenList(file, nil, tt.nul); err != nil {
			t.Fatal(err)
		}
		for range 2 { // again
			if got, err := names(l); err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("from a file, %.40q: %.40q, %v", tt.text, got, err)
			}
		}
		if !l.Again() {
			t.Error("a file cannot be read again")
		}
		l.Close()
	}
}

// What is no list is refused, with what it seems to be.
func TestListRefuses(t *testing.T) {
	treetest.Leaks(t)
	root := treetest.Make(t, "dir d\nfile f")
	for name, want := range map[string]error{"d": unix.EISDIR, "none": fs.ErrNotExist} {
		_, err := mounted.OpenList(root+"/"+name, nil, false)
		var list *mounted.ListError
		if !errors.As(err, &list) || !errors.Is(err, want) || list.Name != root+"/"+name || strings.Contains(err.Error(), root) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for text, needsNUL := range map[string]bool{"a\x00b\x00": true, strings.Repeat("x", 2<<20): false} {
		l, err := mounted.OpenList("-", strings.NewReader(text), false)
		if err != nil {
			t.Fatal(err)
		}
		_, err = names(l)
		var list *mounted.ListError
		if !errors.As(err, &list) || list.NeedsNUL != needsNUL {
			t.Errorf("%.10q: %v", text, err)
		}
	}
	l, err := mounted.OpenList("-", io.MultiReader(strings.NewReader("a\nb"), broken{}), false)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := names(l); !errors.Is(err, errVisit) || err.Error() != "reading the list of files: made up" || !slices.Equal(got, []string{"a"}) && !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// broken is a stream that fails.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errVisit }
