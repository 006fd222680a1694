package audit

import (
	"bytes"
	"encoding/hex"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// bzipped is "a line\n", by bzip2 1.0.8.
const bzipped = "425a6839314159265359e1f7dc1900000151000010400022252000220c9b421806d0428bb9229c284870fbee0c80"

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	closed(t, w, text)
	return b.String()
}

func closed(t *testing.T, w io.WriteCloser, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func xzipped(t *testing.T, c xz.WriterConfig, text string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := c.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, w, text)
	return b.String()
}

func zstandard(t *testing.T, text string, options ...zstd.EOption) string {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, options...)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, w, text)
	return b.String()
}

func decompressed(log string) (string, error) {
	r, err := Decompress(strings.NewReader(log))
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return string(b), err
}

func TestDecompress(t *testing.T) {
	log := read(t, "auditd.log")
	bz, err := hex.DecodeString(bzipped)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ in, want string }{
		"empty":        {"", ""},
		"a byte":       {"x", "x"},
		"plain":        {log, log},
		"gzip":         {gzipped(t, log), log},
		"gzip members": {gzipped(t, log) + gzipped(t, "x"), log + "x"},
		"gzip, empty":  {gzipped(t, ""), ""},
		"bzip2":        {string(bz), "a line\n"},
		"xz":           {xzipped(t, xz.WriterConfig{}, log), log},
		"xz streams":   {xzipped(t, xz.WriterConfig{}, log) + xzipped(t, xz.WriterConfig{}, "x"), log + "x"},
		"xz -9":        {xzipped(t, xz.WriterConfig{DictCap: maxWindow}, log), log},
		"zstd":         {zstandard(t, log), log},
		"zstd frames":  {zstandard(t, log) + zstandard(t, "x"), log + "x"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := decompressed(test.in); err != nil || got != test.want {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// TestDecompressCut ends compressed logs early: that is an error, and what was
// before the cut is there.
func TestDecompressCut(t *testing.T) {
	log := strings.Repeat(read(t, "auditd.log"), 3)
	for name, whole := range map[string]string{"gzip": gzipped(t, log), "xz": xzipped(t, xz.WriterConfig{}, log), "zstd": zstandard(t, log)} {
		for n := 8; n < len(whole); n += 1 + len(whole)/97 {
			got, err := decompressed(whole[:n])
			if err == nil || !strings.HasPrefix(log, got) {
				t.Errorf("%s, %d bytes of %d: %d bytes, %v", name, n, len(whole), len(got), err)
			}
		}
	}
}

// TestDecompressWindow has logs that ask for a lot of memory.
func TestDecompressWindow(t *testing.T) {
	huge := []byte(xzipped(t, xz.WriterConfig{}, "text"))
	huge[12+4] = 40 // of the first block: 4 GiB
	if _, err := decompressed(string(huge)); err != ErrWindow {
		t.Errorf("xz: %v", err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	frame := "\x28\xb5\x2f\xfd\x00\xa8" + strings.Repeat("\x00", 64) // of a window of 2 GiB
	if _, err := decompressed(frame); err == nil {
		t.Error("zstd takes a window of 2 GiB")
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 2*maxWindow {
		t.Errorf("%d bytes are allocated", n)
	}
}

// TestBomb reads a GiB of zeros that is a MiB here, and has no line.
func TestBomb(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: takes seconds")
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for range 1 << 10 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	in, err := Decompress(&b)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if e, err := NewReader(in).Next(); err != io.EOF {
		t.Errorf("%+v, %v", e, err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("%d bytes are allocated", n)
	}
}

func FuzzDecompress(f *testing.F) {
	f.Add([]byte("\x1f\x8b\x08"))
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16"))
	f.Add([]byte("\x28\xb5\x2f\xfd\x04\x58\x39\x00\x00"))
	f.Add([]byte("BZh91AY&SY"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decompress(bytes.NewReader(b))
		if err != nil {
			return
		}
		log := NewReader(io.LimitReader(r, 1<<20))
		for range 1000 {
			if _, err := log.Next(); err != nil {
				return
			}
		}
	})
}
