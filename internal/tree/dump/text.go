package dump

import (
	"encoding/base64"
	"fmt"
	"strings"

	"imaseal/internal/labelfile"
)

// setfattr writes a record as getfattr --dump does. In names a backslash, and what
// would end the line, are three octal digits behind a backslash: quote() in
// libmisc/quote.c of attr, unquote() in libmisc/unquote.c.
func setfattr(b []byte, r labelfile.Record) ([]byte, error) {
	b = append(b, "# file: "...)
	for i := range len(r.Path) {
		switch c := r.Path[i]; c {
		case '\\', '\n', '\r':
			b = fmt.Appendf(b, `\%03o`, c)
		default:
			b = append(b, c)
		}
	}
	b = append(b, '\n')
	for _, l := range r.Values() {
		b = append(append(b, l.Name...), "=0s"...)
		b = append(base64.StdEncoding.AppendEncode(b, l.Value), '\n')
	}
	return append(b, '\n'), nil
}

// squashfs writes a record as pseudo file definitions, which mksquashfs has since
// 4.6. A name stands in quotes, with a backslash before each of those and each
// backslash; of a newline nothing can be made. Values are base64: those in
// hexadecimal crash 4.6 (read_xattr_from_pseudo() in pseudo_xattr.c).
func squashfs(b []byte, r labelfile.Record) ([]byte, error) {
	if strings.Contains(r.Path, "\n") {
		return nil, &NameError{Squashfs}
	}
	for _, l := range r.Values() {
		b = append(b, '"')
		for i := range len(r.Path) {
			if c := r.Path[i]; c == '"' || c == '\\' {
				b = append(b, '\\')
			}
			b = append(b, r.Path[i])
		}
		b = append(b, `" x `...)
		b = append(append(b, l.Name...), "=0s"...)
		b = append(base64.StdEncoding.AppendEncode(b, l.Value), '\n')
	}
	return b, nil
}
