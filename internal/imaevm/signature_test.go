package imaevm_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/vectors"
)

func TestParseSignature(t *testing.T) {
	for _, tt := range []struct {
		name  string
		label string
		want  imaevm.Signature
		err   error
	}{
		{name: "empty", label: "", err: imaevm.ErrEmpty},
		{name: "type alone", label: "03", err: imaevm.ErrShort},
		{name: "header alone", label: "03 02 04 dd65a4eb 0000", err: imaevm.ErrShort},
		{name: "header alone, one byte promised", label: "03 02 04 dd65a4eb 0001", err: imaevm.ErrShort},
		{name: "one byte", label: "03 02 04 dd65a4eb 0001 aa",
			want: imaevm.Signature{Kind: imaevm.TypeSignature, Version: 2, Alg: hash.SHA256, KeyID: 0xdd65a4eb, Raw: bin("aa")}},
		{name: "one byte, none promised", label: "03 02 04 dd65a4eb 0000 aa", err: imaevm.ErrLength},
		{name: "one byte missing", label: "03 02 04 dd65a4eb 0003 aabb", err: imaevm.ErrLength},
		{name: "one byte behind", label: "03 02 04 dd65a4eb 0001 aabb", err: imaevm.ErrLength},
		{name: "length in little endian", label: "03 02 04 dd65a4eb 0200 aabb", err: imaevm.ErrLength},
		{name: "longest", label: "03 02 04 dd65a4eb ffff" + ones(65535),
			want: imaevm.Signature{Kind: imaevm.TypeSignature, Version: 2, Alg: hash.SHA256, KeyID: 0xdd65a4eb, Raw: bin(ones(65535))}},
		{name: "one byte beyond the longest", label: "03 02 04 dd65a4eb 0000" + ones(65536), err: imaevm.ErrLength},
		{name: "portable", label: "05 02 06 00000001 0002 aabb",
			want: imaevm.Signature{Kind: imaevm.TypePortable, Version: 2, Alg: hash.SHA512, KeyID: 1, Raw: bin("aabb")}},
		{name: "portable version 3", label: "05 03 06 00000001 0002 aabb",
			want: imaevm.Signature{Kind: imaevm.TypePortable, Version: 3, Alg: hash.SHA512, KeyID: 1, Raw: bin("aabb")}},
		{name: "verity version 3", label: "06 03 16 ffffffff 0002 aabb",
			want: imaevm.Signature{Kind: imaevm.TypeVerity, Version: 3, Alg: hash.SHA3_512, KeyID: 0xffffffff, Raw: bin("aabb")}},
		{name: "verity version 2", label: "06 02 04 00000001 0002 aabb", err: imaevm.ErrVersion},
		{name: "version 0", label: "03 00 04 00000001 0002 aabb", err: imaevm.ErrVersion},
		{name: "version 1", label: "03 01 04 00000001 0002 aabb", err: imaevm.ErrVersion},
		{name: "version 3", label: "03 03 00 00000001 0002 aabb",
			want: imaevm.Signature{Kind: imaevm.TypeSignature, Version: 3, Alg: hash.MD4, KeyID: 1, Raw: bin("aabb")}},
		{name: "version 4", label: "03 04 04 00000001 0002 aabb", err: imaevm.ErrVersion},
		{name: "hash beyond the last", label: "03 02 17 00000001 0002 aabb", err: imaevm.ErrHash},
		{name: "highest hash", label: "03 02 ff 00000001 0002 aabb", err: imaevm.ErrHash},
		{name: "hash label", label: "04 02 04 00000001 0002 aabb", err: imaevm.ErrType},
		{name: "type zero", label: "00 02 04 00000001 0002 aabb", err: imaevm.ErrType},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := imaevm.ParseSignature(bin(tt.label))
			if !reflect.DeepEqual(got, tt.want) || !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Errorf("ParseSignature = %+v, %v; want %+v, %v", got, err, tt.want, tt.err)
			}
			if tt.err == nil {
				parse(t, bin(tt.label))
			}
		})
	}
}

func TestSignatureWithoutEncoding(t *testing.T) {
	good := imaevm.Signature{Kind: imaevm.TypeSignature, Version: 2, Alg: hash.SHA256, Raw: []byte{1}}
	if _, err := good.AppendBinary(nil); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*imaevm.Signature){
		"no type":               func(s *imaevm.Signature) { s.Kind = 0 },
		"hash type":             func(s *imaevm.Signature) { s.Kind = imaevm.TypeHash },
		"no version":            func(s *imaevm.Signature) { s.Version = 0 },
		"version 1":             func(s *imaevm.Signature) { s.Version = 1 },
		"version 4":             func(s *imaevm.Signature) { s.Version = 4 },
		"verity version 2":      func(s *imaevm.Signature) { s.Kind = imaevm.TypeVerity },
		"no algorithm":          func(s *imaevm.Signature) { s.Alg = 0 },
		"algorithm beyond last": func(s *imaevm.Signature) { s.Alg = hash.SHA3_512 + 1 },
		"no signature":          func(s *imaevm.Signature) { s.Raw = nil },
		"signature too long":    func(s *imaevm.Signature) { s.Raw = make([]byte, 65536) },
	} {
		t.Run(name, func(t *testing.T) {
			s := good
			change(&s)
			if b, err := s.AppendBinary([]byte("x")); b != nil || err == nil {
				t.Errorf("AppendBinary = %x, %v", b, err)
			}
		})
	}
}

// TestFileID has the worked examples of hello.txt and the bounds of the digest's
// size, which is never padded.
func TestFileID(t *testing.T) {
	regular := digest(t, "sha256", vectors.Read(t, "files/hello.txt"))
	var verity hash.Digest
	for _, v := range vectors.Verities(t) {
		if v.File == "hello.txt" && v.Hash == "sha256" && v.BlockSize == 4096 && v.Salt == nil {
			verity = newDigest(t, hash.SHA256, fmt.Sprintf("%x", v.Digest))
		}
	}
	for _, tt := range []struct {
		kind   imaevm.Type
		digest hash.Digest
		id     string
		sum    string
	}{
		{imaevm.TypeVerity, verity,
			"06 04 5161c5386613f74a6fdfa5e9debfeae6bc22a817cf10caef11bf9adb62407191",
			"6e96316918a285d55a8b1d8be70743046163754aab2bc46723ae8ce47ca703e6"},
		{imaevm.TypeSignature, regular,
			"03 04 1dc631c999cab4588e57c216e46cd10a8e6302520d7961deda605a3c87b2cba4",
			"5f3664998248be85665644425aaba328d1c95c42a8a6ea8eb0baa3afe06c4415"},
		{imaevm.TypePortable, newDigest(t, hash.SHA1, ones(20)), "05 02" + ones(20), ""},
		{imaevm.TypeVerity, newDigest(t, hash.SHA512, ones(64)), "06 06" + ones(64), ""},
	} {
		id := imaevm.FileID(tt.kind, tt.digest)
		if !bytes.Equal(id, bin(tt.id)) {
			t.Errorf("FileID = %x, want %s", id, tt.id)
		}
		if tt.sum != "" && digest(t, "sha256", id) != newDigest(t, hash.SHA256, tt.sum) {
			t.Errorf("digest of %x is not %s", id, tt.sum)
		}
	}
}
