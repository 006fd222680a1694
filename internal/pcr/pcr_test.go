package pcr

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"imaseal/hash"
)

func TestExtend(t *testing.T) {
	// What tpm2_pcrextend 23:sha256=00… leaves in a PCR that was zero.
	got, err := Extend(Zero(hash.SHA256), Zero(hash.SHA256))
	if want := "sha256:f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"; err != nil || got.String() != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}

func TestBootAggregate(t *testing.T) {
	v := make(Values)
	var covered []byte
	for i := range 10 {
		for _, bank := range []hash.Algorithm{hash.SHA1, hash.SHA256} {
			d, err := hash.Sum(bank, []byte{byte(i)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := BootAggregate(v, bank); i < BootPCRs(bank) {
				if missing, ok := errors.AsType[*MissingError](err); !ok || missing.Index != i {
					t.Errorf("%s with %d PCRs: %v", bank, i, err)
				}
			}
			v.Set(i, d)
			if bank == hash.SHA256 {
				covered = append(covered, d.Bytes()...)
			}
		}
	}
	want, err := hash.Sum(hash.SHA256, covered)
	if got, err2 := BootAggregate(v, hash.SHA256); err != nil || err2 != nil || got != want {
		t.Errorf("%s, %v, want %s", got, err2, want)
	}
	if BootPCRs(hash.SHA1) != 8 || BootPCRs(hash.SHA384) != 10 {
		t.Error("wrong number of PCRs")
	}
}

var (
	a1 = strings.Repeat("A1", 20)
	b2 = strings.Repeat("b2", 32)
)

func TestParseText(t *testing.T) {
	for _, c := range []struct {
		text string
		bank hash.Algorithm
		want string // of the first value
	}{
		{"  sha1:\n    0 : 0x" + a1 + "\n    10: 0x" + a1 + "\n  sha256:\n    0 : 0x" + b2 + "\n", 0, "sha1 0 10, sha256 0"},
		{"sha256 :\n  0  : " + b2 + "\n  16 : " + b2 + "\n", 0, "sha256 0 16"},
		{"pcrs:\n  sha1:\n    10: 0x" + a1 + "\nsig: 4bf4\n", 0, "sha1 10"},
		{"sm3_256:\n 1: " + b2, 0, "sm3 1"},
		{"sha3_256:\n 1: " + b2, 0, "sha3-256 1"},
		{"PCR-00: " + strings.Repeat("A1 ", 20) + "\nPCR-01: " + strings.Repeat("A1 ", 20) + "\n", 0, "sha1 0 1"},
		{"PCR-23: " + b2, hash.SM3, "sm3 23"},
		{"PCR-24: " + b2, 0, `line 1: "PCR-24" is no PCR; they are 0 to 23`},
		{"PCR-0: " + b2, hash.SHA1, "line 1: a value of 32 bytes, and those of bank sha1 have 20"},
		{"sha256:\n 0: " + a1, 0, "line 2: a value of 20 bytes, and those of bank sha256 have 32"},
		{"0: a1", 0, "line 1: a value of 1 bytes, which no bank has"},
		{"0: xy", 0, "line 1: a value is hexadecimal digits"},
		{"\n\nmd5:\n", 0, `line 3: "md5" names no bank of PCRs`},
		{"hello", 0, "line 1: no colon"},
		{"0: " + a1 + "\n0: " + a1, 0, "sha1 0"},
		{"0: " + a1 + "\n0: " + strings.ReplaceAll(a1, "A1", "a2"), 0, "line 2: another value of PCR 0 of bank sha1"},
		{"sha1:\n", 0, "there are no values of PCRs in it"},
		{"", 0, "there are no values of PCRs in it"},
	} {
		v, err := ParseText([]byte(c.text), c.bank)
		got := describe(v)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) || (err != nil) != (v == nil) {
			t.Errorf("%q: %s, want %s", c.text, got, c.want)
		}
	}
}

func describe(v Values) string {
	var all []string
	for _, bank := range v.Banks() {
		s := bank.String()
		for _, i := range v.Indexes(bank) {
			s += fmt.Sprintf(" %d", i)
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

func TestBanks(t *testing.T) {
	for _, bank := range Banks() {
		if !bank.Computable() || !IsBank(bank) {
			t.Errorf("%s cannot be computed", bank)
		}
	}
	if a, ok := Bank(0x12); !ok || a != hash.SM3 {
		t.Error(a)
	}
	if _, ok := Bank(0x10); ok || IsBank(hash.MD5) {
		t.Error("no bank")
	}
}

func FuzzParseText(f *testing.F) {
	f.Add([]byte("  sha1:\n    0 : 0x"+a1+"\nPCR-00: "+strings.Repeat("A1 ", 20)), uint8(0))
	f.Fuzz(func(t *testing.T, text []byte, bank uint8) {
		given := hash.Algorithm(0)
		if i := int(bank); i < len(banks) {
			given = banks[i].algorithm
		}
		v, err := ParseText(text, given)
		if (err == nil) != (len(v) > 0) {
			t.Fatalf("%v, %v", v, err)
		}
		for _, bank := range v.Banks() {
			for _, i := range v.Indexes(bank) {
				if d, _ := v.Value(bank, i); d.Algorithm() != bank || i > Max {
					t.Fatal(d, i)
				}
			}
		}
	})
}
