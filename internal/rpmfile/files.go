package rpmfile

import (
	"encoding/hex"
	"errors"
	"strings"

	"imaseal/hash"
)

// Tags of the header.
const (
	tagFileSizes      = 1028
	tagFileModes      = 1030
	tagFileDigests    = 1035
	tagFileFlags      = 1037
	tagFileUser       = 1039
	tagSourceRPM      = 1044
	tagFileDevices    = 1095
	tagFileInodes     = 1096
	tagSourcePackage  = 1106
	tagDirIndexes     = 1116
	tagBaseNames      = 1117
	tagDirNames       = 1118
	tagOldNames       = 1027
	tagPayloadFormat  = 1124
	tagCompressor     = 1125
	tagLongFileSizes  = 5008
	tagFileDigestAlgo = 5011
	tagFormat         = 5114
)

// ghost marks files that are not in the payload (RPMFILE_GHOST of
// include/rpm/rpmfiles.h).
const ghost = 1 << 6

// Bits of modes (inode(7)).
const (
	modeType    = 0o170000
	modeRegular = 0o100000
	modeLink    = 0o120000
	modeDir     = 0o040000
)

// algorithms are rpm's, which are OpenPGP's (include/rpm/rpmcrypto.h).
var algorithms = map[uint64]hash.Algorithm{
	1: hash.MD5, 2: hash.SHA1, 3: hash.RMD160, 8: hash.SHA256, 9: hash.SHA384, 10: hash.SHA512, 11: hash.SHA224,
	12: hash.SHA3_256, 14: hash.SHA3_512,
}

// What can be wrong with the list of files.
var (
	errAlgorithm = errors.New("no digest algorithm that is known")
	errDigest    = errors.New("no digest of the algorithm of this package")
	errDirIndex  = errors.New("a directory that is not there")
	errName      = errors.New("a name that no file can have")
)

// A File is one that a package has.
type File struct {
	Path  string // absolute, as it is in the package
	User  string
	Mode  uint32 // st_mode of stat(2), the type bits included
	Size  int64
	Ghost bool // not in the payload
	// Digest is that of the content; zero for what has none.
	Digest hash.Digest
	// Label is the one that is there, nil for none. What is no label is there
	// as it stands.
	Label []byte
	// Last is the index of the last of the files that are hard links of each
	// other, which has their content in the payload; the file's own for others.
	Last int
}

// IsRegular reports whether it is a regular file.
func (f *File) IsRegular() bool { return f.Mode&modeType == modeRegular }

// IsDir reports whether it is a directory.
func (f *File) IsDir() bool { return f.Mode&modeType == modeDir }

// IsSymlink reports whether it is a symbolic link.
func (f *File) IsSymlink() bool { return f.Mode&modeType == modeLink }

// readMain takes from the header what is of use.
func (p *Package) readMain(h *header) error {
	format, err := h.number(tagFormat)
	if err != nil {
		return err
	}
	p.Format = 4
	switch format {
	case 0, 4:
	case 6:
		p.Format = 6
	default:
		return h.error(tagFormat, errors.New("no format that is known"))
	}
	payload, err := h.text(tagPayloadFormat)
	if err != nil {
		return err
	}
	if p.Compressor, err = h.text(tagCompressor); err != nil {
		return err
	}
	switch {
	case payload == "drpm":
		return ErrDelta
	case h.find(tagSourcePackage) != nil || h.find(tagSourceRPM) == nil:
		return ErrSource
	case h.find(tagOldNames) != nil:
		return ErrFormat3
	}
	return p.readFiles(h)
}

// A lister reads arrays that have a value for each file, until the first error.
type lister struct {
	h     *header
	files int
	err   error
}

func (l *lister) checked(tag uint32, n int, isNone bool, err error) bool {
	if l.err == nil {
		l.err = err
	}
	if l.err == nil && !isNone && n != l.files {
		l.err = l.h.error(tag, errCount)
	}
	return l.err == nil && !isNone
}

func (l *lister) strings(tag uint32) []string {
	all, err := l.h.strings(tag)
	if !l.checked(tag, len(all), all == nil, err) {
		return nil
	}
	return all
}

func (l *lister) numbers(tag, kind uint32) []uint64 {
	all, err := l.h.numbers(tag, kind)
	if !l.checked(tag, len(all), all == nil, err) {
		return nil
	}
	return all
}

// need says that an array must be there.
func (l *lister) need(tag uint32, isThere bool) {
	if l.err == nil && !isThere {
		l.err = l.h.error(tag, errors.New("it is missing"))
	}
}

func (p *Package) readFiles(h *header) error {
	names, err := h.strings(tagBaseNames)
	if err != nil || names == nil {
		return err
	}
	l := &lister{h: h, files: len(names)}
	paths := l.paths(names)
	modes, flags := l.numbers(tagFileModes, typeInt16), l.numbers(tagFileFlags, typeInt32)
	users, digests := l.strings(tagFileUser), l.strings(tagFileDigests)
	sizes := l.sizes()
	inodes, devices := l.numbers(tagFileInodes, typeInt32), l.numbers(tagFileDevices, typeInt32)
	l.need(tagFileModes, modes != nil)
	l.need(tagFileFlags, flags != nil)
	if l.err != nil {
		return l.err
	}
	p.Files = make([]File, len(names))
	for i := range p.Files {
		f := &p.Files[i]
		*f = File{Path: paths[i], Mode: uint32(modes[i]), Size: int64(sizes[i]), Ghost: flags[i]&ghost != 0, Last: i}
		if f.Size < 0 {
			return h.error(tagLongFileSizes, errCount)
		}
		if users != nil {
			f.User = users[i]
		}
	}
	p.link(inodes, devices)
	return p.readDigests(h, digests)
}

// paths puts directories and names together.
func (l *lister) paths(names []string) []string {
	indexes := l.numbers(tagDirIndexes, typeInt32)
	dirs, err := l.h.strings(tagDirNames)
	if l.err == nil {
		l.err = err
	}
	l.need(tagDirIndexes, indexes != nil)
	l.need(tagDirNames, dirs != nil)
	if l.err != nil {
		return nil
	}
	paths := make([]string, len(names))
	for i, name := range names {
		switch {
		case indexes[i] >= uint64(len(dirs)):
			l.err = l.h.error(tagDirIndexes, errDirIndex)
			return nil
		case strings.Contains(name, "/"), name == ".", name == "..":
			l.err = l.h.error(tagBaseNames, errName)
			return nil
		}
		paths[i] = dirs[indexes[i]] + name
		if !strings.HasPrefix(paths[i], "/") {
			paths[i] = "/" + paths[i]
		}
	}
	return paths
}

// sizes are of 32 or 64 bits.
func (l *lister) sizes() []uint64 {
	sizes := l.numbers(tagFileSizes, typeInt32)
	if sizes == nil {
		sizes = l.numbers(tagLongFileSizes, typeInt64)
	}
	l.need(tagFileSizes, sizes != nil)
	return sizes
}

// link finds the files that are hard links of each other (rpmfilesBuildNLink in
// lib/rpmfi.cc).
func (p *Package) link(inodes, devices []uint64) {
	if inodes == nil || devices == nil {
		return
	}
	type id struct{ dev, ino uint64 }
	last := make(map[id]int)
	isLinked := func(i int) bool { return p.Files[i].IsRegular() && !p.Files[i].Ghost && inodes[i] != 0 }
	for i := range p.Files {
		if isLinked(i) {
			last[id{devices[i], inodes[i]}] = i
		}
	}
	for i := range p.Files {
		if isLinked(i) {
			p.Files[i].Last = last[id{devices[i], inodes[i]}]
		}
	}
}

// readDigests gives the regular files their digests.
func (p *Package) readDigests(h *header, digests []string) error {
	number, err := h.number(tagFileDigestAlgo)
	if err != nil {
		return err
	}
	if number == 0 {
		number = 1 // packages that are old enough say nothing, and have MD5
	}
	algo, ok := algorithms[number]
	for i := range p.Files {
		f := &p.Files[i]
		if !f.IsRegular() || f.Ghost {
			continue
		}
		switch {
		case digests == nil:
			return ErrNoDigests
		case !ok:
			return h.error(tagFileDigestAlgo, errAlgorithm)
		case strings.Trim(digests[i], "0") == "":
			continue // none: empty, or zeros
		}
		sum, err := hex.DecodeString(digests[i])
		if err == nil {
			f.Digest, err = hash.NewDigest(algo, sum)
		}
		if err != nil {
			return h.error(tagFileDigests, errDigest)
		}
	}
	return nil
}

// Algorithm returns the algorithm with rpm's number, and false if that is none that
// the kernel has too.
func Algorithm(number uint64) (hash.Algorithm, bool) {
	a, ok := algorithms[number]
	return a, ok
}
