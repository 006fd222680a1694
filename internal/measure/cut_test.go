package measure

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
)

// TestCutASCII ends lists in their last record, at each of its bytes: that is what is
// wrong with it, and nothing else.
func TestCutASCII(t *testing.T) {
	for _, name := range []string{"ima.sha1.ascii", "ima-sigv2.sha1.ascii", "evm-sig.sha1.ascii", "linux-6.12.sha256.ascii"} {
		whole, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		whole = bytes.TrimSuffix(whole, []byte("\n"))
		begin := bytes.LastIndexByte(whole, '\n') + 1
		all := opened(t, append(bytes.Clone(whole), '\n'))
		layout, want := all.Layout(), 0
		for ; ; want++ {
			if _, err := all.Next(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		for n := begin + 1; n <= len(whole); n++ {
			r, err := Open(bytes.NewReader(whole[:n]), layout)
			if err != nil {
				t.Fatal(err)
			}
			var last error
			records := 0
			for {
				_, err := r.Next()
				if err == io.EOF {
					break
				}
				if last != nil {
					t.Fatalf("%s: %q: a record behind %v", name, whole[begin:n], last)
				}
				last = err
				records++
			}
			_, cut := errors.AsType[*EndError](last)
			// Nobody knows whether the name of a violation, which has no digest, is whole.
			isWhole := n >= len(bytes.TrimRight(whole, " ")) && name == "linux-6.12.sha256.ascii"
			if isWhole && last != nil || !isWhole && !cut {
				t.Errorf("%s: %q: %v", name, whole[begin:n], last)
			}
			if records != want {
				t.Fatalf("%s: %d records, want %d", name, records, want)
			}
		}
	}
}

func opened(t *testing.T, list []byte) *Reader {
	t.Helper()
	r, err := Open(bytes.NewReader(list), Layout{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
