package extfs

import (
	"fmt"
	"io"
)

// A Content reads a file. One goroutine at a time uses it.
type Content struct {
	size int64
	head []byte // where the inode has it itself: all but zeros behind it (ext4_read_inline_folio())
	m    mapper
}

// Content returns a reader of a file. The error may be ErrEncrypted or
// ErrCompressed.
func (fs *FS) Content(in *Inode) (*Content, error) {
	switch {
	case in.flags&flagEncrypted != 0:
		return nil, ErrEncrypted
	case in.flags&flagCompressed != 0:
		return nil, ErrCompressed
	}
	c := &Content{size: in.Size, m: mapper{fs: fs, in: in}}
	if in.flags&flagInline == 0 {
		return c, nil
	}
	var err error
	if c.head, err = fs.inline(in); err != nil {
		return nil, err
	}
	if in.Size < int64(len(c.head)) {
		c.head = c.head[:in.Size]
	}
	return c, nil
}

// inline returns what an inode holds itself: where others say where their blocks
// are, and in an attribute. Kernel: fs/ext4/inline.c.
func (fs *FS) inline(in *Inode) ([]byte, error) {
	if !fs.super.incompat.has(incompatInlineData) {
		return nil, damaged(in.where(), "it holds its content, and the file system has no inline_data")
	}
	head := append([]byte{}, in.blocks[:]...)
	attrs, err := fs.Attrs(in)
	if err != nil {
		return nil, err
	}
	more, err := attrs.Value(inlineAttr)
	if err == ErrNoAttr {
		return head, nil
	}
	return append(head, more...), err
}

// ReadAt implements io.ReaderAt.
func (c *Content) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading at %d", off)
	}
	if off >= c.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(b)) > c.size-off {
		b, end = b[:c.size-off], io.EOF
	}
	if c.head != nil {
		clear(b[copy(b, c.head[min(off, int64(len(c.head))):]):])
		return len(b), end
	}
	done := 0
	for done < len(b) {
		n, err := c.read(b[done:], uint64(off)+uint64(done))
		if done += n; err != nil {
			return done, err
		}
	}
	return done, end
}

// read reads what is in one piece.
func (c *Content) read(b []byte, off uint64) (int, error) {
	size := c.m.fs.super.blockSize
	r, err := c.m.find(off / size)
	if err != nil {
		return 0, err
	}
	in := off % size
	if left := r.length*size - in; uint64(len(b)) > left {
		b = b[:left]
	}
	if r.physical == 0 {
		clear(b)
		return len(b), nil
	}
	if err := readFull(c.m.fs.r, b, int64(r.physical*size+in)); err != nil {
		return 0, fmt.Errorf("%s: reading block %d: %w", c.m.in.where(), r.physical, err)
	}
	return len(b), nil
}
