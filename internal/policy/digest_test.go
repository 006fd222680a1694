package policy

import (
	"testing"

	"imaseal/hash"
)

func TestPresence(t *testing.T) {
	old, now := Kernel{Major: 6, Minor: 1}, Kernel{Major: 6, Minor: 12}
	modular := now
	modular.Digests = func(a hash.Algorithm) Presence {
		if a == hash.SHA512 || a == hash.SHA3_256 {
			return Module
		}
		return Absent
	}
	modularOld := modular
	modularOld.Minor = 1
	for _, c := range []struct {
		k    Kernel
		a    hash.Algorithm
		want Presence
		has  Truth
	}{
		{now, hash.SHA1, BuiltIn, True},
		{now, hash.SHA256, BuiltIn, True},
		{now, hash.SHA512, Present, True},
		{now, hash.SHA3_256, UnknownPresence, Unknown},
		{now, hash.Streebog256, UnknownPresence, Unknown},
		{now, hash.RMD128, Absent, False},
		{old, hash.SHA3_256, Absent, False},
		{modular, hash.SHA512, Module, True},
		{modular, hash.SHA256, Absent, False},
		{modularOld, hash.SHA3_256, Absent, False},
		{modular.Loads(hash.SHA512, hash.SHA256), hash.SHA512, BuiltIn, True},
		{modular.Loads(hash.SHA512, hash.SHA256), hash.SHA3_256, Module, True},
		{modular.Loads(hash.SHA512, hash.SHA256), hash.SHA256, Absent, False}, // which no initramfs can
		{now.Loads(hash.SHA512), hash.SHA512, BuiltIn, True},
		{now.Loads(hash.SHA512), hash.SHA256, BuiltIn, True},
		{now.Loads(), hash.SHA3_256, UnknownPresence, Unknown},
		{old.Loads(hash.SHA3_256), hash.SHA3_256, Absent, False},
	} {
		if p, has := c.k.Presence(c.a), c.k.HasHash(c.a); p != c.want || has != c.has || p.String() == "" {
			t.Errorf("%s: %s is %s, there: %s; want %s", c.k, c.a, p, has, c.want)
		}
	}
}
