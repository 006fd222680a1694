package vectors

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIndexIsComplete(t *testing.T) {
	used := make(map[string]bool)
	for _, l := range Index(t) {
		used[l.Path] = true
		for _, name := range l.Others {
			ReadHex(t, name)
			used[name] = true
		}
		if l.File != "" {
			Read(t, "files/"+l.File)
		}
		if l.Key != "" {
			// The same private key has two certificates, one with an identifier of its own.
			Read(t, "keys/"+strings.TrimSuffix(l.Key, "-customskid")+".key.pem")
			Read(t, "keys/"+l.Key+".cert.der")
		}
		if l.HMACKey != "" {
			ReadHex(t, l.HMACKey)
		}
	}
	files, err := os.ReadDir(Path(t, "xattrs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !used["xattrs/"+f.Name()] {
			t.Errorf("xattrs/%s is not in index.json", f.Name())
		}
	}
	if len(files) != len(used) {
		t.Errorf("%d files in xattrs, %d used", len(files), len(used))
	}
}

func TestIndexIsStrict(t *testing.T) {
	const entry = `{"id":"a","value":"v","xattr":"security.ima","type":4,"produced_by":"x"`
	for _, tt := range []struct{ name, json, want string }{
		{"unknown field", "[" + entry + `,"colour":1}]`, "unknown field"},
		{"unknown field below", "[" + entry + `,"metadata":{"size":1}}]`, "unknown field"},
		{"field missing", `[{"id":"a"}]`, "lacks a field"},
		{"twice", "[" + entry + "}," + entry + "}]", "two entries"},
		{"bad hex", "[" + entry + `,"digest":"0g"}]`, "invalid byte"},
		{"bad mode", "[" + entry + `,"metadata":{"mode":"0o1000000"}}]`, "out of range"},
		{"bad uuid", "[" + entry + `,"metadata":{"fs_uuid":"1122"}}]`, "no UUID"},
		{"text behind", "[" + entry + "}] []", "behind the array"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			labels, err := parseIndex([]byte(tt.json))
			if err == nil || !strings.Contains(err.Error(), tt.want) || labels != nil {
				t.Errorf("parseIndex = %v, %v; want an error with %q", labels, err, tt.want)
			}
		})
	}
	if _, err := parseIndex([]byte("[" + entry + "}]")); err != nil {
		t.Errorf("a good entry: %v", err)
	}
}

func TestTexts(t *testing.T) {
	for _, dir := range []string{"digests", "labels"} {
		for _, text := range Texts(t, dir) {
			if tool := filepath.Ext(text.Name); tool != "."+text.Tool {
				t.Errorf("%s/%s was made by %s", dir, text.Name, text.Tool)
			}
		}
	}
}

func TestTextIsStrict(t *testing.T) {
	const header = "tool: a\nversion: 1\ncommand: a b: c\nexpect: x\n"
	text, err := parseText(header + "\n00ff  f\n01\n")
	if err != nil || text.Command != "a b: c" || len(text.Values) != 2 || text.Values[0].File != "f" || text.Values[1].File != "" {
		t.Fatalf("parseText = %+v, %v", text, err)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "no empty line"},
		{"unknown header", header + "colour: red\n\n00\n", "unknown"},
		{"header twice", header + "tool: b\n\n00\n", "given twice"},
		{"header empty", "tool: \n" + header + "\n00\n", "empty"},
		{"no colon", header + "colour\n\n00\n", "unknown"},
		{"header missing", "tool: a\nversion: 1\nexpect: x\n\n00\n", "missing"},
		{"no values", header + "\n", "no values"},
		{"bad hex", header + "\n0g\n", "hexadecimal"},
		{"empty line", header + "\n00\n\n01\n", "hexadecimal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parseText(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("parseText: %v; want an error with %q", err, tt.want)
			}
		})
	}
}

func TestVerities(t *testing.T) {
	verities := Verities(t)
	if len(verities) != 4*2*3 {
		t.Errorf("%d lines, want 24: four files, two algorithms, three shapes", len(verities))
	}
	for _, v := range verities {
		Read(t, "files/"+v.File)
		if want := map[string]int{"sha256": 32, "sha512": 64}[v.Hash]; len(v.Digest) != want {
			t.Errorf("%s: a %s digest of %d bytes", v.File, v.Hash, len(v.Digest))
		}
	}
}
