// Package tree says what a file is to imaseal, whatever carries it: a mounted
// file system, an archive, an image.
//
// A [Source] finds files and hands each to one goroutine. A [File] has content,
// owner, mode and attributes, as the target's kernel will see them. A [Sink]
// changes attributes. Those three are all that the engine (packages run, label,
// verify and judge) knows of the world, so that a new carrier is a package with
// three types and no more. Package carriertest has the suite that each of them
// passes.
//
// Some carriers have more: a file that is mounted can be written to by others
// while it is read ([Live]), it has an inode ([Bound]), it lies in a file system
// ([Placed]). That is asked for with [As], and whoever asks says what happens
// where it is not there.
//
// Changes to what a source or a sink does are decorators around it: [Sharded],
// [DryRun], [Namespace], and undo.Logged. Nothing else knows of them.
package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"imaseal/internal/reason"
)

// ErrNoAttr says that a file does not have the attribute.
var ErrNoAttr = errors.New("attribute is not set")

// A Meta is what the target's kernel will see of a file besides its content and
// its attributes.
type Meta struct {
	UID, GID uint32
	Mode     uint32 // st_mode of stat(2), the type bits included
	Size     int64  // bytes
}

// IsRegular reports whether it is a regular file, as all are that a Source finds in
// trees.
func (m Meta) IsRegular() bool { return m.Mode&0o170000 == 0o100000 }

// Executable reports whether somebody may execute the file.
func (m Meta) Executable() bool { return m.Mode&0o111 != 0 }

// A File is a regular file, open for reading; where the user names an inode itself
// it can be any other, of which there is no content. One goroutine at a time uses it.
// No error of its methods names the file.
type File interface {
	// Name is the file's name in messages.
	Name() string
	// Rel is the path relative to its tree, with slashes. Of a file that was
	// named itself it is the name as given, without slashes in front.
	Rel() string
	// Full is the absolute path in the carrier, as far as that is known: what
	// a file is for depends on where it lies.
	Full() string
	// Meta is what was seen when the file was opened, or at the last Begin of
	// a Live one.
	Meta() Meta
	io.ReaderAt
	// Attr returns the value of an attribute, of any size and possibly empty,
	// which is the caller's. The error is ErrNoAttr, unwrapped, if there is
	// none, and wraps errors.ErrUnsupported where the carrier cannot hold it.
	Attr(name string) ([]byte, error)
	// Attrs returns the names of all attributes, in no order.
	Attrs() ([]string, error)
	Close() error
}

// A Found is what a source came upon: exactly one of File, Skip and Err is set.
// The visitor closes File.
type Found struct {
	Path string // for messages
	// Rel is the path within the tree of what is no File, where it is known;
	// empty for a directory that cannot be read.
	Rel  string
	File File
	Skip reason.Code // why the file is not selected
	// Target is the path within the tree of the file that a hard link is another
	// name of, where the carrier tells it.
	Target string
	// Err says why a selected file could not be opened, or a directory not
	// read, and what was tried: "opening: permission denied". It wraps
	// fs.ErrNotExist for what vanished.
	Err error
}

// A Source finds the files of a run. Walk calls visit from as many goroutines at
// once as the source was made for, and returns when no call is running any more.
// An error of visit ends the walk and is returned, and so is the cause of ctx.
// What cannot be opened or read is Found, and no error.
type Source interface {
	Walk(ctx context.Context, visit func(Found) error) error
}

// A Counter is a Source that can tell quickly how much there will be. Count
// calls each with the size of every file that Walk will hand over, as far as
// that is known without opening it.
type Counter interface {
	Count(ctx context.Context, each func(size int64)) error
}

// A Noter is a Source, or a job, that has something to say after a run: what the
// user should know of what the files lie in, or of all of them together.
type Noter interface {
	Notes() reason.List
}

// A Change gives an attribute another value; nil is no attribute, which is not
// the same as an empty value.
type Change struct {
	Attr     string
	Old, New []byte
	// Again says that an earlier change of the same run is replaced: Old is
	// the value from before the run.
	Again bool
}

// A Sink changes attributes. Apply may be called from several goroutines, with
// different files. A sink is done with after Commit or Abort.
type Sink interface {
	// Apply makes the changes in their order. If one fails after others were
	// made, the error is a *PartialError; else nothing was changed.
	Apply(f File, changes []Change) error
	// Commit makes lasting what was applied: it returns when that is on the
	// disk.
	Commit(ctx context.Context) error
	// Abort ends a run that was broken off. A carrier that writes a new file
	// drops it; one that is changed in place makes lasting what was applied.
	Abort() error
}

// A PartialError says that some of a file's changes were made and the next was
// not.
type PartialError struct {
	Done []Change
	Err  error
}

func (e *PartialError) Error() string {
	last := e.Done[len(e.Done)-1]
	if last.New == nil {
		return fmt.Sprintf("half cleared: %s is removed: %v", last.Attr, e.Err)
	}
	return fmt.Sprintf("half labelled: %s is written: %v", last.Attr, e.Err)
}

func (e *PartialError) Unwrap() error { return e.Err }

// Bound is what a File has that is an inode of a file system already. EVM's
// HMACs and inode-bound signatures cover it.
type Bound interface {
	Inode() uint64
	// Generation is i_generation.
	Generation() (uint32, error)
	// UUID is that of the file system, in the order of its text.
	UUID() ([16]byte, error)
}

// Placed is what a File has that lies in a file system already. Rules of
// policies look at it.
type Placed interface {
	Filesystem() (Filesystem, error)
	// NoAttributes reports whether the file system of a file that refuses
	// security attributes holds no others either.
	NoAttributes() bool
}

// Mapped is what a File has whose owner may be another than the file system has on
// its disk, which is the one that EVM covers.
type Mapped interface {
	// OwnersMapped reports whether the mount that the file was found through maps
	// owners (mount_setattr(2), MOUNT_ATTR_IDMAP).
	OwnersMapped() (bool, error)
}

// A Filesystem is what there is to know of one.
type Filesystem struct {
	Magic uint32 // of statfs(2)
	// Type and Subtype are those of the mount, such as ext4, or fuse and
	// sshfs; Type is empty where it is not known.
	Type, Subtype string
	UUID          *[16]byte // nil where it is not known
}

// Verity is what a File has that may have an fs-verity digest.
type Verity interface {
	// VerityDigest returns the kernel's number of the algorithm and the
	// digest (Documentation/filesystems/fsverity.rst). The error says that
	// there is none.
	VerityDigest() (algorithm uint16, digest []byte, err error)
}

// Digested is what a File has whose digest is known without its content, from what
// it lies in: that is what is signed, and what the content is compared with.
type Digested interface {
	// KnownDigest returns the kernel's number of the algorithm and the digest.
	KnownDigest() (algorithm uint8, digest []byte)
}

// Sidecar is what a File has that can have another one beside it, which holds
// its signature. To a Sink it is an attribute of the name SidecarAttr.
type Sidecar interface {
	// Sidecar returns the content of the file beside this one. The error is
	// ErrNoAttr if there is none.
	Sidecar() ([]byte, error)
}

// SidecarAttr names the file beside another one in a Change.
const SidecarAttr = "PATH.sig"

// Labels is how many bytes the labels of a file have. Sidecar says that there is
// one beside it, too.
type Labels struct {
	IMA, EVM int
	Sidecar  bool
}

// As returns what a file, or the one that it is a decorator of, has beyond File.
func As[T any](f File) (T, bool) {
	for {
		if t, ok := f.(T); ok {
			return t, true
		}
		inner, ok := f.(interface{ Unwrap() File })
		if !ok {
			var none T
			return none, false
		}
		f = inner.Unwrap()
	}
}

// Same reports whether two values of an attribute are the same; nil is none.
func Same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// Value reads an attribute: nil for none.
func Value(f File, name string) ([]byte, error) {
	value, err := f.Attr(name)
	if err == ErrNoAttr {
		return nil, nil
	}
	if value == nil && err == nil {
		value = []byte{} // an empty attribute is one
	}
	return value, err
}
