package measure

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"imaseal/hash"
)

// Limits of what kernels make. MaxData is ours: buffers are keys, command lines and
// states, and labels have at most 64 KiB.
const (
	MaxPCR  = 63 // INVALID_PCR(), security/integrity/ima/ima_policy.c
	MaxName = 255
	MaxData = 16 << 20
)

// BootAggregateName is the name of the record that has the digest of the PCRs
// before IMA.
const BootAggregateName = "boot_aggregate"

// A Field is one of the fields of a record.
type Field struct {
	ID    string
	Value []byte // as in the data, without its length
}

// A Record is one measurement. Its slices are its own.
type Record struct {
	Layout Layout // of the list

	Number int64 // from 1
	Offset int64 // of the record's first byte in the list
	Line   int64 // in an ASCII list, from 1, else 0

	PCR      int
	Digest   []byte // template digest as the list shows it
	Template string
	// Fields are nil if the template is not known or the data are damaged.
	Fields []Field
	// Data are the template's data as in a binary list. They are nil if an ASCII list
	// has a template that is not known or damaged fields.
	Data []byte
}

// Field returns the value of a field, and false if the record does not have it.
func (r Record) Field(id string) ([]byte, bool) {
	for _, f := range r.Fields {
		if f.ID == id {
			return f.Value, true
		}
	}
	return nil, false
}

// Name returns what was measured: the path of a file as the kernel has it, with "_" for
// blanks, or the name of something else; "" if the record has no name.
func (r Record) Name() string {
	for _, id := range []string{"n-ng", "n"} {
		if v, ok := r.Field(id); ok {
			return strings.TrimSuffix(string(v), "\x00")
		}
	}
	return ""
}

// IsViolation reports whether the record is one of a violation.
func (r Record) IsViolation() bool { return isZero(r.Digest) }

// IsBootAggregate reports whether the record is the first one of a boot.
func (r Record) IsBootAggregate() bool {
	return r.Name() == BootAggregateName && !r.IsViolation()
}

func isZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// Kinds of digests in a field d-ngv2.
const (
	KindIMA    = "ima"
	KindVerity = "verity"
)

// A FileDigest is what a record says of a content.
type FileDigest struct {
	Kind   string // KindIMA, or KindVerity for an fs-verity digest
	Digest hash.Digest
}

// FileDigest returns the digest of what was measured; false if the record has none, or
// one of an algorithm that is not in the kernel's table.
func (r Record) FileDigest() (FileDigest, bool) {
	for _, id := range []string{"d-ng", "d-ngv2", "d"} {
		if v, ok := r.Field(id); ok {
			return parseFileDigest(id, v)
		}
	}
	return FileDigest{}, false
}

// ModsigDigest returns the digest of a content without the signature appended to it,
// and false if the record has none.
func (r Record) ModsigDigest() (hash.Digest, bool) {
	v, ok := r.Field("d-modsig")
	if !ok {
		return hash.Digest{}, false
	}
	d, ok := parseFileDigest("d-modsig", v)
	return d.Digest, ok
}

func parseFileDigest(id string, v []byte) (FileDigest, bool) {
	if id == "d" {
		a := hash.SHA1
		if len(v) == hash.MD5.Size() {
			a = hash.MD5
		}
		d, err := hash.NewDigest(a, v)
		return FileDigest{KindIMA, d}, err == nil
	}
	name, sum, ok := bytes.Cut(v, []byte(":\x00"))
	kind, alg := KindIMA, string(name)
	if id == "d-ngv2" && ok {
		kind, alg, ok = strings.Cut(alg, ":")
	}
	if !ok || kind != KindIMA && kind != KindVerity {
		return FileDigest{}, false
	}
	a, err := hash.Parse(alg)
	if err != nil {
		return FileDigest{}, false
	}
	d, err := hash.NewDigest(a, sum)
	return FileDigest{kind, d}, err == nil
}

// Uint returns the value of a field that is a number: iuid, igid or imode. It is false
// if the record does not have it, or empty.
func (r Record) Uint(id string) (uint32, bool) {
	v, _ := r.Field(id)
	switch order := r.Layout.order(); len(v) {
	case 2:
		return uint32(order.Uint16(v)), fieldTypes[id].form == formUint
	case 4:
		return order.Uint32(v), fieldTypes[id].form == formUint
	}
	return 0, false
}

// An Xattr is an extended attribute that a record of the template evm-sig has.
type Xattr struct {
	Name  string
	Value []byte
}

// Xattrs returns the attributes of a record of the template evm-sig, in the order in
// which EVM covers them. It fails if names, lengths and values do not fit.
func (r Record) Xattrs() ([]Xattr, error) {
	text, _ := r.Field("xattrnames")
	lengths, _ := r.Field("xattrlengths")
	values, _ := r.Field("xattrvalues")
	var names []string
	if text := strings.TrimSuffix(string(text), "\x00"); text != "" {
		names = strings.Split(text, "|")
	}
	if len(lengths) != 4*len(names) {
		return nil, fmt.Errorf("%d names of attributes, and %d bytes of their lengths", len(names), len(lengths))
	}
	var all []Xattr
	for i, name := range names {
		n := r.Layout.order().Uint32(lengths[4*i:])
		if int64(n) > int64(len(values)) {
			return nil, fmt.Errorf("the value of %s is to have %d bytes, and there are %d", name, n, len(values))
		}
		all = append(all, Xattr{name, values[:n]})
		values = values[n:]
	}
	if len(values) > 0 {
		return nil, fmt.Errorf("%d bytes behind the values of the attributes", len(values))
	}
	return all, nil
}

// errNoData says that the bytes that the digest covers are not known.
var errNoData = errors.New("the template is not known, and its bytes cannot be told from an ASCII list; the binary list has them")

// split makes the fields of data.
func split(template string, data []byte, order binary.ByteOrder) ([]Field, error) {
	ids := FieldIDs(template)
	if ids == nil {
		return nil, nil
	}
	fields := make([]Field, 0, len(ids))
	rest := data
	for _, id := range ids {
		if len(rest) < 4 {
			return nil, fmt.Errorf("the data end before field %s", id)
		}
		n := order.Uint32(rest)
		if rest = rest[4:]; int64(n) > int64(len(rest)) {
			return nil, fmt.Errorf("field %s is to have %d bytes, and there are %d", id, n, len(rest))
		}
		value := rest[:n:n]
		if err := checkField(id, value); err != nil {
			return nil, fmt.Errorf("field %s: %w", id, err)
		}
		fields = append(fields, Field{id, value})
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes behind the last field", len(rest))
	}
	return fields, nil
}

// checkField refuses what no kernel makes.
func checkField(id string, v []byte) error {
	if len(v) == 0 {
		return nil
	}
	switch t := fieldTypes[id]; t.form {
	case formText:
		if i := bytes.IndexByte(v, 0); i != len(v)-1 {
			return errors.New("a text ends with its first zero byte")
		}
	case formUint:
		if len(v) != t.width {
			return fmt.Errorf("a number of %d bytes, not %d", len(v), t.width)
		}
	case formDigest:
		name, sum, ok := bytes.Cut(v, []byte(":\x00"))
		if !ok || bytes.ContainsAny(name, "\x00 ") {
			return errors.New("a digest has the name of its algorithm in front, a colon and a zero byte")
		}
		return checkSize(string(name), len(sum))
	case formHex:
		if id == "d" && len(v) != hash.SHA1.Size() && len(v) != hash.MD5.Size() {
			return fmt.Errorf("a digest of %d bytes, which is neither SHA-1's nor MD5's size", len(v))
		}
	}
	return nil
}

// checkSize compares the size of a digest with that of its algorithm, if that is known.
func checkSize(name string, size int) error {
	alg := name[strings.LastIndexByte(name, ':')+1:]
	if a, err := hash.Parse(alg); err == nil && a.Size() != size {
		return fmt.Errorf("a digest of %s with %d bytes, not %d", alg, size, a.Size())
	}
	return nil
}
