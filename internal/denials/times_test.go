package denials

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func recordAt(at int64, program string) string {
	return fmt.Sprintf("type=INTEGRITY_DATA msg=audit(%d.000:1): pid=1 uid=0 op=appraise_data cause=invalid-hash comm=\"%s\" name=\"/srv/%d\" dev=\"vda1\" ino=%d res=0 errno=0\n", at, program, at, at)
}

func timesOf(g Group) string {
	var words []string
	for _, p := range g.Times {
		words = append(words, fmt.Sprintf("%d=%d", p.Start.Unix(), p.Count))
	}
	return strings.Join(words, " ")
}

// TestTimes: records are counted by the hour, in whatever order they come, and only if
// that is asked for.
func TestTimes(t *testing.T) {
	log := recordAt(7200, "a") + recordAt(10799, "a") + recordAt(3601, "a") + recordAt(36000, "a") + recordAt(7201, "a")
	r := collect(t, Options{Times: true}, log)
	if got := timesOf(r.Groups[0]); got != "3600=1 7200=3 36000=1" || r.Piece != time.Hour {
		t.Errorf("%s, by %v", got, r.Piece)
	}
	if r := collect(t, Options{}, log); r.Groups[0].Times != nil || r.Piece != 0 {
		t.Errorf("%v, by %v", r.Groups[0].Times, r.Piece)
	}
	for a, want := range map[int64]int64{-1: -1, -3600: -1, -3601: -2, 0: 0, 3599: 0, 3600: 1} {
		if got := floor(a, 3600); got != want {
			t.Errorf("floor(%d) is %d, want %d", a, got, want)
		}
	}
}

// TestTimesAreBounded: where records are of more hours than there is room for, the
// pieces are longer, and none is lost.
func TestTimesAreBounded(t *testing.T) {
	c := New(Options{Times: true})
	const groups, hours = 100, 10_000
	for i := range groups {
		c.groups[key{op: fmt.Sprint(i)}] = new(group)
	}
	for i := range int64(hours) {
		for _, g := range c.groups {
			c.addTime(g, time.Unix(3600*(i*7919%hours), 0))
		}
	}
	if c.pieces.seconds == 3600 || c.pieces.count > maxPieces {
		t.Errorf("%d pieces of %d seconds", c.pieces.count, c.pieces.seconds)
	}
	sum, count := uint64(0), 0
	for _, g := range c.groups {
		count += len(g.pieces)
		for i, p := range g.pieces {
			sum += p.count
			if i > 0 && g.pieces[i-1].at >= p.at {
				t.Fatal("the pieces are out of order")
			}
		}
	}
	if sum != groups*hours || count != c.pieces.count {
		t.Errorf("%d records in %d pieces, %d told", sum, count, c.pieces.count)
	}
}
