package signatures

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

// A Statistic counts what came of the signatures of a run.
type Statistic struct {
	Found    int // in the store, and used
	Made     int // by the key
	Stored   int // of these
	Rejected int // in the store, and not what they should be
	// Unreachable is how often the store could not be asked, or was not since it
	// had failed before.
	Unreachable int
	Unstored    int // that the store did not take
}

// A Trouble is a kind of what can be wrong with a store.
type Trouble int

// The kinds.
const (
	Away   Trouble = iota // it cannot be reached, or is too slow
	Lies                  // it gives what are no signatures of the key
	Unkept                // it does not take signatures
)

// Options say how a store is used.
type Options struct {
	// ReadOnly stores nothing.
	ReadOnly bool
	// Notice, if not nil, is told once of each kind of trouble, when it comes
	// first: what there is of it then is in the statistic. It must be safe for
	// concurrent use.
	Notice func(t Trouble, err error)
}

// A Signer is a sign.MessageSigner around a key: it looks in a store before it asks
// the key, and stores what that has made. It takes the store for what it is, a
// convenience: what the store does not give in time, the key makes. After several
// failures in a row the store is left alone for a while, so that a run is not slowed
// down by a store that is away. It is safe for concurrent use.
type Signer struct {
	key     Key
	store   Store
	prefix  string
	options Options
	reads   breaker
	writes  breaker
	ctx     context.Context // of what is stored, for which nobody waits but Settle
	slots   chan struct{}   // taken while something is stored
	storing sync.WaitGroup

	mu    sync.Mutex
	count Statistic
	told  map[Trouble]bool
}

// New returns a Signer that stores what it makes until ctx ends. The key and the
// store stay the caller's; Settle comes before they are closed.
func New(ctx context.Context, k Key, s Store, o Options) (*Signer, error) {
	of, err := prefix(k)
	if err != nil {
		return nil, err
	}
	return &Signer{
		key: k, store: s, prefix: of, options: o, ctx: ctx,
		slots: make(chan struct{}, s.Parallel()), told: make(map[Trouble]bool),
	}, nil
}

// KeyID is that of the key.
func (s *Signer) KeyID() imaevm.KeyID { return s.key.KeyID() }

// IsHashless is that of the key.
func (s *Signer) IsHashless() bool { return s.key.IsHashless() }

// SignDigest returns a signature over d. The errors are the key's.
func (s *Signer) SignDigest(ctx context.Context, d hash.Digest) ([]byte, error) {
	return s.sign(ctx, nameOf(d),
		func(sig []byte) bool { return s.key.IsOwn(d, sig) },
		func() ([]byte, error) { return s.key.SignDigest(ctx, d) })
}

// SignMessage returns a signature over a message. The errors are the key's.
func (s *Signer) SignMessage(ctx context.Context, message []byte) ([]byte, error) {
	return s.sign(ctx, nameOfMessage(message),
		func(sig []byte) bool { return s.key.IsOwnMessage(message, sig) },
		func() ([]byte, error) { return s.key.SignMessage(ctx, message) })
}

// sign returns the signature of that name: the store's if it is the key's, else one
// that is made.
func (s *Signer) sign(ctx context.Context, name string, isOwn func([]byte) bool, create func() ([]byte, error)) ([]byte, error) {
	name = s.prefix + name
	if sig := s.find(ctx, name); sig != nil {
		if isOwn(sig) {
			s.note(func(c *Statistic) { c.Found++ })
			return sig, nil
		}
		s.note(func(c *Statistic) { c.Rejected++ })
		s.tell(Lies, fmt.Errorf("%s is no signature of the key over that digest", name))
	}
	sig, err := create()
	if err != nil {
		return nil, err
	}
	s.note(func(c *Statistic) { c.Made++ })
	if !s.options.ReadOnly {
		s.keep(ctx, name, sig)
	}
	return sig, nil
}

// find asks the store, and returns nil if it has nothing.
func (s *Signer) find(ctx context.Context, name string) []byte {
	if !s.reads.allows() {
		s.note(func(c *Statistic) { c.Unreachable++ })
		return nil
	}
	begin := time.Now()
	sig, err := s.store.Get(ctx, name)
	switch took := time.Since(begin); {
	case ctx.Err() != nil: // that says nothing of the store
		s.reads.forget()
		return nil
	case err != nil && !errors.Is(err, ErrNone):
		s.reads.failed()
		s.note(func(c *Statistic) { c.Unreachable++ })
		s.tell(Away, err)
		return nil
	case took > tooSlow:
		s.reads.failed()
		s.tell(Away, fmt.Errorf("it takes %s to answer", took.Round(time.Millisecond)))
	default:
		s.reads.worked()
	}
	if err == nil && sig == nil {
		sig = []byte{} // which is none, and is rejected
	}
	return sig
}

// keep stores a signature, for which nobody has to wait unless too many are stored
// already.
func (s *Signer) keep(ctx context.Context, name string, sig []byte) {
	if !s.writes.allows() {
		s.note(func(c *Statistic) { c.Unstored++ })
		return
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		s.writes.forget()
		return
	}
	s.storing.Go(func() {
		defer func() { <-s.slots }()
		err := s.store.Put(s.ctx, name, sig)
		switch {
		case err == nil:
			s.writes.worked()
			s.note(func(c *Statistic) { c.Stored++ })
		case s.ctx.Err() != nil:
			s.writes.forget()
		default:
			s.writes.failed()
			s.note(func(c *Statistic) { c.Unstored++ })
			s.tell(Unkept, err)
		}
	})
}

// Settle waits until what was made is stored, and returns the statistic.
func (s *Signer) Settle() Statistic {
	s.storing.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

func (s *Signer) note(change func(*Statistic)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.count)
}

// tell tells of trouble, unless that was told before.
func (s *Signer) tell(t Trouble, err error) {
	s.mu.Lock()
	told := s.told[t]
	s.told[t] = true
	s.mu.Unlock()
	if !told && s.options.Notice != nil {
		s.options.Notice(t, err)
	}
}
