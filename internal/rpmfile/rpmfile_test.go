package rpmfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/rpmfile/rpmtest"
	"imaseal/internal/treetest"
)

// files are those of most packages here.
func files() []rpmtest.File {
	return []rpmtest.File{
		{Path: "/etc/", Mode: 0},
		{Path: "/etc/conf", Content: "a = b\n", Flags: 1},
		{Path: "/usr/bin/hard", Content: "program", Mode: 0o100755, Inode: 7},
		{Path: "/usr/bin/link", Content: "hard", Mode: 0o120777},
		{Path: "/usr/bin/prog", Content: "program", Mode: 0o100755, Inode: 7, User: "games"},
		{Path: "/usr/share/empty"},
		{Path: "/var/state", Flags: rpmtest.Ghost},
	}
}

func pkg(format int) rpmtest.Package {
	return rpmtest.Package{Format: format, Files: files(), Algorithm: 8}
}

func parse(t testing.TB, b []byte) *Package {
	t.Helper()
	p, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// labelled is a package with labels of the files that have a digest.
func labelled(t testing.TB, b []byte) []byte {
	t.Helper()
	p := parse(t, b)
	labels := make([][]byte, len(p.Files))
	for i, f := range p.Files {
		if !f.Digest.IsZero() {
			labels[i] = slices.Concat([]byte{3, 2, 4, 0xde, 0xad, 0xbe, 0xef, 0, byte(i)}, f.Digest.Bytes()[:i])
		}
	}
	head, err := p.Head(labels)
	if err != nil {
		t.Fatal(err)
	}
	return append(head, b[p.Header:]...)
}

func TestRead(t *testing.T) {
	for _, format := range []int{4, 6} {
		p := parse(t, pkg(format).Bytes())
		if p.Format != format || len(p.Files) != len(files()) || p.Odd || p.Labels != nil || p.HasLabels() {
			t.Errorf("%+v", p)
		}
		for i, f := range p.Files {
			want := files()[i]
			hasDigest := f.IsRegular() && !f.Ghost
			if f.Path != strings.TrimSuffix(want.Path, "/") || f.Size != int64(len(want.Content)) || f.Ghost != (want.Flags&rpmtest.Ghost != 0) || f.Digest.IsZero() == hasDigest {
				t.Errorf("%+v", f)
			}
			if sum, _ := hash.Sum(hash.SHA256, []byte(want.Content)); hasDigest && f.Digest != sum {
				t.Errorf("%s: %s", f.Path, f.Digest)
			}
		}
		if p.Files[2].Last != 4 || p.Files[4].Last != 4 || p.Files[1].Last != 1 {
			t.Error("hard links are not found")
		}
		if p.Files[4].User != "games" || p.Files[0].User != "root" {
			t.Error("owners are others")
		}
	}
}

// What has labels is rpm's, whichever program looks, and without them it is what it
// was.
func TestHead(t *testing.T) {
	for _, format := range []int{4, 6} {
		before := pkg(format).Bytes()
		after := labelled(t, before)
		p := parse(t, after)
		if p.Odd || !p.HasLabels() || !bytes.Equal(after[p.Header:], before[parse(t, before).Header:]) || !bytes.Equal(after[:leadSize], before[:leadSize]) {
			t.Errorf("format %d: other bytes are others: %+v", format, p)
		}
		if p.sig.find(tagLabelSize) != nil != (format == 4) {
			t.Errorf("format %d: tag %d is %v", format, tagLabelSize, p.sig.find(tagLabelSize))
		}
		if e := p.sig.find(tagLabelSize); e != nil && binary.BigEndian.Uint32(e.data) != 14 {
			t.Errorf("the longest label is said to have %x bytes", e.data)
		}
		if last := p.sig.entries[len(p.sig.entries)-1]; format == 6 && last.tag != 999 {
			t.Errorf("the last tag is %d", last.tag)
		}
		if !slices.IsSortedFunc(p.sig.entries, func(a, b entry) int { return int(a.tag) - int(b.tag) }) {
			t.Error("tags are not sorted")
		}
		head, err := p.Head(make([][]byte, len(p.Files)))
		if err != nil || !bytes.Equal(append(head, after[p.Header:]...), before) {
			t.Errorf("format %d: without labels it is not what it was, %v", format, err)
		}
	}
}

// rpm says that packages are right, and what is in them.
func TestAskRPM(t *testing.T) {
	rpm := treetest.Tool(t, "rpm")
	for _, format := range []int{4, 6} {
		for _, b := range [][]byte{pkg(format).Bytes(), labelled(t, pkg(format).Bytes())} {
			path := filepath.Join(t.TempDir(), "x.rpm")
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			db := t.TempDir()
			out, err := exec.Command(rpm, "--dbpath", db, "-Kv", path).CombinedOutput()
			if err != nil || strings.Contains(string(out), "BAD") || !strings.Contains(string(out), "Header SHA256 digest: OK") || !strings.Contains(string(out), "Payload SHA256 digest: OK") {
				t.Errorf("format %d: %v\n%s", format, err, out)
			}
			out, err = exec.Command(rpm, "--dbpath", db, "-qp", "--qf", `[%{FILENAMES}|%{FILEDIGESTS}|%{FILESIGNATURES}\n]`, path).Output()
			if err != nil {
				t.Fatal(err)
			}
			p := parse(t, b)
			for i, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
				f, digest, label := p.Files[i], "", ""
				if !f.Digest.IsZero() {
					digest = f.Digest.String()[len("sha256:"):]
				}
				if f.Label != nil {
					label = hexOf(f.Label)
				} else if !p.HasLabels() {
					label = "(none)"
				}
				if want := f.Path + "|" + digest + "|" + label; line != want {
					t.Errorf("rpm says %s, want %s", line, want)
				}
			}
		}
	}
}

func hexOf(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteByte("0123456789abcdef"[c>>4])
		s.WriteByte("0123456789abcdef"[c&15])
	}
	return s.String()
}

// A signature of old, which rpm ignores in format 6, stays where it is.
func TestLargeTag(t *testing.T) {
	p := pkg(6)
	p.Signature = func(tags []rpmtest.Tag) []rpmtest.Tag { return append(tags, rpmtest.Binary(1002, []byte("x"))) }
	b := p.Bytes()
	after := parse(t, labelled(t, b))
	if n := len(after.sig.entries); after.Odd || after.sig.entries[n-1].tag != 1002 || after.sig.entries[n-2].tag != 999 || after.Files[1].Label == nil {
		t.Errorf("%+v", after.sig.entries)
	}
	if head, err := after.Head(make([][]byte, len(after.Files))); err != nil || !bytes.Equal(head, b[:len(head)]) {
		t.Errorf("without labels it is not what it was, %v", err)
	}
}

// Labels of others are taken as rpm takes them.
func TestLabels(t *testing.T) {
	zeros := strings.Repeat("00", 30)
	texts := []string{"", "0302", zeros, "0302f", "xyz", "ABCD", ""}
	p := pkg(4)
	p.Signature = func(tags []rpmtest.Tag) []rpmtest.Tag {
		return slices.Insert(tags, 2, rpmtest.Strings(tagLabels, texts...), rpmtest.Int32(tagLabelSize, 30))
	}
	got := parse(t, p.Bytes())
	for i, want := range []string{"", "\x03\x02", "", "0302f", "xyz", "\xab\xcd", ""} {
		if string(got.Files[i].Label) != want {
			t.Errorf("%q is %q", texts[i], got.Files[i].Label)
		}
	}
	texts = texts[:3]
	if got = parse(t, p.Bytes()); got.Labels == nil || got.Labels.Labels != 3 || got.Labels.Files != 7 || got.Labels.Error() == "" {
		t.Errorf("%v", got.Labels)
	}
}

// Entries behind the region, which some programs leave, are read, and become a part
// of it.
func TestOdd(t *testing.T) {
	b := pkg(4).Bytes()
	p := parse(t, b)
	var texts []byte
	for range p.Files {
		texts = append(texts, "0302\x00"...)
	}
	raw := bytes.Clone(p.sig.raw)
	n := len(p.sig.entries) + 1
	data := raw[introSize+n*entrySize:]
	index := slices.Clone(raw[introSize : introSize+n*entrySize])
	for _, v := range []uint32{tagLabels, typeStrings, uint32(len(data)), uint32(len(p.Files))} {
		index = binary.BigEndian.AppendUint32(index, v)
	}
	odd := slices.Clone(raw[:8])
	odd = append(odd, be32(uint32(n+1))...)
	odd = append(odd, be32(uint32(len(data)+len(texts)))...)
	odd = append(append(append(odd, index...), data...), texts...)
	odd = append(odd, make([]byte, padding(len(odd), 8))...)
	got := parse(t, slices.Concat(b[:leadSize], odd, b[p.Header:]))
	if !got.Odd || string(got.Files[1].Label) != "\x03\x02" {
		t.Errorf("%+v", got)
	}
	head, err := got.Head(make([][]byte, len(got.Files)))
	if err != nil || !bytes.Equal(head, b[:p.Header]) {
		t.Errorf("laid out anew it is another, %v", err)
	}
}

// edit changes four bytes of a package's head, found by what stands there.
func edit(b []byte, at int64, value uint32) []byte {
	b = bytes.Clone(b)
	binary.BigEndian.PutUint32(b[at:], value)
	return b
}

// at is the offset of the index entry of a tag.
func at(b []byte, from int64, tag uint32) int64 {
	n := int64(binary.BigEndian.Uint32(b[from+8:]))
	for i := range n {
		if binary.BigEndian.Uint32(b[from+16+16*i:]) == tag {
			return from + 16 + 16*i
		}
	}
	panic("no such tag")
}

func TestDamaged(t *testing.T) {
	b := labelled(t, pkg(4).Bytes())
	p := parse(t, b)
	sig, main := int64(leadSize), p.Header
	sigData := sig + 16 + 16*int64(binary.BigEndian.Uint32(b[sig+8:]))
	trailer := sigData + int64(binary.BigEndian.Uint32(b[sig+16+8:]))
	for name, tt := range map[string]struct {
		b    []byte
		want string
	}{
		"magic of the signature header": {edit(b, sig, 0), "signature header: at offset 96: no header begins here"},
		"no tags":                       {edit(b, sig+8, 0), "signature header: at offset 104: more entries than rpm takes, or none"},
		"33 tags":                       {edit(b, sig+8, 33), "signature header: at offset 104: more entries than rpm takes, or none"},
		"a million tags":                {edit(b, main+8, 1000000), "more entries than rpm takes"},
		"much data":                     {edit(b, sig+12, 64<<20+1), "signature header: at offset 108: more data than rpm takes"},
		"data behind the end":           {edit(b, sig+12, 64<<20), "signature header: at offset 96: unexpected EOF"},
		"main data behind the end":      {edit(b, main+12, 0x0ffffff0), "header: at offset " /* of the header */},
		"main magic":                    {edit(b, main, 1), "no header begins here"},
		"no region":                     {edit(b, sig+16, 268), "format 3"},
		"region of the wrong type":      {edit(b, sig+16+4, 6), "tag 62 at offset 112: no such type, or not that of this tag"},
		"region of the wrong count":     {edit(b, sig+16+12, 17), "tag 62 at offset 112: a count that cannot be"},
		"trailer outside":               {edit(b, sig+16+8, 1<<24), "tag 62 at offset 112: the data are not within the header"},
		"no trailer":                    {edit(b, trailer, 63), "the region's trailer is none"},
		"trailer's type":                {edit(b, trailer+4, 6), "the region's trailer is none"},
		"trailer's count":               {edit(b, trailer+12, 15), "the region's trailer is none"},
		"trailer of another region":     {edit(b, trailer+8, 0xffffff00), "the region is not the header's"},
		"trailer of no whole entries":   {edit(b, trailer+8, 0xfffffff1), "the region is not the header's"},
		"a positive trailer":            {edit(b, trailer+8, 16), "the region is not the header's"},
		"an offset outside":             {edit(b, at(b, sig, tagLabels)+8, 1<<27), "tag 274 at offset 160: the data are not within the header"},
		"an offset before":              {edit(b, at(b, sig, tagLabels)+8, 4), "tag 274 at offset 160: the data begin before the end"},
		"a negative offset":             {edit(b, at(b, sig, tagLabels)+8, 0xffffffff), "not within the header"},
		"an offset in the trailer":      {edit(b, at(b, sig, 1008)+8, uint32(trailer-sigData)), "not within the header"},
		"an odd offset":                 {edit(b, at(b, sig, tagLabelSize)+8, 1+uint32(binary.BigEndian.Uint32(b[at(b, sig, tagLabelSize)+8:]))), "the offset is no multiple of the size"},
		"a count of none":               {edit(b, at(b, sig, tagLabels)+12, 0), "a count that cannot be"},
		"a count too large":             {edit(b, at(b, sig, tagLabels)+12, 1<<20), "a count that cannot be"},
		"a negative count":              {edit(b, at(b, sig, 1004)+12, 0xffffffff), "not within the header"},
		"more labels than there are":    {edit(b, at(b, sig, tagLabels)+12, 0xfffff), "not within the header"},
		"a type that is none":           {edit(b, at(b, sig, tagLabels)+4, 10), "no such type"},
		"type zero":                     {edit(b, at(b, sig, tagLabels)+4, 0), "no such type"},
		"labels of another type":        {edit(b, at(b, sig, tagLabels)+4, 7), "tag 274 at offset 160: no such type, or not that of this tag"},
		"a tag of a region":             {edit(b, at(b, sig, tagLabels), 61), "no such tag"},
		"a negative tag":                {edit(b, at(b, sig, tagLabels), 1<<31), "no such tag"},
		"labels twice":                  {edit(b, at(b, sig, tagSHA256), tagLabels), "it is there twice"},
		"a digest of another header":    {edit(b, main+16+16*3, 1003), "the package is damaged: its header is sha1:"},
		"no package":                    {edit(b, 0, 0x7f454c46), "it is no RPM package"},
		"an empty file":                 {nil, "it is no RPM package"},
		"half a lead":                   {b[:50], "lead: at offset 0: unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Read(bytes.NewReader(tt.b), int64(len(tt.b)))
			if p != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

// A package that ends anywhere in its head is said to.
func TestTruncated(t *testing.T) {
	for _, format := range []int{4, 6} {
		b := labelled(t, pkg(format).Bytes())
		for n := range parse(t, b).Payload {
			p, err := Read(bytes.NewReader(b[:n]), n)
			if p != nil || !errors.Is(err, io.ErrUnexpectedEOF) && err != ErrNoPackage {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}
	}
}

// rest are packages whose headers hold what they should not.
func TestHeaders(t *testing.T) {
	change := func(f func(tags []rpmtest.Tag) []rpmtest.Tag) rpmtest.Package {
		p := pkg(4)
		p.Header = f
		return p
	}
	replace := func(tag rpmtest.Tag) rpmtest.Package {
		return change(func(tags []rpmtest.Tag) []rpmtest.Tag {
			i := slices.IndexFunc(tags, func(t rpmtest.Tag) bool { return t.Tag == tag.Tag })
			tags[i] = tag
			return tags
		})
	}
	without := func(tag uint32) rpmtest.Package {
		return change(func(tags []rpmtest.Tag) []rpmtest.Tag {
			return slices.DeleteFunc(tags, func(t rpmtest.Tag) bool { return t.Tag == tag })
		})
	}
	with := func(tag rpmtest.Tag) rpmtest.Package {
		return change(func(tags []rpmtest.Tag) []rpmtest.Tag { return append(tags, tag) })
	}
	six := func(f func(tags []rpmtest.Tag) []rpmtest.Tag) rpmtest.Package {
		p := pkg(6)
		p.Signature = f
		return p
	}
	for name, tt := range map[string]struct {
		p    rpmtest.Package
		want string
	}{
		"source package":        {without(1044), "source package"},
		"marked source package": {with(rpmtest.Int32(1106, 1)), "source package"},
		"delta package":         {replace(rpmtest.String(1124, "drpm")), "delta package"},
		"no digests":            {without(1035), "no digests"},
		"short digests":         {replace(rpmtest.Strings(1035, "", "12", "", "", "", "", "")), "tag 1035 at offset "},
		"wrong digests":         {replace(rpmtest.Strings(1035, "", strings.Repeat("x", 64), "", "", "", "", "")), "no digest of the algorithm"},
		"fewer digests":         {replace(rpmtest.Strings(1035, "")), "a count that cannot be"},
		"no modes":              {without(1030), "it is missing"},
		"modes of 32 bits":      {replace(rpmtest.Int32(1030, 1, 2, 3, 4, 5, 6, 7)), "not that of this tag"},
		"no flags":              {without(1037), "it is missing"},
		"no sizes":              {without(1028), "it is missing"},
		"no directories":        {without(1118), "it is missing"},
		"no indexes":            {without(1116), "it is missing"},
		"a directory too far":   {replace(rpmtest.Int32(1116, 0, 1, 2, 3, 4, 5, 7)), "a directory that is not there"},
		"a name with a slash":   {replace(rpmtest.Strings(1117, "a", "b", "c", "d/..", "e", "f", "g")), "a name that no file can have"},
		"a name of dots":        {replace(rpmtest.Strings(1117, "a", "b", "c", "..", "e", "f", "g")), "a name that no file can have"},
		"another format":        {with(rpmtest.Int32(5114, 7)), "no format that is known"},
		"an unknown digest":     {replace(rpmtest.Int32(5011, 99)), "no digest algorithm that is known"},
		"two digests' numbers":  {replace(rpmtest.Int32(5011, 8, 8)), "a count that cannot be"},
		"old names":             {change(func(tags []rpmtest.Tag) []rpmtest.Tag { return slices.Insert(tags, 12, rpmtest.Strings(1027, "/a")) }), "format 3"},
		"format 6, unsorted": {six(func(tags []rpmtest.Tag) []rpmtest.Tag { return append(tags, rpmtest.Binary(900, []byte("x"))) }),
			"tags are not sorted"},
		"format 6, twice": {six(func(tags []rpmtest.Tag) []rpmtest.Tag { return append(tags, rpmtest.Binary(999, []byte("x"))) }), "it is there twice"},
		"a digest that is none": {rpmtest.Package{Format: 4, Signature: func(tags []rpmtest.Tag) []rpmtest.Tag { tags[0] = rpmtest.String(269, "zz"); return tags }},
			"tag 269 at offset 128: it is no digest"},
	} {
		t.Run(name, func(t *testing.T) {
			b := tt.p.Bytes()
			p, err := Read(bytes.NewReader(b), int64(len(b)))
			if p != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

// What would be larger than rpm takes is not made.
func TestLimits(t *testing.T) {
	b := pkg(4).Bytes()
	p := parse(t, b)
	labels := make([][]byte, len(p.Files))
	labels[1] = make([]byte, maxLabel+1)
	if _, err := p.Head(labels); !isLimit(err) {
		t.Errorf("a long label: %v", err)
	}
	many := rpmtest.Package{Format: 4, Algorithm: 8}
	for i := range 600 {
		many.Files = append(many.Files, rpmtest.File{Path: "/f" + hexOf([]byte{byte(i >> 8), byte(i)})})
	}
	p = parse(t, many.Bytes())
	labels = slices.Repeat([][]byte{make([]byte, maxLabel)}, len(p.Files))
	if _, err := p.Head(labels); !isLimit(err) {
		t.Errorf("much data: %v", err)
	}
	full := pkg(4)
	full.Signature = func(tags []rpmtest.Tag) []rpmtest.Tag {
		for i := len(tags); i < 30; i++ {
			tags = append(tags, rpmtest.Binary(uint32(2000+i), []byte("x")))
		}
		return tags
	}
	p = parse(t, full.Bytes())
	labels = make([][]byte, len(p.Files))
	labels[1] = []byte{3}
	if _, err := p.Head(labels); !isLimit(err) {
		t.Errorf("33 entries: %v", err)
	}
}

func isLimit(err error) bool {
	_, ok := errors.AsType[*LimitError](err)
	return ok
}

// FuzzRead: what is read has a head that is written as it was, unless it is odd; and
// what is written with the same labels is read again with them.
func FuzzRead(f *testing.F) {
	for _, format := range []int{4, 6} {
		p := pkg(format)
		p.Files = p.Files[:3]
		p.Signature = func(tags []rpmtest.Tag) []rpmtest.Tag { // no digests, which would be those of one header alone
			return []rpmtest.Tag{rpmtest.Binary(tags[len(tags)-1].Tag, make([]byte, 3))}
		}
		f.Add(p.Bytes())
		f.Add(labelled(f, p.Bytes()))
		p.Signature = nil
		f.Add(p.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if p != nil {
				t.Errorf("%+v and %v", p, err)
			}
			return
		}
		if was := b[leadSize:p.Header]; !p.Odd && !bytes.Equal(p.sig.encode(p.sig.entries), was) {
			t.Error("the signature header is written as another")
		}
		labels := make([][]byte, len(p.Files))
		for i := range labels {
			labels[i] = []byte{3, 2, byte(i)}
		}
		head, err := p.Head(labels)
		if err != nil {
			t.Skip(err)
		}
		again := parse(t, append(head, b[p.Header:]...))
		if again.Odd || again.Labels != nil {
			t.Errorf("%+v", again)
		}
		for i := range labels {
			if !bytes.Equal(again.Files[i].Label, labels[i]) {
				t.Errorf("%s has %x", again.Files[i].Path, again.Files[i].Label)
			}
		}
		payload := p.NewPayload(bytes.NewReader(b[p.Payload:]))
		for {
			if _, _, err := payload.Next(); err != nil {
				return
			}
		}
	})
}
