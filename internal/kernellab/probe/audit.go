//go:build amd64

package main

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/kernellab/wire"
)

// Audit message numbers and the multicast group, include/uapi/linux/audit.h.
const (
	auditUser      = 1005
	auditIntegrity = 1800 // to 1899
	groupReadLog   = 1
)

// mark is the text of our own records, followed by their number.
const mark = "kernellab-mark-"

// batch is how many probes are made before their records are read: waiting for
// the kernel's audit thread after each takes longer than the probe.
const batch = 100

// receiveBuffer is more than one batch can fill: records would be lost.
const receiveBuffer = 64 << 20

// drainTimeout is long, for a slow guest; it passes only if the kernel lost the mark.
const drainTimeout = 10 * time.Second

// An auditLog reads the kernel's audit records from its multicast group. The
// kernel log would be rate limited.
type auditLog struct {
	fd    int
	marks int // sent so far
	buf   []byte
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
	return nil
}

func (a *auditLog) close() { unix.Close(a.fd) }

// begin sends a record of our own to where those of the next probe will follow:
// the kernel keeps the order.
func (a *auditLog) begin() error {
	a.marks++
	return a.send(mark + strconv.Itoa(a.marks))
}

// attribute gives the integrity records since the last call to the probes that
// caused them. There was one begin before each.
func (a *auditLog) attribute(verdicts []wire.Verdict) error {
	if err := a.begin(); err != nil {
		return err
	}
	first := a.marks - len(verdicts)
	for current := 0; current < a.marks; {
		kind, body, err := a.receive()
		if err != nil {
			return err
		}
		if _, number, ok := strings.Cut(body, mark); ok && kind == auditUser {
			if current, err = strconv.Atoi(number[:strings.IndexByte(number, '\'')]); err != nil {
				return fmt.Errorf("audit mark came back as %q", body)
			}
			continue
		}
		if kind/100 == auditIntegrity/100 && current >= first {
			v := &verdicts[current-first]
			v.Records = append(v.Records, fmt.Sprintf("type=%d %s", kind, body))
		}
	}
	for i := range verdicts {
		verdicts[i].Cause = lastCause(verdicts[i].Records)
	}
	return nil
}

// receive returns the next record.
func (a *auditLog) receive() (kind uint16, body string, err error) {
	n := 0
	for n < unix.NLMSG_HDRLEN {
		n, _, err = unix.Recvfrom(a.fd, a.buf, 0)
		if err != nil && err != unix.EINTR {
			return 0, "", fmt.Errorf("receiving audit record: %w", err)
		}
	}
	body = strings.TrimRight(string(a.buf[unix.NLMSG_HDRLEN:n]), "\x00\n")
	return binary.NativeEndian.Uint16(a.buf[4:]), body, nil
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
// string that needs no quoting for the audit log is quoted, others are bare. An
// appraisal that is recorded has failed, also with res=1: that is the record of
// an empty security.ima, whose reading was a success.
var causeOfFailure = regexp.MustCompile(`\bcause="?([^" ]+)"?.*\bres=0\b|\bop=appraise_data cause=([^" ]+)`)

// lastCause is that of a denial: nothing is looked at behind one, and before it
// a measurement may have failed, which denies nothing.
func lastCause(records []string) string {
	for _, r := range slices.Backward(records) {
		if m := causeOfFailure.FindStringSubmatch(r); m != nil {
			return m[1] + m[2]
		}
	}
	return ""
}
