package page

import (
	"time"

	"imaseal/internal/page/treemap"
	"imaseal/internal/page/words"
)

// maxBars are the most bars of a histogram.
const maxBars = 60

// A Span is a time from the first to the last record; zero if none is known.
type Span struct{ First, Last time.Time }

// A Moment is a piece of time in which so many records were made.
type Moment struct {
	Start time.Time
	Count uint64
}

// steps are how long a bar may be, in hours: at most so long that all fit.
var steps = []time.Duration{1, 2, 3, 6, 12, 24, 2 * 24, 7 * 24, 14 * 24, 28 * 24}

// A histogram counts records by time and state.
type histogram struct {
	Bars  []bar
	start time.Time
	step  time.Duration
	most  uint64
}

// A bar is a piece of time.
type bar struct {
	Start time.Time
	Count [states]uint64
}

// newHistogram returns one for a span, in which nothing is counted.
func newHistogram(s Span) histogram {
	if s.First.IsZero() || s.Last.Before(s.First) {
		return histogram{}
	}
	var h histogram
	for _, hours := range steps {
		if h.step = hours * time.Hour; h.fits(s) {
			break
		}
	}
	for !h.fits(s) {
		h.step *= 2
	}
	// A duration ends after 292 years, which logs need not.
	for at := h.start; !at.After(s.Last) && len(h.Bars) < maxBars; at = at.Add(h.step) {
		h.Bars = append(h.Bars, bar{Start: at})
	}
	return h
}

// fits lets the bars begin where people expect it, and reports whether there are not
// too many.
func (h *histogram) fits(s Span) bool {
	first := s.First
	h.start = time.Date(first.Year(), first.Month(), first.Day(), 0, 0, 0, 0, first.Location())
	if h.step < 24*time.Hour {
		h.start = h.start.Add(first.Sub(h.start).Truncate(h.step))
	}
	return s.Last.Sub(h.start)/h.step < maxBars
}

// add counts records.
func (h *histogram) add(times []Moment, of mended) {
	for _, m := range times {
		if len(h.Bars) == 0 {
			return
		}
		// Pieces of time may begin a little before the first record.
		i := min(max(0, int(m.Start.Sub(h.start)/h.step)), len(h.Bars)-1)
		b := &h.Bars[i]
		b.Count[of] += m.Count
		h.most = max(h.most, b.all())
	}
}

func (b bar) all() uint64 {
	n := uint64(0)
	for _, of := range b.Count {
		n += of
	}
	return n
}

func (h *histogram) isEmpty() bool { return h.most == 0 }

// Step says how long a bar is.
func (h *histogram) Step() string {
	hours := int(h.step / time.Hour)
	if hours%24 == 0 {
		return words.Plural(hours/24, "day")
	}
	return words.Plural(hours, "hour")
}

// Most is the largest number of a bar.
func (h *histogram) Most() uint64 { return h.most }

// Ends are when the first and the last bar begin.
func (h *histogram) Ends() []string {
	first, last := h.Bars[0].Start, h.Bars[len(h.Bars)-1].Start
	if len(h.Bars) == 1 {
		return []string{stamp(first)}
	}
	return []string{stamp(first), stamp(last)}
}

func stamp(t time.Time) string { return t.Format("Mon 2006-01-02 15:04") }

// A drawn is a piece of a bar as it is drawn.
type drawn struct {
	treemap.Box
	Class treemap.Verdict
	Words string
}

// Draw draws the bars in percent. What is mended is only known of files that were looked
// at.
func (h *histogram) Draw(looked bool) []drawn {
	var all []drawn
	wide := 100 / float64(len(h.Bars))
	for i, b := range h.Bars {
		at := 100.0
		for m := whole; m >= open; m-- { // what is not mended stands on top
			if b.Count[m] == 0 {
				continue
			}
			high := max(1, 100*float64(b.Count[m])/float64(h.most))
			at = max(0, at-high)
			text := stamp(b.Start) + ": " + words.Number(b.Count[m])
			if looked {
				text += " " + m.String()
			}
			all = append(all, drawn{treemap.Box{X: float64(i)*wide + wide*.06, Y: at, W: wide * .88, H: min(high, 100-at)}, m.Class(), text})
		}
	}
	return all
}

// A timeRow is a row of the table of a histogram.
type timeRow struct {
	When                 string
	Open, Partly, Mended uint64
}

// Rows are the bars in which there is something.
func (h *histogram) Rows() []timeRow {
	var rows []timeRow
	for _, b := range h.Bars {
		if b.all() > 0 {
			rows = append(rows, timeRow{stamp(b.Start), b.Count[open], b.Count[partly], b.Count[whole]})
		}
	}
	return rows
}
