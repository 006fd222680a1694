// Package tarball is the carrier of tar archives: its files are entries, and what
// it writes is a new archive.
//
// An archive that is a plain file is read by offset: several workers hash at once,
// each the part that it looks at, and nothing is held in memory. One that is
// compressed, or comes through a pipe, is read once from its beginning to its end.
// The labels of an entry stand before its content, so that the content is held
// until they are made: in memory, and beyond [memory] in a file without a name.
//
// Writing goes on behind the workers, in the order of the archive: an entry waits
// until its labels are decided, and goes out then. So neither labels nor entries
// pile up, however many there are. What has no new label is copied byte for byte.
// Of an archive that is a file, nothing is written before the first label is
// changed: what stands before it is read again then. If none is, the archive goes
// out as it is, with its very compression.
//
// # What is labelled
//
// Every entry of a regular file, also one that a later entry of the same name
// replaces, and one behind the end of the archive, where only tar --ignore-zeros
// and the like look. A hard link has no attributes: the entry with the content
// does, and is the one that is selected or not. Names are never used as such: they
// are what files are called in messages, and what filters look at.
package tarball

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"imaseal/internal/compress"
	"imaseal/internal/reason"
	"imaseal/internal/stream"
	"imaseal/internal/tarfile"
	"imaseal/internal/tree"
)

// memory is how much content is held in memory, in bytes.
const memory = 32 << 20

// A Config says which entries are visited, and how.
type Config struct {
	// Jobs is how many entries are visited at once; 0 stands for the number
	// of processors. With 1 they come in the order of the archive.
	Jobs int
	// Owner reports whether files of this user are visited; nil visits all.
	Owner func(uid uint32) bool
	// Include and Exclude filter by the path: see walk.Config.
	Include, Exclude func(rel string) bool
	// Leave returns a reason to leave a file out, or nothing; nil leaves out
	// none.
	Leave func(tree.File) reason.Code
	// TempDir is where content is kept that does not fit in memory, empty for
	// where os.TempDir says.
	TempDir string
	// At says where an entry of a regular file, or of a hard link, is once all is
	// unpacked, by its number and its path, and false if it is not there then; nil
	// for where its path says. It is called in the order of the archive.
	At func(number int, rel string) (string, bool)
	// Whiteout reports whether a path is a sign, and no file; nil for none.
	Whiteout func(rel string) bool
	// Unpacked is given all that is read of a compressed archive, unpacked; nil
	// for nobody.
	Unpacked io.Writer
	// Tally is where Notes is gathered; nil for a tally of its own.
	Tally *Tally
}

// A Tally counts what Notes says, of one archive or of several.
type Tally struct{ after, rht, global atomic.Int64 }

// An Archive is a tree.Source of a tar archive, a tree.Counter and a tree.Noter.
// It is walked once, with a Sink or without.
type Archive struct {
	name  string
	cfg   Config
	f     *os.File  // nil for a reader that is none
	in    io.Reader // instead of f
	ours  bool      // f was opened here
	part  bool      // it is a part of f, which begins at base
	base  int64
	size  int64        // of an archive that is a file, or a part of one
	watch stream.Watch // over f
	sink  *Sink        // nil if nothing is written

	tally *Tally
}

// Open opens an archive, or takes stdin for the name "-". The caller closes it.
func Open(name string, stdin io.Reader, cfg Config) (*Archive, error) {
	a := newArchive(name, cfg)
	if name == "-" {
		a.in = stdin
		a.f, _ = stdin.(*os.File)
	} else {
		// O_NONBLOCK, so that one can wait for the writer of a fifo and still
		// be interrupted.
		f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		a.f, a.ours = f, true
	}
	if a.f == nil {
		return a, nil
	}
	var err error
	a.watch, err = stream.NewWatch(a.f)
	if err == nil && a.watch.Stat().Mode&unix.S_IFMT == unix.S_IFDIR {
		err = unix.EISDIR
	}
	if err != nil {
		a.Close()
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	a.size = a.watch.Stat().Size
	return a, nil
}

// OpenPart opens an archive that is a part of a regular file, which stays the
// caller's.
func OpenPart(name string, f *os.File, at, size int64, cfg Config) (*Archive, error) {
	a := newArchive(name, cfg)
	a.f, a.part, a.base, a.size = f, true, at, size
	var err error
	if a.watch, err = stream.NewWatch(f); err != nil {
		return nil, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return a, nil
}

func newArchive(name string, cfg Config) *Archive {
	a := &Archive{name: name, cfg: cfg, tally: cfg.Tally}
	if a.cfg.Jobs == 0 {
		a.cfg.Jobs = runtime.GOMAXPROCS(0)
	}
	if a.tally == nil {
		a.tally = new(Tally)
	}
	return a
}

// Close closes the archive, if Open has opened it.
func (a *Archive) Close() error {
	if !a.ours {
		return nil
	}
	return a.f.Close()
}

// isFile reports whether the archive can be read at any offset.
func (a *Archive) isFile() bool {
	return a.part || a.f != nil && a.watch.Stat().Mode&unix.S_IFMT == unix.S_IFREG && a.start() == 0
}

// section reads a part of an archive that is a file.
func (a *Archive) section(at, n int64) *io.SectionReader {
	return io.NewSectionReader(a.f, a.base+at, n)
}

// all reads an archive that is a file.
func (a *Archive) all() *io.SectionReader { return a.section(0, a.size) }

// start is where in the file the archive begins: standard input may have been
// read before.
func (a *Archive) start() int64 {
	at, err := unix.Seek(int(a.f.Fd()), 0, io.SeekCurrent)
	if err != nil {
		return -1
	}
	return at
}

// Notes implements tree.Noter.
func (a *Archive) Notes() reason.List {
	var notes reason.List
	if a.sink != nil && !a.sink.done {
		words := "the run was broken off, and no archive written"
		if a.sink.labelled.Load() {
			words += ": none of these labels is anywhere"
		}
		return append(notes, reason.New(reason.NothingWritten, "%s", words))
	}
	return append(notes, a.tally.Notes()...)
}

// Notes says what there is to be known.
func (t *Tally) Notes() reason.List {
	var notes reason.List
	if n := t.rht.Load(); n > 0 {
		notes = append(notes, reason.New(reason.SELinuxRecord,
			"%d files had their SELinux label in a record that GNU tar alone reads (RHT.security.selinux), and have it now where tools that make images look (SCHILY.xattr.security.selinux): EVM covers it", n))
	}
	if n := t.after.Load(); n > 0 {
		notes = append(notes, reason.New(reason.AfterEnd,
			"%d files are behind the end of the archive, where only tar --ignore-zeros and the like look", n))
	}
	if t.global.Load() > 0 {
		notes = append(notes, reason.New(reason.GlobalHeader,
			"a global header gives all files an owner or attributes, which labels cover here as GNU tar reads it, and which bsdtar does not read"))
	}
	return notes
}

// An ArchiveError says that an archive could not be read to its end.
type ArchiveError struct {
	Archive string
	Err     error
}

func (e *ArchiveError) Error() string {
	if e.Archive == "-" {
		return "reading the archive: " + e.Err.Error()
	}
	return e.Archive + ": " + e.Err.Error()
}
func (e *ArchiveError) Unwrap() error { return e.Err }

// error says that err is one of reading the archive.
func (a *Archive) error(ctx context.Context, err error) error {
	if ctx.Err() != nil || err == nil {
		return err
	}
	if p, ok := errors.AsType[*os.PathError](err); ok {
		err = p.Err
	}
	return &ArchiveError{a.name, err}
}

// writeError tells errors of writing from those of reading what is written.
func (a *Archive) writeError(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*stream.OutputError](err); ok {
		return err
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = stream.ErrWritten // there was more when the headers were read
	}
	return a.error(ctx, err)
}

// A NestedError says that what was unpacked is no archive, but of a format that
// has to be unpacked again.
type NestedError struct {
	Outer compress.Format
	Inner string
}

func (e *NestedError) Error() string {
	return "it was compressed with " + e.Outer.String() + ", and holds no archive, but something in the format " + e.Inner
}

// Countable reports whether Count counts: the archive need not be unpacked.
func (a *Archive) Countable() bool {
	if !a.isFile() {
		return false
	}
	format, err := newSeeker(context.Background(), a.all(), a.size).format()
	return format == compress.None && err == nil // what cannot be read, the walk reports
}

// Count implements tree.Counter.
func (a *Archive) Count(ctx context.Context, each func(size int64)) error {
	s, n := selection{cfg: &a.cfg}, -1
	a.each(ctx, func(e *tarfile.Entry) bool {
		n++
		if found := s.found(n, e); found.wants && found.skip == "" && found.err == nil {
			each(e.Size)
		}
		return true
	})
	return nil
}
