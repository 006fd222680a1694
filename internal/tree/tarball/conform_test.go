package tarball

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"imaseal/internal/compress"
	"imaseal/internal/tree"
	"imaseal/internal/tree/carriertest"
)

// A carrier is an archive of the suite of carriers.
type carrier struct {
	path                 string
	isStream, mustUnpack bool
}

// newCarrier returns a maker of archives, which are read as a file or a stream.
func newCarrier(f compress.Format, isStream bool) func(*testing.T, []carriertest.File) carriertest.Tree {
	return func(t *testing.T, files []carriertest.File) carriertest.Tree {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		add := func(h *tar.Header, content string) {
			h.Size = int64(len(content))
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, content); err != nil {
				t.Fatal(err)
			}
		}
		add(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "for all"}}, "")
		add(&tar.Header{Name: "nothing/", Typeflag: tar.TypeDir, Mode: 0o700}, "")
		for i, f := range files {
			h := &tar.Header{Name: "./" + f.Name, Mode: int64(f.Mode), Uid: 7, Gid: 8, Format: []tar.Format{tar.FormatPAX, tar.FormatGNU}[i%2]}
			for attr, value := range f.Attrs {
				h.Format = tar.FormatPAX
				h.PAXRecords = map[string]string{"SCHILY.xattr." + attr: value}
			}
			add(h, f.Content)
		}
		add(&tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "link"}, "")
		add(&tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: "./" + files[0].Name}, "")
		add(&tar.Header{Name: "pipe", Typeflag: tar.TypeFifo}, "")
		add(&tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, "")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "t.tar")
		if err := os.WriteFile(path, packed(t, f, b.Bytes()), 0o600); err != nil {
			t.Fatal(err)
		}
		return carrier{path, isStream, isStream || f != compress.None}
	}
}

// Open implements carriertest.Tree.
func (c carrier) Open(t *testing.T, workers int) (tree.Source, tree.Sink) {
	name, stdin, o := c.path, io.Reader(nil), Output{InPlace: true}
	if c.isStream {
		name, stdin, o = "-", bytes.NewReader(load(t, c.path)), Output{Path: c.path}
	}
	a, err := Open(name, stdin, Config{Jobs: workers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	s, err := a.NewSink(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Abort() })
	if c.mustUnpack {
		return struct{ tree.Source }{a}, s // what would have to be unpacked to be counted counts nothing
	}
	return a, s
}

// Dump implements carriertest.Tree, with archive/tar.
func (c carrier) Dump(t *testing.T) map[string]string {
	dump := make(map[string]string)
	archive := unpacked(t, load(t, c.path))
	dump["the end"] = fmt.Sprint(len(archive)%512, bytes.HasSuffix(archive, make([]byte, 1024)))
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return dump
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := clean(h.Name)
		for key, value := range h.PAXRecords {
			if attr, ok := bytes.CutPrefix([]byte(key), []byte("SCHILY.xattr.")); ok {
				dump[carriertest.Attr(name, string(attr))] = value
			} else {
				dump[name+" record "+key] = value
			}
		}
		dump[name] = fmt.Sprintf("%c %q -> %q %o %d:%d %v %d,%d %q", h.Typeflag, h.Name, h.Linkname, h.Mode, h.Uid, h.Gid, h.ModTime, h.Devmajor, h.Devminor, content)
	}
}

func TestConform(t *testing.T) {
	for name, c := range map[string]struct {
		format   compress.Format
		isStream bool
	}{"plain file": {}, "plain stream": {isStream: true}, "gzip file": {format: compress.Gzip}, "zstd stream": {compress.Zstd, true}} {
		t.Run(name, func(t *testing.T) {
			carriertest.Conform(t, carriertest.Carrier{
				New: newCarrier(c.format, c.isStream), Largest: maxAttr,
				Refused: tree.Change{Attr: "security.imaseal-b", New: make([]byte, maxAttr+1)},
			})
		})
	}
}
