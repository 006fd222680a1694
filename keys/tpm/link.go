package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"

	"imaseal/keys/child"
)

// A link carries commands to a TPM, one at a time.
type link struct {
	dial    func(ctx context.Context) (io.ReadWriteCloser, error)
	keep    bool // one connection serves all commands
	timeout time.Duration

	mu   sync.Mutex
	conn io.ReadWriteCloser // that is kept
}

// newLink reads the name of a device, as the variable TPM2TOOLS_TCTI has it, or
// a path.
func newLink(device string, timeout time.Duration) (*link, error) {
	if device == "" {
		device = DefaultDevice
	}
	kind, rest, ok := strings.Cut(device, ":")
	switch {
	case strings.HasPrefix(device, "/"):
		rest = device
	case kind == "device" && !ok:
		rest = DefaultDevice
	case kind == "device" && rest != "":
	case kind == "swtpm":
		network, address, err := swtpm(rest)
		if err != nil {
			return nil, err
		}
		return &link{timeout: timeout, dial: func(ctx context.Context) (io.ReadWriteCloser, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}}, nil
	default:
		return nil, fmt.Errorf("TPM %q: neither a path nor device:PATH nor swtpm:path=SOCKET", device)
	}
	return &link{timeout: timeout, keep: true, dial: func(context.Context) (io.ReadWriteCloser, error) { return openDevice(rest) }}, nil
}

// swtpm reads the configuration of tpm2-tss' TCTI of that name.
func swtpm(conf string) (network, address string, err error) {
	host, port := "localhost", "2321"
	for item := range strings.SplitSeq(conf, ",") {
		switch key, value, _ := strings.Cut(item, "="); {
		case key == "path" && value != "":
			return "unix", value, nil
		case key == "host" && value != "":
			host = value
		case key == "port" && value != "":
			port = value
		case item != "":
			return "", "", fmt.Errorf("TPM \"swtpm:%s\": %q is not path=SOCKET, host=HOST or port=PORT", conf, item)
		}
	}
	return "tcp", net.JoinHostPort(host, port), nil
}

func openDevice(path string) (io.ReadWriteCloser, error) {
	info, err := os.Stat(path)
	if err == nil && info.Mode()&os.ModeCharDevice == 0 {
		err = &os.PathError{Op: "open", Path: path, Err: errors.New("is not a device")}
	}
	if err != nil {
		return nil, err
	}
	// Not by os.OpenFile, which makes it non-blocking: then write returns before
	// the TPM is done, and read finds the end of the file until it is
	// (drivers/char/tpm/tpm-dev-common.c).
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	switch {
	case err == syscall.EBUSY:
		return nil, fmt.Errorf("open %s: %w: another program has it open; %s can be shared", path, err, DefaultDevice)
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// maxMessage bounds commands and answers (TPM2_PT_MAX_RESPONSE_SIZE).
const maxMessage = 4096

// headerSize is that of an answer: 2 bytes of tag, 4 of the whole length, 4 of
// code.
const headerSize = 10

// send sends a command and returns the answer. When ctx ends, or the TPM takes
// too long, the connection is given up.
func (l *link) send(ctx context.Context, command []byte) ([]byte, error) {
	ctx, cancel := child.WithTimeout(ctx, l.timeout)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		conn, err := l.dial(ctx)
		if err != nil {
			return nil, err
		}
		l.conn = conn
	}
	type result struct {
		answer []byte
		err    error
	}
	done := make(chan result, 1)
	conn := l.conn
	go func() {
		answer, err := exchange(conn, command)
		done <- result{answer, err}
	}()
	select {
	case r := <-done:
		if r.err != nil || !l.keep {
			l.drop()
		}
		return r.answer, r.err
	case <-ctx.Done():
		l.drop()
		return nil, fmt.Errorf("waiting for the TPM: %w", context.Cause(ctx))
	}
}

// exchange writes a command and reads the answer, which a device gives at once
// and a socket in pieces.
func exchange(conn io.ReadWriter, command []byte) ([]byte, error) {
	if _, err := conn.Write(command); err != nil {
		return nil, err
	}
	answer := make([]byte, maxMessage)
	n, err := io.ReadAtLeast(conn, answer, headerSize)
	if err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(answer[2:])
	if size < headerSize || size > maxMessage || int(size) < n {
		return nil, fmt.Errorf("an answer of %d bytes that says %d", n, size)
	}
	_, err = io.ReadFull(conn, answer[n:size])
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return answer[:size], err
}

// drop closes the connection. The caller holds mu.
func (l *link) drop() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// Close closes the connection.
func (l *link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop()
	return nil
}

// A run is a link for commands that end with a context, as go-tpm wants it.
type run struct {
	ctx  context.Context
	link *link
}

// Send sends a command, again if the TPM says that it wants it a moment later, as
// before the first use of an algorithm, which it tests then.
func (r run) Send(command []byte) ([]byte, error) {
	for wait := time.Millisecond; ; wait *= 2 {
		answer, err := r.link.send(r.ctx, command)
		if err != nil || wait > lastWait || !isAgain(answer) {
			return answer, err
		}
		select {
		case <-time.After(wait):
		case <-r.ctx.Done():
			return nil, fmt.Errorf("waiting for the TPM: %w", context.Cause(r.ctx))
		}
	}
}

// lastWait is the last before a busy TPM is an error, after half a second in all.
const lastWait = 256 * time.Millisecond

// isAgain reports whether an answer says that the command is to be sent again.
func isAgain(answer []byte) bool {
	if len(answer) < headerSize {
		return false
	}
	switch tpm2.TPMRC(binary.BigEndian.Uint32(answer[6:])) {
	case tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting:
		return true
	}
	return false
}

// Close closes nothing: the link goes on.
func (run) Close() error { return nil }
