package main

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Audit message numbers and the multicast group, include/uapi/linux/audit.h.
const (
	auditUser      = 1005
	auditIntegrity = 1800 // to 1899
	groupReadLog   = 1
)

// receiveBuffer is more than any one probe can fill: records would be lost.
const receiveBuffer = 16 << 20

// drainTimeout is long, for a slow guest; it passes only if the kernel lost the mark.
const drainTimeout = 10 * time.Second

// An auditLog reads the kernel's audit records from its multicast group. The
// kernel log would be rate limited.
type auditLog struct {
	fd   int
	mark int
	buf  []byte
}

func openAudit() (*auditLog, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_AUDIT)
	if err != nil {
		return nil, fmt.Errorf("opening audit socket: %w", err)
	}
	a := &auditLog{fd: fd, buf: make([]byte, 1<<16)}
	if err := a.setUp(); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *auditLog) setUp() error {
	if err := unix.SetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		return fmt.Errorf("sizing audit socket: %w", err)
	}
	tv := unix.NsecToTimeval(drainTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(a.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return fmt.Errorf("setting audit timeout: %w", err)
	}
	addr := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (groupReadLog - 1)}
	if err := unix.Bind(a.fd, addr); err != nil {
		return fmt.Errorf("joining audit group: %w", err)
	}
	_, err := a.drain() // what came before the first probe
	return err
}

func (a *auditLog) close() { unix.Close(a.fd) }

// drain returns the integrity records written since the last call. It sends a
// record of its own behind them and reads until that comes back: the kernel
// keeps the order.
func (a *auditLog) drain() ([]string, error) {
	a.mark++
	text := fmt.Sprintf("kernellab-mark-%d.", a.mark)
	if err := a.send(text); err != nil {
		return nil, err
	}
	var records []string
	for {
		n, _, err := unix.Recvfrom(a.fd, a.buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return records, fmt.Errorf("receiving audit record: %w", err)
		}
		if n < unix.NLMSG_HDRLEN {
			continue
		}
		kind := binary.NativeEndian.Uint16(a.buf[4:])
		body := strings.TrimRight(string(a.buf[unix.NLMSG_HDRLEN:n]), "\x00\n")
		if kind == auditUser && strings.Contains(body, text) {
			return records, nil
		}
		if kind/100 == auditIntegrity/100 {
			records = append(records, fmt.Sprintf("type=%d %s", kind, body))
		}
	}
}

func (a *auditLog) send(text string) error {
	msg := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(text)+1)
	msg = append(append(msg, text...), 0) // the kernel overwrites the last byte
	binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
	binary.NativeEndian.PutUint16(msg[4:], auditUser)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST)
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(a.fd, msg, 0, to); err != nil {
		return fmt.Errorf("sending audit mark: %w", err)
	}
	return nil
}

// causeOfFailure finds the cause in an integrity record about a failure. A
// string that needs no quoting for the audit log is quoted, others are bare.
var causeOfFailure = regexp.MustCompile(`\bcause="?([^" ]+)"?.*\bres=0\b`)

func firstCause(records []string) string {
	for _, r := range records {
		if m := causeOfFailure.FindStringSubmatch(r); m != nil {
			return m[1]
		}
	}
	return ""
}
