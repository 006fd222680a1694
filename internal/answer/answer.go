// Package answer makes the labels that were requested (package labelfile): it has
// the key and no files. What it signs it knows from requests alone, so that all of
// them are looked at before the first signature is made.
package answer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/labelfile"
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
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return s, err
		}
		s.Requests++
		if err := a.check(&rec, s.Requests); err != nil {
			denied(r.Line(), rec.Path, err)
			continue
		}
		if rec.NeedsIMA() {
			s.IMA++
		}
		if rec.NeedsEVM() {
			s.EVM++
		}
	}
	if err := r.Whole(); err != nil && (!a.Partial || err == labelfile.ErrForeign) {
		return s, err
	}
	return s, nil
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
	done   chan struct{} // closed when the rest is set
}

// window is how many answers may wait for one before them.
const window = 64

// Answer answers what in has, in its order. write is given each answer, by one
// goroutine; requested tells, after the last of them, which requests in has told of.
// When ctx ends, or an answer cannot be made, those before it are still written.
func (a *Answerer) Answer(ctx context.Context, in *labelfile.Reader, write func(labelfile.Record) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work, order := make(chan *task), make(chan *task, window+a.Workers)
	var workers, writer sync.WaitGroup
	for range a.Workers {
		workers.Go(func() {
			for t := range work {
				t.record, t.err = a.answer(ctx, t.record)
				close(t.done)
			}
		})
	}
	writer.Go(func() {
		var failed error
		for t := range order {
			<-t.done
			if failed == nil && t.err == nil {
				t.err = write(t.record)
			}
			if failed == nil && t.err != nil {
				failed = t.err
				cancel(failed)
			}
		}
	})
	err := feed(ctx, in, work, order)
	close(work)
	workers.Wait()
	close(order)
	writer.Wait()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// feed reads requests.
func feed(ctx context.Context, in *labelfile.Reader, work, order chan<- *task) error {
	for {
		rec, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		t := &task{record: rec, done: make(chan struct{})}
		select {
		case order <- t:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case work <- t:
		case <-ctx.Done():
			t.err = context.Cause(ctx)
			close(t.done)
			return t.err
		}
	}
}
