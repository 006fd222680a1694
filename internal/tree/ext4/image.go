// Package ext4 is the carrier of images of ext4 file systems, and of ext2 and ext3:
// its files are inodes, which are read without mounting anything, and what it writes
// is another image.
//
// An image is read by package extfs, in parallel by offset. It is changed by
// debugfs(8), of e2fsprogs, the one program besides the kernel that is trusted to:
// a single process for the whole run, which gets commands behind the workers, in
// the order of the walk. So the same image and the same labels give the same bytes.
// What debugfs would do wrong without saying so is refused before: see
// extfs.Room. What it has done is read again before the image gets its name.
//
// The image that is read stays as it is. Changes are made in a copy, which shares
// blocks with it where the file system that both lie on can do that, and keeps its
// holes; the copy takes the name of the output, or of the image itself, in one step
// when all is written and synced. A run that is killed leaves nothing.
//
// An image in which others might write is refused: one that is attached to a loop
// device, that somebody has open for writing, or that was not unmounted.
package ext4

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"imaseal/internal/extfs"
	"imaseal/internal/partition"
	"imaseal/internal/reason"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
)

// A Config says which files are visited, and how.
type Config struct {
	// Jobs is how many files are visited at once; 0 stands for the number of
	// processors. They come in the order of names, which with 1 is that of the
	// visits, too.
	Jobs int
	// Owner reports whether files of this user are visited; nil visits all.
	Owner func(uid uint32) bool
	// Include and Exclude filter by the path: see walk.Config.
	Include, Exclude func(rel string) bool
	// Leave returns a reason to leave a file out, or nothing; nil leaves out
	// none.
	Leave func(tree.File) reason.Code
	// EveryName visits an inode under each of its names, not under one alone.
	EveryName bool
	// TempDir is where that is kept of many files which the new image must have,
	// empty for where os.TempDir says.
	TempDir string
}

// An Image is a tree.Source of an image, a tree.Counter and a tree.Noter. It is
// walked once, with a Sink or without.
type Image struct {
	name   string // with what is behind the @
	path   string
	cfg    Config
	f      *os.File
	watch  stream.Watch
	offset int64 // of the file system, in bytes
	fs     *extfs.FS
	sink   *Sink // nil if nothing is written

	left atomic.Int64 // bytes that are free, less what is applied
}

// An ImageError says that an image could not be read to its end, or not be
// written.
type ImageError struct {
	Image string
	Err   error
}

func (e *ImageError) Error() string { return e.Image + ": " + e.Err.Error() }
func (e *ImageError) Unwrap() error { return e.Err }

// Errors about images.
var (
	// ErrDevice says that a device is named.
	ErrDevice = errors.New("it is a device, and no image")
	// ErrNotFile says that what is named can be read only once.
	ErrNotFile = errors.New("it is no file that can be read by offset")
	// ErrUnread says that there is nothing to make lasting.
	ErrUnread = errors.New("the image was not read to its end")
	// ErrSameFile says that the output is the image that is read.
	ErrSameFile = errors.New("the output is the image itself")
)

// An AttachedError says that an image is in use.
type AttachedError struct{ Device string }

func (e *AttachedError) Error() string { return "it is attached to " + e.Device }

// A PartitionedError says that an image is that of a disk with partitions, none of
// which was named.
type PartitionedError struct {
	Ext4 []int // the numbers of those with an ext4 file system
}

func (e *PartitionedError) Error() string {
	if len(e.Ext4) == 0 {
		return "it is a disk with partitions, of which none has an ext4 file system"
	}
	words := make([]string, len(e.Ext4))
	for i, n := range e.Ext4 {
		words[i] = "@p" + strconv.Itoa(n)
	}
	return "it is a disk with partitions; ext4 file systems are at " + strings.Join(words, ", ")
}

// Open opens an image: FILE, or FILE@OFFSET or FILE@pNUMBER for a part of it. The
// caller closes it. The error is an *ImageError.
func Open(name string, cfg Config) (*Image, error) {
	im := &Image{name: name, cfg: cfg}
	if im.cfg.Jobs == 0 {
		im.cfg.Jobs = runtime.GOMAXPROCS(0)
	}
	if err := im.open(); err != nil {
		im.Close()
		return nil, im.error(err)
	}
	return im, nil
}

func (im *Image) open() error {
	file, part := splitPart(im.name)
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	im.f, im.path = f, file
	if im.watch, err = stream.NewWatch(f); err != nil {
		return err
	}
	switch im.watch.Stat().Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFBLK:
		return ErrDevice
	case unix.S_IFDIR:
		return unix.EISDIR
	default:
		return ErrNotFile
	}
	size, err := im.find(part)
	if err != nil {
		return err
	}
	if device := attached(im.watch.Stat()); device != "" {
		return &AttachedError{device}
	}
	im.fs, err = extfs.Open(io.NewSectionReader(f, im.offset, size), size)
	if foreign, ok := errors.AsType[*extfs.ForeignError](err); ok && part == "" && foreign.Format == "" {
		err = im.partitioned(foreign)
	}
	if err == nil {
		im.left.Store(im.fs.Free())
	}
	return err
}

// Close closes the image.
func (im *Image) Close() error {
	if im.f == nil {
		return nil
	}
	return im.f.Close()
}

// error names the image in an error.
func (im *Image) error(err error) error {
	if err == nil {
		return nil
	}
	if p, ok := errors.AsType[*os.PathError](err); ok {
		err = p.Err
	}
	return &ImageError{im.name, err}
}

// splitPart splits a name at its last @, if a part of a file is named behind it.
func splitPart(name string) (file, part string) {
	i := strings.LastIndexByte(name, '@')
	if i < 0 {
		return name, ""
	}
	part = name[i+1:]
	number := strings.TrimRight(strings.TrimPrefix(part, "p"), "kKMG")
	if number == "" || strings.Trim(number, "0123456789") != "" {
		return name, ""
	}
	return name[:i], part
}

// An OffsetError says that a file has no part that was named.
type OffsetError struct{ Part, Why string }

func (e *OffsetError) Error() string { return "@" + e.Part + ": " + e.Why }

// sector is what every partition begins at.
const sector = 512

// find finds a part of the image, and returns how long it may be.
func (im *Image) find(part string) (size int64, err error) {
	size = im.watch.Stat().Size
	if part == "" {
		return size, nil
	}
	if number, ok := strings.CutPrefix(part, "p"); ok {
		n, err := strconv.Atoi(number)
		if err != nil {
			return 0, &OffsetError{part, "it is no number of a partition"}
		}
		p, err := partition.Find(im.f, size, n)
		im.offset = p.Offset
		return p.Size, err
	}
	im.offset, err = parseOffset(part)
	switch {
	case err != nil:
		return 0, &OffsetError{part, "it is no number of bytes"}
	case im.offset%sector != 0:
		return 0, &OffsetError{part, fmt.Sprintf("partitions begin at multiples of %d bytes", sector)}
	case im.offset >= size:
		return 0, &OffsetError{part, fmt.Sprintf("the file has %d bytes", size)}
	}
	return size - im.offset, nil
}

// parseOffset reads a number of bytes, or of units of them: 1M is 1048576.
func parseOffset(text string) (int64, error) {
	number := strings.TrimRight(text, "kKMG")
	shift := map[string]int{"": 0, "k": 10, "K": 10, "M": 20, "G": 30}
	by, ok := shift[text[len(number):]]
	n, err := strconv.ParseInt(number, 10, 64)
	if err == nil && (!ok || n > (1<<62)>>by) {
		err = strconv.ErrRange
	}
	return n << by, err
}

// partitioned looks whether an image that is no file system is a disk with some.
func (im *Image) partitioned(none error) error {
	all, err := partition.List(im.f, im.watch.Stat().Size)
	if err == partition.ErrNoTable {
		return none
	}
	if err != nil {
		return err
	}
	found := &PartitionedError{}
	for _, p := range all {
		_, err := extfs.Open(io.NewSectionReader(im.f, p.Offset, p.Size), p.Size)
		if _, foreign := errors.AsType[*extfs.ForeignError](err); !foreign {
			found.Ext4 = append(found.Ext4, p.Number)
		}
	}
	return found
}

// Countable reports whether Count counts: it always does.
func (im *Image) Countable() bool { return true }

// path is what a file is called in messages.
func (im *Image) pathOf(rel string) string { return im.name + ":" + rel }

// Notes implements tree.Noter.
func (im *Image) Notes() reason.List {
	if im.sink == nil || im.sink.done {
		return nil
	}
	words := "the run was broken off, and no image written"
	if im.sink.applied.Load() {
		words += ": none of these labels is anywhere"
	}
	return reason.List{reason.New(reason.NothingWritten, "%s", words)}
}

// Holds reports whether one of the names, which are relative, leads to something.
func (im *Image) Holds(ctx context.Context, names []string) bool {
	for _, name := range names {
		if _, err := im.fs.Lookup(name); err == nil && ctx.Err() == nil {
			return true
		}
	}
	return false
}
