package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"imaseal/internal/host"
)

func TestParseSince(t *testing.T) {
	zone := time.FixedZone("zone", 2*3600)
	now := time.Date(2026, 3, 1, 10, 30, 0, 0, zone)
	for text, want := range map[string]string{
		"today": "2026-03-01T00:00:00+02:00", "yesterday": "2026-02-28T00:00:00+02:00", "90m": "2026-03-01T09:00:00+02:00", "12h": "2026-02-28T22:30:00+02:00",
		"3d": "2026-02-26T10:30:00+02:00", "0d": "2026-03-01T10:30:00+02:00", "2026-02-01": "2026-02-01T00:00:00+02:00",
		"2026-02-01 14:30": "2026-02-01T14:30:00+02:00", "2026-02-01 14:30:05": "2026-02-01T14:30:05+02:00", "2026-02-01T14:30:05": "2026-02-01T14:30:05+02:00",
		"2026-02-01T14:30:05Z": "2026-02-01T14:30:05Z",
		"":                     "", "-3h": "", "-1d": "", "d": "", "99999d": "", "2026-02-30": "", "14:30": "", "now": "", "1e9": "",
	} {
		got, err := parseSince(text, now)
		if want == "" {
			if err == nil {
				t.Errorf("%q is %v", text, got)
			}
		} else if err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%q is %s, %v, want %s", text, got.Format(time.RFC3339), err, want)
		}
	}
}

// A night is a log of so many records, with a line of audit's besides each.
type night struct {
	records, at int
	rest        bytes.Buffer
	peak        uint64 // of the heap
}

// Read implements io.Reader.
func (n *night) Read(b []byte) (int, error) {
	for n.rest.Len() == 0 {
		if n.at == n.records {
			return 0, io.EOF
		}
		for range min(1000, n.records-n.at) {
			i := n.at
			fmt.Fprintf(&n.rest, "type=INTEGRITY_DATA msg=audit(%d.%03d:%d): pid=%d uid=0 auid=1000 ses=3 subj=unconfined op=appraise_data cause=%s comm=\"prog%d\""+
				" name=\"/srv/d%d/file%d\" dev=\"vda1\" ino=%d res=0 errno=0\ntype=PROCTITLE msg=audit(%[1]d.%03[2]d:%[3]d): proctitle=2F62696E2F6361740061\n",
				1795600000+i/20, i%1000, i+1, i%30000, []string{"invalid-hash", "missing-hash"}[i%2], i%23, i*7%3001, i*13%50, i)
			n.at++
		}
		var m runtime.MemStats
		if n.at%50_000 == 0 {
			runtime.ReadMemStats(&m)
			n.peak = max(n.peak, m.HeapAlloc)
		}
	}
	return n.rest.Read(b)
}

func (n *night) run(t testing.TB) string {
	t.Helper()
	var out, errs strings.Builder
	p := Program{Args: []string{"denials", "--elsewhere", "-"}, Stdin: n, Stdout: &out, Stderr: &errs, Host: host.Host{Root: t.TempDir()}}
	if status := Main(context.Background(), p); status != exitVerdict || errs.Len() > 0 {
		t.Fatalf("status %d: %s", status, &errs)
	}
	return out.String()
}

// TestNight: memory is bounded, whatever a log holds, and every record counts.
func TestNight(t *testing.T) {
	n := &night{records: 100_000}
	out := n.run(t)
	if !strings.HasSuffix(out, "imaseal: 100000 denied, if the mode was enforce\n") {
		t.Errorf("%s", out)
	}
	if n.peak > 64<<20 {
		t.Errorf("%d MiB at most", n.peak>>20)
	}
}

func BenchmarkNight(b *testing.B) {
	for b.Loop() {
		n := &night{records: 1_000_000}
		n.run(b)
		b.ReportMetric(float64(n.peak>>20), "MiB")
	}
}
