// Package rpmfile reads RPM packages of the formats 4 and 6, as far as the
// signatures of their files go, and writes the part that holds these.
//
// A package is four things, one behind the other:
//
//	lead              96 bytes, of which ed ab ee db at the beginning counts
//	signature header  padded to a multiple of 8 bytes
//	header            all that is known of the package and its files
//	payload           a cpio archive, compressed
//
// What OpenPGP signs, and what the digests in the signature header are of, begins
// with the header: the signature header can be changed and breaks none of them.
//
// Both headers have the same form; numbers are big endian:
//
//	 0  8  8e ad e8 01 00 00 00 00
//	 8  4  n, entries of the index
//	12  4  m, bytes of data
//	16  n times  tag, type, offset in the data, count: 4 bytes each
//	 …  m  data
//
// Data stand in the order of the index, numbers where their size divides the
// offset, with zeros before them where need be. Strings end in a zero byte. The
// first entry is that of a region, which is the whole header: its data, the last
// 16 bytes, look like an entry of the index, whose offset is minus the size of the
// index.
//
// Labels of files are in the signature header:
//
//	274  strings  the label of each file as lower-case hexadecimal digits, in the
//	              order of the header's files, empty for none
//	275  int32    the size of the longest label; in format 4 alone
//
// In format 6 tags are sorted, none is there twice, none is above 999, which is that
// of the reserved space, and all padding is of zeros.
//
// Sources: docs/manual/format_header.md, format_v4.md and format_v6.md of rpm, its
// lib/header.cc (what it refuses, and the limits), lib/package.cc,
// lib/signature.cc, lib/rpmfi.cc and sign/rpmsignfiles.cc.
package rpmfile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"imaseal/hash"
)

// Tags of the signature header.
const (
	tagSHA1       = 269
	tagSHA256     = 273
	tagLabels     = 274
	tagLabelSize  = 275
	tagSHA3       = 279
	tagSignatures = 62 // its region
	tagImage      = 61 // in the trailer of the region, in packages that are very old
)

// leadSize is the size of the lead, and magic its beginning.
const (
	leadSize = 96
	magic    = "\xed\xab\xee\xdb"
)

// maxLabel is the largest value that an attribute can have (XATTR_SIZE_MAX in
// include/uapi/linux/limits.h).
const maxLabel = 64 << 10

// Errors about packages that are none, or none whose files could be labelled.
var (
	ErrNoPackage = errors.New("it is no RPM package")
	ErrFormat3   = errors.New("it is a package of format 3, which has no place for labels")
	ErrSource    = errors.New("it is a source package, whose files are never appraised")
	ErrDelta     = errors.New("it is a delta package: label the one that is made of it")
	ErrNoDigests = errors.New("it has no digests of its files, which are what is signed")
)

// A LabelsError says that labels cannot be told which is of which file.
type LabelsError struct{ Labels, Files int }

func (e *LabelsError) Error() string {
	return fmt.Sprintf("it has labels for %d files, and %d files: rpm ignores these labels", e.Labels, e.Files)
}

// A DigestError says that the header is not the one that a digest in the signature
// header is of.
type DigestError struct{ Says, Is hash.Digest }

func (e *DigestError) Error() string {
	return fmt.Sprintf("the package is damaged: its header is %s, and should be %s", e.Is, e.Says)
}

// A LimitError says that something is larger than rpm takes.
type LimitError struct {
	What      string
	Size, Max int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s would have %d bytes, and rpm takes no more than %d", e.What, e.Size, e.Max)
}

// A Package is what Read finds.
type Package struct {
	Format int // 4 or 6
	Files  []File
	// Header is the offset of the header, Payload that of the payload.
	Header, Payload int64
	// Compressor is what the payload was compressed with, in rpm's words.
	Compressor string
	// Labels is nil if labels can be told apart.
	Labels *LabelsError
	// Odd says that the signature header is not laid out as rpm does it: other
	// programs wrote it, or added to it. Head lays it out anew, as rpmsign does.
	Odd bool

	lead []byte
	sig  *header
}

// Read reads the head of a package of so many bytes, and checks the digests of its
// header. The error is one of the above, a *FormatError or the reader's.
func Read(r io.ReaderAt, size int64) (*Package, error) {
	p := &Package{lead: make([]byte, leadSize)}
	n, err := r.ReadAt(p.lead, 0)
	switch {
	case !bytes.HasPrefix(p.lead[:n], []byte(magic)):
		if err == io.EOF || err == nil {
			err = ErrNoPackage
		}
		return nil, err
	case n < leadSize:
		return nil, &FormatError{Part: "lead", Err: io.ErrUnexpectedEOF}
	}
	if p.sig, err = readHeader(r, leadSize, size, signatureHeader); err != nil {
		return nil, err
	}
	p.Header = p.sig.end()
	main, err := readHeader(r, p.Header, size, mainHeader)
	if err != nil {
		return nil, err
	}
	p.Payload = main.end()
	if err := p.checkDigests(main); err != nil {
		return nil, err
	}
	if err := p.readMain(main); err != nil {
		return nil, err
	}
	if p.Format == 6 {
		if err := p.sig.checkFormat6(); err != nil {
			return nil, err
		}
	}
	if err := p.checkLayout(r); err != nil {
		return nil, err
	}
	if err := p.readLabels(); err != nil {
		return nil, err
	}
	return p, nil
}

// checkDigests checks those that are of the header alone.
func (p *Package) checkDigests(main *header) error {
	for _, d := range []struct {
		tag  uint32
		algo hash.Algorithm
	}{{tagSHA1, hash.SHA1}, {tagSHA256, hash.SHA256}, {tagSHA3, hash.SHA3_256}} {
		text, err := p.sig.text(d.tag)
		if err != nil {
			return err
		}
		if text == "" {
			continue
		}
		sum, err := hex.DecodeString(text)
		if err != nil {
			return p.sig.error(d.tag, errors.New("it is no digest"))
		}
		says, err := hash.NewDigest(d.algo, sum)
		if err != nil {
			return p.sig.error(d.tag, errors.New("it is no digest"))
		}
		is, err := hash.Sum(d.algo, main.raw)
		if err != nil {
			return err
		}
		if is != says {
			return &DigestError{Says: says, Is: is}
		}
	}
	return nil
}

// checkLayout finds out whether the signature header is what is written for its
// entries.
func (p *Package) checkLayout(r io.ReaderAt) error {
	n := len(p.sig.raw)
	pad := make([]byte, padding(n, sigAlign))
	if err := read(r, pad, leadSize+int64(n)); err != nil {
		return p.sig.cut(err)
	}
	p.Odd = !bytes.Equal(p.sig.encode(p.sig.entries), slices.Concat(p.sig.raw, pad))
	if p.Odd && p.Format == 6 && bytes.ContainsFunc(pad, func(c rune) bool { return c != 0 }) {
		return p.sig.error(tagSignatures, errPadding)
	}
	return nil
}

// readLabels gives files the labels that are there.
func (p *Package) readLabels() error {
	had, err := p.sig.strings(tagLabels)
	if err != nil || had == nil {
		return err
	}
	if len(had) != len(p.Files) {
		p.Labels = &LabelsError{Labels: len(had), Files: len(p.Files)}
	}
	for i, text := range had[:min(len(had), len(p.Files))] {
		p.Files[i].Label = parseLabel(text)
	}
	return nil
}

// parseLabel returns the label that rpm writes for a text, nil for none: where the
// first nine bytes are zeros it writes none (plugins/ima.c). Of what is no label
// the text is returned.
func parseLabel(text string) []byte {
	label, err := hex.DecodeString(text)
	switch {
	case text == "", err == nil && len(label) >= 9 && bytes.Equal(label[:9], make([]byte, 9)):
		return nil
	case err != nil:
		return []byte(text)
	}
	return label
}

// HasLabels reports whether there is a place for labels, be they right or wrong.
func (p *Package) HasLabels() bool {
	return p.sig.find(tagLabels) != nil || p.sig.find(tagLabelSize) != nil
}

// Head returns all that stands before the header, when the files have these labels,
// in their order; nil is none. With none at all there is no place for them either.
// Nothing else changes: not the space, either, that rpm reserves for OpenPGP
// signatures, so that a package whose labels are removed is what it was before,
// unless it is Odd. The error is a *LimitError.
func (p *Package) Head(labels [][]byte) ([]byte, error) {
	entries := slices.DeleteFunc(slices.Clone(p.sig.entries), func(e entry) bool { return e.tag == tagLabels || e.tag == tagLabelSize })
	longest := 0
	var data []byte
	for _, l := range labels {
		if len(l) > maxLabel {
			return nil, &LimitError{"a label", int64(len(l)), maxLabel}
		}
		longest = max(longest, len(l))
		data = hex.AppendEncode(data, l)
		data = append(data, 0)
	}
	if longest > 0 {
		entries = insert(entries, entry{tag: tagLabels, kind: typeStrings, count: uint32(len(labels)), data: data})
		if p.Format < 6 {
			entries = insert(entries, entry{tag: tagLabelSize, kind: typeInt32, count: 1, data: be32(uint32(longest))})
		}
	}
	if n := len(entries) + 1; n > signatureHeader.maxTags {
		return nil, &LimitError{"the index of the signature header", int64(n) * entrySize, int64(signatureHeader.maxTags) * entrySize}
	}
	if n := dataSize(entries); n > signatureHeader.maxData {
		return nil, &LimitError{"the signature header", n, signatureHeader.maxData}
	}
	return append(slices.Clone(p.lead), p.sig.encode(entries)...), nil
}
