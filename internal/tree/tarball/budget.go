package tarball

import (
	"context"
	"sync"
)

// A budget bounds the bytes of something that waits. One that is larger than all
// of it waits for the others to go.
type budget struct {
	mu   sync.Mutex
	room sync.Cond
	max  int
	used int
}

func newBudget(max int) *budget {
	b := &budget{max: max}
	b.room.L = &b.mu
	return b
}

func (b *budget) take(ctx context.Context, n int) error {
	if b.takes(n) {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.room.Broadcast()
	})
	defer stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.used > 0 && b.used+n > b.max {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b.room.Wait()
	}
	b.used += n
	return nil
}

// takes takes what is there without waiting.
func (b *budget) takes(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	fits := b.used == 0 || b.used+n <= b.max
	if fits {
		b.used += n
	}
	return fits
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	b.room.Signal()
}
