package sign

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

// counter is a Signer that takes a while, counts, and fails while told to.
type counter struct {
	mu    sync.Mutex
	calls int
	err   error
}

func (*counter) KeyID() imaevm.KeyID { return 0x01020304 }

func (c *counter) SignDigest(ctx context.Context, d hash.Digest) ([]byte, error) {
	c.mu.Lock()
	c.calls++
	c.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, fmt.Errorf("signing: %w", context.Cause(ctx))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	return []byte("signature of " + d.String()), nil
}

func digest(t *testing.T, content string) hash.Digest {
	t.Helper()
	d, err := hash.Sum(hash.SHA256, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCacheSignsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := &counter{}
		c := NewCache(key)
		if c.KeyID() != key.KeyID() {
			t.Errorf("key id %s", c.KeyID())
		}
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				d := digest(t, strconv.Itoa(i%4))
				sig, err := c.SignDigest(t.Context(), d)
				if err != nil || string(sig) != "signature of "+d.String() {
					t.Errorf("%q, %v", sig, err)
				}
				clear(sig) // the caller's: the others must not see it
			})
		}
		wg.Wait()
		if _, err := c.SignDigest(t.Context(), digest(t, "0")); err != nil {
			t.Fatal(err)
		}
		if key.calls != 4 {
			t.Errorf("%d private-key operations for 4 digests", key.calls)
		}
	})
}

func TestCacheForgetsErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := &counter{err: errors.New("token gone")}
		c := NewCache(key)
		d := digest(t, "")
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := c.SignDigest(t.Context(), d); err == nil {
					t.Error("no error")
				}
			})
		}
		wg.Wait()
		if key.calls != 1 {
			t.Errorf("%d operations, want the one shared", key.calls)
		}
		key.err = nil
		if _, err := c.SignDigest(t.Context(), d); err != nil {
			t.Errorf("error remembered: %v", err)
		}
	})
}

func TestCacheWaitingEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := &counter{}
		c := NewCache(key)
		d := digest(t, "")
		ctx, cancel := context.WithCancelCause(t.Context())
		interrupted := errors.New("interrupted")
		begun := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.SignDigest(t.Context(), d); err != nil {
				t.Errorf("the caller that signs: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := c.SignDigest(ctx, d); !errors.Is(err, interrupted) || time.Since(begun) != 0 {
				t.Errorf("the caller that waits: %v after %v", err, time.Since(begun))
			}
		})
		synctest.Wait()
		cancel(interrupted)
		wg.Wait()
		if key.calls != 1 {
			t.Errorf("%d operations, want 1", key.calls)
		}
	})
}

func TestCacheBeginsAbandonedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := &counter{}
		c := NewCache(key)
		d := digest(t, "")
		ctx, cancel := context.WithCancelCause(t.Context())
		interrupted := errors.New("interrupted")
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.SignDigest(ctx, d); !errors.Is(err, interrupted) {
				t.Errorf("the caller that signs: %v", err)
			}
		})
		synctest.Wait()
		for range 3 {
			wg.Go(func() {
				if sig, err := c.SignDigest(t.Context(), d); err != nil || len(sig) == 0 {
					t.Errorf("a caller that waits: %q, %v", sig, err)
				}
			})
		}
		synctest.Wait()
		cancel(interrupted)
		wg.Wait()
		if key.calls != 2 {
			t.Errorf("%d operations, want the one given up and another", key.calls)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := &counter{}
		size := slotBytes + len("signature of ") + len(digest(t, "").String()) + stretch
		c := newCache(key, 3*size)
		for _, content := range []string{"a", "b", "c", "a", "d", "a", "b"} {
			if _, err := c.SignDigest(t.Context(), digest(t, content)); err != nil {
				t.Fatal(err)
			}
		}
		// a is used again before d pushes b out.
		if key.calls != 5 {
			t.Errorf("%d operations, want 5", key.calls)
		}
		if len(c.memo.index) != 3 || len(c.memo.slots) != 3 {
			t.Errorf("%d in the index, %d slots", len(c.memo.index), len(c.memo.slots))
		}
		if len(c.flights) != 0 {
			t.Errorf("%d flights left", len(c.flights))
		}
	})
}

func TestCacheSmallerThanOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(&counter{}, 1)
		for range 2 {
			if _, err := c.SignDigest(t.Context(), digest(t, "a")); err != nil {
				t.Fatal(err)
			}
		}
		if len(c.memo.index) != 0 || len(c.memo.slots) != 0 {
			t.Errorf("%d in the index, %d slots", len(c.memo.index), len(c.memo.slots))
		}
	})
}

// messages is a MessageSigner that counts.
type messages struct {
	counter
	hashless bool
}

func (m *messages) IsHashless() bool { return m.hashless }

func (m *messages) SignMessage(_ context.Context, message []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	return fmt.Appendf(nil, "signature of %-80s", message), nil // of one length, as those of a key are
}

// TestCacheOfMessages remembers messages as it does digests, and not one for the
// other.
func TestCacheOfMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if NewCache(&counter{}).IsHashless() || NewCache(&messages{}).IsHashless() {
			t.Error("a key that signs digests is hashless")
		}
		key := &messages{hashless: true}
		c := NewCache(key)
		for range 3 {
			for _, m := range []string{"a", "b", digest(t, "").String()} {
				sig, err := c.SignMessage(t.Context(), []byte(m))
				if err != nil || string(sig) != fmt.Sprintf("signature of %-80s", m) {
					t.Errorf("%q: %q, %v", m, sig, err)
				}
			}
			if _, err := c.SignDigest(t.Context(), digest(t, "")); err != nil {
				t.Error(err)
			}
		}
		if !c.IsHashless() || key.calls != 4 {
			t.Errorf("%d operations for 3 messages and a digest", key.calls)
		}
	})
}
