package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// TestCut ends a record at each of its bytes: what is told is what was there.
func TestCut(t *testing.T) {
	for _, full := range []string{
		body,
		replaced(`name="/etc/passwd"`, "name=2F61FF0A"),
		replaced("subj=unconfined", "subj=a (enforce)"),
	} {
		want := records(t, "type=INTEGRITY_DATA msg="+stamped+full)[0]
		for n := range full {
			got := records(t, "type=INTEGRITY_DATA msg="+stamped+full[:n]+"\n")
			if len(got) != 1 {
				t.Fatalf("%q: %+v", full[:n], got)
			}
			r := got[0]
			if hasResult := strings.Contains(full[:n], "res=0"); r.Cut == hasResult {
				t.Errorf("%q: cut is %t", full[:n], r.Cut)
			}
			r.Cut = false
			g, w := reflect.ValueOf(r), reflect.ValueOf(want)
			for i := range g.NumField() {
				name, value := g.Type().Field(i).Name, g.Field(i).Interface()
				empty := g.Field(i).IsZero() || value == uint32(NoID) || value == Untold
				if !empty && name != "Errno" && value != w.Field(i).Interface() {
					t.Errorf("%q: %s is %v", full[:n], name, value)
				}
			}
		}
	}
}

// TestCutHead ends a line before its record begins.
func TestCutHead(t *testing.T) {
	head := "type=INTEGRITY_DATA msg=" + stamped
	for n := range len(head) - 1 {
		entries, damaged := all(t, head[:n])
		if len(entries) != 0 || damaged > 1 || (damaged == 1) != (n >= len("type=INTEGRITY_DATA")) && (damaged == 1) != (n > len("type=INTEGRITY_")-1) {
			t.Errorf("%q: %+v, %d damaged", head[:n], entries, damaged)
		}
	}
}

// TestGlued has lines in which another one begins, as a daemon leaves them that was
// stopped and started again.
func TestGlued(t *testing.T) {
	second := "type=INTEGRITY_DATA msg=" + stamped + body
	for _, test := range []struct {
		name, line string
		cut        int // records before the second
	}{
		{"record", "type=INTEGRITY_DATA msg=audit(1600000000.000:1): pid=1 uid=0 op=appra" + second, 1},
		{"hole", "type=INTEGRITY_DATA msg=audit(1600000000.000:1): pid=1 uid=0 op=appra\x00\x00\x00" + second, 1},
		{"whole record", second + second, 1},
		{"system call", "type=SYSCALL msg=audit(1600000000.000:1): arch=c000003e sys" + second, 0},
		{"path", "type=PATH msg=audit(1600000000.000:1): item=0 name=\"/a" + second, 0},
		{"two records", "type=INTEGRITY_DATA msg=audit(1600000000.000:1): pid=1 utype=INTEGRITY_DATA msg=audit(1600000000.000:1): pid=1 u" + second, 2},
		{"stamp", "type=INTEGRITY_DATA msg=audit(16000" + second, 0},
		{"console", "[    1.000000] audit: type=1800 audit(1600000000.000:1): pid=1 uid=0 op=appraaudit: type=1800 " + stamped + body, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			entries, _ := all(t, test.line)
			if len(entries) != test.cut+1 || *entries[test.cut].Record != whole {
				t.Fatalf("%d records", len(entries))
			}
			for _, e := range entries[:test.cut] {
				if !e.Record.Cut && test.name != "whole record" || strings.Contains(e.Record.Op, "type") {
					t.Errorf("%+v", e.Record)
				}
			}
		})
	}
	node := records(t, "node=a type=INTEGRITY_DATA msg=audit(1600000000.000:1): pid=1 unode=b "+second)
	if len(node) != 2 || node[0].Node != "a" || node[1].Node != "b" {
		t.Errorf("%+v", node)
	}
}

// TestForged has text of users that looks like records.
func TestForged(t *testing.T) {
	kernel := "audit: type=1800 " + stamped + body
	for _, line := range []string{
		"Nov 26 08:00:00 host bob: " + kernel,
		"Nov 26 08:00:00 host bob: kernel: " + kernel,
		"Nov 26 08:00:00 host bob[12]: [    1.234567] " + kernel,
		"Nov 26 08:00:00 host notkernel: " + kernel,
		"Nov 26 08:00:00 host kernel[12]: " + kernel,
		"Nov 26 08:00:00 host bob: INTEGRITY_DATA " + body,
		"Nov 26 08:00:00 host bob: audit[7]: INTEGRITY_DATA " + body,
		"user  :warn  : [    1.234567] " + kernel,
		"type=USER_AUTH msg=audit(1700000000.123:45): pid=1 uid=0 msg='op=x acct=\"type=INTEGRITY_DATA msg=" + stamped + body + "\"'",
		"type=USER msg=audit(1700000000.123:45): pid=1 uid=0 msg='type=INTEGRITY_DATA msg=" + stamped + body + "'",
		`{"_TRANSPORT":"syslog","SYSLOG_IDENTIFIER":"kernel","_AUDIT_TYPE":"1800","MESSAGE":"audit: type=1800 ` + stamped + strings.ReplaceAll(body, `"`, `\"`) + `"}`,
		`{"_TRANSPORT":"journal","MESSAGE":"\"_TRANSPORT\":\"kernel\" audit: type=1800 ` + stamped + strings.ReplaceAll(body, `"`, `\"`) + `"}`,
		`{"_TRANSPORT":"stdout","MESSAGE":"{\"_TRANSPORT\":\"audit\",\"_AUDIT_TYPE\":\"1800\",\"MESSAGE\":\"INTEGRITY_DATA pid=1\"}"}`,
		`{"_TRANSPORT":"syslog","SYSLOG_IDENTIFIER":"kernel","MESSAGE":"Command line: ima_appraise=log"}`,
		"Nov 26 08:00:00 host bob: Command line: ima_appraise=log",
		"Nov 26 08:00:00 host bob: kauditd_printk_skb: 15 callbacks suppressed",
	} {
		if entries, _ := all(t, line); len(entries) > 0 {
			t.Errorf("%s: %+v", line, entries[0])
		}
	}
}

func TestLosses(t *testing.T) {
	for line, want := range map[string]Loss{
		"[    1.0] kauditd_printk_skb: 15 callbacks suppressed":                                         {Kind: Suppressed, Count: 15},
		"Nov 26 08:00:00 host kernel: audit_printk_skb: 3 callbacks suppressed":                         {Kind: Suppressed, Count: 3},
		"[    1.0] audit: audit_lost=12 audit_rate_limit=0 audit_backlog_limit=64":                      {Kind: Dropped, Total: 12},
		"[    1.0] audit: audit_backlog=65 > audit_backlog_limit=64":                                    {Kind: Dropped},
		"[    1.0] audit: backlog limit exceeded":                                                       {Kind: Dropped},
		"[    1.0] audit: rate limit exceeded":                                                          {Kind: Dropped},
		"[    1.0] audit: kauditd hold queue overflow":                                                  {Kind: Dropped},
		"[    1.0] ** 7 printk messages dropped **":                                                     {Kind: Missed, Count: 7},
		`{"_TRANSPORT":"driver","_BOOT_ID":"b","MESSAGE":"Missed 9 kernel messages"}`:                   {Kind: Missed, Count: 9, Boot: "b"},
		`{"_TRANSPORT":"driver","MESSAGE":"/dev/kmsg buffer overrun, some messages lost."}`:             {Kind: Missed},
		`{"_TRANSPORT":"kernel","_BOOT_ID":"b","MESSAGE":"kauditd_printk_skb: 2 callbacks suppressed"}`: {Kind: Suppressed, Count: 2, Boot: "b"},
	} {
		entries, damaged := all(t, line)
		if len(entries) != 1 || entries[0].Loss == nil || damaged != 0 {
			t.Errorf("%s: %+v", line, entries)
			continue
		}
		got := *entries[0].Loss
		if !strings.Contains(line, got.Message) || got.Message == "" {
			t.Errorf("%s: the message is %q", line, got.Message)
		}
		if got.Message = ""; got != want {
			t.Errorf("%s: %+v, want %+v", line, got, want)
		}
	}
	for _, line := range []string{
		"[    1.0] audit: enabled (after initialization)", "[    1.0] audit: audit_backlog_limit: 8192", "[    1.0] net_ratelimit: 15 callbacks suppressed",
		"[    1.0] kauditd_printk_skb: many callbacks suppressed", `{"_TRANSPORT":"driver","MESSAGE":"Missed kernel messages"}`,
	} {
		if entries, _ := all(t, line); len(entries) > 0 {
			t.Errorf("%s: %+v", line, entries)
		}
	}
}

func TestDamaged(t *testing.T) {
	for _, line := range []string{
		"type=INTEGRITY_DATA pid=1", "type=INTEGRITY_DATA msg=audit(1.123): pid=1", "type=INTEGRITY_DATA msg=audit(1700000000.1234:45): pid=1",
		"type=INTEGRITY_DATA msg=audit(99999999999999999999.123:45): pid=1", "type=INTEGRITY_DATA msg=audit(1700000000.123:99999999999999999999): pid=1",
		"type=INTEGRITY_DATA msg=audit(11/26/2026 08:00:00.123:45) : pid=1", "type=INTEGRITY_NEW msg=" + stamped,
		"[    1.0] audit: type=1800 pid=1", "nfined op=appraise_data cause=invalid-hash comm=\"cat\"",
		`{"_TRANSPORT":"audit","_AUDIT_TYPE":"1800","MESSAGE":"INTEGRITY_DATA pid=1`, `{"_TRANSPORT":"kernel","MESSAGE":"audit: type=1800 audit(`,
	} {
		entries, damaged := all(t, line+"\n"+"type=INTEGRITY_DATA msg="+stamped+body+"\n")
		if damaged != 1 || len(entries) != 1 || *entries[0].Record != whole {
			t.Errorf("%s: %d damaged, %+v", line, damaged, entries)
		}
	}
}

func TestLongLines(t *testing.T) {
	good := "type=INTEGRITY_DATA msg=" + stamped + body
	for _, n := range []int{0, maxLine - 2, maxLine - 1, maxLine, maxLine + 1, 3*maxLine + 7} {
		log := good + "\n" + strings.Repeat("x", n) + "\n" + good + "\n" + strings.Repeat("y", n)
		r := NewReader(strings.NewReader(log))
		found := 0
		for {
			_, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			found++
		}
		if found != 2 || r.Lines() < 3 || r.Lines() > 4 {
			t.Errorf("with lines of %d bytes: %d records, %d lines", n, found, r.Lines())
		}
	}
}

func TestReadError(t *testing.T) {
	broken := errors.New("broken")
	good := "type=INTEGRITY_DATA msg=" + stamped + body + "\n"
	for _, tail := range []string{"", "type=INTEG", strings.Repeat("x", 2*maxLine)} {
		r := NewReader(io.MultiReader(strings.NewReader(good+tail), iotest.ErrReader(broken)))
		if e, err := r.Next(); err != nil || *e.Record != whole {
			t.Errorf("%+v, %v", e, err)
		}
		if _, err := r.Next(); err != broken {
			t.Errorf("behind %.20q: %v", tail, err)
		}
	}
}

// TestSmallReads reads a byte at a time.
func TestSmallReads(t *testing.T) {
	log := read(t, "auditd.log")
	r := NewReader(iotest.OneByteReader(strings.NewReader(log)))
	for _, want := range records(t, log) {
		if e, err := r.Next(); err != nil || *e.Record != want {
			t.Fatalf("%+v, %v", e.Record, err)
		}
	}
}

// A night is a log of many records, each about another file and process.
type night struct {
	records int
	json    bool
	rest    []byte
	n       int
}

func (l *night) Read(b []byte) (int, error) {
	for len(l.rest) == 0 {
		if l.n == l.records {
			return 0, io.EOF
		}
		l.n++
		record := fmt.Sprintf(`pid=%d uid=0 auid=%d ses=3 subj=unconfined op=appraise_data cause=invalid-hash comm="prog%d" name="/usr/lib/package%d/file%d" dev="vda1" ino=%d res=0 errno=0`,
			l.n%30000+1, l.n%50, l.n, l.n%5000, l.n, l.n)
		if l.json {
			l.rest = fmt.Appendf(l.rest, `{"__CURSOR":"s=8fd9429db7aa4177a9f0847f215cc122;i=273;b=2a9e250bcb2b4255904cb8fb1526ce10;m=3463f08;t=6612ab63299f6;x=6e69bef048ca22dd","_TRANSPORT":"audit","_AUDIT_TYPE":"1800","_AUDIT_ID":"%d","_SOURCE_REALTIME_TIMESTAMP":"1700000000123000","_AUDIT_FIELD_NAME":"/usr/lib/package","_HOSTNAME":"vm","_BOOT_ID":"2a9e250bcb2b4255904cb8fb1526ce10","_MACHINE_ID":"40d7dacdd511482394e240d097ab5d41","_PID":"1","_UID":"0","SYSLOG_FACILITY":"4","__REALTIME_TIMESTAMP":"1795685933714416","MESSAGE":"INTEGRITY_DATA %s"}`+"\n",
				l.n, strings.ReplaceAll(record, `"`, `\"`))
		} else {
			l.rest = fmt.Appendf(l.rest, "type=INTEGRITY_DATA msg=audit(1700000000.123:%d): %s\x1dUID=\"root\" AUID=\"unset\"\n", l.n, record)
		}
	}
	n := copy(b, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// TestMemory reads a long log, of which nothing comes twice, in memory that does
// not grow.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: takes seconds")
	}
	for _, json := range []bool{false, true} {
		r := NewReader(&night{records: 300_000, json: json})
		var before, after runtime.MemStats
		for n := range 300_000 {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
			if n == 10_000 {
				runtime.GC()
				runtime.ReadMemStats(&before)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
			t.Errorf("grown by %d bytes", grown)
		}
		runtime.KeepAlive(r)
	}
}

func BenchmarkReader(b *testing.B) {
	for name, json := range map[string]bool{"auditd": false, "journal": true} {
		log, err := io.ReadAll(&night{records: 10_000, json: json})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(log)))
			for b.Loop() {
				r := NewReader(bytes.NewReader(log))
				for n := 0; ; n++ {
					if _, err := r.Next(); err != nil {
						if n != 10_000 {
							b.Fatal(n, err)
						}
						break
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/10_000, "µs/record")
		})
	}
}
