package pkcs11

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imaseal/keys/pkcs11/p11kit"
)

// The test program stands before the real p11-kit when it runs under its name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "p11-kit" {
		os.Exit(faulty(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// Numbers of calls, as p11-kit has them.
const (
	callInitialize        = 1
	callGetTokenInfo      = 6
	callLogin             = 18
	callGetAttributeValue = 24
	callSignInit          = 42
	callSign              = 43
)

// A message is one of p11-kit's, as it goes over the pipe.
type message struct {
	header [12]byte
	body   []byte // call, signature, fields
}

func (m *message) read(r io.Reader) error {
	if _, err := io.ReadFull(r, m.header[:]); err != nil {
		return err
	}
	m.body = make([]byte, binary.BigEndian.Uint32(m.header[4:])+binary.BigEndian.Uint32(m.header[8:]))
	_, err := io.ReadFull(r, m.body)
	return err
}

func (m *message) write(w io.Writer) {
	binary.BigEndian.PutUint32(m.header[8:], uint32(len(m.body)))
	w.Write(append(m.header[:], m.body...))
}

func (m *message) call() uint32 { return binary.BigEndian.Uint32(m.body) }

// fail makes the message an answer with an error.
func (m *message) fail(code p11kit.Code) {
	m.body = []byte{0, 0, 0, 0, 0, 0, 0, 1, 'u'}
	m.body = binary.BigEndian.AppendUint64(m.body, uint64(code))
}

// faulty passes messages on between its caller and the real p11-kit, and does
// something wrong on the way. A fault that begins with "once-" is one of the
// first process only.
func faulty(args []string) int {
	what := os.Getenv("P11_KIT_FAULT")
	log, err := os.OpenFile(os.Getenv("P11_KIT_CALLS"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 9
	}
	if once, ok := strings.CutPrefix(what, "once-"); ok {
		what = once
		if info, err := log.Stat(); err != nil || info.Size() > 0 {
			what = ""
		}
	}
	cmd := exec.Command(os.Getenv("REAL_P11_KIT"), args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 9
	}
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return 9
	}
	defer cmd.Wait()
	defer in.Close()
	ours, theirs, ok := versions(what, in, out)
	if !ok {
		return 1
	}
	for {
		var m message
		if m.read(os.Stdin) != nil {
			return 0
		}
		fmt.Fprintln(log, m.call())
		if m.call() == callSignInit {
			// Behind the session and the mechanism there is an array
			// before version 2.
			at := 8 + len("uMu") + 8 + 4
			switch {
			case ours >= 2 && theirs < 2:
				m.body = slices.Insert(m.body, at, 0xff, 0xff, 0xff, 0xff)
			case ours < 2 && theirs >= 2:
				m.body = slices.Delete(m.body, at, at+4)
			}
		}
		if code, ok := before(what, m.call()); ok {
			m.fail(code)
			m.write(os.Stdout)
			continue
		}
		m.write(in)
		if m.read(out) != nil {
			return 1
		}
		after(what, &m)
		m.write(os.Stdout)
	}
}

// versions agrees on versions with the caller, and with the real p11-kit.
func versions(what string, in io.Writer, out io.Reader) (ours, theirs byte, ok bool) {
	b := make([]byte, 1)
	if _, err := io.ReadFull(os.Stdin, b); err != nil {
		return 0, 0, false
	}
	if what == "version-0.23" && b[0] != 0 {
		fmt.Fprintf(os.Stderr, "p11-kit: unsupported version received: %d\n", b[0])
		return 0, 0, false
	}
	in.Write([]byte{2})
	if _, err := io.ReadFull(out, b); err != nil {
		return 0, 0, false
	}
	ours, theirs = b[0], b[0]
	switch what {
	case "version-0.23":
		ours = 0
	case "version-2":
		ours = 2
	case "version-3":
		ours = 3
	}
	os.Stdout.Write([]byte{ours})
	return ours, theirs, true
}

// before does what goes wrong before the module is called, and returns the code
// that it fails with instead.
func before(what string, call uint32) (p11kit.Code, bool) {
	signs, inits := call == callSign, call == callSignInit
	switch {
	case what == "hangs" && signs, what == "hangs-first" && call == callInitialize:
		time.Sleep(time.Hour)
	case what == "dies" && signs:
		fmt.Fprintln(os.Stderr, "p11-kit: Segmentation fault")
		os.Exit(139)
	case what == "closed" && signs:
		return p11kit.SessionHandleInvalid, true
	case what == "removed" && inits:
		return p11kit.DeviceRemoved, true
	case what == "forbidden" && inits:
		return p11kit.KeyFunctionNotPermitted, true
	case what == "failed" && signs:
		return p11kit.FunctionFailed, true
	case what == "locked" && call == callLogin:
		return p11kit.PINLocked, true
	}
	return 0, false
}

// after changes the answer.
func after(what string, m *message) {
	if m.call() == callGetTokenInfo {
		const flags = 8 + len("ssssuuuuuuuuuuuvvs") + 4*4 + 32 + 32 + 16 + 16
		n := binary.BigEndian.Uint64(m.body[flags:])
		switch what {
		case "final-try":
			n |= p11kit.UserPINFinalTry
		case "is-locked":
			n |= p11kit.UserPINLocked
		}
		binary.BigEndian.PutUint64(m.body[flags:], n)
	}
	if m.call() == callGetAttributeValue && what == "no-sign" {
		is := []byte{0, 0, p11kit.Sign >> 8, p11kit.Sign & 0xff, 1, 0, 0, 0, 1} // of one byte
		if at := bytes.Index(m.body, is); at > 0 {
			m.body[at+len(is)] = 0
		}
	}
	if m.call() != callSign {
		return
	}
	switch what {
	case "garbage":
		for i := range m.header {
			m.header[i] = 0xa5
		}
	case "short":
		m.body = m.body[:len(m.body)-5]
	case "other-call":
		m.body[3]++
	case "other-signature":
		m.body[len(m.body)-1] ^= 1
	case "code-0":
		m.fail(0)
	}
}
