package tarfile

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"imaseal/internal/tarfile/pax"
)

// A bytesInput is an Input of bytes.
type bytesInput struct{ *bytes.Reader }

func (b bytesInput) Skip(n int64) error {
	if n > int64(b.Len()) {
		return io.ErrUnexpectedEOF
	}
	_, err := b.Seek(n, io.SeekCurrent)
	return err
}

func open(archive []byte) *Reader { return NewReader(bytesInput{bytes.NewReader(archive)}) }

// A piece is an entry with what is stored of it.
type piece struct {
	*Entry
	stored, padding []byte
}

// content returns the content of a file.
func (p piece) content(t testing.TB) string {
	t.Helper()
	r, err := p.Content(bytes.NewReader(p.stored))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(r, 0, p.Size))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// parse reads a whole archive.
func parse(archive []byte) ([]piece, error) {
	var all []piece
	for r := open(archive); ; {
		e, err := r.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		p := piece{Entry: e}
		if e.Kind == Zeros {
			p.padding = make([]byte, e.Stored)
		} else {
			b, err := io.ReadAll(r)
			if err != nil {
				return all, err
			}
			p.stored, p.padding = b[:e.Stored], b[e.Stored:]
		}
		all = append(all, p)
	}
}

func mustParse(t testing.TB, archive []byte) []piece {
	t.Helper()
	all, err := parse(archive)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// join makes an archive of pieces, each with the head that edit returns.
func join(t testing.TB, all []piece, edit func(*Entry) ([]byte, error)) []byte {
	t.Helper()
	var out []byte
	for _, p := range all {
		head := p.Head()
		if edit != nil && (p.Kind == File || p.Kind == Directory) {
			var err error
			if head, err = edit(p.Entry); err != nil {
				t.Fatalf("%s: %v", p.Name, err)
			}
		}
		out = append(out, head...)
		out = append(out, p.stored...)
		out = append(out, p.padding...)
	}
	return out
}

// write makes an archive with archive/tar.
func write(t testing.TB, headers []*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte{'c'}, int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sample has an entry of every form that archive/tar writes.
func sample(t testing.TB) []byte {
	long := strings.Repeat("directory/", 30) + "file"
	return write(t, []*tar.Header{
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "empty", Mode: 0o600, Format: tar.FormatUSTAR},
		{Name: "byte", Mode: 0o644, Size: 1, Format: tar.FormatGNU},
		{Name: "block", Mode: 0o6755, Size: BlockSize, Uid: 1000, Gid: 100},
		{Name: "more", Mode: 0o644, Size: BlockSize + 1, Format: tar.FormatPAX, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "1", "comment": "x"}},
		{Name: long, Mode: 0o644, Size: 3, Format: tar.FormatGNU},
		{Name: long + "2", Mode: 0o644, Size: 3, Format: tar.FormatPAX},
		{Name: "huge-uid", Mode: 0o644, Uid: 1 << 24, Gid: 1<<31 - 1, Format: tar.FormatPAX},
		{Name: "huge-gnu-uid", Mode: 0o644, Uid: 1 << 24, Gid: 1<<31 - 1, Format: tar.FormatGNU},
		{Name: "hard", Linkname: "byte", Typeflag: tar.TypeLink},
		{Name: "sym", Linkname: long, Typeflag: tar.TypeSymlink, Format: tar.FormatGNU},
		{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
		{Name: "p", Typeflag: tar.TypeFifo},
		{Name: strings.Repeat("p", 100) + "/" + strings.Repeat("n", 99), Mode: 0o644, Size: 2, Format: tar.FormatUSTAR},
	})
}

func TestEntries(t *testing.T) {
	archive := sample(t)
	all := mustParse(t, archive)
	if got := join(t, all, nil); !bytes.Equal(got, archive) {
		t.Error("what was read is not what was there")
	}
	i := 0
	for r := tar.NewReader(bytes.NewReader(archive)); ; i++ {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		p := all[i]
		if p.Name != h.Name || p.Link != h.Linkname || p.Size != h.Size {
			t.Errorf("%q -> %q, %d bytes; want %q -> %q, %d", p.Name, p.Link, p.Size, h.Name, h.Linkname, h.Size)
		}
		if p.Kind != File {
			continue
		}
		if int64(p.Mode) != h.Mode || int(p.UID) != h.Uid || int(p.GID) != h.Gid {
			t.Errorf("%s: mode %o, owner %d:%d; want %o, %d:%d", p.Name, p.Mode, p.UID, p.GID, h.Mode, h.Uid, h.Gid)
		}
		want, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if p.content(t) != string(want) {
			t.Errorf("%s: another content", p.Name)
		}
	}
	if end := all[i]; end.Kind != Zeros || end.Stored != 2*BlockSize || len(all) != i+1 {
		t.Errorf("after %d entries: %+v", i, end)
	}
}

// setLabels gives each file two attributes.
func setLabels(e *Entry) ([]byte, error) {
	return e.Edit([]pax.Change{{Attr: "security.ima", New: []byte("\x03\x02\n\x00=ima" + e.Name)}, {Attr: "security.evm", New: []byte("\x05evm")}})
}

func dropLabels(e *Entry) ([]byte, error) {
	return e.Edit([]pax.Change{{Attr: "security.evm"}, {Attr: "security.ima"}})
}

func TestEdit(t *testing.T) {
	archive := sample(t)
	labelled := join(t, mustParse(t, archive), setLabels)
	if bytes.Equal(labelled, archive) {
		t.Fatal("nothing was edited")
	}
	if again := join(t, mustParse(t, labelled), setLabels); !bytes.Equal(again, labelled) {
		t.Error("labelling twice gives other bytes")
	}
	if back := join(t, mustParse(t, labelled), dropLabels); !bytes.Equal(back, archive) {
		t.Error("removing the labels does not give what was there")
	}
	was, ok := byLibrary(archive)
	is, isOK := byLibrary(labelled)
	if !ok || !isOK || !slices.Equal(was, is) {
		t.Errorf("to archive/tar it was\n%s\nand is\n%s", was, is)
	}
	r := tar.NewReader(bytes.NewReader(labelled))
	for h, err := r.Next(); err != io.EOF; h, err = r.Next() {
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg && (h.PAXRecords["SCHILY.xattr.security.ima"] != "\x03\x02\n\x00=ima"+h.Name || h.PAXRecords["SCHILY.xattr.security.evm"] != "\x05evm") {
			t.Errorf("%s has the records %q", h.Name, h.PAXRecords)
		}
	}
}

// TestTruncated cuts an archive at every block, and in the middle of it.
func TestTruncated(t *testing.T) {
	archive := sample(t)
	for n := 0; n < len(archive); n += BlockSize / 2 {
		_, err := parse(archive[:n])
		if _, ok := errors.AsType[*FormatError](err); !ok {
			t.Errorf("%d of %d bytes: %v", n, len(archive), err)
			continue
		}
		if _, ok := errors.AsType[*TruncatedError](err); !ok {
			t.Errorf("%d of %d bytes: %v", n, len(archive), err)
		}
	}
}

// TestDamaged changes every byte of every header, which its checksum tells.
func TestDamaged(t *testing.T) {
	archive := sample(t)
	for _, p := range mustParse(t, archive) {
		if len(p.Head()) == 0 || p.pax >= 0 {
			continue
		}
		for i := p.main; i < p.main+BlockSize; i++ {
			at := p.Offset + int64(i)
			archive[at] ^= 1
			if _, err := parse(archive); err == nil && i < fieldChecksum.at {
				t.Errorf("%s: byte %d changed, and no error", p.Name, i)
			}
			archive[at] ^= 1
		}
	}
}

// header makes the header block of an entry, and sum adds it up.
func header(typ byte, set func(b []byte)) []byte {
	b := appendHeader(nil, "x")
	b[typeAt] = typ
	copy(fieldName.of(b), "name\x00")
	clear(b[5:100])
	if set != nil {
		set(b)
	}
	setSum(b, false)
	return b
}

// text sets a field.
func text(f field, value string) func(b []byte) {
	return func(b []byte) {
		clear(f.of(b))
		copy(f.of(b), value)
	}
}

var end = make([]byte, 2*BlockSize)

// record makes a PAX header with records as they are given.
func paxHeader(typ byte, records string) []byte {
	b := header(typ, func(b []byte) { fieldSize.setNumber(b, int64(len(records))) })
	return append(append(b, records...), make([]byte, pad(int64(len(records)))-int64(len(records)))...)
}

func records(pairs ...string) string {
	var b pax.Records
	for i := 0; i < len(pairs); i += 2 {
		b = pax.Append(b, pairs[i], []byte(pairs[i+1]))
	}
	return string(b)
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// TestRefused has what an archive must not hold, and what is said of it.
func TestRefused(t *testing.T) {
	file := header('0', nil)
	for name, tt := range map[string]struct {
		archive []byte
		want    string
	}{
		"empty":                     {nil, "at offset 0: the archive ends without the two blocks of zeros that end one"},
		"no header":                 {bytes.Repeat([]byte("x"), BlockSize), "no header"},
		"wrong sum":                 {cat(header('0', nil)[:500], []byte("xxxxxxxxxxxx")), "adds up to"},
		"one block of zeros":        {cat(file, end[:BlockSize]), "after one block of zeros"},
		"garbage after one of them": {cat(file, end[:BlockSize], bytes.Repeat([]byte("x"), BlockSize), end), "no header"},
		"negative size":             {cat(header('0', text(fieldSize, "-0000000001")), end), `size "-0000000001\x00" is negative`},
		"negative binary size":      {cat(header('0', text(fieldSize, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")), end), "is negative"},
		"huge binary size":          {cat(header('0', text(fieldSize, "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")), end), "is too large"},
		"largest binary size":       {cat(header('0', text(fieldSize, "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff")), end), "is too large"},
		"large binary size":         {cat(header('0', text(fieldSize, "\x80\x00\x00\x00\x3f\xff\xff\xff\xff\xff\xff\xff")), end), `entry "name" at offset 0: the archive ends in the content`},
		"size of letters":           {cat(header('0', text(fieldSize, "abc")), end), "is no number"},
		"size after a zero byte":    {cat(header('0', text(fieldSize, "\x000000001")), end), "is no number"},
		"two sizes":                 {cat(header('0', text(fieldSize, "12 34")), end), "is no number"},
		"size lies":                 {cat(header('0', text(fieldSize, "00000004000")), end), "ends in the content"},
		"negative PAX size":         {cat(paxHeader('x', records("size", "-1")), file, end), `size "-1" is negative`},
		"huge PAX size":             {cat(paxHeader('x', records("size", "99999999999999999999")), file, end), "is too large"},
		"empty PAX size":            {cat(paxHeader('x', records("size", "")), file, end), "is no number"},
		"PAX uid of letters":        {cat(paxHeader('x', records("uid", "root")), file, end), `uid "root" is no number`},
		"uid of no user":            {cat(paxHeader('x', records("uid", "4294967295")), file, end), "the number of a uid of 4294967295"},
		"gid of no group":           {cat(header('0', text(fieldGID, "\x80\x00\x00\x00\xff\xff\xff\xff")), end), "the number of a gid of 4294967295"},
		"empty path":                {cat(paxHeader('x', records("path", "")), file, end), `path "" is no name`},
		"path with a zero byte":     {cat(paxHeader('x', records("path", "a\x00b")), file, end), "is no name"},
		"record too long":           {cat(paxHeader('x', "99 path=a\n"), file, end), "PAX record at byte 0 has a wrong length"},
		"record too short":          {cat(paxHeader('x', "5 path=a\n"), file, end), "PAX record at byte 0 does not end where its length says"},
		"record of one byte":        {cat(paxHeader('x', "1 path=a\n"), file, end), "wrong length"},
		"record without a length":   {cat(paxHeader('x', "path=a\n"), file, end), "has no length"},
		"record of negative length": {cat(paxHeader('x', "-9 path=a\n"), file, end), "wrong length"},
		"record without a key":      {cat(paxHeader('x', "6 =ab\n"), file, end), "has no key"},
		"record with an odd key":    {cat(paxHeader('x', "7 \x00=ab\n"), file, end), "has no key"},
		"second record wrong":       {cat(paxHeader('x', records("path", "a")+"x\n"), file, end), "PAX record at byte 9 has no length"},
		"huge PAX header":           {cat(header('x', text(fieldSize, "00010000000")), file, end), "a header of type x of 2097152"},
		"huge global headers":       {cat(paxHeader('g', records("a", strings.Repeat("a", 40<<10))), paxHeader('g', records("b", strings.Repeat("a", 40<<10))), file, end), "the records of global headers"},
		"two PAX headers":           {cat(paxHeader('x', records("a", "b")), paxHeader('x', records("a", "b")), file, end), "more than one header of type x"},
		"two long names":            {cat(paxHeader('L', "a\x00"), paxHeader('L', "a\x00"), file, end), "more than one header of type L"},
		"PAX header of nothing":     {cat(paxHeader('x', records("a", "b")), end), "after a header that belongs to an entry"},
		"PAX header of a global":    {cat(paxHeader('x', records("a", "b")), paxHeader('g', records("a", "b")), file, end), "a global header between"},
		"global sparse":             {cat(paxHeader('g', records("GNU.sparse.major", "1")), file, end), "a global header with GNU.sparse.major"},
		"Solaris":                   {cat(paxHeader('X', records("a", "b")), file, end), "Solaris"},
		"hard link with content":    {cat(header('1', text(fieldSize, "00000000001")), end, end), "a hard link that claims to have content"},
		"directory with content":    {cat(header('0', func(b []byte) { copy(b, "dir/"); text(fieldSize, "00000000001")(b) }), end, end), "whose name ends in a slash"},
		"truncated sparse map":      {cat(sparseHeader(0, "\x01")), "the archive ends in a sparse map"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(tt.archive)
			if _, ok := errors.AsType[*FormatError](err); !ok || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, and should say %q", err, tt.want)
			}
		})
	}
}

// sparseHeader makes the header of an old GNU sparse file with pieces of its map.
func sparseHeader(real int64, extended string, pieces ...int64) []byte {
	return header('S', func(b []byte) {
		copy(fieldMagic.of(b), magicGNU)
		for i, n := range pieces {
			copy(b[fieldSparse.at+i*12:], fmt.Sprintf("%011o", n))
		}
		copy(fieldExtended.of(b), extended)
		copy(fieldRealSize.of(b), fmt.Sprintf("%011o", real))
	})
}

// TestUnusable has entries that an archive may hold, and that no label can be
// made for.
func TestUnusable(t *testing.T) {
	for name, tt := range map[string]struct {
		archive []byte
		want    string
	}{
		"unknown type":        {header('Z', nil), `an entry of type "Z" is not supported`},
		"other volume":        {header('M', nil), "begins in another volume"},
		"long name":           {cat(paxHeader('x', records("path", strings.Repeat("n", 64<<10))), header('0', nil)), "a name of 65536, and at most 4095"},
		"sparse of star":      {cat(paxHeader('x', records("SCHILY.realsize", "1")), header('0', nil)), "star"},
		"sparse, ustar":       {header('S', nil), "another program than GNU tar"},
		"sparse, new version": {cat(paxHeader('x', records("GNU.sparse.major", "2", "GNU.sparse.minor", "0")), header('0', nil)), `version "2.0"`},
		"sparse, no map":      {cat(paxHeader('x', records("GNU.sparse.major", "0", "GNU.sparse.minor", "1")), header('0', nil)), "without a map"},
		"sparse, no size":     {cat(paxHeader('x', records("GNU.sparse.map", "0,0")), header('0', nil)), "without its size"},
		"sparse, huge":        {cat(paxHeader('x', records("GNU.sparse.map", "", "GNU.sparse.size", "9223372036854775807")), header('0', nil)), "a sparse file of 9223372036854775807"},
	} {
		t.Run(name, func(t *testing.T) {
			all := mustParse(t, cat(tt.archive, end))
			if err := all[0].Err; err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, and should say %q", err, tt.want)
			}
		})
	}
}

// TestAfterEnd reads what is behind the end of an archive.
func TestAfterEnd(t *testing.T) {
	file, garbage := header('0', nil), bytes.Repeat([]byte("garbage "), 100)
	for name, tt := range map[string]struct {
		archive []byte
		want    string
	}{
		"usual":            {cat(file, end, end), "file zeros"},
		"joined":           {cat(file, end, file, end), "file zeros file+ zeros+"},
		"one zero block":   {cat(file, end[:BlockSize], file, end), "file zeros file+ zeros+"},
		"data":             {cat(file, end, garbage), "file zeros rest+"},
		"data and zeros":   {cat(file, end, garbage[:BlockSize], end, garbage), "file zeros rest+ zeros+ rest+"},
		"data and entries": {cat(file, end, garbage[:BlockSize], file, end), "file zeros rest+ file+ zeros+"},
	} {
		t.Run(name, func(t *testing.T) {
			all := mustParse(t, tt.archive)
			var got []string
			for _, p := range all {
				word := map[Kind]string{File: "file", Zeros: "zeros", Rest: "rest"}[p.Kind]
				if p.AfterEnd {
					word += "+"
				}
				got = append(got, word)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("%s, want %s", s, tt.want)
			}
			if !bytes.Equal(join(t, all, nil), tt.archive) {
				t.Error("what was read is not what was there")
			}
		})
	}
	for _, broken := range [][]byte{cat(file, end, file), cat(file, end, file, end[:BlockSize])} {
		if _, err := parse(broken); err == nil {
			t.Error("an archive behind the end has none, and no error")
		}
	}
}

// TestOverrides reads numbers and names from records.
func TestOverrides(t *testing.T) {
	all := mustParse(t, cat(
		paxHeader('g', records("uid", "7", "gid", "8", "SCHILY.xattr.user.all", "g")),
		header('0', nil),
		paxHeader('x', records("uid", "70000", "path", "other", "SCHILY.xattr.user.all", "x")), header('0', nil),
		paxHeader('g', records("uid", "9")),
		header('0', nil),
		paxHeader('L', strings.Repeat("l", 300)+"\x00"), paxHeader('x', records("size", "3")), header('0', text(fieldSize, "00000777777")), append([]byte("abc"), make([]byte, BlockSize-3)...),
		end))
	var got []string
	for _, p := range all {
		if p.Kind == File {
			value, _, err := p.Attr("user.all")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%.5s %d:%d %s %q", p.Name, p.UID, p.GID, value, p.stored))
		}
	}
	want := []string{`name 7:8 g ""`, `other 70000:8 x ""`, `name 9:8 g ""`, `lllll 9:8 g "abc"`}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := all[1].Edit([]pax.Change{{Attr: "user.all"}}); err == nil {
		t.Error("an attribute of a global header was removed")
	}
	head, err := all[1].Edit([]pax.Change{{Attr: "user.all", New: []byte("own")}})
	if err != nil || !bytes.Contains(head, []byte("SCHILY.xattr.user.all=own\n")) {
		t.Errorf("%q, %v", head, err)
	}
}

func TestEditLimit(t *testing.T) {
	all := mustParse(t, cat(header('0', nil), end))
	_, err := all[0].Edit([]pax.Change{{Attr: "user.a", New: make([]byte, maxMeta)}})
	if _, ok := errors.AsType[*LimitError](err); !ok {
		t.Errorf("the error is %v", err)
	}
}

// TestManner keeps the manner of numbers in a PAX header that gets longer and
// short again.
func TestManner(t *testing.T) {
	body := records("comment", "a")
	for _, size := range []string{"00000000015\x00", "00000000015 ", "         15 ", "      00015 ", "         15\x00"} {
		for _, signed := range []bool{false, true} {
			h := paxHeader('x', body)
			copy(fieldSize.of(h), fmt.Sprintf("%.*s%o%s", len(strings.TrimRight(size, " \x00"))-2, size, len(body), size[len(strings.TrimRight(size, " \x00")):]))
			h[0] = 0xff // so that both sums differ
			setSum(h[:BlockSize], signed)
			archive := cat(h, header('0', nil), end)
			labelled := join(t, mustParse(t, archive), setLabels)
			all := mustParse(t, labelled)
			if value, ok, err := all[0].Attr("security.evm"); string(value) != "\x05evm" || !ok || err != nil {
				t.Errorf("size %q: %q, %v, %v", size, value, ok, err)
			}
			if !bytes.Equal(join(t, all, dropLabels), archive) {
				t.Errorf("size %q: not the same bytes again", size)
			}
		}
	}
}
