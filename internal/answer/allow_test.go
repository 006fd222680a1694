package answer

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/labelfile"
)

func TestParseAllow(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"algorithm sha256 sha512\n# no\n\nclass\tsign\nevm none portable\npath usr/**\npath @module\nfiles 3", "{[sha256 sha512] [sign] [type 0x00 portable signature] [sign usr/** sign @module] 3}"},
		{"path a b", "{[] [] [] [sign a b] 0}"},
		{"", "nothing is allowed, and nothing limited"},
		{"# nothing\n", "nothing is allowed, and nothing limited"},
		{"\ncolour red", `line 2: "colour" is none of algorithm, class, evm, path and files`},
		{"Class sign", `line 1: "Class" is none of algorithm, class, evm, path and files`},
		{"class", "line 1: class without a value"},
		{"class skip", `line 1: "skip" is none of sign and hash`},
		{"class sign,hash", `line 1: "sign,hash" is none of sign and hash`},
		{"evm hmac", `line 1: "hmac" is none of none, portable and signature`},
		{"files 0", `line 1: "0" is no number of files`},
		{"files -1", `line 1: "-1" is no number of files`},
		{"files 1 2", "line 1: files has one number"},
		{"files 1\nfiles 2", "line 2: files is there twice"},
		{"path", "line 1: sign without a pattern"},
		{"path [", `line 1: "[" is not a pattern`},
		{"path ../x", `line 1: "../x" matches no file; @any matches all`},
		{"path @executable", "line 1: a request does not tell whether a file is executable"},
		{strings.Repeat("x", 1<<17), "line 1: longer than any line"},
	} {
		a, err := ParseAllow(strings.NewReader(tt.text))
		got := ""
		if err != nil {
			got = err.Error()
			if _, ok := errors.AsType[*AllowError](err); !ok || a != nil {
				t.Errorf("%.40q: %v, %T", tt.text, a, err)
			}
		} else {
			got = fmt.Sprint(*a)
		}
		if got != tt.want {
			t.Errorf("%.40q: %s\nwant %s", tt.text, got, tt.want)
		}
	}
	if _, err := ParseAllow(strings.NewReader("algorithm sha257")); err == nil {
		t.Error("an unknown algorithm")
	}
}

func TestAllowed(t *testing.T) {
	record := func(change func(*labelfile.Record)) *labelfile.Record {
		r := request(t, "usr/bin/a", imaevm.TypePortable)
		change(&r)
		return &r
	}
	for _, tt := range []struct {
		allow  string
		change func(*labelfile.Record)
		want   string // is not allowed
	}{
		{"class sign\nalgorithm sha256\nevm portable\npath usr", func(*labelfile.Record) {}, ""},
		{"path etc\npath **/a", func(*labelfile.Record) {}, ""},
		{"path etc", func(*labelfile.Record) {}, "this path"},
		{"path @module", func(*labelfile.Record) {}, "this path"},
		{"path @module", func(r *labelfile.Record) { r.Path = "lib/modules/x.ko.xz" }, ""},
		{"path usr/*", func(r *labelfile.Record) { r.Path = "usr/../etc/shadow" }, "this path"},
		{"path usr", func(r *labelfile.Record) { r.Path = "usr/../etc/shadow" }, "this path"},
		{"class hash", func(*labelfile.Record) {}, "class sign"},
		{"algorithm sha512", func(*labelfile.Record) {}, "algorithm sha256"},
		{"algorithm sha256", func(r *labelfile.Record) { r.EVM.Algo = hash.SHA512 }, "algorithm sha512 for EVM"},
		{"evm none", func(*labelfile.Record) {}, "evm portable"},
		{"evm portable", func(r *labelfile.Record) { r.EVM = nil }, "no EVM label"},
		{"evm none", func(r *labelfile.Record) { r.EVM = nil }, ""},
		{"evm signature", func(r *labelfile.Record) { r.EVM.Kind = imaevm.TypeHMAC }, "evm hmac"},
		{"files 2", func(*labelfile.Record) {}, "more than 2 files"},
		{"files 3", func(*labelfile.Record) {}, ""},
	} {
		a, err := ParseAllow(strings.NewReader(tt.allow))
		if err != nil {
			t.Fatal(err)
		}
		err = a.check(record(tt.change), 3)
		if got := fmt.Sprint(err); tt.want == "" && err != nil || tt.want != "" && got != "not allowed: "+tt.want {
			t.Errorf("%q: %s, want %q", tt.allow, got, tt.want)
		}
	}
	if err := new(Allow).check(record(func(*labelfile.Record) {}), 1<<40); err != nil {
		t.Error(err)
	}
}

func FuzzParseAllow(f *testing.F) {
	f.Add("algorithm sha256\nclass sign\nevm portable\npath usr/**\nfiles 10")
	f.Add("path [\xff\x00 a")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAllow(strings.NewReader(text))
		if err != nil {
			if a != nil {
				t.Errorf("%+v and %v", a, err)
			}
			return
		}
		r := request(t, text, imaevm.TypePortable)
		a.check(&r, 1)
	})
}
