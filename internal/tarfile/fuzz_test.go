package tarfile

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// FuzzReader reads any bytes as an archive: what is one comes out the same, keeps
// what it says when labels are added, and is what it was when they are removed.
func FuzzReader(f *testing.F) {
	f.Add(sample(f))
	for _, archive := range sparseSamples {
		f.Add(archive())
	}
	f.Add(cat(paxHeader('g', records("uid", "7", "SCHILY.xattr.user.a", "b")), header('0', nil), end, header('0', nil), end, []byte("rest")))
	f.Add(cat(paxHeader('x', records("RHT.security.selinux", "a:b:c:s0", "LIBARCHIVE.xattr.security.ima", "AwI")), header('0', nil), end))
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU} {
		f.Add(write(f, []*tar.Header{{Name: "a", Size: 3, Format: format}, {Name: strings.Repeat("long/", 50) + "a", Size: 3}}))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		archive := mended(input)
		all, err := parse(archive)
		if err != nil {
			if _, ok := errors.AsType[*FormatError](err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if !bytes.Equal(join(t, all, nil), archive) {
			t.Fatal("what was read is not what was there")
		}
		for _, p := range all {
			if p.Kind == File && p.Err == nil && p.Size < 1<<20 {
				if content, err := p.Content(bytes.NewReader(p.stored)); err == nil {
					if n, err := io.Copy(io.Discard, io.NewSectionReader(content, 0, p.Size)); err != nil || n != p.Size {
						t.Fatalf("%q: %d of %d bytes: %v", p.Name, n, p.Size, err)
					}
				}
			}
		}
		labelled := join(t, all, setLabels)
		again, err := parse(labelled)
		if err != nil {
			t.Fatalf("with labels: %v", err)
		}
		if !bytes.Equal(join(t, again, setLabels), labelled) {
			t.Fatal("the same labels give other bytes")
		}
		if want, ok := byLibrary(archive); ok {
			if got, ok := byLibrary(labelled); !ok || !slices.Equal(got, want) {
				t.Fatalf("to archive/tar it is\n%s\nand was\n%s", got, want)
			}
		}
		if !slices.ContainsFunc(all, isOdd) && !bytes.Equal(join(t, again, dropLabels), archive) {
			t.Fatal("without labels it is not what it was")
		}
	})
}

// mended makes the checksums of what looks like headers right, so that other
// bytes than theirs are tried, and puts the end of an archive behind all.
func mended(input []byte) []byte {
	archive := append(bytes.Clone(input), make([]byte, pad(int64(len(input)))-int64(len(input))+2*BlockSize)...)
	for rest := archive; len(rest) >= BlockSize; rest = rest[BlockSize:] {
		if b := rest[:BlockSize]; string(b[257:262]) == "ustar" && checkSum(b) != nil {
			setSum(b, false)
		}
	}
	return archive
}

// isOdd reports whether an entry's PAX header does not come back as it was: it
// had labels, or nothing, or is padded with something else than zeros, or its
// numbers are of an unusual manner.
func isOdd(p piece) bool {
	if p.pax < 0 {
		return false
	}
	block := p.head[p.pax : p.pax+BlockSize]
	padding := p.head[p.pax+BlockSize+len(p.records):][:pad(int64(len(p.records)))-int64(len(p.records))]
	return len(p.records) == 0 || p.IsRHT() || p.records.HasAttr("security.ima") || p.records.HasAttr("security.evm") ||
		len(bytes.Trim(padding, "\x00")) > 0 ||
		!isUsual(fieldSize.of(block)) || !isUsual(fieldChecksum.of(block))
}

func isUsual(number []byte) bool {
	digits, rest, ok := strings.Cut(string(number), "\x00")
	return ok && len(digits) >= len(number)-2 && strings.Trim(digits, "01234567") == "" && strings.Trim(rest, " ") == ""
}

// byLibrary says what archive/tar makes of an archive, but for labels.
func byLibrary(archive []byte) (entries []string, ok bool) {
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return entries, true
		}
		if err != nil || h.Size > 1<<20 {
			return nil, false
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, false
		}
		for key := range h.PAXRecords {
			if strings.Contains(key, ".security.") {
				delete(h.PAXRecords, key)
			}
		}
		entries = append(entries, fmt.Sprintf("%d %q %q %o %d:%d %d %q %q", h.Typeflag, h.Name, h.Linkname, h.Mode, h.Uid, h.Gid, h.Size, h.PAXRecords, content))
	}
}

// FuzzContent reads any bytes as a sparse file's map and pieces.
func FuzzContent(f *testing.F) {
	f.Add("2\n0\n3\n10\n2\n", "abcde", int64(20))
	f.Add("1\n5\n5\n", "abcde", int64(10))
	f.Fuzz(func(t *testing.T, list, stored string, size int64) {
		if size < 0 || size > 1<<20 || len(list) > BlockSize {
			return
		}
		body := list + strings.Repeat("\x00", BlockSize-len(list)) + stored
		h := records("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", fmt.Sprint(size), "GNU.sparse.name", "s")
		own := header('0', func(b []byte) { fieldSize.setNumber(b, int64(len(body))) })
		all := mustParse(t, cat(paxHeader('x', h), own, []byte(body), make([]byte, pad(int64(len(body)))-int64(len(body))), end))
		content, err := all[0].Content(strings.NewReader(body))
		if err != nil {
			return
		}
		b, err := io.ReadAll(io.NewSectionReader(content, 0, size))
		if err != nil || int64(len(b)) != size {
			t.Fatalf("%d bytes of %d: %v", len(b), size, err)
		}
		for at := range min(len(b), 100) { // in other steps
			c := make([]byte, min(7, len(b)-at))
			if _, err := content.ReadAt(c, int64(at)); err != nil || !bytes.Equal(c, b[at:at+len(c)]) {
				t.Fatalf("at %d: %q, %v; want %q", at, c, err, b[at:at+len(c)])
			}
		}
	})
}
