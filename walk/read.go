package walk

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"io"
	"iter"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"imaseal/internal/reason"
)

const (
	// direntBuffer is the getdents64 buffer: the kernel fills it with about a
	// thousand names a call, and a directory seldom has more.
	direntBuffer = 32 << 10
	// chunkEntries bounds the names that are sorted at a time, and so the
	// memory for one directory. Inodes are nearly in order on a disk long
	// before a chunk is full.
	chunkEntries = 32 << 10
	// batchNames is how many files a worker opens before it visits the first
	// of them: so many are read ahead from a cold disk. Of more, the kernel's
	// inodes would have left the processor's cache until they are visited.
	batchNames = 8
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
	chunks  []*chunk // free ones: reading may nest when too many names wait
	adviser adviser
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

// take handles a pending item and gives up its reference.
func (r *reader) take(it item) {
	defer r.w.release(it.parent)
	if len(it.names) > 1 {
		r.files(it.parent, it.names)
		return
	}
	n := it.names[0]
	switch isDir, regular := r.classify(it.parent, n); {
	case isDir:
		if d := r.openDir(it.parent, n.text); d != nil {
			r.read(d)
		}
	case regular:
		r.files(it.parent, it.names)
	}
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
		name, _, _ = bytes.Cut(name, []byte{0})
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

// handOver leaves the names of a chunk to whichever worker is free, those that
// may be directories one by one, the files in batches, in inode order.
func (r *reader) handOver(d *dir, c *chunk) {
	slices.SortFunc(c.entries, func(a, b dirent) int { return cmp.Compare(a.ino, b.ino) })
	var items []item
	var files, others []name
	for n := range c.all() {
		switch n.typ {
		case unix.DT_REG:
			files = append(files, n)
		case unix.DT_DIR, unix.DT_UNKNOWN:
			others = append(others, n)
		default:
			r.skipType(d, n.text, n.typ == unix.DT_LNK)
		}
	}
	for batch := range slices.Chunk(files, r.w.limits.batch) {
		items = append(items, item{parent: d, names: batch})
	}
	for one := range slices.Chunk(others, 1) {
		items = append(items, item{parent: d, names: one})
	}
	slices.Reverse(items) // the first on top
	r.w.push(items...)
	for {
		it, ok := r.w.tryPop()
		if !ok {
			return
		}
		r.take(it)
	}
}

// handOverLexically leaves all names pending, the first on top.
func (r *reader) handOverLexically(d *dir, c *chunk) {
	slices.SortFunc(c.entries, func(a, b dirent) int { return bytes.Compare(c.name(a), c.name(b)) })
	var items []item
	var files []name
	flush := func() {
		for batch := range slices.Chunk(files, r.w.limits.batch) {
			items = append(items, item{parent: d, names: batch})
		}
		files = nil
	}
	for n := range c.all() {
		if n.typ == unix.DT_REG {
			files = append(files, n)
			continue
		}
		flush()
		items = append(items, item{parent: d, names: []name{n}})
	}
	flush()
	slices.Reverse(items)
	r.w.push(items...)
}

// all returns the names of the chunk in order. Their texts share one string.
func (c *chunk) all() iter.Seq[name] {
	return func(yield func(name) bool) {
		texts := string(c.names)
		for _, e := range c.entries {
			if !yield(name{text: texts[e.off : e.off+uint32(e.size)], ino: e.ino, typ: e.typ}) {
				return
			}
		}
	}
}

// classify tells directories from files and reports the rest. Some file
// systems leave the type of entries unknown: then the inode is asked.
func (r *reader) classify(d *dir, n name) (isDir, regular bool) {
	switch n.typ {
	case unix.DT_DIR:
		return true, false
	case unix.DT_REG:
		return false, true
	case unix.DT_UNKNOWN:
		return r.typeOf(d, n.text)
	}
	r.skipType(d, n.text, n.typ == unix.DT_LNK)
	return false, false
}

func (r *reader) skipType(d *dir, name string, link bool) {
	e := d.child(name)
	e.Skip = reason.Special
	if link {
		e.Skip = reason.Symlink
	}
	r.w.skipOther(&e)
	r.w.report(e)
}

// typeOf is classify for a name whose type the directory does not tell.
func (r *reader) typeOf(d *dir, name string) (isDir, regular bool) {
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
