// Package p11kit calls the functions of a PKCS#11 module that runs in a process
// of its own, "p11-kit remote MODULE", over that program's standard input and
// output: the remote procedure calls of p11-kit, without C.
//
// # Messages
//
// The client begins with a byte, the version that it knows; the server answers
// with the one that counts. Then come messages. All numbers are big endian:
//
//	4  number of the message, which its answer has too
//	4  length of options, which are ignored
//	4  length of the body
//	   options
//	   body: number of the call, length of the signature, signature, fields
//
// A signature has a letter for each field, see the methods of writer and reader.
// The answer to a call that failed is the call 0 with the code of the error.
// Source: p11-kit/rpc-transport.c, rpc-message.c, rpc-message.h and rpc-client.c
// of github.com/p11-glue/p11-kit.
package p11kit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"imaseal/keys/child"
)

// maxVersion is the highest version of p11-kit's RPC that is known here. The
// server answers the lower one of this and its own: 0 (p11-kit 0.24), 1 (0.25)
// or 2 (0.25.6). Version 0.23 knows only 0, and says no more to another one.
const maxVersion = 2

// A call is a function with its number and the signatures of request and
// answer. Source: p11_rpc_calls in p11-kit/rpc-message.h.
type call struct {
	name            string
	number          uint32
	request, answer string
}

var (
	callInitialize        = call{"Initialize", 1, "ayyay", ""}
	callGetInfo           = call{"GetInfo", 3, "", "vsusv"}
	callGetSlotList       = call{"GetSlotList", 4, "yfu", "au"}
	callGetSlotInfo       = call{"GetSlotInfo", 5, "u", "ssuvv"}
	callGetTokenInfo      = call{"GetTokenInfo", 6, "u", "ssssuuuuuuuuuuuvvs"}
	callGetMechanismList  = call{"GetMechanismList", 7, "ufu", "au"}
	callOpenSession       = call{"OpenSession", 10, "uu", "u"}
	callLogin             = call{"Login", 18, "uuay", ""}
	callGetAttributeValue = call{"GetAttributeValue", 24, "uufA", "aAu"}
	callFindObjectsInit   = call{"FindObjectsInit", 26, "uaA", ""}
	callFindObjects       = call{"FindObjects", 27, "ufu", "au"}
	callFindObjectsFinal  = call{"FindObjectsFinal", 28, "u", ""}
	callSignInit          = call{"SignInit", 42, "uMu", ""}
	callSign              = call{"Sign", 43, "uayfy", "ay"}
)

// maxAnswer bounds the size of an answer.
const maxAnswer = 1 << 20

// handshake is what C_Initialize sends. Source: p11-kit/rpc-message.h.
const handshake = "PRIVATE-GNOME-KEYRING-PKCS11-PROTOCOL-V-1"

// Options says how a module is called.
type Options struct {
	// Timeout bounds each call; 0 is a minute.
	Timeout time.Duration
	// Notice is told what the module and p11-kit write to standard error.
	Notice func(text string)
}

// A Conn is a process in which a module runs, and asks it for one thing at a
// time. After an error that is no *CallError it is of no use any more. Its
// methods are not safe for concurrent use.
type Conn struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     io.ReadCloser
	words   *child.LastWords
	timeout time.Duration
	version byte
	serial  uint32

	end    sync.Once // sets how
	how    string    // the process ended
	mu     sync.Mutex
	closed bool // the process is waited for, and its number may be another's
}

// Dial starts a process for a module, or for all that p11-kit is configured
// with where module is empty, and initializes it. The caller closes the Conn.
func Dial(ctx context.Context, module string, o Options) (*Conn, error) {
	c, err := start(ctx, module, maxVersion, o)
	if e, ok := errors.AsType[*child.EndedError](err); ok && strings.Contains(e.Stderr, "version received") {
		c, err = start(ctx, module, 0, o)
	}
	if err != nil {
		return nil, err
	}
	var w writer
	w.bytes([]byte(handshake))
	w.byte(0)
	w.bytes([]byte{0}) // the string of reserved arguments, which is empty
	if _, err := c.call(ctx, callInitialize, w.b); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func start(ctx context.Context, module string, version byte, o Options) (*Conn, error) {
	program, err := exec.LookPath("p11-kit")
	if err != nil {
		return nil, errors.New("the program p11-kit is missing, in whose process modules run (Debian: p11-kit; Fedora: p11-kit-server)")
	}
	if module == "" {
		module = "pkcs11:" // all tokens
	}
	// Without -v p11-kit does not say what is wrong.
	c := &Conn{cmd: exec.Command(program, "remote", "-v", module), timeout: o.Timeout}
	c.words = child.Prepare(c.cmd, "p11-kit", o.Notice)
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if c.out, err = c.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	b := []byte{version}
	err = c.exchange(ctx, b, func() error {
		_, err := io.ReadFull(c.out, b)
		return err
	})
	if err == nil && b[0] > version {
		err = &lostError{fmt.Sprintf("p11-kit answered to version %d with %d", version, b[0])}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	c.version = b[0]
	return c, nil
}

// exchange writes a request and reads the answer. When ctx ends, or the module
// takes too long, the process is killed, for nothing else makes it return.
func (c *Conn) exchange(ctx context.Context, request []byte, read func() error) error {
	ctx, cancel := child.WithTimeout(ctx, c.timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, c.kill)
	_, err := c.in.Write(request)
	if err == nil {
		err = read()
	}
	switch {
	case !stop():
		return fmt.Errorf("waiting for the token: %w", context.Cause(ctx))
	case err == nil:
		return nil
	}
	if lost, ok := errors.AsType[*lostError](err); ok {
		c.kill()
		return lost
	}
	// It closed one end: it is gone, or as good as that.
	return &child.EndedError{How: c.Close(), Stderr: c.words.String()}
}

// call calls a function and returns the fields of the answer. The error is a
// *CallError if the module returned one.
func (c *Conn) call(ctx context.Context, f call, fields []byte) (*reader, error) {
	c.serial++
	var w writer
	w.uint32(c.serial)
	w.uint32(0) // length of options
	w.uint32(uint32(8 + len(f.request) + len(fields)))
	w.uint32(f.number)
	w.uint32(uint32(len(f.request)))
	request := append(append(w.b, f.request...), fields...)
	defer clear(request) // it may hold the PIN
	var answer *reader
	var code Code
	err := c.exchange(ctx, request, func() (err error) {
		answer, code, err = c.read(f)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case code != 0:
		return nil, &CallError{Function: f.name, Code: code}
	}
	return answer, nil
}

// read reads an answer, or the code of an error instead. A *lostError says that
// neither makes sense.
func (c *Conn) read(f call) (*reader, Code, error) {
	header := make([]byte, 12)
	if _, err := io.ReadFull(c.out, header); err != nil {
		return nil, 0, err
	}
	serial, options, size := binary.BigEndian.Uint32(header), binary.BigEndian.Uint32(header[4:]), binary.BigEndian.Uint32(header[8:])
	if serial != c.serial || options > maxAnswer || size > maxAnswer {
		return nil, 0, &lostError{fmt.Sprintf("p11-kit answered with a message %d of %d bytes to message %d", serial, size, c.serial)}
	}
	body := make([]byte, options+size)
	if _, err := io.ReadFull(c.out, body); err != nil {
		return nil, 0, err
	}
	r := &reader{b: body[options:]}
	number, signature := r.uint32(), r.array()
	const callError, errorSignature = 0, "u"
	switch {
	case r.err != nil:
		return nil, 0, &lostError{"p11-kit: " + r.err.Error()}
	case number == callError && string(signature) == errorSignature:
		if code := Code(r.ulong()); r.err == nil && code != 0 {
			return nil, code, nil
		}
	case number == f.number && bytes.Equal(signature, []byte(f.answer)):
		return r, 0, nil
	}
	return nil, 0, &lostError{fmt.Sprintf("p11-kit answered to C_%s with something else", f.name)}
}

func (c *Conn) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		child.Kill(c.cmd)
	}
}

// Close ends the process, if it is there, and says how it ended.
func (c *Conn) Close() string {
	c.end.Do(func() {
		c.in.Close()
		timer := time.AfterFunc(child.Grace, c.kill)
		defer timer.Stop()
		io.Copy(io.Discard, c.out) // until it is gone
		err := c.cmd.Wait()
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.how = child.How(c.cmd, err)
	})
	return c.how
}
