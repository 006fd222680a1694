package rpmfile

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"imaseal/internal/rpmfile/rpmtest"
)

// contents reads a payload to its end.
func contents(p *Package, in io.Reader) (map[string]string, []int, error) {
	got := make(map[string]string)
	a := p.NewPayload(in)
	for {
		i, size, err := a.Next()
		if err == io.EOF {
			return got, a.Missing(), nil
		}
		if err != nil {
			return got, nil, err
		}
		b, err := io.ReadAll(a)
		if err != nil {
			return got, nil, err
		}
		if int64(len(b)) != size {
			return got, nil, io.ErrShortBuffer
		}
		got[p.Files[i].Path] = string(b)
	}
}

func TestPayload(t *testing.T) {
	for name, p := range map[string]rpmtest.Package{"newc": pkg(4), "stripped": {Format: 4, Files: files(), Algorithm: 8, Stripped: true}, "format 6": pkg(6)} {
		b := p.Bytes()
		got, missing, err := contents(parse(t, b), bytes.NewReader(b[parse(t, b).Payload:]))
		if err != nil || len(missing) > 0 {
			t.Errorf("%s: %v, missing %d", name, err, missing)
		}
		want := map[string]string{"/etc": "", "/etc/conf": "a = b\n", "/usr/bin/hard": "", "/usr/bin/link": "hard", "/usr/bin/prog": "program", "/usr/share/empty": ""}
		for path, content := range want {
			if is, ok := got[path]; !ok || is != content {
				t.Errorf("%s: %s is %q", name, path, is)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestPayloadTruncated(t *testing.T) {
	for _, format := range []int{4, 6} {
		b := pkg(format).Bytes()
		p := parse(t, b)
		payload := b[p.Payload:]
		for n := range len(payload) - 3 { // the padding of the end is nobody's loss
			if _, _, err := contents(p, bytes.NewReader(payload[:n])); err == nil || !strings.Contains(err.Error(), "payload, unpacked: at offset") {
				t.Fatalf("format %d, %d of %d bytes: %v", format, n, len(payload), err)
			}
		}
	}
}

func TestPayloadDamaged(t *testing.T) {
	for name, tt := range map[string]struct {
		format int
		change func(string) string
		want   string
	}{
		"magic":         {4, func(s string) string { return strings.Replace(s, "070701", "070707", 1) }, "at offset 0: no entry of an archive"},
		"a number":      {4, func(s string) string { return s[:6+48] + "zzzzzzzz" + s[6+56:] }, "a number of an entry is none"},
		"a name's size": {4, func(s string) string { return s[:6+88] + "00001001" + s[6+96:] }, "longer than any"},
		"no name":       {4, func(s string) string { return s[:6+88] + "00000000" + s[6+96:] }, "longer than any"},
		"a name's end":  {4, func(s string) string { return strings.Replace(s, "./etc\x00", "./etcx", 1) }, "has no end"},
		"another name":  {4, func(s string) string { return strings.Replace(s, "./etc\x00", "./etx\x00", 1) }, `the header does not have: "./etx"`},
		"another size": {4, func(s string) string {
			i := strings.Index(s, "./etc/conf") - 56
			return s[:i] + "00000005" + s[i+8:]
		}, "/etc/conf has 5 bytes, and the header says 6"},
		"twice":    {4, func(s string) string { return strings.Replace(s, "./usr/bin/link", "./usr/bin/hard", 1) }, "payload, unpacked"},
		"an index": {6, func(s string) string { return strings.Replace(s, "07070X00000003", "07070X00000007", 1) }, "the header does not have"},
		"an index twice": {6, func(s string) string { return strings.Replace(s, "07070X00000003", "07070X00000002", 1) },
			"/usr/bin/hard: it is there twice"},
	} {
		p := pkg(tt.format)
		p.Payload = func(b []byte) []byte { return []byte(tt.change(string(b))) }
		b := p.Bytes()
		head := parse(t, b)
		if _, _, err := contents(head, bytes.NewReader(b[head.Payload:])); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	p := pkg(4)
	p.Payload = func(b []byte) []byte { return b[bytes.Index(b, []byte("TRAILER"))-110:] }
	b := p.Bytes()
	head := parse(t, b)
	if _, missing, err := contents(head, bytes.NewReader(b[head.Payload:])); err != nil || len(missing) != 6 {
		t.Errorf("an empty archive: %v, missing %d", err, missing)
	}
}
