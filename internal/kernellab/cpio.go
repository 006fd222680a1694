package kernellab

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
)

// A cpioWriter writes a compressed archive in the format the kernel unpacks as
// initramfs: "newc", Documentation/driver-api/early-userspace/buffer-format.rst.
type cpioWriter struct {
	zip  *gzip.Writer
	ino  int
	dirs map[string]bool
	err  error
}

func newCpioWriter(w io.Writer) *cpioWriter {
	zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	return &cpioWriter{zip: zip, dirs: map[string]bool{".": true}, err: err}
}

// file adds a regular file; directories above it come by themselves.
func (c *cpioWriter) file(name string, perm os.FileMode, content []byte) {
	c.dir(path.Dir(clean(name)))
	c.entry(clean(name), 0o100000|uint32(perm.Perm()), content)
}

// dir adds a directory and those above it.
func (c *cpioWriter) dir(name string) {
	var missing []string
	for d := clean(name); !c.dirs[d]; d = path.Dir(d) {
		c.dirs[d] = true
		missing = append(missing, d)
	}
	for _, d := range slices.Backward(missing) {
		c.entry(d, 0o040755, nil)
	}
}

// symlink adds a symbolic link.
func (c *cpioWriter) symlink(name, target string) {
	c.dir(path.Dir(clean(name)))
	c.entry(clean(name), 0o120777, []byte(target))
}

func clean(name string) string {
	if rel := path.Clean("/" + name)[1:]; rel != "" {
		return rel
	}
	return "."
}

func (c *cpioWriter) entry(name string, mode uint32, content []byte) {
	c.ino++
	c.printf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.ino, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	c.padded([]byte(name+"\x00"), 110) // the header's size
	c.padded(content, 0)
}

// padded writes b and zeros up to a multiple of four, counted from before.
func (c *cpioWriter) padded(b []byte, before int) {
	c.printf("%s%s", b, "\x00\x00\x00"[:-(before+len(b))&3])
}

func (c *cpioWriter) printf(format string, args ...any) {
	if c.err == nil {
		_, c.err = fmt.Fprintf(c.zip, format, args...)
	}
}

// close ends the archive and returns the first error of all.
func (c *cpioWriter) close() error {
	c.entry("TRAILER!!!", 0, nil)
	if c.err != nil {
		return fmt.Errorf("writing initramfs: %w", c.err)
	}
	if err := c.zip.Close(); err != nil {
		return fmt.Errorf("writing initramfs: %w", err)
	}
	return nil
}
