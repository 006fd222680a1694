// Package tarfile reads the headers of tar archives and changes the extended
// attributes in them, such that every byte that is not an attribute's stays what
// it was. Bytes in, values out: the contents of files pass it by.
//
// # The format
//
// An archive is a sequence of blocks of 512 bytes. Each entry has a header block
// and, for a file, its content, padded with zeros to whole blocks:
//
//	  0 100  name                     148   8  checksum of the block
//	100   8  mode                     156   1  type
//	108   8  owner                    157 100  what a link leads to
//	116   8  group                    257   8  magic and version
//	124  12  size of the content      345 155  what stands before the name (ustar)
//	136  12  time                     386  97  map of a sparse file (GNU)
//
// Numbers are octal text, or, with the first bit set, binary (GNU). Two blocks of
// zeros end the archive. Entries of the types x, g, L and K belong to the entry
// that follows: a PAX header (x) holds records that override the fields and add
// to them, a global one (g) holds them for all entries that follow, and L and K
// hold a name or a link's target that is too long for its field (GNU). See
// tar(5) of libarchive, "pax Interchange Format" in POSIX.1-2017, and "Tar
// Internals" in the manual of GNU tar.
//
// Attributes are records of a PAX header (package pax):
//
//	SCHILY.xattr.NAME       the value itself. All tools read it.
//	LIBARCHIVE.xattr.NAME   base64, and the name with %XX for odd characters.
//	RHT.security.selinux    text, without the zero byte that ends it in the
//	                        attribute. GNU tar alone reads it.
//
// # Why no library
//
// archive/tar gives values and drops bytes; github.com/vbatts/tar-split gives the
// bytes of whole headers beside the values of archive/tar, but not where in them a
// record is, and inherits what archive/tar does not apply (global headers) or
// reads in its own way. Here each byte belongs to something, and what tar
// programs read differently is an error rather than a guess: two PAX headers
// before one entry, a hard link that claims content, a name with a zero byte. The
// tests have archive/tar, GNU tar and libarchive read what comes out.
package tarfile

import (
	"fmt"

	"imaseal/internal/tarfile/pax"
)

// BlockSize is the unit of an archive, in bytes.
const BlockSize = 512

const (
	// maxMeta is how large the body of an x, L or K header may be, in bytes:
	// several times what the attributes and the path of a file can take.
	maxMeta = 1 << 20
	// maxGlobal is how large all records of global headers may be together:
	// they are copied when one is added.
	maxGlobal = 64 << 10
	// maxExtension is how large the map of an old GNU sparse file may be.
	maxExtension = 1 << 20
	// maxName is PATH_MAX without its zero byte: no file can be made by a
	// longer name.
	maxName = 4095
	// maxSparse is how large a sparse file may be: its holes cost nothing in
	// the archive, and are hashed all the same.
	maxSparse = 1 << 40
)

// A Kind says what an entry is for.
type Kind uint8

// The kinds.
const (
	File Kind = iota
	HardLink
	Symlink
	Directory
	Special // device or fifo
	// Other is no file, and has no name to answer for: a global header, or the
	// name of a volume.
	Other
	// Unknown is a type that tar programs extract as a file, if at all. Err
	// says so.
	Unknown
	// Zeros are blocks of zeros, which end an archive.
	Zeros
	// Rest is what stands behind the end, and is no entry.
	Rest
)

// An Entry is one entry of an archive, with the headers that belong to it; or a
// run of blocks that are none.
type Entry struct {
	// Offset is where the first of its blocks stands, in bytes.
	Offset int64
	Kind   Kind
	// Name and Link are as in the archive: of any bytes but zero ones.
	Name, Link string
	// Mode has the permission bits, 07777; with UID and GID it is set for
	// files only.
	Mode, UID, GID uint32
	// Size is that of the file, in bytes, and Stored what of it follows in
	// the archive, without padding. They differ for sparse files. For Zeros,
	// Stored is how many zero bytes there are, which are not read as content.
	Size, Stored int64
	// AfterEnd says that zero blocks stand before it: most tar programs do
	// not see it.
	AfterEnd bool
	// Err says why what is stored cannot be taken for a file. The rest of the
	// archive is no worse for it.
	Err error

	head    []byte      // all header blocks
	main    int         // where the entry's own block begins in head
	pax     int         // where the block of its PAX header begins, -1 for none
	records pax.Records // of its PAX header, in head
	global  pax.Records // of the global headers before it
	sparse  sparseForm
}

// Head returns the bytes before the content, which the caller does not change.
func (e *Entry) Head() []byte { return e.head }

// Padded returns how many bytes the content takes in the archive.
func (e *Entry) Padded() int64 { return pad(e.Stored) }

// pad rounds up to whole blocks.
func pad(n int64) int64 { return (n + BlockSize - 1) &^ (BlockSize - 1) }

// A FormatError says what is wrong in an archive, and where.
type FormatError struct {
	Entry  string // the name, as far as it is known
	Offset int64  // of the header block, in bytes of the archive
	Err    error
}

func (e *FormatError) Error() string {
	if e.Entry == "" {
		return fmt.Sprintf("at offset %d: %v", e.Offset, e.Err)
	}
	return fmt.Sprintf("entry %q at offset %d: %v", short(e.Entry), e.Offset, e.Err)
}

func (e *FormatError) Unwrap() error { return e.Err }

// short cuts names that would fill a screen.
func short(name string) string {
	const most = 256
	if len(name) <= most {
		return name
	}
	return name[:most] + "..."
}

// A TruncatedError says that an archive ends too early.
type TruncatedError struct {
	What string
	// NoEnd says that nothing is missing but the end, as far as one can tell.
	NoEnd bool
}

func (e *TruncatedError) Error() string { return "the archive ends " + e.What }

// A ChecksumError says that a block is no header, or a damaged one.
type ChecksumError struct{ Says, Sum int64 }

func (e *ChecksumError) Error() string {
	if e.Says < 0 {
		return "this is no header: it has no checksum"
	}
	return fmt.Sprintf("the header has the checksum %d and adds up to %d", e.Says, e.Sum)
}

// A ValueError says that a field of a header, or a record, makes no sense.
type ValueError struct{ Field, Value, Why string }

func (e *ValueError) Error() string {
	return fmt.Sprintf("%s %q %s", e.Field, short(e.Value), e.Why)
}

// A LimitError says that something is larger than is read.
type LimitError struct {
	What      string
	Size, Max int64 // bytes, if What says nothing else
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s of %d, and at most %d can be", e.What, e.Size, e.Max)
}

// An UnsupportedError says that something is of a form that tar programs read
// differently, or that few read.
type UnsupportedError struct{ What string }

func (e *UnsupportedError) Error() string { return e.What + " is not supported" }
