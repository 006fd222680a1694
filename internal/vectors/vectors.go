// Package vectors gives tests the known values of testdata/vectors, whose
// README says what they are and how they were made. Only tests import it. It
// knows no label format, so that a format's test does not check itself.
//
// Loading is strict: an unknown field or header, a value that does not parse
// or a file that is missing fails the test that asked.
package vectors

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Path returns the absolute path of a file or directory of testdata/vectors,
// named relative to it with slashes, such as keys/p256.key.pem.
func Path(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "testdata", "vectors", filepath.FromSlash(name))
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod in the working directory or above it")
		}
		dir = parent
	}
}

// Read returns the content of a file named as for Path.
func Read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(Path(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ReadHex returns the bytes that a file of one line of hexadecimal holds.
func ReadHex(t testing.TB, name string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.TrimSpace(string(Read(t, name))))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

// Hex is a byte string that index.json writes in hexadecimal, nil if absent.
type Hex []byte

// UnmarshalText decodes hexadecimal.
func (h *Hex) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

// Mode is an i_mode, which index.json writes as a string such as "0o100644".
type Mode uint32

// UnmarshalText parses the octal number.
func (m *Mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 0, 16)
	*m = Mode(n)
	return err
}

// UUID is the UUID of a file system in its order on disk, nil if absent.
type UUID []byte

// UnmarshalText parses the usual form, eight digits and a hyphen first.
func (u *UUID) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), "-", ""))
	if err == nil && (len(b) != 16 || len(text) != 36) {
		err = fmt.Errorf("%q is no UUID", text)
	}
	*u = b
	return err
}

// Meta is what an EVM label covers of an inode besides its attributes.
type Meta struct {
	Inode      uint64 `json:"ino"`        // absent for portable signatures
	Generation uint32 `json:"generation"` // likewise
	UID        uint32 `json:"uid"`
	GID        uint32 `json:"gid"`
	Mode       Mode   `json:"mode"`
	UUID       UUID   `json:"fs_uuid"` // likewise
}

// A Label is one entry of index.json. Fields that do not apply are zero.
type Label struct {
	ID      string `json:"id"`
	Path    string `json:"value"`   // of the file that holds Value
	Value   []byte `json:"-"`       // the label
	Attr    string `json:"xattr"`   // security.ima or security.evm
	Type    uint8  `json:"type"`    // first byte
	Version uint8  `json:"version"` // second byte of a signature

	File   string `json:"file"` // whose content counts, below files/
	Hash   string `json:"hash"` // kernel's name of the algorithm
	Digest Hex    `json:"digest"`

	Key           string `json:"key"`   // keys/KEY.key.pem, keys/KEY.cert.der
	KeyID         Hex    `json:"keyid"` // four bytes
	FileID        Hex    `json:"file_id"`
	SignedDigest  Hex    `json:"signed_digest"`  // version 3: digest of FileID
	SignedMessage Hex    `json:"signed_message"` // ML-DSA: FileID itself

	VerityDigest    Hex `json:"fsverity_digest"`
	VerityBlockSize int `json:"verity_block_size"` // bytes

	Meta     *Meta             `json:"metadata"`
	Others   map[string]string `json:"other_xattrs"` // attribute to file, as for ReadHex
	Preimage Hex               `json:"preimage"`     // what EVM digests
	HMACKey  string            `json:"hmac_key"`     // file, as for ReadHex
	HMAC     Hex               `json:"hmac"`

	ProducedBy string `json:"produced_by"`
	Kernel     string `json:"kernel"` // kernels that accepted it: "", "7.2", "6.12,7.2"
	Note       string `json:"note"`
}

// Index returns the entries of index.json in their order.
func Index(t testing.TB) []Label {
	t.Helper()
	labels, err := parseIndex(Read(t, "index.json"))
	if err != nil {
		t.Fatalf("index.json: %v", err)
	}
	for i := range labels {
		labels[i].Value = ReadHex(t, labels[i].Path)
	}
	return labels
}

// ByID returns the entry of index.json with the given id.
func ByID(t testing.TB, id string) Label {
	t.Helper()
	for _, l := range Index(t) {
		if l.ID == id {
			return l
		}
	}
	t.Fatalf("index.json has no %q", id)
	return Label{}
}

func parseIndex(b []byte) ([]Label, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var labels []Label
	if err := d.Decode(&labels); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("text behind the array")
	}
	seen := make(map[string]bool)
	for _, l := range labels {
		switch {
		case l.ID == "" || l.Path == "" || l.Attr == "" || l.Type == 0 || l.ProducedBy == "":
			return nil, fmt.Errorf("entry %q lacks a field that all have", l.ID)
		case seen[l.ID]:
			return nil, fmt.Errorf("two entries %q", l.ID)
		}
		seen[l.ID] = true
	}
	return labels, nil
}

// A Text is a vector in a file of its own: header lines, an empty line, then
// lines of hexadecimal, each of which may name a file behind two spaces.
type Text struct {
	Name    string // of the file, without .txt
	Tool    string // program that made it
	Version string // of the program
	Command string // how it was called
	Expect  string // what the values are; the directory's README says more
	Values  []Value
}

// A Value is a line of a Text.
type Value struct {
	Bytes []byte
	File  string // below files/, "" if the line names none
}

// Texts returns the vectors of a directory, digests or labels, by name.
func Texts(t testing.TB, dir string) []Text {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(Path(t, dir), "*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no vectors in %s: %v", dir, err)
	}
	var texts []Text
	for _, name := range names {
		base := filepath.Base(name)
		text, err := parseText(string(Read(t, dir+"/"+base)))
		if err != nil {
			t.Fatalf("%s/%s: %v", dir, base, err)
		}
		text.Name = strings.TrimSuffix(base, ".txt")
		texts = append(texts, text)
	}
	return texts
}

func parseText(s string) (Text, error) {
	header, body, ok := strings.Cut(s, "\n\n")
	if !ok {
		return Text{}, errors.New("no empty line behind the header")
	}
	var text Text
	fields := map[string]*string{
		"tool": &text.Tool, "version": &text.Version, "command": &text.Command, "expect": &text.Expect,
	}
	for line := range strings.SplitSeq(header, "\n") {
		key, value, ok := strings.Cut(line, ": ")
		field := fields[key]
		if !ok || field == nil || value == "" {
			return Text{}, fmt.Errorf("header line %q unknown, given twice or empty", line)
		}
		*field = value
		delete(fields, key)
	}
	if len(fields) > 0 {
		return Text{}, fmt.Errorf("%d header lines are missing", len(fields))
	}
	for line := range strings.Lines(body) {
		value, file, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		b, err := hex.DecodeString(value)
		if err != nil || len(b) == 0 {
			return Text{}, fmt.Errorf("line %q does not begin with hexadecimal", line)
		}
		text.Values = append(text.Values, Value{Bytes: b, File: file})
	}
	if len(text.Values) == 0 {
		return Text{}, errors.New("no values")
	}
	return text, nil
}

// A Verity is the fs-verity digest of a file, a line of fsverity-digests.txt.
type Verity struct {
	File      string // below files/
	Hash      string // sha256 or sha512
	BlockSize int    // bytes
	Salt      []byte // nil for none
	Digest    []byte
}

// Verities returns the lines of fsverity-digests.txt.
func Verities(t testing.TB) []Verity {
	t.Helper()
	var verities []Verity
	for line := range strings.Lines(string(Read(t, "fsverity-digests.txt"))) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		v, err := parseVerity(strings.Fields(line))
		if err != nil {
			t.Fatalf("fsverity-digests.txt: line %q: %v", line, err)
		}
		verities = append(verities, v)
	}
	return verities
}

func parseVerity(fields []string) (Verity, error) {
	if len(fields) != 5 {
		return Verity{}, fmt.Errorf("%d fields", len(fields))
	}
	v := Verity{File: fields[0], Hash: fields[1]}
	var err error
	if v.BlockSize, err = strconv.Atoi(fields[2]); err != nil {
		return Verity{}, err
	}
	if fields[3] != "-" {
		if v.Salt, err = hex.DecodeString(fields[3]); err != nil {
			return Verity{}, err
		}
	}
	if v.Digest, err = hex.DecodeString(fields[4]); err != nil {
		return Verity{}, err
	}
	return v, nil
}
