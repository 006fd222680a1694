package program

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"

	"imaseal/keys/child"
	"imaseal/keys/keyfile"
)

// Name and version of the protocol that the first lines say.
const (
	protocolName    = "imaseal-key"
	protocolVersion = 1
)

// A hello is the first line of either side.
type hello struct {
	Protocol string `json:"protocol"`
	// Version is the highest that imaseal knows, then the one that counts.
	Version int `json:"version"`

	Key string `json:"key,omitempty"` // the reference; from imaseal only

	// From the program only.
	Public       []byte   `json:"public,omitempty"` // DER of a SubjectPublicKeyInfo
	Certificates [][]byte `json:"certificates,omitempty"`
	Parallel     int      `json:"parallel,omitempty"` // 0 is 1
	Error        string   `json:"error,omitempty"`
}

// A request asks for the signature over a digest, or over a message if the key is
// of a kind that signs such.
type request struct {
	ID      uint64 `json:"id"` // from 1, each once
	Hash    string `json:"hash,omitempty"`
	Digest  []byte `json:"digest,omitempty"`
	Message []byte `json:"message,omitempty"`
}

// An answer has a signature or an error.
type answer struct {
	ID        uint64 `json:"id"`
	Signature []byte `json:"signature"`
	Error     string `json:"error"`
	Temporary bool   `json:"temporary"` // the error
}

// staying is a program that is started once, and again after it has ended.
type staying struct {
	path, name, ref string
	o               Options
	public          crypto.PublicKey

	starting chan struct{} // holds an element while a caller starts the program
	now      *session      // the last one; to be read and set by who starts
}

func openStaying(ctx context.Context, path, name, ref string, o Options) (*Key, error) {
	p := &staying{path: path, name: name, ref: ref, o: o, starting: make(chan struct{}, 1)}
	s, err := p.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: starting: %w", name, err)
	}
	k := newKey(name, s.hello.Parallel, o, p)
	k.public = p.public
	for _, der := range s.hello.Certificates {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("%s: a certificate: %w", name, err)
		}
		k.certs = append(k.certs, c)
	}
	return k, nil
}

// start starts the program and hears its first line. It is called by one at a
// time.
func (p *staying) start(ctx context.Context) (*session, error) {
	ctx, cancel := child.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	s, err := startSession(ctx, p.path, p.name, p.ref, p.o.stderr)
	if err != nil {
		return nil, err
	}
	public, err := keyfile.ParsePublic(s.hello.Public)
	switch {
	case err != nil:
		err = &ProtocolError{"the public key: " + err.Error()}
	case p.public == nil:
		p.public = public
	case !p.public.(interface{ Equal(crypto.PublicKey) bool }).Equal(public):
		err = &ProtocolError{"started again, it has another public key"}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	p.now = s
	return s, nil
}

// session returns the program that runs, and starts one if none does.
func (p *staying) session(ctx context.Context) (*session, error) {
	select {
	case p.starting <- struct{}{}:
		defer func() { <-p.starting }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if !p.now.isOver() {
		return p.now, nil
	}
	select {
	case <-p.now.ended:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	p.o.Notice(fmt.Sprintf("%s: %v; started again", p.name, p.now.err))
	return p.start(ctx)
}

func (p *staying) sign(ctx context.Context, r request, _ crypto.Hash) ([]byte, error) {
	s, err := p.session(ctx)
	if err != nil {
		return nil, err
	}
	return s.sign(ctx, r, p.o.Timeout)
}

func (p *staying) close() error {
	p.now.close()
	return nil
}
