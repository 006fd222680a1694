package tarfile

import (
	"bytes"
	"cmp"
	"math"
	"strconv"
	"strings"

	"imaseal/internal/tarfile/sparse"
)

// value returns the value of a record, of the entry's own header or else of the
// global ones.
func (e *Entry) value(key string) (value []byte, ok bool) {
	if value, ok = e.records.Value(key); !ok {
		value, ok = e.global.Value(key)
	}
	return value, ok
}

// decimal returns the number in a record, and false if there is none.
func (e *Entry) decimal(key string) (n int64, ok bool, err error) {
	value, ok := e.value(key)
	if !ok {
		return 0, false, nil
	}
	u, err := strconv.ParseUint(string(value), 10, 63)
	if err == nil {
		return int64(u), true, nil
	}
	why := whyNoNumber
	if strings.HasPrefix(string(value), "-") {
		why = whyNegative
	} else if len(value) > 0 && strings.Trim(string(value), "0123456789") == "" {
		why = whyHuge
	}
	return 0, false, &ValueError{Field: key, Value: string(value), Why: why}
}

// setNames finds out what an entry is called, and where it leads.
func (e *Entry) setNames(longName, longLink []byte) error {
	block := e.head[e.main : e.main+BlockSize]
	e.Name = fieldName.text(block)
	if string(fieldMagic.of(block)[:len("ustar\x00")]) == "ustar\x00" {
		prefix := fieldPrefix
		if string(fieldStarMagic.of(block)) == magicStar {
			prefix = fieldStarPrefix
		}
		if before := prefix.text(block); before != "" {
			e.Name = before + "/" + e.Name
		}
	}
	e.Link = fieldLink.text(block)
	if longName != nil {
		e.Name = cString(longName)
	}
	if longLink != nil {
		e.Link = cString(longLink)
	}
	for _, record := range []struct {
		key string
		to  *string
	}{{"path", &e.Name}, {"linkpath", &e.Link}, {sparse.KeyName, &e.Name}} {
		value, ok := e.value(record.key)
		if !ok {
			continue
		}
		if len(value) == 0 || bytes.IndexByte(value, 0) >= 0 {
			return &ValueError{Field: record.key, Value: string(value), Why: "is no name"}
		}
		*record.to = string(value)
	}
	return nil
}

// kinds are those by type. What is not here is Unknown.
var kinds = map[byte]Kind{
	0: File, '0': File, '7': File, 'S': File,
	'1': HardLink, '2': Symlink, '3': Special, '4': Special, '5': Directory, '6': Special,
	'D': Directory, // with a list of its names
	'V': Other,
}

// unknowns say what the types mean that are not for every tar program.
var unknowns = map[byte]string{
	'M': "a part of a file that begins in another volume (type M)",
	'N': "a list of long names (type N)",
	'A': "an access control list of Solaris (type A)",
	'E': "an attribute of Solaris (type E)",
	'I': "an inode of star (type I)",
}

// interpret finds out what kind of entry this is, and what it says of a file.
func (e *Entry) interpret() error {
	block := e.head[e.main : e.main+BlockSize]
	size, err := e.number("size", fieldSize, block)
	if err != nil {
		return err
	}
	if size > math.MaxInt64-BlockSize {
		return &ValueError{Field: "size", Value: strconv.FormatInt(size, 10), Why: whyHuge}
	}
	typ := block[typeAt]
	kind, known := kinds[typ]
	if !known {
		kind = Unknown
	}
	e.Kind = kind
	if kind == File && strings.HasSuffix(e.Name, "/") {
		if size > 0 { // it is a directory to most, and has no content then to some
			return &UnsupportedError{What: "a file with content whose name ends in a slash"}
		}
		e.Kind = Directory
		return nil
	}
	switch typ {
	case '1':
		if size > 0 { // POSIX lets PAX archives have it, and old programs put it there without content
			return &UnsupportedError{What: "a hard link that claims to have content"}
		}
		return nil
	case '2', '3', '4', '5', '6':
		return nil // whatever its size says, no content follows
	}
	e.Size, e.Stored = size, size
	switch kind {
	case File:
		return e.file(block)
	case Unknown:
		what := unknowns[typ]
		if what == "" {
			what = "an entry of type " + strconv.QuoteToASCII(string(rune(typ)))
		}
		e.Err = &UnsupportedError{What: what}
	}
	return nil
}

// number returns a number of the header block, or of the record that overrides
// it.
func (e *Entry) number(key string, f field, block []byte) (int64, error) {
	if n, ok, err := e.decimal(key); ok || err != nil {
		return n, err
	}
	return f.number(block)
}

// maxID is the largest user or group: the one above it means none.
const maxID = 1<<32 - 2

// file fills in what there is to know of a file.
func (e *Entry) file(block []byte) error {
	mode, err := fieldMode.number(block)
	uid, uidErr := e.number("uid", fieldUID, block)
	gid, gidErr := e.number("gid", fieldGID, block)
	if err := cmp.Or(err, uidErr, gidErr); err != nil {
		return err
	}
	for _, id := range []struct {
		name string
		n    int64
	}{{"uid", uid}, {"gid", gid}} {
		if id.n > maxID {
			return &LimitError{What: "the number of a " + id.name, Size: id.n, Max: maxID}
		}
	}
	e.Mode, e.UID, e.GID = uint32(mode&0o7777), uint32(uid), uint32(gid)
	e.Err = e.setSparse(block)
	switch {
	case e.Err != nil:
	case len(e.Name) > maxName:
		e.Err = &LimitError{What: "a name", Size: int64(len(e.Name)), Max: maxName}
	case e.sparse != notSparse && e.Size > maxSparse:
		e.Err = &LimitError{What: "a sparse file", Size: e.Size, Max: maxSparse}
	}
	return nil
}
