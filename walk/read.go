package walk

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// direntBuffer is the getdents64 buffer: the kernel fills it with about a
	// thousand names a call, and a directory seldom has more.
	direntBuffer = 32 << 10
	// chunkEntries bounds the names that are sorted at a time, and so the
	// memory for one directory. Inodes are nearly in order on a disk long
	// before a chunk is full.
	chunkEntries = 32 << 10
	// prefetch is the part of a file whose reading is started when it is
	// opened, ahead of the worker that reads it; the kernel's own read-ahead
	// does the rest.
	prefetch = 1 << 20
)

// A reader reads one directory at a time. It belongs to one goroutine.
type reader struct {
	w       *walker
	lexical bool
	buf     []byte
	chunks  []*chunk // free ones: reading may nest when too many directories wait
}

func newReader(w *walker, lexical bool) *reader {
	return &reader{w: w, lexical: lexical, buf: make([]byte, direntBuffer)}
}

// A chunk holds some of the names of a directory, packed.
type chunk struct {
	names   []byte
	entries []dirent
}

type dirent struct {
	ino  uint64
	off  uint32 // in names
	size uint16
	typ  uint8 // DT_REG and so on
}

func (c *chunk) name(e dirent) []byte { return c.names[e.off : e.off+uint32(e.size)] }

// take opens and handles a pending item and gives up its reference.
func (r *reader) take(it item) {
	defer r.w.release(it.parent)
	switch isDir, regular := r.classify(it.parent, it.name, it.typ); {
	case isDir:
		if d := r.openDir(it.parent, it.name); d != nil {
			r.read(d)
		}
	case regular:
		r.file(it.parent, it.name)
	}
}

// openDir opens a directory below another, or reports why not.
func (r *reader) openDir(parent *dir, name string) *dir {
	w := r.w
	d := &dir{root: parent.root, parent: parent, name: name, fd: -1, refs: 1}
	var rel string
	if w.cfg.Exclude != nil || w.cfg.Include != nil {
		rel = d.entry().Rel
	}
	e := Entry{}
	if w.cfg.Exclude != nil && w.cfg.Exclude(rel) {
		e.Skip = Filtered
	} else {
		e.Skip, e.Err = r.enter(d)
	}
	if e.Skip != "" || e.Err != nil {
		self := d.entry()
		self.Skip, self.Err = e.Skip, changedType(e.Err)
		w.report(self)
		return nil
	}
	d.included = parent.included || w.cfg.Include == nil || w.cfg.Include(rel)
	return d
}

// enter opens d unless it is to be skipped.
func (r *reader) enter(d *dir) (Reason, error) {
	w := r.w
	at, err := w.use(d.parent)
	if err != nil {
		return "", err
	}
	defer w.unuse(d.parent)
	skip, err := r.mayEnter(d, at)
	if skip != "" || err != nil {
		return skip, err
	}
	fd, err := openToRead(at, d.name, unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil || InodeOf(&st) != d.id {
		unix.Close(fd)
		return "", cmp.Or(err, ErrMoved)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d.fd = fd
	w.open++
	return "", nil
}

// mayEnter looks at a directory before it is opened, since opening can mount
// (autofs) or hang (a dead network file system). It sets d.id.
func (r *reader) mayEnter(d *dir, at int) (Reason, error) {
	var st unix.Stat_t
	if err := fstatat(at, d.name, &st); err != nil {
		return "", err
	}
	d.id = InodeOf(&st)
	if d.id.Dev != d.parent.id.Dev && r.w.cfg.CrossFilesystems {
		fd, err := openat(at, d.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW) // mounts
		if err != nil {
			return "", err
		}
		defer unix.Close(fd)
		var fs unix.Statfs_t
		if err := cmp.Or(fstat(fd, &st), unix.Fstatfs(fd, &fs)); err != nil {
			return "", err
		}
		d.id = InodeOf(&st)
		if r.w.cfg.Pseudo != nil && r.w.cfg.Pseudo(uint32(fs.Type)) {
			return PseudoFS, nil
		}
	}
	if other := r.w.roots[d.id]; other != nil && other != d.root && other.IsDir() {
		return OwnPath, nil
	}
	if d.id.Dev != d.parent.id.Dev && !r.w.cfg.CrossFilesystems {
		return OtherFilesystem, nil
	}
	return "", nil
}

// changedType makes the errors of opening without following links say what
// happened.
func changedType(err error) error {
	switch {
	case errors.Is(err, unix.ELOOP):
		return &ChangedTypeError{To: "symbolic link"}
	case errors.Is(err, unix.ENOTDIR):
		return &ChangedTypeError{To: "file or symbolic link"}
	case errors.Is(err, unix.ENXIO):
		return &ChangedTypeError{To: "socket or device"}
	}
	return err
}

// read reads a directory and gives up the caller's reference on it.
func (r *reader) read(d *dir) {
	defer r.w.release(d)
	c := r.chunk()
	defer func() { r.chunks = append(r.chunks, c) }()
	var at int64
	for {
		more, err := r.fill(d, c, &at)
		if err != nil {
			e := d.entry()
			e.Err = err
			r.w.report(e)
		}
		if r.lexical {
			r.handOverLexically(d, c)
		} else {
			r.handOver(d, c)
		}
		if !more || err != nil || r.w.stopped() {
			return
		}
	}
}

func (r *reader) chunk() *chunk {
	if n := len(r.chunks); n > 0 {
		c := r.chunks[n-1]
		r.chunks = r.chunks[:n-1]
		return c
	}
	return new(chunk)
}

// fill reads the names of d from the place at on: all of them in a lexical
// walk. It reports whether there may be more, and moves at behind them.
func (r *reader) fill(d *dir, c *chunk, at *int64) (more bool, err error) {
	c.names, c.entries = c.names[:0], c.entries[:0]
	fd, err := r.w.use(d)
	if err != nil {
		return false, err
	}
	defer r.w.unuse(d)
	if *at != 0 { // the directory may have been closed and opened again
		if _, err := unix.Seek(fd, *at, io.SeekStart); err != nil {
			return false, err
		}
	}
	for r.lexical || len(c.entries) < r.w.limits.chunk {
		n, err := unix.Getdents(fd, r.buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, err
		}
		if n == 0 {
			return false, nil
		}
		c.parse(r.buf[:n])
	}
	*at, err = unix.Seek(fd, 0, io.SeekCurrent)
	return true, err
}

// parse adds the records of struct linux_dirent64: inode (8 bytes), offset
// (8), record length (2), type (1), name, zero byte.
func (c *chunk) parse(b []byte) {
	const nameOff = 19
	for len(b) > nameOff {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size <= nameOff || size > len(b) {
			return
		}
		name := b[nameOff:size]
		name = name[:clen(name)]
		if s := unsafe.String(unsafe.SliceData(name), len(name)); s != "." && s != ".." && s != "" {
			c.entries = append(c.entries, dirent{
				ino: binary.NativeEndian.Uint64(b), off: uint32(len(c.names)),
				size: uint16(len(name)), typ: b[18],
			})
			c.names = append(c.names, name...)
		}
		b = b[size:]
	}
}

func clen(b []byte) int {
	if i := slices.Index(b, 0); i >= 0 {
		return i
	}
	return len(b)
}

// handOver visits the files of a chunk in inode order and leaves its
// directories to whichever worker is free.
func (r *reader) handOver(d *dir, c *chunk) {
	slices.SortFunc(c.entries, func(a, b dirent) int { return cmp.Compare(a.ino, b.ino) })
	for _, e := range c.entries {
		name := string(c.name(e))
		switch isDir, regular := r.classify(d, name, e.typ); {
		case isDir:
			r.w.push(item{parent: d, name: name, typ: unix.DT_DIR})
		case regular:
			r.file(d, name)
		}
		if r.w.stopped() {
			return
		}
	}
	for {
		it, ok := r.w.tryPop()
		if !ok {
			return
		}
		r.take(it)
	}
}

// handOverLexically leaves all entries pending, the first name on top.
func (r *reader) handOverLexically(d *dir, c *chunk) {
	slices.SortFunc(c.entries, func(a, b dirent) int { return bytes.Compare(c.name(b), c.name(a)) })
	items := make([]item, 0, len(c.entries))
	for _, e := range c.entries {
		items = append(items, item{parent: d, name: string(c.name(e)), typ: e.typ})
	}
	r.w.push(items...)
}

// classify tells directories from files and reports the rest. Some file
// systems leave the type of entries unknown: then the inode is asked.
func (r *reader) classify(d *dir, name string, typ uint8) (isDir, regular bool) {
	switch typ {
	case unix.DT_DIR:
		return true, false
	case unix.DT_REG:
		return false, true
	case unix.DT_UNKNOWN:
		return r.ask(d, name)
	}
	r.skipType(d, name, typ == unix.DT_LNK)
	return false, false
}

func (r *reader) skipType(d *dir, name string, link bool) {
	e := d.child(name)
	e.Skip = Special
	if link {
		e.Skip = Symlink
	}
	r.w.report(e)
}

func (r *reader) ask(d *dir, name string) (isDir, regular bool) {
	var st unix.Stat_t
	at, err := r.w.use(d)
	if err == nil {
		err = fstatat(at, name, &st)
		r.w.unuse(d)
	}
	if err != nil {
		e := d.child(name)
		e.Err = err
		r.w.report(e)
		return false, false
	}
	switch t := st.Mode & unix.S_IFMT; t {
	case unix.S_IFDIR:
		return true, false
	case unix.S_IFREG:
		return false, true
	default:
		r.skipType(d, name, t == unix.S_IFLNK)
		return false, false
	}
}

// file opens a regular file and hands it over, or says why not.
func (r *reader) file(d *dir, name string) {
	w := r.w
	e := d.child(name)
	if w.cfg.Exclude != nil && w.cfg.Exclude(e.Rel) ||
		!d.included && w.cfg.Include != nil && !w.cfg.Include(e.Rel) {
		e.Skip = Filtered
		w.report(e)
		return
	}
	at, err := w.use(d)
	if err != nil {
		e.Err = err
		w.report(e)
		return
	}
	fd := r.openFile(d, at, name, &e)
	w.unuse(d)
	if fd >= 0 {
		advise(fd, e.Stat.Size)
		e.File = os.NewFile(uintptr(fd), e.Path)
	}
	w.report(e)
}

// openFile opens a file and fills in the entry: an error, a reason to skip
// it, or neither, with the descriptor unless files are only counted.
func (r *reader) openFile(d *dir, at int, name string, e *Entry) int {
	var fd int
	if r.w.cfg.CountOnly {
		fd = -1
		if e.Err = fstatat(at, name, &e.Stat); e.Err == nil && e.Stat.Mode&unix.S_IFMT != unix.S_IFREG {
			e.Skip = Special
		}
	} else if fd, e.Err = openToRead(at, name, unix.O_NONBLOCK|unix.O_NOFOLLOW); e.Err == nil {
		e.Err = fstat(fd, &e.Stat)
		if e.Err == nil && e.Stat.Mode&unix.S_IFMT != unix.S_IFREG {
			e.Err = &ChangedTypeError{To: typeName(e.Stat.Mode)}
		}
	} else if fstatat(at, name, &e.Stat) == nil && e.Stat.Mode&unix.S_IFMT == unix.S_IFREG && r.otherOwner(&e.Stat) {
		e.Err, e.Skip = nil, OtherOwner // not ours, so that it cannot be opened is no matter
		return -1
	}
	if e.Err == nil && e.Skip == "" {
		e.Skip = r.skipFile(&e.Stat, d)
	}
	e.Err = changedType(e.Err)
	if fd >= 0 && (e.Err != nil || e.Skip != "") {
		unix.Close(fd)
		return -1
	}
	return fd
}

func (r *reader) otherOwner(st *unix.Stat_t) bool {
	return r.w.cfg.Owner != nil && !r.w.cfg.Owner(st.Uid)
}

func (r *reader) skipFile(st *unix.Stat_t, d *dir) Reason {
	w := r.w
	switch {
	case r.otherOwner(st):
		return OtherOwner
	case st.Dev != d.id.Dev && !w.cfg.CrossFilesystems:
		return OtherFilesystem
	case w.isOwn(st):
		return OwnOutput
	case w.roots[InodeOf(st)] != nil:
		return OwnPath
	case w.seen(st):
		return HardLink
	}
	return ""
}

// advise starts reading a file that a worker will soon read in full.
func advise(fd int, size int64) {
	if size > 0 {
		unix.Fadvise(fd, 0, min(size, prefetch), unix.FADV_WILLNEED) // advice may be ignored
	}
}
