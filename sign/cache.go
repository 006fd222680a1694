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
	entries map[hash.Digest]*list.Element // of the done, by digest
	recent  list.List                     // of *made, latest use first
	bytes   int
	flights map[hash.Digest]*flight // of the not yet done
}

type made struct {
	digest hash.Digest
	sig    []byte
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
		entries: make(map[hash.Digest]*list.Element),
		flights: make(map[hash.Digest]*flight),
	}
}

// KeyID returns the id of the key.
func (c *Cache) KeyID() imaevm.KeyID { return c.signer.KeyID() }

// SignDigest returns the signature over d, which is the caller's.
func (c *Cache) SignDigest(ctx context.Context, d hash.Digest) ([]byte, error) {
	for {
		c.mu.Lock()
		if e, ok := c.entries[d]; ok {
			c.recent.MoveToFront(e)
			sig := slices.Clone(e.Value.(*made).sig)
			c.mu.Unlock()
			return sig, nil
		}
		f, waits := c.flights[d]
		if !waits {
			f = &flight{done: make(chan struct{})}
			c.flights[d] = f
		}
		c.mu.Unlock()
		if !waits {
			c.sign(ctx, f, d)
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

// sign does what the flight is for, and ends it.
func (c *Cache) sign(ctx context.Context, f *flight, d hash.Digest) {
	f.sig, f.err = c.signer.SignDigest(ctx, d)
	f.abandoned = f.err != nil && ctx.Err() != nil && errors.Is(f.err, context.Cause(ctx))
	c.mu.Lock()
	delete(c.flights, d)
	if f.err == nil {
		c.remember(d, f.sig)
	}
	c.mu.Unlock()
	close(f.done)
}

// remember adds a signature and forgets old ones. The caller holds mu.
func (c *Cache) remember(d hash.Digest, sig []byte) {
	c.entries[d] = c.recent.PushFront(&made{d, sig})
	c.bytes += len(sig) + entryOverhead
	for c.bytes > c.limit {
		oldest := c.recent.Remove(c.recent.Back()).(*made)
		delete(c.entries, oldest.digest)
		c.bytes -= len(oldest.sig) + entryOverhead
	}
}
