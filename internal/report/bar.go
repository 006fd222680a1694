package report

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
)

// A Bar shows the progress of a run in the last line of a terminal. A nil Bar
// shows nothing. But for Expect, Counted and Read, its methods are called by one
// goroutine.
type Bar struct {
	// Files makes the bar go by files instead of bytes, for runs that read no
	// content.
	Files bool
	// PerFile is what a file costs besides reading it, in bytes that could be
	// read meanwhile: where signing takes long, more than most files have.
	PerFile int64

	out   io.Writer
	width func() int
	theme progressbar.Theme

	begin        time.Time
	drawn        time.Time
	shown        bool // the line is on the terminal
	files, bytes int64
	read         int64 // bytes of files that have a result

	allRead                  atomic.Int64 // bytes, with those of files in hand
	expectFiles, expectBytes atomic.Int64
	counted                  atomic.Bool

	marks []mark // the last minute or so, the oldest first
}

// A mark says how much work was done at a time.
type mark struct {
	at   time.Time
	done int64
}

const (
	// drawEvery is how often the bar is drawn: often enough to look alive,
	// seldom enough to cost nothing.
	drawEvery = 100 * time.Millisecond
	// barWidth and minBar are columns: a shorter bar tells nothing.
	barWidth, minBar = 20, 10
	clearLine        = "\r\x1b[K"
	// maxMarks are kept, markEvery apart: what was done between the first and
	// now tells how long the rest takes, as soon as they are sureAfter apart.
	maxMarks  = 30
	markEvery = time.Second
	sureAfter = 3 * time.Second
)

// NewBar returns a bar on a terminal that has width() columns. Where utf8 is
// false it is drawn in ASCII.
func NewBar(out io.Writer, width func() int, utf8 bool) *Bar {
	b := &Bar{out: out, width: width, begin: time.Now()}
	b.theme = progressbar.Theme{Saucer: "#", SaucerPadding: ".", BarStart: "[", BarEnd: "]"}
	if utf8 {
		b.theme = progressbar.Theme{Saucer: "█", SaucerPadding: "░"}
	}
	return b
}

// Expect adds a file to the total. It may be called from any goroutine.
func (b *Bar) Expect(bytes int64) {
	b.expectFiles.Add(1)
	b.expectBytes.Add(bytes)
}

// Counted says that the total is complete. Until then there is no telling how
// much is done. It may be called from any goroutine.
func (b *Bar) Counted() { b.counted.Store(true) }

// Read moves the bar by bytes of a file that has no result yet. It may be called
// from any goroutine.
func (b *Bar) Read(n int64) { b.allRead.Add(n) }

// Tick shows what was read since, for files that take long.
func (b *Bar) Tick() {
	if time.Since(b.drawn) >= drawEvery {
		b.drawn = time.Now()
		b.draw(b.line(b.width()))
	}
}

// Add moves the bar by a result.
func (b *Bar) Add(r Result) {
	if b == nil || r.Outcome == Skipped {
		return
	}
	b.files++
	b.bytes += r.Size
	b.read += r.Bytes
	b.Tick()
}

// Clear makes room for a line of text. The bar comes back with an Add.
func (b *Bar) Clear() {
	if b != nil && b.shown {
		b.shown = false
		io.WriteString(b.out, clearLine) // what the terminal refuses is no matter
	}
}

// Finish leaves the bar as it is in the end: full, unless the run was
// interrupted.
func (b *Bar) Finish(interrupted bool) {
	if b == nil || b.files == 0 {
		b.Clear()
		return
	}
	b.allRead.Store(b.read) // files without a result are not done
	if !interrupted {       // what was counted may have changed since
		b.expectFiles.Store(b.files)
		b.expectBytes.Store(b.bytes)
		b.counted.Store(true)
	}
	b.draw(b.line(b.width()) + "\n")
	b.shown = false
}

func (b *Bar) draw(line string) {
	b.shown = true
	io.WriteString(b.out, clearLine+line)
}

// line is the bar and its figures, fitted to the width: the last figures give
// way first, then the bar.
func (b *Bar) line(width int) string {
	width-- // a full line would begin another
	figures := b.figures()
	for ; len(figures) > 0; figures = figures[:len(figures)-1] {
		text := strings.Join(figures, "  ")
		used := utf8.RuneCountInString(text)
		if bar := b.bar(min(barWidth, width-used-len("100% ")-len("[]")-2)); bar != "" {
			return bar + text
		}
		if used <= width && (len(figures) == 1 || !b.counted.Load()) {
			return text
		}
	}
	return ""
}

func (b *Bar) figures() []string {
	files, bytes := plural(int(b.files), "file"), Size(b.doneBytes())
	read := float64(max(b.read, b.allRead.Load()))
	rate := fmt.Sprintf("%s/s", Size(int64(read/max(time.Since(b.begin).Seconds(), 0.001))))
	var figures []string
	switch counted := b.counted.Load(); {
	case b.byFiles() && counted:
		figures = []string{fmt.Sprintf("%d / %s", b.files, plural(int(max(b.files, b.expectFiles.Load())), "file"))}
	case b.byFiles():
		figures = []string{files}
	case counted:
		figures = []string{bytes + " / " + Size(max(b.bytes, b.expectBytes.Load()))}
	default:
		figures = []string{bytes}
	}
	if left := b.left(); left != "" {
		figures = append(figures, left)
	}
	switch {
	case b.Files:
		return figures
	case b.byFiles():
		return append(figures, bytes, rate)
	}
	return append(figures, files, rate)
}

// byFiles reports whether the number of files tells more than that of bytes.
func (b *Bar) byFiles() bool {
	return b.Files || b.PerFile*b.expectFiles.Load() > b.expectBytes.Load()
}

// left says how long the rest takes, if that can be told.
func (b *Bar) left() string {
	done, total := b.work()
	now := time.Now()
	if n := len(b.marks); n == 0 || now.Sub(b.marks[n-1].at) >= markEvery {
		b.marks = append(b.marks, mark{now, done})
		b.marks = b.marks[max(0, len(b.marks)-maxMarks):]
	}
	first := b.marks[0]
	since := now.Sub(first.at)
	if !b.counted.Load() || since < sureAfter || done <= first.done || done >= total {
		return ""
	}
	left := time.Duration(float64(total-done) / float64(done-first.done) * float64(since))
	return clock(left) + " left"
}

// clock prints a duration as minutes and seconds, or hours, minutes and seconds;
// days are not counted by seconds.
func clock(d time.Duration) string {
	seconds := int64(d.Seconds() + 0.5)
	switch minutes := seconds / 60; {
	case minutes < 60:
		return fmt.Sprintf("%d:%02d", minutes, seconds%60)
	case minutes < 100*60:
		return fmt.Sprintf("%d:%02d:%02d", minutes/60, minutes%60, seconds%60)
	default:
		return fmt.Sprintf("%d days", minutes/60/24)
	}
}

// doneBytes returns how many bytes of the total are done, with what was read of
// files in hand. These may be read again, which is not to exceed the total.
func (b *Bar) doneBytes() int64 {
	done := b.bytes + max(0, b.allRead.Load()-b.read)
	if b.counted.Load() {
		return min(done, max(b.bytes, b.expectBytes.Load()))
	}
	return done
}

// work returns how much of what there is to do is done, in bytes or, without any,
// in files.
func (b *Bar) work() (done, total int64) {
	files, expect := b.files, b.expectFiles.Load()
	done, total = b.doneBytes()+b.PerFile*files, b.expectBytes.Load()+b.PerFile*expect
	if b.Files || total == 0 {
		return files, expect
	}
	return done, total
}

// bar is the bar itself, or nothing if the total is not known or the width is
// too small.
func (b *Bar) bar(width int) string {
	if !b.counted.Load() || width < minBar {
		return ""
	}
	done, total := b.work()
	const steps = 100
	step := int64(steps)
	if done < total {
		step = int64(float64(done) / float64(total) * steps)
	}
	bar := progressbar.NewOptions64(steps,
		progressbar.OptionSetWriter(io.Discard),
		progressbar.OptionSetWidth(width),
		progressbar.OptionSetTheme(b.theme),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetRenderBlankState(true),
	)
	bar.Set64(step)
	return strings.Trim(bar.String(), "\r ") + "  "
}
