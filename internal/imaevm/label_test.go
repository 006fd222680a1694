package imaevm_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

func TestParseHash(t *testing.T) {
	md5, sha1, sha256 := newDigest(t, hash.MD5, ones(16)), newDigest(t, hash.SHA1, ones(20)), newDigest(t, hash.SHA256, ones(32))
	for _, tt := range []struct {
		name  string
		label string
		want  imaevm.HashLabel
		err   error
	}{
		{name: "empty", label: "", err: imaevm.ErrEmpty},
		{name: "type alone", label: "04", err: imaevm.ErrShort},
		{name: "no digest", label: "04 04", err: imaevm.ErrShort},
		{name: "one byte short", label: "04 04" + ones(31), err: imaevm.ErrShort},
		{name: "sha256", label: "04 04" + ones(32), want: imaevm.HashLabel{Digest: sha256}},
		{name: "sha1", label: "04 02" + ones(20), want: imaevm.HashLabel{Digest: sha1}},
		{name: "md5", label: "04 01" + ones(16), want: imaevm.HashLabel{Digest: md5}},
		{name: "md4", label: "04 00" + ones(16), want: imaevm.HashLabel{Digest: newDigest(t, hash.MD4, ones(16))}},
		{name: "last algorithm", label: "04 16" + ones(64), want: imaevm.HashLabel{Digest: newDigest(t, hash.SHA3_512, ones(64))}},
		{name: "not computable", label: "04 0d" + ones(64), want: imaevm.HashLabel{Digest: newDigest(t, hash.WP512, ones(64))}},
		{name: "one algorithm more", label: "04 17" + ones(64), err: imaevm.ErrHash},
		{name: "highest number", label: "04 ff" + ones(64), err: imaevm.ErrHash},
		{name: "sha1 of zeros", label: "04 02" + zeros(20), want: imaevm.HashLabel{Digest: newDigest(t, hash.SHA1, zeros(20))}},

		{name: "legacy type alone", label: "01", err: imaevm.ErrShort},
		{name: "legacy, md5 one byte short", label: "01" + ones(15), err: imaevm.ErrShort},
		{name: "legacy md5", label: "01" + ones(16), want: imaevm.HashLabel{Digest: md5, Form: imaevm.FormLegacy}},
		{name: "legacy md5 of zeros", label: "01" + zeros(16), want: imaevm.HashLabel{Digest: newDigest(t, hash.MD5, zeros(16)), Form: imaevm.FormLegacy}},
		{name: "legacy, between md5 and sha1", label: "01" + ones(17), err: imaevm.ErrShort},
		{name: "legacy, sha1 one byte short", label: "01" + ones(19), err: imaevm.ErrShort},
		{name: "legacy sha1", label: "01" + ones(20), want: imaevm.HashLabel{Digest: sha1, Form: imaevm.FormLegacy}},
		{name: "legacy sha1 ending in three zeros", label: "01" + ones(17) + zeros(3), want: imaevm.HashLabel{Digest: newDigest(t, hash.SHA1, ones(17)+zeros(3)), Form: imaevm.FormLegacy}},
		{name: "legacy md5 with padding", label: "01" + ones(16) + zeros(4), want: imaevm.HashLabel{Digest: md5, Form: imaevm.FormPaddedMD5}},
		{name: "legacy, one byte long", label: "01" + ones(21), err: imaevm.ErrLong},
		{name: "legacy sha256", label: "01" + ones(32), err: imaevm.ErrLong},

		{name: "HMAC", label: "02" + ones(20), err: imaevm.ErrType},
		{name: "type zero", label: "00 04" + ones(32), err: imaevm.ErrType},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := imaevm.ParseHash(bin(tt.label))
			if got != tt.want || !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Errorf("ParseHash = %+v, %v; want %+v, %v", got, err, tt.want, tt.err)
			}
			if tt.err == nil {
				parse(t, bin(tt.label))
			}
		})
	}
}

func TestTrailingBytes(t *testing.T) {
	want := imaevm.HashLabel{Digest: newDigest(t, hash.SHA256, ones(32))}
	for _, extra := range []int{1, 2, 1000} {
		b := bin("04 04" + ones(32) + zeros(extra))
		got, err := imaevm.ParseHash(b)
		e, ok := errors.AsType[*imaevm.TrailingError](err)
		if !ok || e.Label != want || e.Extra != extra || got != (imaevm.HashLabel{}) {
			t.Errorf("%d bytes more: ParseHash = %+v, %v", extra, got, err)
		}
		if label, err := imaevm.Parse(b); label != nil || err == nil {
			t.Errorf("%d bytes more: Parse = %v, %v", extra, label, err)
		}
		if !imaevm.HashMatches(b, want.Digest) {
			t.Errorf("%d bytes more do not match", extra)
		}
		if want := fmt.Sprintf("%d bytes behind the digest", extra); err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
	}
}

func TestNewHash(t *testing.T) {
	for _, tt := range []struct {
		name   string
		digest hash.Digest
		label  string
	}{
		{"md5", newDigest(t, hash.MD5, ones(16)), "01" + ones(16)},
		{"md5 that ends in zeros", newDigest(t, hash.MD5, ones(12)+zeros(4)), "01" + ones(12) + zeros(4)},
		{"sha1", newDigest(t, hash.SHA1, ones(20)), "01" + ones(20)},
		{"sha1 that ends in three zeros", newDigest(t, hash.SHA1, ones(17)+zeros(3)), "01" + ones(17) + zeros(3)},
		{"sha1 that ends in four zeros", newDigest(t, hash.SHA1, ones(16)+zeros(4)), "04 02" + ones(16) + zeros(4)},
		{"sha1 that ends in five zeros", newDigest(t, hash.SHA1, ones(15)+zeros(5)), "04 02" + ones(15) + zeros(5)},
		{"md4", newDigest(t, hash.MD4, ones(16)), "04 00" + ones(16)},
		{"rmd160", newDigest(t, hash.RMD160, ones(16)+zeros(4)), "04 03" + ones(16) + zeros(4)},
		{"sha256", newDigest(t, hash.SHA256, ones(32)), "04 04" + ones(32)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := imaevm.NewHash(tt.digest)
			b, err := l.AppendBinary(nil)
			if err != nil || !bytes.Equal(b, bin(tt.label)) {
				t.Fatalf("AppendBinary = %x, %v; want %s", b, err, tt.label)
			}
			if got := parse(t, b); got != l {
				t.Errorf("parses as %+v, was %+v", got, l)
			}
			// The kernel must find the algorithm and the digest again.
			if got := imaevm.LabelAlgorithm(b, hash.WP512, imaevm.Target{}); got != tt.digest.Algorithm() || !imaevm.HashMatches(b, tt.digest) {
				t.Errorf("the kernel takes it for %v", got)
			}
		})
	}
	for _, a := range hash.All() {
		l := imaevm.NewHash(newDigest(t, a, ones(a.Size())))
		b, err := l.AppendBinary(nil)
		if err != nil {
			t.Fatalf("%v: %v", a, err)
		}
		if got := parse(t, b); got != l {
			t.Errorf("%v parses as %+v, was %+v", a, got, l)
		}
	}
}

func TestHashLabelWithoutEncoding(t *testing.T) {
	for _, l := range []imaevm.HashLabel{
		{},
		{Form: imaevm.FormLegacy},
		{Form: imaevm.FormPaddedMD5},
		{Digest: newDigest(t, hash.SHA256, ones(32)), Form: imaevm.FormLegacy},
		{Digest: newDigest(t, hash.MD4, ones(16)), Form: imaevm.FormLegacy},
		{Digest: newDigest(t, hash.SHA1, ones(16)+zeros(4)), Form: imaevm.FormLegacy},
		{Digest: newDigest(t, hash.SHA1, ones(20)), Form: imaevm.FormPaddedMD5},
		{Digest: newDigest(t, hash.MD4, ones(16)), Form: imaevm.FormPaddedMD5},
		{Digest: newDigest(t, hash.MD5, ones(16)), Form: imaevm.FormPaddedMD5 + 1},
	} {
		if b, err := l.AppendBinary([]byte("x")); b != nil || err == nil {
			t.Errorf("%+v encodes to %x, %v", l, b, err)
		}
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name  string
		label string
		err   error
	}{
		{"nil", "", imaevm.ErrEmpty},
		{"type zero", "00", imaevm.ErrType},
		{"last type and one", "07" + ones(20), imaevm.ErrType},
		{"highest type", "ff" + ones(20), imaevm.ErrType},
		{"legacy hash", "01", imaevm.ErrShort},
		{"hmac", "02", imaevm.ErrShort},
		{"signature", "03", imaevm.ErrShort},
		{"version 1", "03 01", imaevm.ErrShort},
		{"hash", "04", imaevm.ErrShort},
		{"portable", "05", imaevm.ErrShort},
		{"portable version 1", "05 01" + ones(20), imaevm.ErrVersion},
		{"verity", "06", imaevm.ErrShort},
	} {
		t.Run(tt.name, func(t *testing.T) {
			label, err := imaevm.Parse(bin(tt.label))
			if label != nil || !errors.Is(err, tt.err) {
				t.Errorf("Parse = %v, %v; want %v", label, err, tt.err)
			}
		})
	}
}

func TestTypeString(t *testing.T) {
	for typ, want := range map[imaevm.Type]string{
		imaevm.TypeHashLegacy: "hash (legacy)",
		imaevm.TypeHMAC:       "hmac",
		imaevm.TypeSignature:  "signature",
		imaevm.TypeHash:       "hash",
		imaevm.TypePortable:   "portable signature",
		imaevm.TypeVerity:     "verity signature",
		0:                     "type 0x00",
		0xff:                  "type 0xff",
	} {
		if typ.String() != want {
			t.Errorf("0x%02x is %q, want %q", byte(typ), typ, want)
		}
	}
}

func TestKeyID(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want imaevm.KeyID
		out  string
	}{
		{"0", 0, "00000000"},
		{"00000000", 0, "00000000"},
		{"1", 1, "00000001"},
		{"dd65a4eb", 0xdd65a4eb, "dd65a4eb"},
		{"DD65A4EB", 0xdd65a4eb, "dd65a4eb"},
		{"0xc0ffee01", 0xc0ffee01, "c0ffee01"},
		{"0XC0FFEE01", 0xc0ffee01, "c0ffee01"},
		{"ffffffff", 0xffffffff, "ffffffff"},
	} {
		got, err := imaevm.ParseKeyID(tt.in)
		if got != tt.want || err != nil || got.String() != tt.out {
			t.Errorf("ParseKeyID(%q) = %v, %v; want %s", tt.in, got, err, tt.out)
		}
	}
	for _, s := range []string{
		"", "0x", "x", "g", "0xg", "100000000", "000000001", "0x000000001", "+1", "-1", " 1", "1 ", "1\n", "1_0", "0x0x1", "dd:65",
	} {
		if id, err := imaevm.ParseKeyID(s); id != 0 || err == nil {
			t.Errorf("ParseKeyID(%q) = %v, %v", s, id, err)
		}
	}
}
