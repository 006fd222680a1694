package integrate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
)

// A mark is the last line of a file that was installed.
type mark struct {
	mode fs.FileMode
	made int // directories that were made for the file
}

// markFormat is a mark up to the digest.
const markFormat = "# Written by imaseal: mode=%04o made=%d sha256="

// seal returns a text with its mark.
func (m mark) seal(text []byte) []byte {
	b := bytes.Clone(text)
	if len(b) > 0 && b[len(b)-1] != '\n' {
		b = append(b, '\n')
	}
	b = fmt.Appendf(b, markFormat, m.mode, m.made)
	sum := sha256.Sum256(b)
	return append(hex.AppendEncode(b, sum[:]), '\n')
}

// parseMark returns the mark of a file, if it has one that is right.
func parseMark(b []byte) (m mark, ok bool) {
	const digits = 2 * sha256.Size
	cut := len(b) - digits - 1
	if cut < 0 || b[len(b)-1] != '\n' {
		return mark{}, false
	}
	line := b[bytes.LastIndexByte(b[:cut], '\n')+1 : cut]
	if n, err := fmt.Sscanf(string(line), markFormat, &m.mode, &m.made); n != 2 || err != nil {
		return mark{}, false
	}
	text := b[:len(b)-len(line)-digits-1]
	if m.made < 0 || !bytes.Equal(m.seal(text), b) {
		return mark{}, false
	}
	return m, true
}
