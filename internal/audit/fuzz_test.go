package audit

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzReader reads anything, to the end.
func FuzzReader(f *testing.F) {
	for _, name := range []string{"auditd.log", "journal.txt", "kernel-6.1.log", "kernel-6.12.log", "kernel-7.x.log", "journal.json"} {
		for line := range strings.Lines(read(f, name)) {
			f.Add([]byte(line))
		}
	}
	f.Add([]byte("node=a type=INTEGRITY_DATA msg=audit(1.000:1): op=appnode=b type=UNKNOWN[1808] msg=" + stamped + body))
	f.Fuzz(func(t *testing.T, log []byte) {
		r := NewReader(bytes.NewReader(log))
		for {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, is := range []bool{e.Record != nil, e.Loss != nil, e.Boot != nil} {
				if is {
					n++
				}
			}
			if n != 1 {
				t.Fatalf("%+v", e)
			}
			if e.Record != nil {
				checkRecord(t, e.Record)
			}
		}
		if lines := int64(bytes.Count(log, []byte("\n"))); r.Lines() < lines || r.Lines() > lines+1 {
			t.Errorf("%d lines of %d", r.Lines(), lines)
		}
	})
}

func checkRecord(t *testing.T, r *Record) {
	t.Helper()
	if !r.Type.isIntegrity() || r.Time.Year() > 9999 || r.Type != PolicyRule && r.Cut && r.Result != Untold {
		t.Errorf("%+v", r)
	}
	if back := typeOf([]byte(r.Type.String())); back != r.Type {
		t.Errorf("%s is %d", r.Type, back)
	}
}

// FuzzJSON compares the decoder with encoding/json, for objects such as the
// journal has.
func FuzzJSON(f *testing.F) {
	for line := range strings.Lines(read(f, "journal.json")) {
		f.Add([]byte(line))
	}
	f.Add([]byte(`{"a":null,"b":[1,2,255],"c":["x",[98]],"d":"\ud83d\ude00\u00e9\\","e":12,"f":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := make(map[string]*[]byte)
		ok := decode(b, func(name []byte) *[]byte {
			value := new([]byte)
			got[string(name)] = value
			return value
		})
		var want map[string]any
		if !utf8.Valid(b) || json.Unmarshal(b, &want) != nil || !isFlat(want) {
			return
		}
		if !ok {
			t.Fatal("not decoded")
		}
		for name, value := range want {
			if text, isText := value.(string); isText && string(*got[name]) != text {
				t.Errorf("%q is %q, want %q", name, *got[name], text)
			}
		}
	})
}

// isFlat reports whether an object is as the journal's: without objects in it, and
// with few arrays in arrays.
func isFlat(object map[string]any) bool {
	for _, value := range object {
		if !isArray(value, maxNested) {
			return false
		}
	}
	return true
}

func isArray(value any, nested int) bool {
	switch value := value.(type) {
	case map[string]any:
		return false
	case []any:
		for _, v := range value {
			if nested == 0 || !isArray(v, nested-1) {
				return false
			}
		}
	}
	return true
}
