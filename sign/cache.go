package sign

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

// CacheBytes bounds what a Cache holds on to: some 30,000 RSA-2048 signatures,
// a quarter of the memory that a run may take.
const CacheBytes = 16 << 20

// entryOverhead is what a remembered signature costs besides its bytes: the
// digest twice, the list element, the map's slot.
const entryOverhead = 300

// A Cache is a Signer that remembers the signatures of another one, so that
// equal digests cost one private-key operation. Signatures of the same key
// over the same digest are the same, whatever label they go into. Callers
// with one digest at the same time wait for the one operation and share its
// result, an error too; errors are not remembered. A caller stops waiting when
// its context ends; an operation that was given up because its caller's context
// ended is begun again by one that still waits. When the memory that the
// signatures take exceeds the bound, those used longest ago are forgotten. A
// Cache is safe for concurrent use.
type Cache struct {
	signer Signer
	limit  int

	mu      sync.Mutex
	entries map[signed]*list.Element // of the done, by what is signed
	recent  list.List                // of *made, latest use first
	bytes   int
	flights map[signed]*flight // of the not yet done
}

type made struct {
	signed signed
	sig    []byte
}

// signed is what a key signs: one of them.
type signed struct {
	digest  hash.Digest
	message string
}

type flight struct {
	done      chan struct{} // closed when the rest is set
	sig       []byte
	err       error
	abandoned bool // err is the end of the context of the caller that signed
}

// NewCache returns a Cache over s that holds at most CacheBytes.
func NewCache(s Signer) *Cache { return newCache(s, CacheBytes) }

func newCache(s Signer, limit int) *Cache {
	return &Cache{
		signer:  s,
		limit:   limit,
		entries: make(map[signed]*list.Element),
		flights: make(map[signed]*flight),
	}
}

// KeyID returns the id of the key.
func (c *Cache) KeyID() imaevm.KeyID { return c.signer.KeyID() }

// SignDigest returns the signature over d, which is the caller's.
func (c *Cache) SignDigest(ctx context.Context, d hash.Digest) ([]byte, error) {
	return c.do(ctx, signed{digest: d}, func() ([]byte, error) { return c.signer.SignDigest(ctx, d) })
}

// IsHashless is that of the key.
func (c *Cache) IsHashless() bool {
	m, ok := c.signer.(MessageSigner)
	return ok && m.IsHashless()
}

// SignMessage is SignDigest for a message, if IsHashless is true.
func (c *Cache) SignMessage(ctx context.Context, message []byte) ([]byte, error) {
	return c.do(ctx, signed{message: string(message)}, func() ([]byte, error) { return c.signer.(MessageSigner).SignMessage(ctx, message) })
}

// do returns the signature over what is signed, and calls sign if none is known.
func (c *Cache) do(ctx context.Context, what signed, sign func() ([]byte, error)) ([]byte, error) {
	for {
		c.mu.Lock()
		if e, ok := c.entries[what]; ok {
			c.recent.MoveToFront(e)
			sig := slices.Clone(e.Value.(*made).sig)
			c.mu.Unlock()
			return sig, nil
		}
		f, waits := c.flights[what]
		if !waits {
			f = &flight{done: make(chan struct{})}
			c.flights[what] = f
		}
		c.mu.Unlock()
		if !waits {
			c.fly(ctx, f, what, sign)
			return slices.Clone(f.sig), f.err
		}
		select {
		case <-f.done:
			if !f.abandoned {
				return slices.Clone(f.sig), f.err
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for a signature: %w", context.Cause(ctx))
		}
	}
}

// fly does what the flight is for, and ends it.
func (c *Cache) fly(ctx context.Context, f *flight, what signed, sign func() ([]byte, error)) {
	f.sig, f.err = sign()
	f.abandoned = f.err != nil && ctx.Err() != nil && errors.Is(f.err, context.Cause(ctx))
	c.mu.Lock()
	delete(c.flights, what)
	if f.err == nil {
		c.remember(what, f.sig)
	}
	c.mu.Unlock()
	close(f.done)
}

// remember adds a signature and forgets old ones. The caller holds mu.
func (c *Cache) remember(what signed, sig []byte) {
	c.entries[what] = c.recent.PushFront(&made{what, sig})
	c.bytes += len(sig) + entryOverhead
	for c.bytes > c.limit {
		oldest := c.recent.Remove(c.recent.Back()).(*made)
		delete(c.entries, oldest.signed)
		c.bytes -= len(oldest.sig) + entryOverhead
	}
}
