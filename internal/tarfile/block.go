package tarfile

import (
	"bytes"
	"math"
	"path"
	"strconv"
)

// A field is a part of a header block.
type field struct {
	name     string
	at, size int
}

// The fields that are read.
var (
	fieldName     = field{"name", 0, 100}
	fieldMode     = field{"mode", 100, 8}
	fieldUID      = field{"uid", 108, 8}
	fieldGID      = field{"gid", 116, 8}
	fieldSize     = field{"size", 124, 12}
	fieldChecksum = field{"checksum", 148, 8}
	fieldLink     = field{"link name", 157, 100}
	fieldMagic    = field{"magic", 257, 8}
	fieldPrefix   = field{"prefix", 345, 155}
	// Those of star: a shorter prefix, times, and a word at the end.
	fieldStarPrefix = field{"prefix", 345, 131}
	fieldStarMagic  = field{"magic", 508, 4}
	// Those of GNU tar.
	fieldSparse     = field{"sparse map", 386, 4 * sparseEntry}
	fieldExtended   = field{"sparse map continues", 482, 1}
	fieldRealSize   = field{"size of the sparse file", 483, 12}
	extendedSparse  = field{"sparse map", 0, 21 * sparseEntry}
	extendedGoingOn = field{"sparse map continues", 504, 1}
)

const typeAt = 156

const (
	magicUSTAR = "ustar\x00" // and the version "00"
	magicGNU   = "ustar  \x00"
	magicStar  = "tar\x00"
)

func (f field) of(block []byte) []byte { return block[f.at : f.at+f.size] }

// text returns what stands before the first zero byte.
func (f field) text(block []byte) string { return cString(f.of(block)) }

func cString(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// number returns a number that is not negative.
func (f field) number(block []byte) (int64, error) {
	b := f.of(block)
	n, why := parseNumber(b)
	if why != "" {
		return 0, &ValueError{Field: f.name, Value: string(b), Why: why}
	}
	return n, nil
}

const (
	whyNegative = "is negative"
	whyHuge     = "is too large"
	whyNoNumber = "is no number"
)

// parseNumber parses octal text between blanks, which ends at a zero byte, or a
// binary number of GNU tar. It returns what is wrong, if something is. Nothing at
// all is 0, as to all tar programs.
func parseNumber(b []byte) (n int64, why string) {
	if b[0]&0x80 != 0 {
		return parseBinary(b)
	}
	digits, rest, _ := bytes.Cut(b, []byte{0})
	digits = bytes.Trim(digits, " ")
	if len(digits) == 0 {
		// Zero bytes before digits mean 0 to some, and nothing to others.
		if len(bytes.Trim(rest, " \x00")) > 0 {
			return 0, whyNoNumber
		}
		return 0, ""
	}
	u, err := strconv.ParseUint(string(digits), 8, 63)
	switch {
	case err == nil:
		return int64(u), ""
	case digits[0] == '-':
		return 0, whyNegative
	}
	return 0, whyNoNumber
}

// parseBinary parses a number in base 256. A first byte of 0xff is a negative
// one's.
func parseBinary(b []byte) (n int64, why string) {
	if b[0]&0x40 != 0 {
		return 0, whyNegative
	}
	var u uint64
	for i, c := range b {
		if i == 0 {
			c &= 0x3f
		}
		if u > math.MaxInt64>>8 {
			return 0, whyHuge
		}
		u = u<<8 | uint64(c)
	}
	return int64(u), ""
}

// setNumber writes a number as octal text in the manner of the one that is there:
// as many zeros or blanks before it, and the same end. One that has another
// manner, or no room, gets the usual one.
func (f field) setNumber(block []byte, n int64) {
	b := f.of(block)
	digits := strconv.FormatInt(n, 8)
	end := len(bytes.TrimRight(b, " \x00"))
	begin := end - len(bytes.TrimLeft(b[:end], " "))
	isLeft := begin == 0 && b[0] != '0' && end < f.size-2
	if b[0]&0x80 != 0 || isLeft || len(digits) > end {
		copy(b, bytes.Repeat([]byte{'0'}, f.size-1))
		b[f.size-1] = 0
		begin, end = 0, f.size-1
	}
	filler := byte('0')
	if begin > 0 && b[begin] != '0' {
		filler = ' '
	}
	for i := begin; i < end-len(digits); i++ {
		b[i] = filler
	}
	copy(b[end-len(digits):], digits)
}

// sums returns both checksums: of the bytes, and of the bytes as signed ones,
// which old programs have added up. The checksum itself counts as blanks.
func sums(block []byte) (unsigned, signed int64) {
	for i, c := range block {
		if i >= fieldChecksum.at && i < fieldChecksum.at+fieldChecksum.size {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return unsigned, signed
}

// checkSum returns a *ChecksumError if the block is no header.
func checkSum(block []byte) error {
	says, why := parseNumber(fieldChecksum.of(block))
	if why != "" || len(bytes.Trim(fieldChecksum.of(block), " \x00")) == 0 {
		return &ChecksumError{Says: -1}
	}
	unsigned, signed := sums(block)
	if says != unsigned && says != signed {
		return &ChecksumError{Says: says, Sum: unsigned}
	}
	return nil
}

// setSum writes the checksum, which has been added up as unsigned bytes or not.
func setSum(block []byte, isSigned bool) {
	unsigned, signed := sums(block)
	if isSigned {
		unsigned = signed
	}
	fieldChecksum.setNumber(block, unsigned)
}

// isSigned reports whether the checksum is one that was added up as signed bytes.
func isSigned(block []byte) bool {
	says, _ := parseNumber(fieldChecksum.of(block))
	unsigned, _ := sums(block)
	return says != unsigned
}

var zeroBlock [BlockSize]byte

func isZero(block []byte) bool { return bytes.Equal(block, zeroBlock[:]) }

// appendHeader appends the block of a new PAX header for an entry of this name. Tar
// programs without PAX make a file of its name; the same bytes come each time.
func appendHeader(head []byte, entry string) []byte {
	head = append(head, zeroBlock[:]...)
	b := head[len(head)-BlockSize:]
	copy(fieldName.of(b)[:fieldName.size-1], "PaxHeaders"+path.Clean("/"+path.Base(entry)))
	copy(fieldMode.of(b), "0000644")
	copy(fieldUID.of(b), "0000000")
	copy(fieldGID.of(b), "0000000")
	copy(fieldSize.of(b), "00000000000")
	copy(b[136:148], "00000000000") // time
	copy(fieldChecksum.of(b), "000000\x00 ")
	b[typeAt] = 'x'
	copy(fieldMagic.of(b), magicUSTAR+"00")
	return head
}
