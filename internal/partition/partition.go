// Package partition finds partitions in the image of a disk: those of a GPT (UEFI
// Specification, section 5.3), and the first four of the older table in the master
// boot record.
//
// A table is taken as it stands at the beginning of the disk, and only if it is
// whole: header and entries of a GPT have checksums. The copy at the disk's end is
// for tools that repair.
package partition

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A Partition is a part of a disk.
type Partition struct {
	Number       int
	Offset, Size int64 // bytes
}

// A TableError says what is wrong with a table of partitions.
type TableError struct {
	Table string // "GPT" or "MBR"
	Why   string
}

func (e *TableError) Error() string { return "the partition table (" + e.Table + "): " + e.Why }

// ErrNoTable says that there is no table of partitions.
var ErrNoTable = errors.New("there is no partition table")

// A NumberError says that a disk has no partition of a number.
type NumberError struct {
	Number int
	Has    []Partition
}

func (e *NumberError) Error() string {
	if len(e.Has) == 0 {
		return fmt.Sprintf("there is no partition %d, nor any other", e.Number)
	}
	text := fmt.Sprintf("there is no partition %d, but", e.Number)
	for i, p := range e.Has {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(" %d", p.Number)
	}
	return text
}

// Find returns the partition of a number on a disk of size bytes. The error may be
// a *TableError, a *NumberError, or ErrNoTable.
func Find(r io.ReaderAt, size int64, number int) (Partition, error) {
	all, err := List(r, size)
	if err != nil {
		return Partition{}, err
	}
	for _, p := range all {
		if p.Number == number {
			return p, nil
		}
	}
	return Partition{}, &NumberError{number, all}
}

// List returns the partitions of a disk. The error may be a *TableError, or
// ErrNoTable.
func List(r io.ReaderAt, size int64) ([]Partition, error) {
	for _, sector := range []int64{512, 4096} {
		head := make([]byte, sector)
		if n, err := r.ReadAt(head, sector); n < len(head) {
			if err != nil && err != io.EOF {
				return nil, err
			}
			continue
		}
		if bytes.HasPrefix(head, []byte(gptSignature)) {
			return listGPT(r, size, head)
		}
	}
	return listMBR(r, size)
}

const (
	gptSignature = "EFI PART"
	gptRevision  = 0x00010000
	gptHeader    = 92
	gptEntry     = 128
	// gptArray is the most that entries take: there are 128 as a rule, which have
	// 16 KiB.
	gptArray = 4 << 20
)

func u32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
func u64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }

// listGPT reads the table whose header is head, a sector.
func listGPT(r io.ReaderAt, size int64, head []byte) ([]Partition, error) {
	wrong := func(format string, args ...any) error {
		return &TableError{"GPT", fmt.Sprintf(format, args...)}
	}
	sector, sectors := uint64(len(head)), uint64(size)/uint64(len(head))
	length := u32(head, 12)
	if u32(head, 8) != gptRevision || length < gptHeader || uint64(length) > sector {
		return nil, wrong("revision %#x with a header of %d bytes is not known", u32(head, 8), length)
	}
	summed := bytes.Clone(head[:length])
	clear(summed[16:20])
	if crc32.ChecksumIEEE(summed) != u32(head, 16) {
		return nil, wrong("the checksum of its header is wrong")
	}
	at, count, each := u64(head, 72), uint64(u32(head, 80)), uint64(u32(head, 84))
	switch {
	case u64(head, 24) != 1:
		return nil, wrong("the header says that it is in sector %d, and is in 1", u64(head, 24))
	case each < gptEntry, each&(each-1) != 0, count == 0, count > gptArray/each:
		return nil, wrong("%d entries of %d bytes are none", count, each)
	case at < 2, at > sectors, count*each > (sectors-at)*sector:
		return nil, wrong("its entries, at sector %d, are not on the disk", at)
	}
	entries := make([]byte, count*each)
	if n, err := r.ReadAt(entries, int64(at*sector)); n < len(entries) {
		return nil, fmt.Errorf("reading the partition table: %w", err)
	}
	if crc32.ChecksumIEEE(entries) != u32(head, 88) {
		return nil, wrong("the checksum of its entries is wrong")
	}
	var all []Partition
	for i := range count {
		e := entries[i*each:]
		if bytes.Equal(e[:16], make([]byte, 16)) {
			continue
		}
		first, last := u64(e, 32), u64(e, 40)
		if first > last || last >= sectors {
			return nil, wrong("partition %d has the sectors %d to %d, and the disk has %d", i+1, first, last, sectors)
		}
		all = append(all, Partition{int(i + 1), int64(first * sector), int64((last - first + 1) * sector)})
	}
	return all, nil
}

const (
	mbrSize       = 512
	mbrEntries    = 446
	mbrEntry      = 16
	mbrProtective = 0xee // of a GPT
)

// extended are types of partitions that hold others, which are not listed.
var extended = []byte{0x05, 0x0f, 0x85}

// listMBR reads a master boot record.
func listMBR(r io.ReaderAt, size int64) ([]Partition, error) {
	b := make([]byte, mbrSize)
	if n, err := r.ReadAt(b, 0); n < len(b) {
		if err != nil && err != io.EOF {
			return nil, err
		}
		return nil, ErrNoTable
	}
	if b[510] != 0x55 || b[511] != 0xaa {
		return nil, ErrNoTable
	}
	sectors := uint64(size) / mbrSize
	var all []Partition
	for i := range 4 {
		e := b[mbrEntries+i*mbrEntry:]
		kind, first, count := e[4], uint64(u32(e, 8)), uint64(u32(e, 12))
		switch {
		case e[0]&0x7f != 0:
			return nil, ErrNoTable // it is something else that ends like one
		case kind == mbrProtective:
			return nil, &TableError{"GPT", "it is gone, and only what protects it is there"}
		case kind == 0, bytes.IndexByte(extended, kind) >= 0:
			continue
		case count == 0, first == 0, first > sectors, count > sectors-first:
			return nil, &TableError{"MBR", fmt.Sprintf("partition %d, %d sectors from %d on, is not on the disk, which has %d", i+1, count, first, sectors)}
		}
		all = append(all, Partition{i + 1, int64(first * mbrSize), int64(count * mbrSize)})
	}
	return all, nil
}
