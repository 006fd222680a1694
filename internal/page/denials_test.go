package page

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var night = time.Date(2026, 11, 24, 22, 10, 0, 0, time.UTC)

// moments are so many records an hour, beginning some hours after the night began.
func moments(after int, counts ...uint64) []Moment {
	var all []Moment
	for i, n := range counts {
		if n > 0 {
			all = append(all, Moment{night.Truncate(time.Hour).Add(time.Duration(after+i) * time.Hour), n})
		}
	}
	return all
}

// nights are what was denied in two of them.
func nights() *Denials {
	d := &Denials{Span: Span{night, night.Add(40 * time.Hour)}, Kinds: "1,014 denied; 3 measured in vain", Looked: true}
	d.Add(DeniedGroup{
		Title: "denied", Cause: "invalid-hash", Program: "postgres", Directory: "/var/lib/postgresql/15/main", When: "2026-11-24 22:10:00 to 2026-11-26 09:00:00", Count: 900, Open: 900,
		Files: []DeniedFile{{"pg_control: would still be denied", 860}, {"PG_VERSION: would still be denied", 40}}, Now: []string{"2 would still be denied"},
		Advice: []string{"their content is not what it was when they were labelled; if it is right now:", "imaseal relabel /var/lib/postgresql/15/main"},
		Times:  moments(0, 20, 30, 40, 35, 20, 18, 15, 22, 60, 90, 120, 80, 40, 20, 20, 10, 10, 20, 30, 40, 30, 20, 10, 10, 20, 10, 10, 20, 10, 10, 10),
	})
	d.Add(DeniedGroup{
		Title: "denied", Cause: "missing-hash", Program: "bash", Directory: "/opt/vendor/bin", When: "2026-11-25 08:00:00 to 12:00:00", Count: 100, Open: 40, Node: "other.example",
		Files: []DeniedFile{{"agent: would be let through now", 60}, {"update: would still be denied", 40}}, Now: []string{"1 would be let through now", "1 would still be denied"},
		Advice: []string{"they have no label:", "imaseal relabel /opt/vendor/bin/update"}, Times: moments(10, 40, 30, 20, 10),
	})
	d.Add(DeniedGroup{Title: "denied", Cause: "missing-hash", Program: "man", Directory: "/usr/share/man", Count: 14, Files: []DeniedFile{{"x: gone", 1}}, Now: []string{"1 gone"}, Times: moments(3, 4, 0, 10)})
	d.Add(DeniedGroup{Title: "measured in vain", Cause: "ToMToU", Program: "vi", Directory: "/etc", Count: 3, Harmless: true, Advice: []string{"somebody wrote to it while it was measured"}, Times: moments(36, 3)})
	return d
}

func (d *Denials) page(t testing.TB, f Frame) string {
	t.Helper()
	var b strings.Builder
	if err := d.Write(&b, f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDenialsPage(t *testing.T) {
	golden(t, "denials.html", withoutFiles(nights().page(t, aFrame(4))))
}

func TestDenialsAnswers(t *testing.T) {
	still, gone := DeniedGroup{Count: 5, Open: 2}, DeniedGroup{Count: 5}
	for _, c := range []struct {
		name   string
		d      Denials
		groups []DeniedGroup
		status int
		level  level
		words  string
	}{
		{"open", Denials{Looked: true, Kinds: "10 denied"}, []DeniedGroup{still, gone}, 4, bad, "Of 10 records, 2 would happen again, as far as is known. The records: 10 denied."},
		{"not looked", Denials{}, []DeniedGroup{{Count: 5, Open: 5}}, 4, bad, "they were not looked at."},
		{"mended", Denials{Looked: true}, []DeniedGroup{gone}, 0, good, "Of 5 records, none would happen again."},
		{"mended, and lost", Denials{Looked: true, Lost: true}, []DeniedGroup{gone}, 0, unclear, "records are lost"},
		{"unread", Denials{Looked: true, Failed: true}, []DeniedGroup{gone}, 3, unclear, "not every log could be read"},
		{"empty", Denials{Looked: true, Empty: true}, nil, 0, unclear, "There is nothing in the logs"},
		{"nothing", Denials{Looked: true}, nil, 0, good, "no record of a denial"},
		{"harmless", Denials{Looked: true}, []DeniedGroup{{Count: 3, Harmless: true}}, 0, good, "no record of a denial"},
	} {
		for _, g := range c.groups {
			c.d.Add(g)
		}
		page := c.d.page(t, aFrame(c.status))
		if !strings.Contains(page, `<section class="answer `+string(c.level)+`"`) || !strings.Contains(page, c.words) {
			t.Errorf("%s: want %s, %q", c.name, c.level, c.words)
		}
		if strings.Contains(page, `id="when"`) {
			t.Errorf("%s: a histogram of no times", c.name)
		}
	}
}

// hostileDenials have names that pages may stumble over.
func hostileDenials() *Denials {
	d := &Denials{Span: Span{night, night.Add(time.Hour)}, Looked: true}
	for _, name := range hostile {
		d.Add(DeniedGroup{
			Title: "denied", Cause: name, Program: name, Directory: name, Node: name, When: name, Count: 7, Open: 7, Files: []DeniedFile{{name, 7}}, Now: []string{name},
			Advice: []string{name, "imaseal relabel " + name}, Times: moments(0, 3, 4),
		})
	}
	d.Kinds = hostile[0]
	return d
}

// TestManyDenials: a page does not grow with the groups, and no record is lost.
func TestManyDenials(t *testing.T) {
	d := &Denials{Span: Span{night, night.AddDate(0, 6, 0)}, Looked: true}
	const groups = 20_000
	directory, file := "/"+strings.Repeat("d", 2000), strings.Repeat("f", 4000)
	lines := []string{strings.Repeat("a", 3000), "imaseal relabel " + strings.Repeat("x", 20<<10)}
	for i := range groups {
		d.Add(DeniedGroup{
			Title: "denied", Cause: fmt.Sprint("cause-", i), Program: fmt.Sprint("program-", i), Directory: directory + fmt.Sprint(i), Count: 10, Open: 10,
			Files: []DeniedFile{{file, 10}}, Advice: lines,
			Times: []Moment{{night.Add(time.Duration(i%4000) * time.Hour), 10}},
		})
	}
	page := d.page(t, aFrame(4))
	if len(page) > 2<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
	for _, want := range []string{"Of 200,000 records, 200,000 would", "And 19,920 more groups with 199,200 records", "Each bar is 7 days", "too long for this page"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	if len(d.causes) > maxNames+1 || len(d.directories) > maxNames+1 {
		t.Errorf("%d causes, %d directories", len(d.causes), len(d.directories))
	}
}

func TestHistogram(t *testing.T) {
	for _, c := range []struct {
		last time.Duration
		bars int
		step string
	}{
		{0, 1, "1 hour"}, {50 * time.Minute, 2, "1 hour"}, {59 * time.Hour, 60, "1 hour"}, {60 * time.Hour, 31, "2 hours"}, {10 * 24 * time.Hour, 41, "6 hours"},
		{59 * 24 * time.Hour, 60, "1 day"}, {365 * 24 * time.Hour, 53, "7 days"}, {200 * 365 * 24 * time.Hour, 41, "1,792 days"},
	} {
		h := newHistogram(Span{night, night.Add(c.last)})
		if len(h.Bars) > maxBars || h.Step() != c.step || h.Bars[0].Start.After(night) || h.Bars[len(h.Bars)-1].Start.After(night.Add(c.last)) {
			t.Errorf("%v: %d bars of %s", c.last, len(h.Bars), h.Step())
		}
		h.add([]Moment{{night.Add(-2 * time.Hour), 1}, {night, 1}, {night.Add(c.last), 1}, {night.Add(c.last + 48*time.Hour), 1}}, open)
		sum := uint64(0)
		for _, b := range h.Bars {
			sum += b.all()
		}
		if sum != 4 {
			t.Errorf("%v: %d records of 4", c.last, sum)
		}
		for _, d := range h.Draw(true) {
			if d.X < 0 || d.Y < 0 || d.X+d.W > 100.001 || d.Y+d.H > 100.001 || d.H <= 0 {
				t.Errorf("%v: %v sticks out", c.last, d)
			}
		}
	}
	for _, s := range []Span{{time.Unix(-1<<50, 0), night}, {night, time.Unix(1<<50, 0)}, {time.Unix(-1<<60, 0), time.Unix(1<<60, 0)}} {
		h := newHistogram(s)
		if h.add([]Moment{{s.First, 1}, {s.Last, 2}}, open); len(h.Bars) > maxBars || h.most == 0 {
			t.Errorf("%v: %d bars", s, len(h.Bars))
		}
	}
	for _, s := range []Span{{}, {First: night}, {night, night.Add(-time.Second)}} {
		if h := newHistogram(s); h.Bars != nil || !h.isEmpty() {
			t.Errorf("%v: %d bars", s, len(h.Bars))
		}
	}
}
