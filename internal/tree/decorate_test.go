package tree

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"imaseal/internal/reason"
)

var errTest = errors.New("made up")

// A values is a File of attributes alone, and the Source and the Sink of it.
type values struct {
	File
	attrs map[string][]byte
	names []string // that are listed, nil for those of attrs
	err   error
	fail  string // the attribute that cannot be changed
}

func (v *values) Attr(name string) ([]byte, error) {
	value, ok := v.attrs[name]
	if !ok {
		return nil, ErrNoAttr
	}
	return value, v.err
}

func (v *values) Attrs() ([]string, error) {
	if v.names != nil {
		return v.names, v.err
	}
	return slices.Sorted(maps.Keys(v.attrs)), v.err
}

func (v *values) Walk(_ context.Context, visit func(Found) error) error {
	return errors.Join(visit(Found{Path: "skipped", Skip: reason.Special}), visit(Found{Path: "failed", Err: errTest}), visit(Found{Path: "file", File: v}))
}

func (v *values) Apply(f File, changes []Change) error {
	if f != v {
		return errors.New("another file")
	}
	for i, c := range changes {
		switch {
		case c.Attr == v.fail && i > 0:
			return &PartialError{Done: changes[:i], Err: errTest}
		case c.Attr == v.fail:
			return errTest
		case c.New == nil:
			delete(v.attrs, c.Attr)
		default:
			v.attrs[c.Attr] = c.New
		}
	}
	return nil
}

func (v *values) Commit(context.Context) error { return v.err }
func (v *values) Abort() error                 { return v.err }

var names = Namespace{From: "security.", To: "user."}

// walkFile returns the file that a source finds.
func walkFile(t *testing.T, s Source) File {
	t.Helper()
	var file File
	paths := 0
	if err := s.Walk(t.Context(), func(f Found) error {
		paths++
		if f.File != nil {
			file = f.File
		} else if (f.Skip == "") == (f.Err == nil) {
			t.Errorf("%+v", f)
		}
		return nil
	}); err != nil || paths != 3 {
		t.Fatalf("%d found, %v", paths, err)
	}
	return file
}

// A dry run changes nothing, whatever the change.
func TestDryRun(t *testing.T) {
	v := &values{attrs: map[string][]byte{"security.there": []byte("x")}, err: errTest}
	var s Sink = DryRun{}
	changes := []Change{{Attr: "security.new", New: []byte{}}, {Attr: "security.there", New: []byte("y")}, {Attr: "security.there"}}
	if err := errors.Join(s.Apply(v, changes), s.Commit(t.Context()), s.Abort()); err != nil {
		t.Error(err)
	}
	if len(v.attrs) != 1 || string(v.attrs["security.there"]) != "x" {
		t.Errorf("%q", v.attrs)
	}
}

// A renamed file's attributes are those of the other namespace.
func TestRenamed(t *testing.T) {
	v := &values{attrs: make(map[string][]byte)}
	f, sink := walkFile(t, names.Source(v)), names.Sink(v)
	if value, err := f.Attr("security.ima"); value != nil || err != ErrNoAttr {
		t.Errorf("%q, %v", value, err)
	}
	for _, want := range [][]byte{make([]byte, 34), {}, []byte("x")} {
		if err := sink.Apply(f, []Change{{Attr: "security.ima", New: want}}); err != nil {
			t.Error(err)
		}
		value, err := f.Attr("security.ima")
		if err != nil || value == nil || string(value) != string(want) {
			t.Errorf("%q, %v", value, err)
		}
		if kept := v.attrs["user.ima"]; string(kept) != string(want) || len(v.attrs) != 1 {
			t.Errorf("kept as %q", v.attrs)
		}
	}
	if list, err := f.Attrs(); err != nil || !slices.Equal(list, []string{"security.ima"}) {
		t.Errorf("%q, %v", list, err)
	}
	if err := sink.Apply(f, []Change{{Attr: "security.ima"}}); err != nil || len(v.attrs) != 0 {
		t.Errorf("%q, %v", v.attrs, err)
	}
	for name, want := range map[string]string{"security.ima": "user.ima", "user.x": "user.x", "trusted.x": "trusted.x", "security": "security"} {
		if got := names.Kept(name); got != want {
			t.Errorf("%s is kept as %s, want %s", name, got, want)
		}
	}
	v.err = errTest
	if sink.Commit(t.Context()) != errTest || sink.Abort() != errTest {
		t.Error("a renamed sink ends without the other one")
	}
}

// What is really of the namespace is left out.
func TestRenamedList(t *testing.T) {
	f := names.File(&values{names: []string{"security.selinux", "user.ima", "trusted.x", "user."}, err: errTest})
	list, err := f.Attrs()
	if want := []string{"security.ima", "trusted.x", "security."}; !slices.Equal(list, want) || err != errTest {
		t.Errorf("%q, %v", list, err)
	}
}

// A real attribute that is not hidden is seen where none is kept for it.
func TestRenamedReal(t *testing.T) {
	labels := Namespace{From: "security.", To: "user.", Hidden: []string{"ima", "evm"}}
	v := &values{attrs: map[string][]byte{
		"security.ima": []byte("real"), "security.evm": []byte("real"), "security.selinux": []byte("real"), "security.capability": []byte("real"),
		"user.ima": []byte("kept"), "user.selinux": []byte("kept"),
	}}
	v.names = []string{"security.ima", "security.evm", "security.selinux", "security.capability", "user.ima", "user.selinux", "trusted.ima"}
	f := labels.File(v)
	if list, err := f.Attrs(); err != nil || !slices.Equal(list, []string{"security.selinux", "security.capability", "security.ima", "trusted.ima"}) {
		t.Errorf("%q, %v", list, err)
	}
	for name, want := range map[string]string{"security.ima": "kept", "security.selinux": "kept", "security.capability": "real", "security.evm": "", "security.x": ""} {
		if value, err := f.Attr(name); string(value) != want || (err == ErrNoAttr) != (want == "") {
			t.Errorf("%s is %q, %v", name, value, err)
		}
	}
	changes := []Change{{Attr: "security.evm", New: []byte("new")}, {Attr: "security.capability", New: []byte("new")}}
	if err := labels.Sink(v).Apply(f, changes); err != nil || string(v.attrs["user.evm"]) != "new" || string(v.attrs["user.capability"]) != "new" || string(v.attrs["security.capability"]) != "real" {
		t.Errorf("%q, %v", v.attrs, err)
	}
	// Taking that back leaves nothing in the way of the real one.
	back := []Change{{Attr: "security.evm", Old: []byte("new")}, {Attr: "security.capability", Old: []byte("new"), New: []byte("real")}}
	if err := labels.Sink(v).Apply(f, back); err != nil || len(v.attrs) != 6 {
		t.Errorf("%q, %v", v.attrs, err)
	}
}

// What a failing sink has done is told of by the names that it was asked for.
func TestRenamedPartial(t *testing.T) {
	v := &values{attrs: make(map[string][]byte), fail: "user.evm"}
	sink := names.Sink(v)
	changes := []Change{{Attr: "security.ima", New: []byte("x")}, {Attr: "security.evm", New: []byte("y")}, {Attr: "security.other"}}
	var partial *PartialError
	err := sink.Apply(names.File(v), changes)
	if !errors.As(err, &partial) || len(partial.Done) != 1 || partial.Done[0].Attr != "security.ima" || !errors.Is(err, errTest) {
		t.Errorf("%v, %+v", err, partial)
	}
	if err := sink.Apply(names.File(v), changes[1:]); err != errTest {
		t.Error(err)
	}
	if changes[0].Attr != "security.ima" {
		t.Error("the changes are the caller's")
	}
}

func TestPartialError(t *testing.T) {
	ima, evm := Change{Attr: "security.ima", New: []byte{}}, Change{Attr: "security.evm", New: []byte("x")}
	for want, done := range map[string][]Change{
		"half labelled: security.ima is written: made up": {ima},
		"half labelled: security.evm is written: made up": {ima, evm},
		"half cleared: security.evm is removed: made up":  {{Attr: "security.evm", Old: []byte("x")}},
	} {
		if err := (&PartialError{Done: done, Err: errTest}); err.Error() != want || !errors.Is(err, errTest) {
			t.Error(err)
		}
	}
}

// A counter and noter passes both through a decorator.
type counting struct{ values }

func (*counting) Count(_ context.Context, each func(int64)) error { each(7); return errTest }
func (*counting) Notes() reason.List                              { return reason.List{{Code: reason.NoLeases}} }

func TestRenamedSourceCounts(t *testing.T) {
	for _, tt := range []struct {
		source Source
		size   int64
		err    error
		notes  int
	}{{new(values), 0, nil, 0}, {new(counting), 7, errTest, 1}} {
		s := names.Source(tt.source)
		var size int64
		if err := s.(Counter).Count(t.Context(), func(n int64) { size += n }); size != tt.size || err != tt.err {
			t.Errorf("%d, %v", size, err)
		}
		if notes := s.(Noter).Notes(); len(notes) != tt.notes {
			t.Errorf("%v", notes)
		}
	}
}

// A bound is what some files have besides.
type bound struct{ values }

func (*bound) Inode() uint64               { return 12 }
func (*bound) Generation() (uint32, error) { return 3, nil }
func (*bound) UUID() ([16]byte, error)     { return [16]byte{1}, nil }

// As finds what a file has, through any number of decorators, and nothing else.
func TestAs(t *testing.T) {
	var f File = new(bound)
	for range 3 {
		if b, ok := As[Bound](f); !ok || b.Inode() != 12 {
			t.Errorf("%v", ok)
		}
		if l, ok := As[Live](f); ok || l != nil {
			t.Error("it is no live file")
		}
		f = names.File(f)
	}
	if _, ok := As[Bound](names.File(new(values))); ok {
		t.Error("it has no inode")
	}
}

// Value tells an empty attribute from none, and passes errors on.
func TestValue(t *testing.T) {
	v := &values{attrs: map[string][]byte{"a": nil, "b": []byte("x")}}
	for name, want := range map[string][]byte{"a": {}, "b": []byte("x"), "c": nil} {
		got, err := Value(v, name)
		if err != nil || (got == nil) != (want == nil) || string(got) != string(want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	v.err = errTest
	if _, err := Value(v, "b"); err != errTest {
		t.Error(err)
	}
}

func TestIsChanged(t *testing.T) {
	err := &ChangedError{Cause: errTest}
	if !IsChanged(err) || IsChanged(errTest) || IsChanged(nil) || err.Error() != "content changed: made up" || !errors.Is(err, errTest) {
		t.Error(err)
	}
}

func TestExecutable(t *testing.T) {
	for mode, want := range map[uint32]bool{0o644: false, 0o100: true, 0o010: true, 0o001: true, 0o4644: false, 0o100600: false} {
		if got := (Meta{Mode: mode}).Executable(); got != want {
			t.Errorf("%o: %v", mode, got)
		}
	}
}
