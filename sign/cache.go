package sign

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

// CacheBytes bounds what a Cache holds on to: some 30,000 signatures of P-256 or
// 15,000 of RSA-2048. The garbage collector lets as much again gather.
const CacheBytes = 6 << 20

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

	mu      sync.Mutex
	memo    *memo
	flights map[memoKey]*flight // of the not yet done
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
	return &Cache{signer: s, memo: newMemo(limit), flights: make(map[memoKey]*flight)}
}

// KeyID returns the id of the key.
func (c *Cache) KeyID() imaevm.KeyID { return c.signer.KeyID() }

// SignDigest returns the signature over d, which is the caller's.
func (c *Cache) SignDigest(ctx context.Context, d hash.Digest) ([]byte, error) {
	return c.do(ctx, keyOf(d, nil), func() ([]byte, error) { return c.signer.SignDigest(ctx, d) })
}

// IsHashless is that of the key.
func (c *Cache) IsHashless() bool {
	m, ok := c.signer.(MessageSigner)
	return ok && m.IsHashless()
}

// SignMessage is SignDigest for a message, if IsHashless is true.
func (c *Cache) SignMessage(ctx context.Context, message []byte) ([]byte, error) {
	return c.do(ctx, keyOf(hash.Digest{}, message), func() ([]byte, error) { return c.signer.(MessageSigner).SignMessage(ctx, message) })
}

// do returns the signature over what is signed, and calls sign if none is known.
func (c *Cache) do(ctx context.Context, what memoKey, sign func() ([]byte, error)) ([]byte, error) {
	for {
		c.mu.Lock()
		if sig := c.memo.get(what); sig != nil {
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
func (c *Cache) fly(ctx context.Context, f *flight, what memoKey, sign func() ([]byte, error)) {
	f.sig, f.err = sign()
	f.abandoned = f.err != nil && ctx.Err() != nil && errors.Is(f.err, context.Cause(ctx))
	c.mu.Lock()
	delete(c.flights, what)
	if f.err == nil {
		c.memo.put(what, f.sig)
	}
	c.mu.Unlock()
	close(f.done)
}
