package tpm

import (
	"encoding/binary"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// A proxy passes commands on to a TPM, does something to the answers of
// TPM2_Sign, and refuses what it is told to.
type proxy struct {
	path   string
	mu     sync.Mutex
	fault  func(answer []byte) []byte
	refuse map[tpm2.TPMCC]uint32
}

func newProxy(t *testing.T, tpm string) *proxy {
	t.Helper()
	p := &proxy{path: filepath.Join(filepath.Dir(tpm), "proxy")}
	listener, err := net.Listen("unix", p.path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(conn, tpm) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		wg.Wait()
	})
	return p
}

// TCTI is the name of the device.
func (p *proxy) TCTI() string { return "swtpm:path=" + p.path }

// set sets what is done to answers; nil is nothing.
func (p *proxy) set(fault func(answer []byte) []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// refuses sets a code that is the answer to a command in place of the TPM's; 0 is
// none.
func (p *proxy) refuses(command tpm2.TPMCC, rc uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = map[tpm2.TPMCC]uint32{command: rc}
}

// serve serves one command.
func (p *proxy) serve(conn net.Conn, tpm string) {
	defer conn.Close()
	command := make([]byte, maxMessage)
	n, err := conn.Read(command)
	if err != nil {
		return
	}
	name := tpm2.TPMCC(binary.BigEndian.Uint32(command[6:]))
	p.mu.Lock()
	rc := p.refuse[name]
	p.mu.Unlock()
	if rc != 0 {
		conn.Write(code(rc)(nil))
		return
	}
	to, err := net.Dial("unix", tpm)
	if err != nil {
		return
	}
	answer, err := exchange(to, command[:n])
	to.Close() // it serves one at a time
	if err != nil {
		return
	}
	p.mu.Lock()
	fault := p.fault
	p.mu.Unlock()
	if fault != nil && name == tpm2.TPMCCSign {
		answer = fault(answer)
	}
	conn.Write(answer)
}

// code returns a fault: an answer with nothing but a code.
func code(rc uint32) func([]byte) []byte {
	return func([]byte) []byte {
		b := []byte{0x80, 0x01, 0, 0, 0, 10}
		return binary.BigEndian.AppendUint32(b, rc)
	}
}
