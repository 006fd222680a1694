package denials

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"imaseal/internal/audit"
)

// hostile adds records that have nothing in common.
func hostile(n int, add func(audit.Entry)) {
	long := strings.Repeat("x", 2000)
	for i := range n {
		add(audit.Entry{Record: &audit.Record{
			Type: audit.Data, Time: time.Unix(int64(i), 0), Serial: uint64(i + 1), PID: i, Op: "appraise_data", Cause: fmt.Sprint("cause", i), Comm: fmt.Sprint("comm", i),
			Name: fmt.Sprint("/", i, "/", long), Dev: fmt.Sprint("dev", i), Inode: uint64(i), Result: audit.Failure,
		}})
		add(audit.Entry{Record: &audit.Record{
			Type: audit.Data, Time: time.Unix(int64(i), 0), Serial: uint64(i + 1), Op: "appraise_data", Cause: "one", Name: fmt.Sprint("/d/", i), Inode: uint64(i), Result: audit.Failure,
		}})
	}
}

func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: takes seconds")
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const n = 300_000
	before := heap()
	c := New(Options{})
	l := c.Log("")
	hostile(n, func(e audit.Entry) { l.Add(e) })
	if grown := heap() - before; grown > 64<<20 {
		t.Errorf("%d MiB", grown>>20)
	}
	r := c.Report()
	total, rest, one := uint64(0), 0, Group{}
	for _, g := range r.Groups {
		total += g.Count
		if g.Rest {
			rest++
		}
		if g.Cause == "one" {
			one = g
		}
	}
	if total != 2*n || rest != 1 || one.Count != n || len(one.Files) != maxFiles || one.Unnamed != n-maxFiles || r.Duplicates != 0 {
		t.Errorf("%d of %d in %d groups, %d of them the rest; one has %d, %d files", total, 2*n, len(r.Groups), rest, one.Count, len(one.Files))
	}
}

func BenchmarkCollector(b *testing.B) {
	var entries []audit.Entry
	hostile(500, func(e audit.Entry) { entries = append(entries, e) })
	for b.Loop() {
		l := New(Options{}).Log("")
		for _, e := range entries {
			l.Add(e)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(entries)), "ns/record")
}

// FuzzCollector counts every record of any log once.
