package report

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

func TestBarFitsEveryWidth(t *testing.T) {
	for _, counted := range []bool{false, true} {
		for _, unicode := range []bool{false, true} {
			b := NewBar(nil, nil, unicode)
			for range 9106 {
				b.Expect(24 << 10)
			}
			if counted {
				b.Counted()
			}
			b.files, b.bytes, b.read = 4553, 109<<20, 109<<20
			for width := range 200 {
				line := b.line(width)
				if n := utf8.RuneCountInString(line); n > max(0, width-1) {
					t.Errorf("%d columns: %q", width, line)
				}
				if width >= 8 && !counted && !strings.HasPrefix(line, "109 MiB") {
					t.Errorf("%d columns: %q", width, line)
				}
				if width >= 37 && counted && !strings.HasPrefix(line, "51% ") {
					t.Errorf("%d columns: %q", width, line)
				}
			}
		}
	}
}

func TestBarLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBar(nil, nil, true)
		time.Sleep(2 * time.Second)
		check := func(want string) {
			t.Helper()
			if got := b.line(80); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		b.Expect(100 << 20)
		b.Expect(100 << 20)
		b.files, b.bytes, b.read = 1, 100<<20, 50<<20
		check("100 MiB  1 file  25 MiB/s") // no telling how much there is
		b.Counted()
		check("50% ██████████░░░░░░░░░░  100 MiB / 200 MiB  1 file  25 MiB/s")
		b.bytes = 200<<20 - 1
		check("99% ███████████████████░  200 MiB / 200 MiB  1 file  25 MiB/s")
		b.bytes = 300 << 20 // the files grew
		check("100% ████████████████████  300 MiB / 300 MiB  1 file  25 MiB/s")

		b = NewBar(nil, nil, true) // in the middle of the second file
		b.begin = time.Now().Add(-2 * time.Second)
		b.Expect(100 << 20)
		b.Expect(100 << 20)
		b.files, b.bytes, b.read = 1, 100<<20, 100<<20
		b.Read(100 << 20)
		b.Read(50 << 20)
		check("150 MiB  1 file  75 MiB/s")
		b.Counted()
		check("75% ███████████████░░░░░  150 MiB / 200 MiB  1 file  75 MiB/s")
		b.Read(90 << 20) // which is read again, since it changed
		check("100% ████████████████████  200 MiB / 200 MiB  1 file  120 MiB/s")

		b = NewBar(nil, nil, true) // of empty files only
		b.Expect(0)
		b.Expect(0)
		b.Counted()
		b.files = 1
		check("50% ██████████░░░░░░░░░░  0 B / 0 B  1 file  0 B/s")

		b.Files = true
		check("50% ██████████░░░░░░░░░░  1 / 2 files")
	})
}

// TestBarKeepsOutOfTheWay plays a run with a bar, and removes what was erased.
func TestBarKeepsOutOfTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen, want bytes.Buffer
		results, sum := run(t)
		play(t, &Text{Out: &want, Err: &want, Verbose: true, Hint: hint}, results, sum)
		bar := NewBar(&screen, func() int { return 100 }, true)
		for range results {
			bar.Expect(1)
		}
		bar.Counted()
		time.Sleep(time.Second)
		play(t, slowly{&Text{Out: &screen, Err: &screen, Verbose: true, Hint: hint, Bar: bar}}, results, sum)

		if n := strings.Count(screen.String(), "% "); n < 5 {
			t.Errorf("the bar was drawn %d times", n)
		}
		var lines []string
		final := ""
		for line := range strings.SplitSeq(screen.String(), "\n") {
			line = line[strings.LastIndex(line, clearLine)+1:]
			line = strings.TrimPrefix(line, clearLine[1:])
			if strings.HasPrefix(line, "100% ") {
				final = line
				continue
			}
			lines = append(lines, line)
		}
		// Errors and lines of -v come in another order where each is written
		// at once.
		for line := range strings.SplitSeq(want.String(), "\n") {
			if !strings.Contains(strings.Join(lines, "\n")+"\n", line+"\n") {
				t.Errorf("%q is not on the screen:\n%s", line, screen.String())
			}
		}
		if len(lines) != strings.Count(want.String(), "\n")+1 {
			t.Errorf("%d lines on the screen:\n%q", len(lines), lines)
		}
		if final != "100% ████████████████████  4 B / 4 B  10 files  1.1 MiB/s" {
			t.Errorf("in the end, the bar is %q", final)
		}
	})
}

// slowly lets time pass before each result.
type slowly struct{ Handler }

func (h slowly) Result(r Result) error {
	time.Sleep(drawEvery * 6 / 10)
	return h.Handler.Result(r)
}

func TestBarEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := NewBar(&out, func() int { return 80 }, true)
		b.Finish(false)
		if out.Len() != 0 {
			t.Errorf("a bar of nothing: %q", &out)
		}
		b.Tick()
		b.Finish(true) // before the first file was done
		if text := out.String(); strings.Count(text, "0 B") != 2 || !strings.HasSuffix(text, clearLine) {
			t.Errorf("a bar of no file: %q", text)
		}
		b.drawn = time.Now()
		for range 4 {
			b.Expect(10)
		}
		b.Counted()
		b.Add(Result{Outcome: Skipped})
		b.Add(Result{Outcome: Labelled, Size: 10})
		b.Read(25) // of files that are left as they were
		b.Finish(true)
		if !strings.HasSuffix(out.String(), "\r\x1b[K25% █████░░░░░░░░░░░░░░░  10 B / 40 B  1 file  0 B/s\n") {
			t.Errorf("interrupted: %q", &out)
		}
	})
	var none *Bar // a nil bar shows nothing
	none.Add(Result{})
	none.Clear()
	none.Finish(false)
}

// TestBarTellsTheRest: what was done lately tells how long the rest takes, and what
// is not known yet is not told.
func TestBarTellsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBar(nil, nil, true)
		check := func(want string) {
			t.Helper()
			if got := b.line(80); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		for range 1000 {
			b.Expect(1 << 20)
		}
		work := func(seconds, each int) { // a file is a MiB
			for range seconds {
				time.Sleep(time.Second)
				b.files += int64(each)
				b.bytes, b.read = b.files<<20, b.files<<20
				b.line(80)
			}
		}
		check("0 B  0 files  0 B/s")
		work(4, 1)
		check("4.0 MiB  4 files  1.0 MiB/s")
		b.Counted()
		check("0% ░░░░░░░░░░░░░░░░░░░░  4.0 MiB / 1000 MiB  16:36 left  4 files  1.0 MiB/s")
		work(96, 1)
		check("10% █░░░░░░░░░░░░░░░░░  100 MiB / 1000 MiB  15:00 left  100 files  1.0 MiB/s")
		work(40, 10) // it got faster: the beginning does not count any more
		check("50% █████████░░░░░░░░░░  500 MiB / 1000 MiB  0:50 left  500 files  3.6 MiB/s")
		time.Sleep(100 * time.Second) // it stands still: what was done before is all there is to go by
		b.line(80)
		b.files += 500
		b.bytes = b.files << 20
		check("100% ████████████████████  1000 MiB / 1000 MiB  1000 files  2.1 MiB/s")
	})
	for d, want := range map[time.Duration]string{
		0: "0:00", 59*time.Second + 499*time.Millisecond: "0:59", 59*time.Second + 500*time.Millisecond: "1:00", time.Hour - time.Second: "59:59",
		time.Hour: "1:00:00", 99*time.Hour + 3*time.Second: "99:00:03", 100 * time.Hour: "4 days",
	} {
		if got := clock(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}

// TestBarOfSlowKey: where signing takes long, files count and not their bytes, and
// of large files both.
func TestBarOfSlowKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBar(nil, nil, true)
		b.PerFile = 1 << 20
		for range 99 {
			b.Expect(1)
		}
		b.Expect(101 << 20) // as much work as the others
		b.Counted()
		time.Sleep(2 * time.Second)
		for _, step := range []struct {
			files, bytes int64
			want         string
		}{
			{0, 0, "0% ░░░░░░░░░░░░░░░░░░░░  0 B / 101 MiB  0 files  0 B/s"},
			{50, 50, "24% ████░░░░░░░░░░░░░░░░  50 B / 101 MiB  50 files  25 B/s"},
			{99, 99, "49% █████████░░░░░░░░░░░  99 B / 101 MiB  99 files  49 B/s"},
		} {
			b.files, b.bytes, b.read = step.files, step.bytes, step.bytes
			if got := b.line(80); got != step.want {
				t.Errorf("got %q, want %q", got, step.want)
			}
		}
		b.PerFile = 4 << 20
		b.files, b.bytes, b.read = 50, 50, 50
		if got, want := b.line(80), "39% ███████░░░░░░░░░░░░░  50 / 100 files  50 B  25 B/s"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
