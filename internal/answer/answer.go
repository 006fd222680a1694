// Package answer makes the labels that were requested (package labelfile): it has
// the key and no files. What it signs it knows from requests alone, so that all of
// them are looked at before the first signature is made.
package answer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/labelfile"
	"imaseal/internal/line"
	"imaseal/sign"
)

// An Answerer makes labels. It is not changed once it is used.
type Answerer struct {
	IMA, EVM *Key // EVM makes security.evm
	Allow    Allow
	// Partial takes requests that are not all that were written.
	Partial bool
	// Workers is how many answers are made at once.
	Workers int
}

// A Key makes signatures.
type Key struct {
	label.Key
	Scheme sign.Scheme
}

// version returns that of a signature that is requested.
func (k *Key) version(r *labelfile.Record, kind imaevm.Type) uint8 {
	switch {
	case kind == imaevm.TypeVerity:
		return 3
	case r.Version != 0:
		return r.Version
	}
	return k.Version
}

// can returns an error if the key cannot make a signature over digests of an
// algorithm.
func (k *Key) can(r *labelfile.Record, kind imaevm.Type, a hash.Algorithm) error {
	if k == nil {
		return nil // nothing is signed
	}
	if k.Scheme == sign.MLDSA && k.version(r, kind) != 3 {
		return sign.ErrHashless
	}
	return k.Scheme.Check(a)
}

// ErrKind says that a label of a kind is not made elsewhere.
var ErrKind = errors.New("an HMAC is not made elsewhere: its key is the target's own")

// Stats are what there is to do.
type Stats struct{ Requests, IMA, EVM uint64 }

// Check reads all requests, and returns how many there are. denied is told of each
// that is not allowed, or that the key cannot answer. The error is that of the
// Reader.
func (a *Answerer) Check(ctx context.Context, in io.Reader, denied func(line int, path string, err error)) (Stats, error) {
	var s Stats
	r := labelfile.NewReader(in, labelfile.Requests)
	err := r.Each(ctx, a.Partial, func(rec labelfile.Record) error {
		s.Requests++
		if err := a.check(&rec, s.Requests); err != nil {
			denied(r.Line(), rec.Path, err)
			return nil
		}
		if rec.NeedsIMA() {
			s.IMA++
		}
		if rec.NeedsEVM() {
			s.EVM++
		}
		return nil
	})
	return s, err
}

// check refuses a request.
func (a *Answerer) check(r *labelfile.Record, files uint64) error {
	if err := a.Allow.check(r, files); err != nil {
		return err
	}
	if r.NeedsIMA() {
		if err := a.IMA.can(r, kindOf(r), r.Digest.Algorithm()); err != nil {
			return err
		}
	} else if h, err := imaevm.ParseHash(r.IMA); err == nil && h.Digest != r.Digest {
		return fmt.Errorf("its label is of %s, and its digest is %s", h.Digest, r.Digest)
	}
	if !r.NeedsEVM() {
		return nil
	}
	if r.EVM.Kind == imaevm.TypeHMAC {
		return ErrKind
	}
	return a.EVM.can(r, r.EVM.Kind, r.EVM.Algo)
}

// kindOf is the kind of signature that security.ima is to be.
func kindOf(r *labelfile.Record) imaevm.Type {
	if r.Verity {
		return imaevm.TypeVerity
	}
	return imaevm.TypeSignature
}

// covered returns the digest that an EVM label signs.
func covered(r *labelfile.Record) (hash.Digest, error) {
	input, err := r.EVM.Input(r.IMA)
	if err != nil {
		return hash.Digest{}, err
	}
	return hash.Sum(r.EVM.Algo, input)
}

// answer makes the labels of a request, which has passed check.
func (a *Answerer) answer(ctx context.Context, r labelfile.Record) (labelfile.Record, error) {
	asked := r
	var err error
	if r.NeedsIMA() {
		if r.IMA, err = a.IMA.sign(ctx, &asked, kindOf(&r), r.Digest); err != nil {
			return r, err
		}
	}
	if r.NeedsEVM() {
		d, err := covered(&r)
		if err != nil {
			return r, err
		}
		if r.EVMLabel, err = a.EVM.sign(ctx, &asked, r.EVM.Kind, d); err != nil {
			return r, err
		}
	}
	r.Answers, r.Version = r.Sum, 0
	return r, nil
}

func (k *Key) sign(ctx context.Context, r *labelfile.Record, kind imaevm.Type, d hash.Digest) ([]byte, error) {
	l, err := sign.Label(ctx, k.Signer, kind, k.version(r, kind), d)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return l.AppendBinary(nil)
}

// A task is a request on its way to its answer.
type task struct {
	record labelfile.Record
	err    error
}

// window is how many answers may wait for one before them.
const window = 64

// Answer answers what in has, in its order. write is given each answer, by one
// goroutine; in.Requested tells, after the last of them, which requests there were.
// When ctx ends, or an answer cannot be made, those before it are still written.
func (a *Answerer) Answer(ctx context.Context, in *labelfile.Reader, write func(labelfile.Record) error) error {
	end := line.NewEnd(ctx)
	defer end.Release()
	isBroken := false // of what is written
	l := line.Line[*task]{
		End: end, Workers: a.Workers, Window: window,
		Work: func(t *task) error {
			if t.err = end.Cause(); t.err == nil {
				t.record, t.err = a.answer(end.Ctx, t.record)
			}
			return nil // those before it are still written
		},
		Write: func(t *task) error {
			if isBroken {
				return nil
			}
			err := t.err
			if err == nil {
				err = write(t.record)
			}
			isBroken = err != nil
			return err
		},
	}
	l.Run(func() error {
		return in.Each(end.Ctx, true, func(r labelfile.Record) error {
			return l.Send(&task{record: r}, line.To{Work: true, Write: true})
		})
	})
	return end.Err()
}
