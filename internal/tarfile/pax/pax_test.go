package pax

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// made makes records of keys and values.
func made(pairs ...string) Records {
	var b Records
	for i := 0; i < len(pairs); i += 2 {
		b = Append(b, pairs[i], []byte(pairs[i+1]))
	}
	return b
}

// TestAppend has lengths that count their own digits.
func TestAppend(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 4, 90, 91, 92, 93, 94, 95, 990, 991, 992, 993, 994, 995} {
		b := made("key", strings.Repeat("v", n))
		if err := b.Check(); err != nil {
			t.Errorf("a value of %d bytes: %v", n, err)
		}
		if value, ok := b.Value("key"); !ok || len(value) != n {
			t.Errorf("a value of %d bytes has %d", n, len(value))
		}
	}
}

func TestCheck(t *testing.T) {
	for text, at := range map[string]int{
		"x": 0, "9": 0, "9 path=a": 0, "09 path=a": 0, "99 path=a\n": 0, "10 path=ab\n": 0, "9 path=a\n9 ": 9, "6 path\n": 0, "-9 path=a\n": 0,
		"+9 path=a\n": 0, "99999999999999999999 a=b\n": 0, "9  ath=a\x00": 0, "5 =a\n": 0, "8 a\x00b=c\n": 0,
	} {
		err := Records(text).Check()
		if e, ok := errors.AsType[*RecordError](err); !ok || e.At != at {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestAttr reads each form, of several the one that counts.
func TestAttr(t *testing.T) {
	for _, tt := range []struct {
		b    Records
		want string
		ok   bool
	}{
		{made("comment", "x"), "", false},
		{made("SCHILY.xattr.security.selinux", "a\x00"), "a\x00", true},
		{made("SCHILY.xattr.security.selinux", ""), "", true},
		{made("SCHILY.xattr.security.selinux", "a", "SCHILY.xattr.security.selinux", "b"), "b", true},
		{made("LIBARCHIVE.xattr.security.selinux", "YQA"), "a\x00", true},
		{made("LIBARCHIVE.xattr.security.selinux", "YQA="), "a\x00", true},
		{made("LIBARCHIVE.xattr.security%2Eselinux", "YQA"), "a\x00", true},
		{made("LIBARCHIVE.xattr.security.selinux", "YQA", "SCHILY.xattr.security.selinux", "a\x00"), "a\x00", true},
		{made("RHT.security.selinux", "a"), "a\x00", true},
		{made("RHT.security.selinux", "a\x00"), "a\x00", true},
		{made("RHT.security.selinux", "a", "SCHILY.xattr.security.selinux", "b\x00"), "b\x00", true},
	} {
		value, ok, err := tt.b.Attr(attrSELinux)
		if string(value) != tt.want || ok != tt.ok || err != nil || tt.b.HasAttr(attrSELinux) != tt.ok || slices.Contains(tt.b.Attrs(), attrSELinux) != tt.ok {
			t.Errorf("%q: %q, %v, %v", tt.b, value, ok, err)
		}
	}
	for _, b := range []Records{
		made("LIBARCHIVE.xattr.security.selinux", "*"), made("LIBARCHIVE.xattr.security.selinux", "YR"),
		made("LIBARCHIVE.xattr.security.selinux", "YQA", "SCHILY.xattr.security.selinux", "b"),
	} {
		_, _, err := b.Attr(attrSELinux)
		if _, ok := errors.AsType[*AttrError](err); !ok {
			t.Errorf("%q: %v", b, err)
		}
	}
}

// TestSet changes attributes, and leaves all else as it is.
func TestSet(t *testing.T) {
	const ima, evm = "security.ima", "security.evm"
	for _, tt := range []struct {
		was     Records
		changes []Change
		want    Records
	}{
		{nil, []Change{{ima, []byte("1")}, {evm, []byte{}}}, made("SCHILY.xattr.security.ima", "1", "SCHILY.xattr.security.evm", "")},
		{nil, []Change{{ima, nil}}, nil},
		{made("a", "b"), []Change{{ima, []byte("1")}}, made("a", "b", "SCHILY.xattr.security.ima", "1")},
		{made("SCHILY.xattr.security.ima", "0", "a", "b"), []Change{{ima, []byte("1")}}, made("SCHILY.xattr.security.ima", "1", "a", "b")},
		{made("SCHILY.xattr.security.ima", "0", "a", "b", "SCHILY.xattr.security.ima", "2"), []Change{{ima, []byte("1")}}, made("SCHILY.xattr.security.ima", "1", "a", "b")},
		{made("LIBARCHIVE.xattr.security.ima", "MA", "SCHILY.xattr.security.ima", "0", "a", "b"), []Change{{ima, []byte("1")}}, made("SCHILY.xattr.security.ima", "1", "a", "b")},
		{made("LIBARCHIVE.xattr.security.ima", "MA", "SCHILY.xattr.security.ima", "0", "a", "b"), []Change{{ima, nil}}, made("a", "b")},
		{made("RHT.security.selinux", "l", "a", "b"), []Change{{ima, []byte("1")}}, made("SCHILY.xattr.security.selinux", "l\x00", "a", "b", "SCHILY.xattr.security.ima", "1")},
		{made("RHT.security.selinux", "l", "SCHILY.xattr.security.ima", "0"), []Change{{ima, nil}}, made("RHT.security.selinux", "l")},
		{made("RHT.security.selinux", "l"), []Change{{attrSELinux, []byte("m\x00")}}, made("SCHILY.xattr.security.selinux", "m\x00")},
		{made("RHT.security.selinux", "l", "SCHILY.xattr.security.selinux", "m\x00"), []Change{{ima, []byte("1")}}, made("RHT.security.selinux", "l", "SCHILY.xattr.security.selinux", "m\x00", "SCHILY.xattr.security.ima", "1")},
	} {
		before := bytes.Clone(tt.was)
		got, err := tt.was.Set(tt.changes)
		if err != nil || !bytes.Equal(got, tt.want) || !bytes.Equal(tt.was, before) {
			t.Errorf("%q became %q, %v; want %q", tt.was, got, err, tt.want)
		}
	}
}

// TestMany has as many attributes as a header holds: reading them takes no time
// that grows with their square.
func TestMany(t *testing.T) {
	var b Records
	for i := range 40_000 {
		b = Append(b, "SCHILY.xattr.u."+strings.Repeat("x", i%3)+string(rune('a'+i%26))+strings.Repeat("y", i/26%7)+time.Duration(i).String(), nil)
	}
	start := time.Now()
	if n := len(b.Attrs()); n < 30_000 {
		t.Fatalf("%d attributes", n)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

// FuzzRecords sets attributes in any records.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("10 path=a\n31 SCHILY.xattr.security.ima=b\n"), []byte("c"))
	f.Add([]byte(Append(Append(nil, "LIBARCHIVE.xattr.security%2eima", []byte("YQ")), "RHT.security.selinux", []byte("l"))), []byte("c"))
	f.Fuzz(func(t *testing.T, body, value []byte) {
		b := Records(body)
		if b.Check() != nil {
			return
		}
		var out []byte
		for r := range b.All() {
			out = append(out, r.Raw...)
		}
		if !bytes.Equal(out, body) {
			t.Fatalf("%q became %q", body, out)
		}
		const name = "security.ima"
		had, has, _ := b.Attr(name)
		set, err := b.Set([]Change{{Attr: name, New: append([]byte{}, value...)}})
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := set.Attr(name)
		if set.Check() != nil || !ok || err != nil || !bytes.Equal(got, value) {
			t.Fatalf("%q was set in %q: %q, %v", value, body, got, err)
		}
		gone, err := set.Set([]Change{{Attr: name}})
		if err != nil || gone.HasAttr(name) {
			t.Fatalf("%q is still there, %v", gone, err)
		}
		if !b.HasAttr(name) && !b.IsRHT() && !bytes.Equal(gone, body) {
			t.Fatalf("%q became %q (%q, %v)", body, gone, had, has)
		}
	})
}
