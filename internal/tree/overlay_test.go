package tree

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOverlay: files show what was applied, and nothing is written.
func TestOverlay(t *testing.T) {
	v := &values{attrs: map[string][]byte{"security.ima": []byte("old"), "security.evm": []byte("old"), "user.x": {}}}
	var o Overlay
	f := walkFile(t, o.Source(v))
	changes := []Change{{Attr: "security.ima", New: []byte("new")}, {Attr: "security.evm"}, {Attr: "security.selinux", New: []byte{}}}
	if err := errors.Join(o.Apply(f, changes), o.Commit(t.Context()), o.Abort()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"security.ima": []byte("new"), "security.evm": nil, "security.selinux": {}, "user.x": {}, "user.y": nil} {
		if value, err := Value(f, name); err != nil || !Same(value, want) {
			t.Errorf("%s is %q, %v", name, value, err)
		}
	}
	names, err := f.Attrs()
	if slices.Sort(names); err != nil || !slices.Equal(names, []string{"security.ima", "security.selinux", "user.x"}) {
		t.Errorf("%q, %v", names, err)
	}
	changes[0].New[0] = 'x' // the value that is seen is another one
	if err := o.Apply(f, []Change{{Attr: "security.ima", New: []byte("newer")}}); err != nil {
		t.Fatal(err)
	}
	if value, err := f.Attr("security.ima"); err != nil || string(value) != "newer" || string(v.attrs["security.ima"]) != "old" {
		t.Errorf("%q, %v", value, err)
	}
	if err := o.Apply(v, changes); err == nil {
		t.Error("a file of elsewhere")
	}
	v.err = unix.EOPNOTSUPP
	if value, err := f.Attr("user.x"); err != ErrNoAttr {
		t.Errorf("of a file system without attributes: %q, %v", value, err)
	}
	if names, err := f.Attrs(); err != nil || !slices.Contains(names, "security.ima") {
		t.Errorf("%q, %v", names, err)
	}
	v.err = errTest
	if _, err := f.Attr("user.x"); err != errTest {
		t.Error(err)
	}
}

// A mappedFile is on a mount that maps owners.
type mappedFile struct{ File }

func (mappedFile) Meta() Meta                  { return Meta{UID: 1, GID: 2, Mode: 3, Size: 4} }
func (mappedFile) OwnersMapped() (bool, error) { return true, nil }

func TestWithOwner(t *testing.T) {
	f := WithOwner(WithFiles(&values{}, func(File) File { return mappedFile{} }), 5, 6)
	file := walkFile(t, f)
	if m := file.Meta(); m != (Meta{UID: 5, GID: 6, Mode: 3, Size: 4}) {
		t.Errorf("%+v", m)
	}
	mapped, ok := As[Mapped](file)
	if is, err := mapped.OwnersMapped(); !ok || is || err != nil {
		t.Error("the owner is the one that was named, whatever the mount shows")
	}
	if _, ok := As[mappedFile](file); !ok {
		t.Error("what it has besides is lost")
	}
}
