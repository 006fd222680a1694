package keyring

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/vectors"
)

// private returns a new keyring that the test removes, in the user keyring, or
// skips where the kernel or a container has none.
func private(t *testing.T) ID {
	t.Helper()
	return privateNamed(t, fmt.Sprintf("_imaseal-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-")))
}

// privateNamed is private with a name.
func privateNamed(t *testing.T, name string) ID {
	t.Helper()
	id, made, err := FindOrMake(name)
	if err != nil {
		t.Skipf("no keyrings here: %v", err)
	}
	if !made {
		t.Fatalf("there is a keyring %s", name)
	}
	t.Cleanup(func() {
		if _, err := unix.KeyctlInt(unix.KEYCTL_UNLINK, int(id), unix.KEY_SPEC_USER_KEYRING, 0, 0); err != nil {
			t.Error(err)
		}
	})
	return id
}

// cannot reports whether the kernel lacks what it would need to judge.
func cannot(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOPKG) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP)
}

// mustImport imports a certificate, or skips where the kernel has no
// certificates at all.
func mustImport(t *testing.T, ring ID, der []byte) Key {
	t.Helper()
	k, err := Import(ring, der)
	if cannot(err) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestImportAndList(t *testing.T) {
	ring := private(t)
	if keys, err := List(ring); err != nil || len(keys) != 0 {
		t.Errorf("a new keyring holds %v, %v", keys, err)
	}
	var want []string
	for name, id := range map[string]string{"rsa2048": "dd65a4eb", "p256": "6bca908e", "rsa2048-customskid": "c0ffee01"} {
		k := mustImport(t, ring, vectors.Read(t, "keys/"+name+".cert.der"))
		if got, ok := k.KeyID(); !ok || got.String() != id || k.Type != "asymmetric" {
			t.Errorf("%s: %+v", name, k)
		}
		want = append(want, id)
	}
	// The same once more replaces the first.
	mustImport(t, ring, vectors.Read(t, "keys/p256.cert.der"))
	keys, err := List(ring)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range keys {
		id, _ := k.KeyID()
		got = append(got, id.String())
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("holds %v, want %v", got, want)
	}
}

// One key is removed, and nothing but that.
func TestRemove(t *testing.T) {
	ring, other := private(t), privateNamed(t, fmt.Sprintf("_imaseal-%d-other", os.Getpid()))
	var keys []Key
	for _, name := range []string{"rsa2048", "p256", "rsa2048-customskid"} {
		keys = append(keys, mustImport(t, ring, vectors.Read(t, "keys/"+name+".cert.der")))
		if _, err := unix.KeyctlInt(unix.KEYCTL_LINK, int(keys[len(keys)-1].ID), int(other), 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := Remove(ring, keys[1].ID); err != nil {
		t.Fatal(err)
	}
	ids := func(ring ID) []ID {
		held, err := List(ring)
		if err != nil {
			t.Fatal(err)
		}
		var all []ID
		for _, k := range held {
			all = append(all, k.ID)
		}
		slices.Sort(all)
		return all
	}
	want := []ID{keys[0].ID, keys[2].ID}
	slices.Sort(want)
	if got := ids(ring); !slices.Equal(got, want) {
		t.Errorf("holds %v, want %v", got, want)
	}
	if got := ids(other); len(got) != 3 {
		t.Errorf("another keyring holds %v", got)
	}
	err := Remove(ring, keys[1].ID)
	if e, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, unix.ENOENT) || !strings.Contains(e.Error(), "not there any more") {
		t.Errorf("once more: %v", err)
	}
}

func TestSubject(t *testing.T) {
	for _, test := range []struct {
		key  Key
		want string
	}{
		{Key{Type: "asymmetric", Description: "O: CN: 0011c0ffee01"}, "O: CN"},
		{Key{Type: "asymmetric", Description: "none"}, ""},
		{Key{Type: "user", Description: "CN: c0ffee01"}, ""},
	} {
		if got := test.key.Subject(); got != test.want {
			t.Errorf("%+v: %q", test.key, got)
		}
	}
}

func TestFind(t *testing.T) {
	ring := private(t)
	name := describe(ring).Description
	if id, err := Find(name); err != nil || id != ring {
		t.Errorf("found %v, %v; want %v", id, err, ring)
	}
	if id, err := findAnywhere(name); err != nil || id != ring {
		t.Errorf("found %v, %v in /proc/keys; want %v", id, err, ring)
	}
	if id, made, err := FindOrMake(name); err != nil || made || id != ring {
		t.Errorf("%v, %v, %v", id, made, err)
	}
	if id, err := Find("12345"); err != nil || id != 12345 {
		t.Errorf("%v, %v", id, err)
	}
	_, _, err := FindOrMake(".imaseal-none")
	if n, ok := errors.AsType[*NotFoundError](err); !ok || n.Name != ".imaseal-none" {
		t.Errorf("%v", err)
	}
}

func TestListMany(t *testing.T) {
	ring := private(t)
	for i := range 70 { // more than the first buffer holds
		if _, err := unix.AddKey("user", fmt.Sprint(i), []byte("x"), int(ring)); err != nil {
			t.Skip(err)
		}
	}
	keys, err := List(ring)
	if err != nil || len(keys) != 70 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	for _, k := range keys {
		if _, ok := k.KeyID(); ok || k.Type != "user" {
			t.Errorf("%+v", k)
		}
	}
}

func TestImportErrors(t *testing.T) {
	ring := private(t)
	mustImport(t, ring, vectors.Read(t, "keys/p256.cert.der"))
	cut := vectors.Read(t, "keys/p256.cert.der")
	for name, test := range map[string]struct {
		ring ID
		der  []byte
		want string
	}{
		"cut":        {ring, cut[:100], "the kernel cannot parse it"},
		"no keyring": {0x7ffffff0, cut, "finding keyring 2147483632: required key not available"},
	} {
		_, err := Import(test.ring, test.der)
		if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	if _, err := List(0x7ffffff0); !errors.Is(err, unix.ENOKEY) {
		t.Errorf("%v", err)
	}
}

func TestExplain(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOSYS, unix.EACCES, unix.EDQUOT, unix.ENOKEY, unix.EKEYREJECTED, unix.EPERM, unix.ENOPKG, unix.ENOENT, unix.EBADMSG, unix.ENODEV} {
		err := &Error{Op: "adding", Err: errno, Adding: true}
		if !strings.HasPrefix(err.Error(), "adding: "+errno.Error()+": ") || !errors.Is(err, errno) {
			t.Errorf("%v", err)
		}
	}
	if err := (&Error{Op: "reading", Err: unix.ENOKEY}); err.Error() != "reading: required key not available" {
		t.Errorf("%v", err)
	}
}

func TestParseRings(t *testing.T) {
	const list = `00f1d17a I------     1 perm 0f0b0000     0     0 keyring   .blacklist: empty
0067e66c I--Q---     1 perm 3f010000     0     0 keyring   _ima: 2
0067e66d IR-Q---     1 perm 3f010000     0     0 keyring   _ima: empty
0f1c8ad0 I--Q---     1 perm 39010000     0     0 asymmetri vectors: p256: 74e05660403cf824ce50f24388e7cbc26bca908e: X509.ecdsa-nist-p256 6bca908e []
3309b98b I------     1 perm 1f0b0000     0     0 keyring   odd: name: 17
3309b98c I------     1   3d 1f0b0000     0     0 keyring   _evm: empty
3309b98d I------     1 perm 1f0b0000  1000     0 keyring   _evm: 1
3afd6597 I--Q---     1 perm 3f010000     0     0 user      _user: 1
3afd6598 I--Q---     1 perm 3f010000     0     0 keyring   no count
3afd6599 I--Q---     1 perm 3f010000     0     0 keyring   _ima: 2x
`
	want := []Ring{
		{0x00f1d17a, ".blacklist", 0}, {0x0067e66c, "_ima", 2}, {0x3309b98b, "odd: name", 17},
		{0x3309b98c, "_evm", 0}, {0x3309b98d, "_evm", 1},
	}
	if got := ParseRings(list); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if err := (&AmbiguousError{Name: "_evm", IDs: []ID{1, 2}}); err.Error() != "2 keyrings are named _evm: [1 2]; use a number" {
		t.Error(err)
	}
}

func TestKeyID(t *testing.T) {
	for _, test := range []struct {
		key Key
		id  uint32
		ok  bool
	}{
		{Key{Type: "asymmetric", Description: "O: CN: 0011c0ffee01"}, 0xc0ffee01, true},
		{Key{Type: "asymmetric", Description: "CN: c0ffee01"}, 0xc0ffee01, true},
		{Key{Type: "asymmetric", Description: "CN: ffee01"}, 0, false},
		{Key{Type: "asymmetric", Description: "no identifier"}, 0, false},
		{Key{Type: "asymmetric", Description: "CN: no number"}, 0, false},
		{Key{Type: "user", Description: "CN: c0ffee01"}, 0, false},
		{Key{}, 0, false},
	} {
		if id, ok := test.key.KeyID(); uint32(id) != test.id || ok != test.ok {
			t.Errorf("%+v: %s, %v", test.key, id, ok)
		}
	}
}

func TestKeyIDV1(t *testing.T) {
	for _, test := range []struct {
		key Key
		id  uint64
		ok  bool
	}{
		{Key{Type: "user", Description: "227DA7BC4F8BF4F"}, 0x0227da7bc4f8bf4f, true},
		{Key{Type: "user", Description: "0227DA7BC4F8BF4F"}, 0, false}, // which the kernel does not look for
		{Key{Type: "user", Description: "227da7bc4f8bf4f"}, 0, false},
		{Key{Type: "user", Description: "kmk-user"}, 0, false},
		{Key{Type: "asymmetric", Description: "227DA7BC4F8BF4F"}, 0, false},
		{Key{}, 0, false},
	} {
		if id, ok := test.key.KeyIDV1(); uint64(id) != test.id || ok != test.ok {
			t.Errorf("%+v: %s, %v", test.key, id, ok)
		}
	}
}

func FuzzParseRings(f *testing.F) {
	f.Add("0067e66c I--Q---     1 perm 3f010000     0     0 keyring   _ima: 2\n")
	f.Add("0067e66c I--Q---     1 perm 3f010000     0     0 keyring   : -1\n")
	f.Fuzz(func(t *testing.T, list string) {
		for _, r := range ParseRings(list) {
			if r.Keys < 0 {
				t.Errorf("%q: %+v", list, r)
			}
		}
	})
}
