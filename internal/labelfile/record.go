// Package labelfile holds labels, and requests for labels, as files that can be
// sent: so that the key need not be where the files are, and the privilege not
// where the key is.
//
// Both are JSON lines. Each line stands for itself and begins with the name of the
// format and its version:
//
//	{"imaseal_request":1,"path":"bin/ls","class":"sign","digest":"sha256:…","sum":"…"}
//	{"imaseal_request":1,"end":{"files":1,"digest":"…"},"sum":"…"}
//
// The sum of a line is the SHA-256, in hexadecimal, of the line as it would be
// without it. A record is about one file: see [Record]. An end closes what one run
// has written: it has the number of the records, and their digest, which is the
// sum of their sums, as big endian numbers, modulo 2²⁵⁶.
//
// So the order of lines is no matter, and neither is how many runs they are of:
// files can be put behind each other and sorted. A file is whole if the ends
// together have the number and the digest of all records. What is split is whole
// again when its parts are joined; the parts are not, and whoever takes them has to
// say so. None of this is a signature: it tells of accidents.
//
// In a file of labels ("imaseal_label") that answer requests each record has the
// sum of the request that it answers, and an end the number and digest of the
// requests whose ends were there, so that one can tell that all of them were
// answered, too.
//
// What parses is what a Writer writes, byte for byte.
package labelfile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

// version of the formats.
const version = 1

// A Kind is one of the formats.
type Kind uint8

// The formats.
const (
	Labels Kind = iota
	Requests
)

// String names what is in a file of the kind.
func (k Kind) String() string {
	if k == Requests {
		return "requests"
	}
	return "labels"
}

// A Record is what there is to know of a file to make its labels, and in a file of
// labels those. It says of the file what the labels were made for.
type Record struct {
	Path  string // relative to its tree
	Class string // hash or sign
	// Digest is that of the content; with Verity it is that of fs-verity.
	Digest hash.Digest
	Verity bool
	// Version of the signatures that are asked for, 0 to leave it to the key.
	Version uint8
	// EVM is what security.evm covers; nil for a file that gets none.
	EVM *EVM
	// SELinux, IMA and EVMLabel are the values of security.selinux, security.ima
	// and security.evm that the file is to have. Nil are those that it keeps as
	// they are, and in a request those that need a key.
	SELinux, IMA, EVMLabel []byte
	// Answers is the sum of the request that the labels answer.
	Answers Sum
	// Sum is that of the line that the record was read from.
	Sum Sum
}

// An EVM is what an EVM label covers of a file: see imaevm.Input.
type EVM struct {
	Kind imaevm.Type // TypePortable, TypeSignature or TypeHMAC
	Algo hash.Algorithm
	// Attrs are the attributes that count, in their order. That of security.ima
	// is without a value, which is the label's.
	Attrs []imaevm.Attr
	Meta  imaevm.Meta
	// Word32 and BigEndian are the target's.
	Word32, BigEndian bool
	// Names are all attributes that would count if they were there; nil for
	// those that every portable signature covers.
	Names []string
}

// Covered returns Names, also where they are nil.
func (e *EVM) Covered() []string {
	if e.Names != nil {
		return e.Names
	}
	var names []string
	for _, p := range imaevm.Protected() {
		names = append(names, p.Name)
	}
	return names
}

// Input returns what the label of a file covers whose security.ima is ima.
func (e *EVM) Input(ima []byte) ([]byte, error) {
	attrs := make([]imaevm.Attr, len(e.Attrs))
	for i, a := range e.Attrs {
		if attrs[i] = a; a.Name == imaevm.AttrIMA {
			attrs[i].Value = ima
		}
	}
	return imaevm.Input(e.Kind, attrs, e.Meta, imaevm.Target{Word32: e.Word32, BigEndian: e.BigEndian})
}

// Values returns the values that are to be written, in this order.
func (r *Record) Values() []imaevm.Attr {
	var values []imaevm.Attr
	for _, a := range []imaevm.Attr{{Name: imaevm.AttrSELinux, Value: r.SELinux}, {Name: imaevm.AttrIMA, Value: r.IMA}, {Name: imaevm.AttrEVM, Value: r.EVMLabel}} {
		if a.Value != nil {
			values = append(values, a)
		}
	}
	return values
}

// NeedsIMA reports whether security.ima has to be made, and signed.
func (r *Record) NeedsIMA() bool { return r.IMA == nil }

// NeedsEVM reports whether security.evm has to be made.
func (r *Record) NeedsEVM() bool { return r.EVM != nil && r.EVMLabel == nil }

// errIncomplete says that a record lacks what it is about.
var errIncomplete = errors.New("labels that do not belong together")

// check refuses what no file could have.
func (r *Record) check(k Kind) error {
	switch {
	case r.IMA == nil && r.Class != "sign", r.EVMLabel != nil && r.EVM == nil, k == Labels && !r.Full():
		return errIncomplete
	case r.EVM != nil && r.SELinux != nil && !slices.ContainsFunc(r.EVM.Attrs, func(a imaevm.Attr) bool {
		return a.Name == imaevm.AttrSELinux && bytes.Equal(a.Value, r.SELinux)
	}) && slices.Contains(r.EVM.Covered(), imaevm.AttrSELinux):
		return errIncomplete
	case r.EVM != nil:
		if _, err := r.EVM.Input([]byte{0}); err != nil {
			return fmt.Errorf("EVM: %w", err)
		}
	}
	return nil
}

// SameBut reports whether a record of labels is that of a request but for the
// labels that were made.
func SameBut(request, labels Record) bool {
	if request.NeedsIMA() {
		labels.IMA = nil
	}
	if request.NeedsEVM() {
		labels.EVMLabel = nil
	}
	request.Version, labels.Version, labels.Answers = 0, 0, Sum{}
	a, _, errA := encode(lineOf(Requests, request))
	b, _, errB := encode(lineOf(Requests, labels))
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// Full reports whether the record has every label.
func (r *Record) Full() bool { return !r.NeedsIMA() && !r.NeedsEVM() }
