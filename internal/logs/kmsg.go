package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// kmsgDevice has the kernel's messages of this boot, as far as they were not
// overwritten. Kernel: Documentation/ABI/testing/dev-kmsg.
const kmsgDevice = "/dev/kmsg"

// Kernel opens the messages of the running kernel. The caller closes it.
func Kernel(ctx context.Context, o Options) (io.ReadCloser, error) {
	fd, err := unix.Open(kmsgDevice, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: kmsgDevice, Err: err}
	}
	k := &kmsg{ctx: ctx, fd: fd, follow: o.Follow, known: !o.Follow}
	if o.Follow {
		if _, err := unix.Seek(fd, 0, io.SeekEnd); err != nil {
			unix.Close(fd)
			return nil, &os.PathError{Op: "seek", Path: kmsgDevice, Err: err}
		}
	}
	return k, nil
}

// maxKmsg is more than a message takes (PRINTK_MESSAGE_MAX, printk/internal.h).
const maxKmsg = 8 << 10

// A kmsg makes lines of messages, as dmesg --raw prints them.
type kmsg struct {
	ctx    context.Context
	fd     int
	follow bool
	known  bool   // next is
	next   uint64 // the number that the next message has if none is missing
	line   []byte // what is not read yet
	buf    [maxKmsg]byte
}

// Read implements io.Reader.
func (k *kmsg) Read(b []byte) (int, error) {
	for len(k.line) == 0 {
		n, err := unix.Read(k.fd, k.buf[:])
		switch {
		case err == unix.EINTR, err == unix.EPIPE: // overwritten; the next number tells how many
		case err == unix.EAGAIN && k.follow:
			if !k.wait() {
				return 0, io.EOF
			}
		case err == unix.EAGAIN, err == nil && n == 0:
			return 0, io.EOF
		case err != nil:
			return 0, &os.PathError{Op: "read", Path: kmsgDevice, Err: err}
		default:
			k.line = k.message(k.buf[:n])
		}
	}
	n := copy(b, k.line)
	k.line = k.line[n:]
	return n, nil
}

// wait waits for a message, and returns false when the context has ended.
func (k *kmsg) wait() bool {
	if k.ctx.Err() != nil {
		return false
	}
	unix.Poll([]unix.PollFd{{Fd: int32(k.fd), Events: unix.POLLIN}}, int(poll.Milliseconds()))
	return true
}

// message returns the line of a message, nothing for one that the kernel did not
// write itself: everybody may who opens the device for writing.
func (k *kmsg) message(b []byte) []byte {
	head, text, ok := bytes.Cut(b, []byte(";"))
	if !ok {
		return nil
	}
	text, _, _ = bytes.Cut(text, []byte("\n")) // behind it are fields of devices
	numbers := bytes.SplitN(head, []byte(","), 4)
	if len(numbers) < 3 {
		return nil
	}
	level, err1 := strconv.ParseUint(string(numbers[0]), 10, 32)
	number, err2 := strconv.ParseUint(string(numbers[1]), 10, 64)
	if err1 != nil || err2 != nil {
		return nil
	}
	var line []byte
	if k.known && number > k.next {
		line = fmt.Appendf(nil, "<4>** %d printk messages dropped **\n", number-k.next)
	}
	k.known, k.next = true, number+1
	if level>>3 != 0 { // the facility
		return line
	}
	return append(unescape(fmt.Appendf(line, "<%d>", level), text), '\n')
}

// unescape appends a text in which the kernel wrote bytes as \xHH (msg_add_ext_text(),
// kernel/printk/printk.c). A newline stays as it was: lines are made of it.
func unescape(to, text []byte) []byte {
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) && text[i+1] == 'x' {
			if n, err := strconv.ParseUint(string(text[i+2:i+4]), 16, 8); err == nil && n != '\n' {
				to = append(to, byte(n))
				i += 3
				continue
			}
		}
		to = append(to, text[i])
	}
	return to
}

// Close closes the device.
func (k *kmsg) Close() error { return unix.Close(k.fd) }
