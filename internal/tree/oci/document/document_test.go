package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

const manifest = `{
  "schemaVersion": 2, "x-unknown": [1, {"a": null}, 1e400],
  "config": {"digest":"sha256:aa" , "size": 7},
  "layers": [ {"digest": "sha256:bb", "size": 1, "annotations": {"a":"b","c":"d","e":"f"}}, {"size":2,"digest":"sha256:\u0063c"} ]
}
`

func TestEdit(t *testing.T) {
	tests := []struct {
		name, in string
		edit     func(d *Document) error
		old, new string // what is another in the document
	}{
		{"nothing", manifest, func(*Document) error { return nil }, "", ""},
		{"a string", manifest, func(d *Document) error { return d.Replace("sha256:aa", "sha256:<>", "config", "digest") }, "sha256:aa", "sha256:<>"},
		{"an escaped one", manifest, func(d *Document) error { return d.Replace("sha256:cc", "x", "layers", 1, "digest") }, `sha256:\u0063c`, "x"},
		{"a number", manifest, func(d *Document) error { return d.Replace(int64(7), int64(70), "config", "size") }, `"size": 7`, `"size": 70`},
		{"a member more", manifest, func(d *Document) error { return d.Put(map[string]string{"k": "v"}, "layers", 1, "annotations") },
			`\u0063c"`, `\u0063c","annotations":{"k":"v"}`},
		{"the only member", `{"a": {} }`, func(d *Document) error { return d.Put("v", "a", "k") }, `{}`, `{"k":"v"}`},
		{"one that is there", manifest, func(d *Document) error { return d.Put("x", "layers", 0, "annotations", "c") }, `"d"`, `"x"`},
		{"the first goes", manifest, func(d *Document) error { d.Remove("layers", 0, "annotations", "a"); return nil }, `"a":"b",`, ""},
		{"the last goes", manifest, func(d *Document) error { d.Remove("layers", 0, "annotations", "e"); return nil }, `,"e":"f"`, ""},
		{"all go, and one comes", manifest, func(d *Document) error {
			for _, name := range []string{"a", "c", "e", "none"} {
				d.Remove("layers", 0, "annotations", name)
			}
			return d.Put("y", "layers", 0, "annotations", "a")
		}, `"a":"b","c":"d","e":"f"`, `"a":"y"`},
		{"another name", manifest, func(d *Document) error { d.Rename("b", "layers", 0, "annotations", "c"); return nil }, `"c":"d"`, `"b":"d"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Parse([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.edit(d); err != nil {
				t.Fatal(err)
			}
			if got, want := string(d.Bytes()), strings.Replace(tt.in, tt.old, tt.new, 1); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	d, err := Parse([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"another value":     d.Replace("sha256:ab", "x", "config", "digest"),
		"another type":      d.Replace(int64(1), "x", "config", "digest"),
		"no such member":    d.Replace("sha256:aa", "x", "Config", "digest"),
		"no such item":      d.Replace("sha256:aa", "x", "layers", 2, "digest"),
		"put into an array": d.Put("x", "layers", "digest"),
		"put into nothing":  d.Put("x", "none", "digest"),
	} {
		if _, ok := errors.AsType[*MismatchError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := string(d.Bytes()); got != manifest {
		t.Error(got)
	}
	if !d.Has("layers", 1, "size") || d.Has("layers", 1, "data") {
		t.Error("what is there")
	}
}

func TestSyntax(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "unexpected EOF",
		"{":                      "EOF",
		`{"a":1,"a":2}`:          `the name "a" is there twice`,
		`{"a":1} x`:              "behind the document",
		`{"a":1}{}`:              "behind the document",
		`{"a" 1}`:                "invalid character",
		strings.Repeat("[", 100): "nested deeper",
		"[0" + strings.Repeat(",0", maxValues) + "]": "more values",
	} {
		_, err := Parse([]byte(in))
		if _, ok := errors.AsType[*SyntaxError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", in, err, want)
		}
	}
}

// What parses is JSON, and comes out as it was; what is put is what is there.
func FuzzDocument(f *testing.F) {
	f.Add(manifest)
	f.Add(`[{"a":1,"b":[]},"x"]`)
	f.Add(`{ "a" : { } , "b" : 1 }`)
	f.Add("\xff{\"a\":\"\xff\\ud800\"}")
	f.Fuzz(func(t *testing.T, in string) {
		d, err := Parse([]byte(in))
		if err != nil {
			return
		}
		if !json.Valid([]byte(in)) {
			t.Fatalf("%q is no JSON", in)
		}
		if got := d.Bytes(); string(got) != in {
			t.Fatalf("%q became %q", in, got)
		}
		if len(d.root.members) > 0 {
			first := d.root.members[0].name
			d.Remove(first)
			if d.Put("put", "zz") != nil {
				t.Fatal("nothing can be put")
			}
			var is map[string]json.RawMessage
			if out := d.Bytes(); json.Unmarshal(out, &is) != nil || !bytes.Equal(is["zz"], []byte(`"put"`)) {
				t.Fatalf("%q became %q", in, out)
			}
		}
	})
}
