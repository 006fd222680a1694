package report

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
)

// A Bar shows the progress of a run by bytes. A nil Bar shows nothing.
type Bar struct {
	bar   *progressbar.ProgressBar
	bytes int64
	files int
	total atomic.Int64
	shown time.Time
}

// barEvery is how often the bar is drawn: often enough to look alive, seldom
// enough to cost nothing.
const barEvery = 100 * time.Millisecond

// NewBar returns a bar on w, which should be a terminal.
func NewBar(w io.Writer) *Bar {
	return &Bar{bar: progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(w),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionShowTotalBytes(true),
		progressbar.OptionSetWidth(20),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetTheme(progressbar.ThemeUnicode),
	)}
}

// Expect adds to the total. It may be called from any goroutine.
func (b *Bar) Expect(bytes int64) {
	if b != nil {
		b.total.Add(bytes)
	}
}

// Add moves the bar by a result.
func (b *Bar) Add(r Result) {
	if b == nil {
		return
	}
	b.bytes += r.Bytes
	b.files++
	if time.Since(b.shown) >= barEvery {
		b.draw()
	}
}

func (b *Bar) draw() {
	b.shown = time.Now()
	b.bar.Describe(fmt.Sprintf("%d files", b.files))
	if total := b.total.Load(); total > 0 {
		b.bar.ChangeMax64(max(total, b.bytes+1)) // a full bar would be finished
	}
	b.bar.Set64(b.bytes) // cannot fail below the maximum; what the terminal refuses is no matter
}

// Clear makes room for a line of text. The bar comes back with the next Add.
func (b *Bar) Clear() {
	if b != nil {
		b.bar.Clear()
		b.shown = time.Time{}
	}
}

// Finish removes the bar.
func (b *Bar) Finish() {
	if b != nil {
		b.bar.Clear()
	}
}
