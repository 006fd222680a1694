package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
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

func (n *night) run(t testing.TB, options ...string) string {
	t.Helper()
	var out, errs strings.Builder
	p := Program{Args: append([]string{"denials", "--elsewhere", "-"}, options...), Stdin: n, Stdout: &out, Stderr: &errs, Host: host.Host{Root: t.TempDir()}}
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

// TestNightPage: with a page, too, whose size is bounded as well.
func TestNightPage(t *testing.T) {
	n := &night{records: 100_000}
	file := filepath.Join(t.TempDir(), "page.html")
	n.run(t, "--html", file)
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n.peak > 64<<20 || len(page) > 2<<20 || !strings.Contains(string(page), "The records: 100000 denied, if the mode was enforce.") {
		t.Errorf("%d MiB at most, a page of %d bytes", n.peak>>20, len(page))
	}
}

func BenchmarkNight(b *testing.B) {
	for b.Loop() {
		n := &night{records: 1_000_000}
		n.run(b)
		b.ReportMetric(float64(n.peak>>20), "MiB")
	}
}

// kernelCauses are all that kernels record of what went wrong, by type and operation.
// Kernel: the callers of integrity_audit_msg() and integrity_audit_message(),
// security/integrity/, of 6.1 to 7.2.
var kernelCauses = []struct {
	kind   int
	op     string
	causes string
	title  string
}{
	{1800, "appraise_data", "missing-hash IMA-signature-required verity-signature-required IMA-sigv3-required invalid-hash invalid-signature " +
		"invalid-signature-version invalid-verity-signature sigv3-hashing-error unknown-ima-data missing-HMAC invalid-HMAC invalid-fail-immutable " +
		"unverifiable-signature unknown", "denied, if the mode was enforce"},
	{1808, "appraise_data", "missing-hash invalid-hash invalid-signature IMA-signature-required", "advised against"},
	{1800, "collect_data", "failed failed(directio) no-verity-digest denied-hash-algorithm failed-mprotect", "denied, if the mode was enforce"},
	{1800, "mmap_file", "mmapped_writers", "denied, if the mode was enforce"},
	{1800, "set_data", "unavailable-hash-algorithm denied-hash-algorithm", "denied, if the mode was enforce"},
	{1801, "appraise_metadata", "pass_immutable fail fail_immutable no_label no_xattrs unknown", "change refused"},
	{1801, "update_metadata", "no_xattrs no_label", "change refused"},
	{1802, "policy_update", "failed", "policy refused"},
	{1802, "policy_update", "signed_policy_required", "policy refused"},
	{1802, "update_policy", "invalid-policy", "policy refused"},
	{1804, "invalid_pcr", "ToMToU open_writers", "measured in vain"},
	{1804, "add_template_measure", "hashing_error ENOMEM", "not measured"},
	{1804, "add_boot_aggregate", "alloc_entry store_entry hashing_error", "not measured"},
	{1804, "KEY_CHECK", "ENOMEM hashing_error alloc_entry store_entry", "not measured"},
}

// TestEveryCause: whatever a kernel can record is told in words, with what to do where
// anything can be done.
func TestEveryCause(t *testing.T) {
	serial := 0
	for _, k := range kernelCauses {
		for cause := range strings.FieldsSeq(k.causes) {
			serial++
			result := 0
			if k.op == "invalid_pcr" { // ima_add_violation()
				result = 1
			}
			cause := strings.Replace(cause, "signed_policy_required", "signed policy required", 1)
			line := fmt.Sprintf("audit: type=%d audit(1795600000.000:%d): pid=7 uid=0 auid=0 ses=3 subj=unconfined op=%s cause=%s comm=\"prog\" name=\"/srv/f\" dev=\"vda\" ino=7 res=%d errno=0\n",
				k.kind, serial, k.op, cause, result)
			var out, errs strings.Builder
			p := Program{Args: []string{"denials", "--elsewhere", "-"}, Stdin: strings.NewReader(line), Stdout: &out, Stderr: &errs, Host: host.Host{Root: t.TempDir()}}
			Main(context.Background(), p)
			told, rest, _ := strings.Cut(out.String(), "\n")
			if want := k.title + ": " + cause + ", prog, in /srv: once"; told != want || errs.Len() > 0 {
				t.Errorf("%s, %s: %q%q, want %q", k.op, cause, told, &errs, want)
			}
			// A date, a name, and the summary: what is more is advice.
			if lines := strings.Count(rest, "\n"); lines <= 3 && k.title != "not measured" {
				t.Errorf("%s, %s: nothing is to be done about it:\n%s", k.op, cause, rest)
			}
		}
	}
}
