package measure

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"imaseal/hash"
)

func newBuffer(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

// FuzzBinary writes again what it reads.
func FuzzBinary(f *testing.F) {
	for _, name := range kernelLists(f) {
		f.Add(readFile(f, name+".bin")[:600], false)
	}
	f.Fuzz(func(t *testing.T, list []byte, big bool) {
		l := Layout{Binary, hash.SHA1, binary.LittleEndian}
		if big {
			l.Order = binary.BigEndian
		}
		r := &Reader{in: newBuffer(list), layout: l}
		for {
			rec, err := r.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				if rec.Fields != nil || rec.Digest == nil && !isLast(err) {
					t.Fatalf("%+v, %v", rec, err)
				}
				continue
			}
			again, err := rec.AppendBinary(nil)
			if err != nil || !bytes.HasPrefix(list[rec.Offset:], again) {
				t.Fatalf("%q is written as %q: %v", list[rec.Offset:], again, err)
			}
			rec.Verify()
			rec.Xattrs()
			rec.FileDigest()
		}
	})
}

func isLast(err error) bool {
	wrong, ok := err.(*RecordError)
	return ok && wrong.Last
}

// FuzzASCII reads again what it writes.
func FuzzASCII(f *testing.F) {
	for _, name := range kernelLists(f) {
		f.Add(readFile(f, name+".ascii")[:600])
	}
	f.Add(readFile(f, "rhel8-example.ascii"))
	l := Layout{Form: ASCII, Bank: hash.SHA1}
	f.Fuzz(func(t *testing.T, list []byte) {
		r := &Reader{in: newBuffer(list), layout: l}
		for {
			rec, err := r.Next()
			if err == io.EOF {
				return
			}
			if err != nil || rec.Fields == nil {
				continue
			}
			line, err := rec.AppendASCII(nil)
			if err != nil {
				t.Fatal(err)
			}
			again := &Reader{in: newBuffer(line), layout: l}
			if rec2, err := again.Next(); err != nil || !bytes.Equal(rec.Data, rec2.Data) && rec.Verify() == nil {
				t.Fatalf("%q is read as %+v: %v", line, rec2, err)
			}
		}
	})
}

// FuzzOpen finds out how anything is written.
func FuzzOpen(f *testing.F) {
	for _, name := range kernelLists(f) {
		f.Add(readFile(f, name+".bin")[:600])
		f.Add(readFile(f, name+".ascii")[:600])
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		r, err := Open(bytes.NewReader(list), Layout{})
		if err != nil {
			return
		}
		for err != io.EOF {
			_, err = r.Next()
		}
	})
}
