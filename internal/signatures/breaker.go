package signatures

import (
	"sync"
	"time"
)

const (
	// tooSlow is how long an answer may take: a key behind a slow line is faster.
	tooSlow = time.Second
	// tooMany failures in a row, and a store is left alone for restFor; then one
	// call finds out whether it works again.
	tooMany = 3
	restFor = 30 * time.Second
)

// A breaker keeps calls from a store that fails. The zero value lets all through.
type breaker struct {
	mu      sync.Mutex
	row     int       // of failures
	until   time.Time // that it rests; zero for not
	probing bool
}

// allows reports whether there is to be a call. If so, one of the other methods says
// what came of it.
func (b *breaker) allows() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.until.IsZero():
		return true
	case b.probing || time.Now().Before(b.until):
		return false
	}
	b.probing = true
	return true
}

// worked says that a call was answered. Those that were begun before the store was
// left alone do not count.
func (b *breaker) worked() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() || b.probing {
		b.row, b.until, b.probing = 0, time.Time{}, false
	}
}

// failed says that a call was not.
func (b *breaker) failed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.row++; b.row >= tooMany {
		b.until, b.probing = time.Now().Add(restFor), false
	}
}

// forget says that nothing came of a call.
func (b *breaker) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
}
