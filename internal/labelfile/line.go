package labelfile

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

// A line is one of a file.
type line struct {
	Request    int       `json:"imaseal_request,omitempty"`
	Label      int       `json:"imaseal_label,omitempty"`
	End        *lineEnd  `json:"end,omitempty"`
	Path       *string   `json:"path,omitempty"`
	PathBase64 []byte    `json:"path_base64,omitempty"`
	Class      string    `json:"class,omitempty"`
	Digest     string    `json:"digest,omitempty"`
	Verity     bool      `json:"verity,omitempty"`
	Version    uint8     `json:"version,omitempty"`
	EVM        *lineEVM  `json:"evm,omitempty"`
	Labels     *lineVals `json:"labels,omitempty"`
	Answers    *Sum      `json:"answers,omitempty"`
}

type lineEVM struct {
	Kind       string     `json:"kind"`
	Algo       string     `json:"algorithm,omitempty"`
	UID        uint32     `json:"uid"`
	GID        uint32     `json:"gid"`
	Mode       string     `json:"mode"`
	Attrs      []lineAttr `json:"attributes"`
	Inode      uint64     `json:"inode,omitempty"`
	Generation uint32     `json:"generation,omitempty"`
	UUID       string     `json:"uuid,omitempty"` // in hexadecimal, without hyphens
	Names      []string   `json:"names,omitempty"`
	Word32     bool       `json:"32_bit,omitempty"`
	BigEndian  bool       `json:"big_endian,omitempty"`
}

type lineAttr struct {
	Name  string  `json:"name"`
	Value *[]byte `json:"value,omitempty"`
}

// lineVals are the values of labels by the names of the attributes.
type lineVals struct {
	SELinux []byte `json:"security.selinux,omitempty"`
	IMA     []byte `json:"security.ima,omitempty"`
	EVM     []byte `json:"security.evm,omitempty"`
}

// kinds are the words for kinds of EVM labels.
var kinds = map[string]imaevm.Type{"portable": imaevm.TypePortable, "signature": imaevm.TypeSignature, "hmac": imaevm.TypeHMAC}

// KindName returns the word for a kind of EVM label.
func KindName(t imaevm.Type) string {
	for word, kind := range kinds {
		if kind == t {
			return word
		}
	}
	return t.String()
}

func lineOf(k Kind, r Record) line {
	l := line{Path: &r.Path, Class: r.Class, Digest: r.Digest.String(), Verity: r.Verity, Version: r.Version}
	l.setKind(k)
	if !utf8.ValidString(r.Path) {
		l.Path, l.PathBase64 = nil, []byte(r.Path)
	}
	if r.EVM != nil {
		l.EVM = lineOfEVM(r.EVM)
	}
	if r.SELinux != nil || r.IMA != nil || r.EVMLabel != nil {
		l.Labels = &lineVals{r.SELinux, r.IMA, r.EVMLabel}
	}
	if r.Answers != (Sum{}) {
		l.Answers = &r.Answers
	}
	return l
}

func (l *line) setKind(k Kind) {
	if k == Requests {
		l.Request = version
	} else {
		l.Label = version
	}
}

func lineOfEVM(e *EVM) *lineEVM {
	l := &lineEVM{
		Kind: KindName(e.Kind), UID: e.Meta.UID, GID: e.Meta.GID, Mode: fmt.Sprintf("%#o", e.Meta.Mode), Attrs: []lineAttr{},
		Inode: e.Meta.Inode, Generation: e.Meta.Generation, Names: e.Names, Word32: e.Word32, BigEndian: e.BigEndian,
	}
	if e.Algo != 0 {
		l.Algo = e.Algo.String()
	}
	if e.Meta.UUID != nil {
		l.UUID = fmt.Sprintf("%x", *e.Meta.UUID)
	}
	for _, a := range e.Attrs {
		attr := lineAttr{Name: a.Name}
		if a.Name != imaevm.AttrIMA {
			value := append([]byte{}, a.Value...)
			attr.Value = &value
		}
		l.Attrs = append(l.Attrs, attr)
	}
	return l
}

// Errors of lines that are none.
var (
	// ErrSum says that a line is not the one that was written.
	ErrSum = errors.New("it was changed or damaged: its sum does not match")
	// ErrForeign says that a line is no record.
	ErrForeign = errors.New("it is none of imaseal's")
)

// A VersionError says that a line is of another version of the format.
type VersionError struct {
	Kind    Kind
	Version int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s of version %d, and only version %d is known", e.Kind, e.Version, version)
}

// A KindError says that a file is of the other format.
type KindError struct{ Is Kind }

func (e *KindError) Error() string { return "these are " + e.Is.String() }

// parseLine parses a line without its end, and its sum.
func parseLine(k Kind, b []byte) (line, Sum, error) {
	var l line
	body, sum, ok := cutSum(b)
	if !ok {
		return l, sum, ErrForeign
	}
	if err := json.Unmarshal(body, &l); err != nil {
		if sumOf(body) != sum {
			err = ErrSum
		}
		return l, sum, err
	}
	has, other := l.Label, l.Request
	if k == Requests {
		has, other = other, has
	}
	switch {
	case has == 0 && other != 0:
		return l, sum, &KindError{1 - k}
	case has == 0 || other != 0:
		return l, sum, ErrForeign
	case has != version:
		return l, sum, &VersionError{k, has}
	case sumOf(body) != sum:
		return l, sum, ErrSum
	}
	return l, sum, nil
}

// record returns the record of a line.
func (l *line) record(k Kind, sum Sum) (Record, error) {
	r := Record{Class: l.Class, Verity: l.Verity, Version: l.Version, Path: string(l.PathBase64), Sum: sum}
	if l.Path != nil {
		r.Path = *l.Path
	}
	if r.Path == "" || strings.ContainsRune(r.Path, 0) {
		return Record{}, errors.New("no path")
	}
	if r.Class != "sign" && r.Class != "hash" {
		return Record{}, fmt.Errorf("%q is no class", r.Class)
	}
	if r.Version != 0 && r.Version != 2 && r.Version != 3 {
		return Record{}, fmt.Errorf("there are no signatures of version %d", r.Version)
	}
	var err error
	if r.Digest, err = hash.ParseDigest(l.Digest); err != nil {
		return Record{}, err
	}
	if l.EVM != nil {
		if r.EVM, err = l.EVM.evm(); err != nil {
			return Record{}, fmt.Errorf("EVM: %w", err)
		}
	}
	if l.Labels != nil {
		r.SELinux, r.IMA, r.EVMLabel = l.Labels.SELinux, l.Labels.IMA, l.Labels.EVM
	}
	if l.Answers != nil {
		r.Answers = *l.Answers
	}
	return r, r.check(k)
}

func (l *lineEVM) evm() (*EVM, error) {
	e := &EVM{Kind: kinds[l.Kind], Names: l.Names, Word32: l.Word32, BigEndian: l.BigEndian}
	e.Meta = imaevm.Meta{UID: l.UID, GID: l.GID, Inode: l.Inode, Generation: l.Generation}
	mode, err := strconv.ParseUint(l.Mode, 0, 16)
	if err != nil {
		return nil, fmt.Errorf("%q is no mode", l.Mode)
	}
	e.Meta.Mode = uint32(mode)
	if l.Algo != "" {
		if e.Algo, err = hash.Parse(l.Algo); err != nil {
			return nil, err
		}
	}
	if (e.Kind == imaevm.TypeHMAC) != (e.Algo == 0) {
		return nil, errors.New("a signature has an algorithm, and an HMAC none")
	}
	if l.UUID != "" {
		uuid, err := hex.DecodeString(l.UUID)
		if err != nil || len(uuid) != 16 {
			return nil, fmt.Errorf("%q is no UUID", l.UUID)
		}
		e.Meta.UUID = (*[16]byte)(uuid)
	}
	left := e.Covered() // in the kernel's order, and so are attributes
	for _, a := range l.Attrs {
		attr := imaevm.Attr{Name: a.Name}
		i := slices.Index(left, a.Name)
		if i < 0 {
			return nil, fmt.Errorf("%s is not covered, or not in this order", a.Name)
		}
		left = left[i+1:]
		if (a.Value == nil) != (a.Name == imaevm.AttrIMA) {
			return nil, fmt.Errorf("the value of %s", a.Name)
		}
		if a.Value != nil {
			attr.Value = *a.Value
		}
		e.Attrs = append(e.Attrs, attr)
	}
	return e, nil
}
