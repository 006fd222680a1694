package labelfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// TestIndex: the records of a path are found, in their order, and what was not
// asked for is told.
func TestIndex(t *testing.T) {
	var all []Record
	for i := range 3000 {
		r := records(t, Labels)[0]
		r.Path, r.Answers = fmt.Sprintf("dir/%d", i/2), Sum{}
		r.IMA = slices.Clone(r.IMA)
		r.IMA[2] = byte(i)
		all = append(all, r)
	}
	text := write(t, Labels, all, nil)
	x, err := NewIndex(t.Context(), strings.NewReader(text), false)
	if err != nil || x.Len() != len(all) || x.LargestIMA != 34 || x.HasHMAC {
		t.Fatalf("%+v, %v", x, err)
	}
	for i := 10; i < 1500; i++ {
		path := fmt.Sprintf("dir/%d", i)
		found, err := x.Find(path)
		if err != nil || len(found) != 2 || found[0].Path != path || found[0].IMA[2] != byte(2*i) || found[1].IMA[2] != byte(2*i+1) || !x.Has(path) {
			t.Fatalf("%s: %+v, %v", path, found, err)
		}
	}
	if found, err := x.Find("dir"); found != nil || err != nil || x.Has("dir") {
		t.Errorf("%v, %v", found, err)
	}
	if found, err := x.Records("dir/0"); len(found) != 2 || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	var unused []string
	x.Unused(func(path string) error { unused = append(unused, path); return nil })
	if len(unused) != 20 || unused[0] != "dir/0" || unused[1] != "dir/0" || unused[19] != "dir/9" {
		t.Errorf("%q", unused)
	}
	if err := x.Unused(func(string) error { return io.ErrClosedPipe }); err != io.ErrClosedPipe {
		t.Error(err)
	}
}

func TestIndexErrors(t *testing.T) {
	text := write(t, Labels, records(t, Labels)[:1], nil)
	first, _, _ := strings.Cut(text, "\n")
	for _, partial := range []bool{false, true} {
		if _, err := NewIndex(t.Context(), strings.NewReader(first+"\n"), partial); isPart(err) == partial {
			t.Errorf("partial %v: %v", partial, err)
		}
		if _, err := NewIndex(t.Context(), strings.NewReader(""), partial); err != ErrForeign {
			t.Errorf("an empty file: %v", err)
		}
		if _, err := NewIndex(t.Context(), strings.NewReader(text[1:]), partial); !errors.Is(err, ErrSum) {
			t.Errorf("damaged: %v", err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrNoProgress)
	if _, err := NewIndex(ctx, strings.NewReader(text), false); err != io.ErrNoProgress {
		t.Errorf("cancelled: %v", err)
	}
	// A file that changes once it is indexed is no other file's.
	changing := []byte(text)
	x, err := NewIndex(t.Context(), bytes.NewReader(changing), true)
	if err != nil {
		t.Fatal(err)
	}
	changing[bytes.Index(changing, []byte("hashed"))] = 'H'
	if found, err := x.Find("hashed"); found != nil || err != ErrSum {
		t.Errorf("%v, %v", found, err)
	}
}
