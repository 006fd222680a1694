// Package rpmtest makes RPM packages for tests, by the format's description and
// without package rpmfile: what rpm makes of them, the tests of rpmfile ask it. Only
// tests import it.
package rpmtest

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path"
)

// A File is one of a package. A directory ends in a slash.
type File struct {
	Path    string // absolute
	Content string
	Mode    uint16 // with the type; 0 for 0100644
	User    string // empty for root
	Flags   uint32
	Inode   uint32 // 0 for one of its own
}

// Ghost is the flag of files that are not in the payload.
const Ghost = 1 << 6

// A Tag is an entry of a header.
type Tag struct {
	Tag, Type, Count uint32
	Data             []byte
}

// A Package is what Bytes makes.
type Package struct {
	Format int // 4 or 6
	Files  []File
	// Algorithm is rpm's number of that of the files' digests: 1, 2, 8 or 10;
	// 0 says nothing in the header, and is 1.
	Algorithm uint32
	// Compress compresses the payload, with what Compressor says; nil leaves it.
	Compress   func([]byte) []byte
	Compressor string
	// Stripped has entries of the payload without names; in format 6 they
	// always are.
	Stripped bool
	// Signature and Header change the two headers' entries before they are
	// written; nil changes nothing.
	Signature, Header func([]Tag) []Tag
	// Payload changes what is packed.
	Payload func([]byte) []byte
}

// Sum returns the digest of content by rpm's number of the algorithm.
func Sum(algorithm uint32, content string) []byte {
	b := []byte(content)
	switch algorithm {
	case 2:
		s := sha1.Sum(b)
		return s[:]
	case 8:
		s := sha256.Sum256(b)
		return s[:]
	case 10:
		s := sha512.Sum512(b)
		return s[:]
	}
	s := md5.Sum(b)
	return s[:]
}

func isRegular(f File) bool { return f.mode()&0o170000 == 0o100000 }

func (f File) mode() uint16 {
	switch {
	case f.Mode != 0:
		return f.Mode
	case f.Path[len(f.Path)-1] == '/':
		return 0o040755
	}
	return 0o100644
}

// name is the path without the slash of a directory.
func (f File) name() string { return path.Clean(f.Path) }

// Bytes makes the package.
func (p Package) Bytes() []byte {
	payload := p.cpio()
	if p.Payload != nil {
		payload = p.Payload(payload)
	}
	if p.Compress != nil {
		payload = p.Compress(payload)
	}
	tags := p.header(payload)
	if p.Header != nil {
		tags = p.Header(tags)
	}
	header := Encode(63, tags)
	sig := p.signature(header, payload)
	if p.Signature != nil {
		sig = p.Signature(sig)
	}
	lead := make([]byte, 96)
	copy(lead, "\xed\xab\xee\xdb\x03\x00\x00\x00\x00\x01test-1-1")
	if p.Format == 6 {
		lead[4] = 4
	}
	binary.BigEndian.PutUint16(lead[76:], 1)
	binary.BigEndian.PutUint16(lead[78:], 5)
	b := append(lead, Encode(62, sig)...)
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return append(append(b, header...), payload...)
}

// Encode writes a header with a region.
func Encode(region uint32, tags []Tag) []byte {
	var index, data []byte
	put := func(b []byte, numbers ...uint32) []byte {
		for _, n := range numbers {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		return b
	}
	for _, t := range tags {
		for align := map[uint32]int{3: 2, 4: 4, 5: 8}[t.Type]; align > 0 && len(data)%align != 0; {
			data = append(data, 0)
		}
		index = put(index, t.Tag, t.Type, uint32(len(data)), t.Count)
		data = append(data, t.Data...)
	}
	first := put(nil, region, 7, uint32(len(data)), 16)
	data = put(data, region, 7, uint32(-16*(len(tags)+1)), 16)
	b := put([]byte("\x8e\xad\xe8\x01\x00\x00\x00\x00"), uint32(len(tags)+1), uint32(len(data)))
	return append(append(append(b, first...), index...), data...)
}

// String is an entry of one.
func String(tag uint32, s string) Tag { return Tag{tag, 6, 1, append([]byte(s), 0)} }

// Strings is an entry of several.
func Strings(tag uint32, s ...string) Tag {
	var b []byte
	for _, s := range s {
		b = append(append(b, s...), 0)
	}
	return Tag{tag, 8, uint32(len(s)), b}
}

// Int32 is an entry of numbers.
func Int32(tag uint32, n ...uint32) Tag {
	var b []byte
	for _, n := range n {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return Tag{tag, 4, uint32(len(n)), b}
}

// Int16 is an entry of small numbers.
func Int16(tag uint32, n ...uint16) Tag {
	var b []byte
	for _, n := range n {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return Tag{tag, 3, uint32(len(n)), b}
}

// Int64 is an entry of large numbers.
func Int64(tag uint32, n ...uint64) Tag {
	var b []byte
	for _, n := range n {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return Tag{tag, 5, uint32(len(n)), b}
}

// Binary is an entry of bytes.
func Binary(tag uint32, b []byte) Tag { return Tag{tag, 7, uint32(len(b)), b} }

// inode is that of a file by its index.
func (p Package) inode(i int) uint32 {
	if n := p.Files[i].Inode; n != 0 {
		return n
	}
	return uint32(1000 + i)
}

// isLast reports whether no later file is a hard link of this one.
func (p Package) isLast(i int) bool {
	for j := i + 1; j < len(p.Files); j++ {
		if p.inode(j) == p.inode(i) {
			return false
		}
	}
	return true
}

func (p Package) header(payload []byte) []Tag {
	sum := sha256.Sum256(payload)
	tags := []Tag{
		Strings(100, "C"), String(1000, "test"), String(1001, "1"), String(1002, "1"), {1004, 9, 1, []byte("s\x00")}, {1005, 9, 1, []byte("d\x00")},
		Int32(1006, 1700000000), Int32(1009, 1), String(1014, "none"), {1016, 9, 1, []byte("g\x00")}, String(1021, "linux"), String(1022, "noarch"),
	}
	if p.Format == 6 {
		tags[7] = Int64(5009, 1)
		tags = append(tags[:7], tags[8:]...) // sizes have 64 bits
	}
	tags = append(tags, p.lists()...)
	format := []Tag{String(1124, "cpio")}
	if p.Compressor != "" {
		format = append(format, String(1125, p.Compressor), String(1126, "9"))
	}
	tags = append(tags, format...)
	if p.Format == 6 {
		var sizes []uint64
		for _, f := range p.Files {
			sizes = append(sizes, uint64(len(f.Content)))
		}
		if len(sizes) > 0 {
			tags = append(tags, Int64(5008, sizes...))
		}
		tags = append(tags, Int64(5009, 1))
	}
	if p.Algorithm != 0 {
		tags = append(tags, Int32(5011, p.Algorithm))
	}
	tags = append(tags, String(5062, "utf-8"), Strings(5092, hex.EncodeToString(sum[:])), Int32(5093, 8))
	if p.Format == 6 {
		tags = append(tags, Int32(5114, 6))
	}
	return tags
}

// lists are the entries about files.
func (p Package) lists() []Tag {
	var sizes, flags, inodes, devices, dirs []uint32
	var modes []uint16
	var digests, users, links, names, dirNames []string
	for i, f := range p.Files {
		digest, link := "", ""
		if isRegular(f) && f.Flags&Ghost == 0 {
			digest = hex.EncodeToString(Sum(p.Algorithm, f.Content))
		}
		if f.mode()&0o170000 == 0o120000 {
			link = f.Content
		}
		user := f.User
		if user == "" {
			user = "root"
		}
		sizes, flags = append(sizes, uint32(len(f.Content))), append(flags, f.Flags)
		inodes, devices = append(inodes, p.inode(i)), append(devices, 1)
		modes, digests, users, links = append(modes, f.mode()), append(digests, digest), append(users, user), append(links, link)
		names, dirs, dirNames = append(names, path.Base(f.name())), append(dirs, uint32(i)), append(dirNames, path.Dir(f.name())+"/")
		if path.Dir(f.name()) == "/" {
			dirNames[i] = "/"
		}
	}
	if len(names) == 0 {
		return []Tag{String(1044, "test-1-1.src.rpm")}
	}
	small := func(n int) []uint16 { return make([]uint16, n) }
	none := make([]uint32, len(names))
	tags := []Tag{
		Int32(1028, sizes...), Int16(1030, modes...), Int16(1033, small(len(names))...), Int32(1034, none...), Strings(1035, digests...),
		Strings(1036, links...), Int32(1037, flags...), Strings(1039, users...), Strings(1040, users...), String(1044, "test-1-1.src.rpm"),
		Int32(1095, devices...), Int32(1096, inodes...), Int32(1116, dirs...), Strings(1117, names...), Strings(1118, dirNames...),
	}
	if p.Format == 6 {
		return tags[1:]
	}
	return tags
}

func (p Package) signature(header, payload []byte) []Tag {
	one, two, three := sha1.Sum(header), sha256.Sum256(header), sha3.Sum256(header)
	if p.Format == 6 {
		return []Tag{String(273, hex.EncodeToString(two[:])), String(279, hex.EncodeToString(three[:])), Binary(999, make([]byte, 4128))}
	}
	all := md5.Sum(append(bytes.Clone(header), payload...))
	return []Tag{
		String(269, hex.EncodeToString(one[:])), String(273, hex.EncodeToString(two[:])), Int32(1000, uint32(len(header)+len(payload))),
		Binary(1004, all[:]), Int32(1007, uint32(len(payload))), Binary(1008, make([]byte, 4128)),
	}
}

// cpio packs the files.
func (p Package) cpio() []byte {
	var b []byte
	pad := func() {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	newc := func(name string, i, mode, size int) {
		b = fmt.Appendf(b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", i+1, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
		pad()
	}
	for i, f := range p.Files {
		content := f.Content
		switch {
		case f.Flags&Ghost != 0:
			continue
		case isRegular(f) && !p.isLast(i), f.mode()&0o170000 == 0o040000:
			content = ""
		}
		if p.Stripped || p.Format == 6 {
			b = fmt.Appendf(b, "07070X%08x", i)
			pad()
		} else {
			newc("."+f.name(), i, int(f.mode()), len(content))
		}
		b = append(b, content...)
		pad()
	}
	newc("TRAILER!!!", -1, 0, 0)
	return b
}
