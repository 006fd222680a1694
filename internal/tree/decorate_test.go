package tree

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"imaseal/internal/reason"
)

// A kept is a file, a source and a sink of attributes in memory.
type kept struct {
	File
	attrs map[string][]byte
	names []string // that Attrs returns, if they are not those of attrs
	err   error    // of Attrs
	found []Found

	counted, committed, aborted int
}

func (k *kept) Attr(name string) ([]byte, error) {
	value, ok := k.attrs[name]
	if !ok {
		return nil, ErrNoAttr
	}
	return value, nil
}

func (k *kept) Attrs() ([]string, error) {
	if k.names != nil {
		return k.names, k.err
	}
	var names []string
	for name := range k.attrs {
		names = append(names, name)
	}
	return names, k.err
}

func (k *kept) Inode() uint64               { return 7 }
func (k *kept) Generation() (uint32, error) { return 0, nil }
func (k *kept) UUID() ([16]byte, error)     { return [16]byte{}, nil }

func (k *kept) Walk(_ context.Context, visit func(Found) error) error {
	for _, f := range k.found {
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

func (k *kept) Count(_ context.Context, each func(size int64)) error {
	k.counted++
	each(3)
	return nil
}

func (k *kept) Notes() reason.List { return reason.List{reason.New("code", "words")} }

var errFull = errors.New("full")

// Apply makes all changes but those of an attribute that is named full.
func (k *kept) Apply(f File, changes []Change) error {
	if f != File(k) {
		return errors.New("not the file that was found")
	}
	for i, c := range changes {
		switch {
		case c.Attr == "user.full" && i > 0:
			return &PartialError{Done: changes[:i], Err: errFull}
		case c.Attr == "user.full":
			return errFull
		case c.New == nil:
			delete(k.attrs, c.Attr)
		default:
			k.attrs[c.Attr] = c.New
		}
	}
	return nil
}

func (k *kept) Commit(context.Context) error { k.committed++; return nil }
func (k *kept) Abort() error                 { k.aborted++; return nil }

var user = Namespace{From: "security.", To: "user."}

// A dry run changes nothing.
func TestDryRun(t *testing.T) {
	k := &kept{attrs: map[string][]byte{"user.there": []byte("x")}}
	s := DryRun{}
	changes := []Change{{Attr: "user.new", New: []byte{}}, {Attr: "user.there", Old: []byte("x")}, {Attr: "user.full", New: []byte("x")}}
	if err := errors.Join(s.Apply(k, changes), s.Commit(t.Context()), s.Abort()); err != nil {
		t.Error(err)
	}
	if value, err := k.Attr("user.there"); string(value) != "x" || err != nil || len(k.attrs) != 1 {
		t.Errorf("%q, %v, %d attributes", value, err, len(k.attrs))
	}
}

// What is set under a name can be read, listed and removed under it, and is kept
// under the other.
func TestRenamed(t *testing.T) {
	k := &kept{attrs: make(map[string][]byte)}
	f, s := user.File(k), user.Sink(k)
	for _, value := range [][]byte{[]byte("x"), {}} {
		if err := s.Apply(f, []Change{{Attr: "security.ima", New: value}}); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Attr("security.ima"); !slices.Equal(got, value) || got == nil || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if names, err := f.Attrs(); !slices.Equal(names, []string{"security.ima"}) || err != nil {
			t.Errorf("%q, %v", names, err)
		}
		if got := k.attrs["user.ima"]; !slices.Equal(got, value) || got == nil {
			t.Errorf("kept as %q", got)
		}
	}
	if err := s.Apply(f, []Change{{Attr: "security.ima"}}); err != nil {
		t.Error(err)
	}
	if value, err := f.Attr("security.ima"); value != nil || err != ErrNoAttr || len(k.attrs) != 0 {
		t.Errorf("%q, %v, %d attributes", value, err, len(k.attrs))
	}
	for name, want := range map[string]string{"security.ima": "user.ima", "user.x": "user.x", "trusted.x": "trusted.x", "security": "security"} {
		if got := user.Kept(name); got != want {
			t.Errorf("%s is kept as %s, want %s", name, got, want)
		}
	}
}

// Attributes that are of the namespace themselves are not taken for those that are
// kept, and the error comes with the names.
func TestRenamedList(t *testing.T) {
	broken := errors.New("broken")
	f := user.File(&kept{names: []string{"security.selinux", "user.ima", "trusted.x", "user."}, err: broken})
	names, err := f.Attrs()
	if want := []string{"security.ima", "trusted.x", "security."}; !slices.Equal(names, want) || err != broken {
		t.Errorf("%q, %v", names, err)
	}
}

// The changes that a sink made before one failed bear the names that the job gave
// them, and files that are not renamed pass.
func TestRenamedSinkFails(t *testing.T) {
	k := &kept{attrs: make(map[string][]byte)}
	f, s := user.File(k), user.Sink(k)
	changes := []Change{{Attr: "security.ima", Old: []byte("o"), New: []byte("n"), Again: true}, {Attr: "security.full", New: []byte("x")}}
	err := s.Apply(f, changes)
	partial, ok := errors.AsType[*PartialError](err)
	if !ok || !reflect.DeepEqual(partial.Done, changes[:1]) || partial.Err != errFull {
		t.Errorf("%v, %+v", err, partial)
	}
	if changes[0].Attr != "security.ima" {
		t.Errorf("the job's own changes are renamed: %+v", changes)
	}
	if err := s.Apply(f, changes[1:]); err != errFull {
		t.Error(err)
	}
	if err := s.Apply(k, []Change{{Attr: "security.ima", New: []byte("bare")}}); err != nil || string(k.attrs["user.ima"]) != "bare" {
		t.Errorf("a file that is not renamed: %v, %q", err, k.attrs)
	}
	if err := errors.Join(s.Commit(t.Context()), s.Abort()); err != nil || k.committed != 1 || k.aborted != 1 {
		t.Errorf("%v, %d commits, %d aborts", err, k.committed, k.aborted)
	}
}

// A plain source is one that neither counts nor has notes.
type plain struct{ Source }

// What is no file passes a renamed source as it is, and it counts and notes where
// the source does.
func TestRenamedSource(t *testing.T) {
	k := new(kept)
	k.found = []Found{{Path: "file", File: k}, {Path: "link", Skip: reason.Symlink}, {Path: "gone", Err: errFull}}
	source := user.Source(k)
	var got []Found
	err := source.Walk(t.Context(), func(f Found) error {
		got = append(got, f)
		return nil
	})
	if err != nil || len(got) != 3 || got[0].Path != "file" || !reflect.DeepEqual(got[1:], k.found[1:]) {
		t.Fatalf("%v, %+v", err, got)
	}
	if bound, ok := As[Bound](got[0].File); !ok || bound.Inode() != 7 {
		t.Error("a renamed file is not what it was besides")
	}
	if _, ok := As[Live](got[0].File); ok {
		t.Error("a renamed file is what it was not")
	}
	if err := source.Walk(t.Context(), func(Found) error { return errFull }); err != errFull {
		t.Error(err)
	}
	var size int64
	if err := source.(Counter).Count(t.Context(), func(n int64) { size += n }); err != nil || size != 3 || k.counted != 1 {
		t.Errorf("%v, %d bytes", err, size)
	}
	if notes := source.(Noter).Notes(); !notes.Has("code") {
		t.Errorf("%v", notes)
	}
	bare := user.Source(plain{k})
	if err := bare.(Counter).Count(t.Context(), func(int64) { t.Error("counted") }); err != nil {
		t.Error(err)
	}
	if notes := bare.(Noter).Notes(); notes != nil {
		t.Errorf("%v", notes)
	}
}

// An attribute that is there with no bytes is not one that is not there.
func TestValue(t *testing.T) {
	k := &kept{attrs: map[string][]byte{"empty": nil, "full": []byte("x")}}
	for name, want := range map[string][]byte{"empty": {}, "full": []byte("x"), "none": nil} {
		if got, err := Value(k, name); !slices.Equal(got, want) || (got == nil) != (want == nil) || err != nil {
			t.Errorf("%s: %#v, %v", name, got, err)
		}
	}
	if _, err := Value(failing{}, "x"); err != errFull {
		t.Error(err)
	}
}

// A failing file has no attribute that can be read.
type failing struct{ File }

func (failing) Attr(string) ([]byte, error) { return nil, errFull }

// What is said of a half changed file names the last change that was made.
func TestPartialError(t *testing.T) {
	for want, done := range map[string][]Change{
		"half labelled: b is written: full": {{Attr: "a", New: []byte("x")}, {Attr: "b", New: []byte{}}},
		"half cleared: a is removed: full":  {{Attr: "a", Old: []byte("x")}},
	} {
		err := &PartialError{Done: done, Err: errFull}
		if err.Error() != want || !errors.Is(err, errFull) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
