package denials

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imaseal/internal/audit"
)

// logOf returns a log that kernels or programs have written, see package audit.
func logOf(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "audit", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// add adds a whole log.
func add(t testing.TB, c *Collector, log string) {
	t.Helper()
	r, l := audit.NewReader(strings.NewReader(log)), c.Log("")
	for {
		e, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		l.Add(e)
	}
}

func collect(t testing.TB, o Options, logs ...string) Report {
	t.Helper()
	c := New(o)
	for _, log := range logs {
		add(t, c, log)
	}
	return c.Report()
}

// short is a group in a line.
func short(g Group) string {
	s := fmt.Sprintf("%s %s %s: %s in %q, %d", g.Kind, g.Mode, g.Cause, g.Program, g.Directory, g.Count)
	for _, f := range g.Files {
		s += fmt.Sprintf(" %q=%d", filepath.Base(f.Path), f.Count)
	}
	if g.Unnamed > 0 {
		s += fmt.Sprintf(" unnamed=%d", g.Unnamed)
	}
	return s
}

func want(t *testing.T, r Report, groups ...string) {
	t.Helper()
	var got []string
	for _, g := range r.Groups {
		got = append(got, short(g))
	}
	if !slices.Equal(got, groups) {
		t.Errorf("groups are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(groups, "\n"))
	}
}

var oneBoot = []string{
	`refused enforce invalid-hash: python3 in "/lab", 10 "a b"=2 "changed"=2 "grown"=2 "nl\nx"=2 "q\"x"=2`,
	`refused enforce invalid-hash: cat in "/lab", 5 "a b"=1 "changed"=1 "grown"=1 "nl\nx"=1 "q\"x"=1`,
	`refused enforce invalid-hash: dd in "/lab", 5 "a b"=1 "changed"=1 "grown"=1 "nl\nx"=1 "q\"x"=1`,
	`refused enforce invalid-hash: sh in "/lab", 5 "a b"=1 "changed"=1 "grown"=1 "nl\nx"=1 "q\"x"=1`,
}

// TestOneBoot has the logs of one boot of Debian, with auditd.
func TestOneBoot(t *testing.T) {
	enforcing := Options{Mode: func(time.Time) Mode { return Enforce }}
	for _, test := range []struct {
		name    string
		options Options
		logs    []string
		mode    string
		report  Report
	}{
		{"auditd", enforcing, []string{"auditd.log"}, "enforce", Report{Records: 25}},
		{"auditd, mode unknown", Options{}, []string{"auditd.log"}, "unknown", Report{Records: 25}},
		{"journal", Options{}, []string{"journal.json"}, "enforce", Report{Records: 25, Lost: Lost{Suppressed: 6}}},
		{"text", Options{}, []string{"journal.txt"}, "enforce", Report{Records: 25, Lost: Lost{Suppressed: 6}}},
		{"twice", enforcing, []string{"auditd.log", "auditd.log"}, "enforce", Report{Records: 50, Duplicates: 25}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var logs []string
			for _, name := range test.logs {
				logs = append(logs, logOf(t, name))
			}
			r := collect(t, test.options, logs...)
			var groups []string
			for _, line := range oneBoot {
				groups = append(groups, strings.Replace(line, " enforce ", " "+test.mode+" ", 1))
			}
			want(t, r, groups...)
			r.Groups = nil
			if fmt.Sprint(r) != fmt.Sprint(test.report) {
				t.Errorf("%+v, want %+v", r, test.report)
			}
		})
	}
	r := collect(t, enforcing, logOf(t, "auditd.log"))
	first, last := time.UnixMilli(1795685934244).UTC(), r.Groups[0].Last
	if g := r.Groups[0]; !g.First.Equal(first) || last.Sub(first) < time.Second || last.Sub(first) > time.Minute {
		t.Errorf("from %v to %v", g.First, g.Last)
	}
	if f := r.Groups[0].Files[0]; f.Path != "/lab/a b" || f.Dev != "vda" || f.Inode != 11468 || f.First.Equal(f.Last) {
		t.Errorf("%+v", f)
	}
}

// TestKernels has records of each kind of three kernels.
func TestKernels(t *testing.T) {
	for _, series := range []string{"6.1", "6.12", "7.x"} {
		r := collect(t, Options{}, logOf(t, "kernel-"+series+".log"))
		found := make(map[string]Group)
		for _, g := range r.Groups {
			if g.Mode != Enforce {
				t.Errorf("%s: %s", series, short(g))
			}
			found[fmt.Sprint(g.Kind, " ", g.Op, " ", g.Cause)] = g
		}
		for _, name := range []string{
			"refused appraise_data missing-hash", "refused appraise_data invalid-hash", "refused appraise_data invalid-signature",
			"refused appraise_data missing-HMAC", "refused appraise_data invalid-HMAC", "refused appraise_data invalid-fail-immutable",
			"refused appraise_data IMA-signature-required", "refused collect_data failed(directio)", "refused collect_data no-verity-digest",
			"refused collect_data denied-hash-algorithm", "refused appraise_data unknown-ima-data", "refused appraise_data verity-signature-required",
			"refused appraise_data invalid-verity-signature", "refused collect_data failed", "refused collect_data failed-mprotect",
			"refused mmap_file mmapped_writers", "refused set_data unavailable-hash-algorithm", "refused set_data denied-hash-algorithm", "metadata appraise_metadata fail", "metadata appraise_metadata no_label",
			"policy policy_update failed", "policy update_policy invalid-policy", "policy policy_rule UNKNOWN=bogus",
		} {
			if _, ok := found[name]; !ok {
				t.Errorf("%s: there is no %s", series, name)
			}
		}
		if _, ok := found["refused appraise_data IMA-sigv3-required"]; ok != (series == "7.x") {
			t.Errorf("%s: IMA-sigv3-required: %v", series, ok)
		}
		if g, ok := found["violation invalid_pcr ToMToU"]; series != "6.1" && (!ok || g.Directory == "") {
			t.Errorf("%s: %+v", series, g)
		}
		if r.Others == 0 || r.Duplicates != 0 {
			t.Errorf("%s: %+v", series, r)
		}
	}
}

// line is a record as dmesg has it.
func line(second, serial int, fields string) string {
	return fmt.Sprintf("[    1.0] audit: type=1800 audit(%d.000:%d): pid=1 uid=0 auid=4294967295 ses=4294967295 subj=unconfined %s\n", second, serial, fields)
}

func refusal(second, serial int, comm, name string, ino int) string {
	return line(second, serial, fmt.Sprintf(`op=appraise_data cause=invalid-hash comm="%s" name="%s" dev="vda" ino=%d res=0 errno=0`, comm, name, ino))
}

func boot(id, commandLine string) string {
	return fmt.Sprintf("[    0.0] Linux version %s\n[    0.0] Command line: %s\n", id, commandLine)
}

func TestModes(t *testing.T) {
	for commandLine, mode := range map[string]Mode{
		"": Enforce, "quiet": Enforce, "ima_appraise=log": LogOnly, "ima_appraise=logging": LogOnly, "ima_appraise=fix quiet": Fix, "ima_appraise=off": Off,
		"ima_appraise=enforce": Enforce, "ima_appraise=log ima_appraise=enforce": Enforce, "ima_appraise=log ima_appraise=bogus": LogOnly,
		"ima_appraise=": Enforce, "xima_appraise=log": Enforce, "quiet -- ima_appraise=log": Enforce, "ima_policy=appraise_tcb\tima_appraise=fix": Fix,
	} {
		if got := ModeOf(commandLine); got != mode {
			t.Errorf("%q: %s, want %s", commandLine, got, mode)
		}
	}
	log := refusal(1, 1, "a", "/d/f", 1) +
		boot("6.1", "ima_appraise=log") + refusal(2, 2, "a", "/d/f", 1) + refusal(3, 3, "a", "/d/f", 1) +
		boot("6.12", "quiet") + refusal(4, 4, "a", "/d/f", 1) +
		boot("6.12", "ima_appraise=log") + "[    1.0] ima: Secure boot enabled: ignoring ima_appraise=log option\n" + refusal(5, 5, "a", "/d/f", 1) +
		boot("6.12", "ima_appraise=fix") + refusal(6, 6, "a", "/d/f", 1)
	mode := func(at time.Time) Mode {
		if at.Unix() == 1 {
			return Off
		}
		return ModeUnknown
	}
	want(t, collect(t, Options{Mode: mode}, log),
		`refused enforce invalid-hash: a in "/d", 2 "f"=2`, `refused log invalid-hash: a in "/d", 2 "f"=2`,
		`refused fix invalid-hash: a in "/d", 1 "f"=1`, `refused off invalid-hash: a in "/d", 1 "f"=1`)
}

// journal is an object of the journal.
func journal(bootID, message string) string {
	return fmt.Sprintf(`{"_TRANSPORT":"kernel","_HOSTNAME":"h","_BOOT_ID":%q,"MESSAGE":%q}`+"\n", bootID, strings.TrimPrefix(strings.TrimSpace(message), "[    1.0] "))
}

func TestBoots(t *testing.T) {
	log := journal("one", "Linux version 6.1") + journal("one", "Command line: ima_appraise=log") + journal("one", refusal(1, 1, "a", "/d/f", 1)) +
		journal("one", "audit: audit_lost=5 audit_rate_limit=0 audit_backlog_limit=64") +
		journal("two", refusal(2, 1, "a", "/d/f", 1)) + journal("two", "Command line: quiet") + journal("two", refusal(3, 2, "a", "/d/f", 1)) +
		journal("two", "audit: audit_lost=3 audit_rate_limit=0 audit_backlog_limit=64") + journal("two", "audit: audit_lost=4 audit_rate_limit=0 audit_backlog_limit=64")
	r := collect(t, Options{}, log)
	want(t, r, `refused unknown invalid-hash: a in "/d", 1 "f"=1`, `refused enforce invalid-hash: a in "/d", 1 "f"=1`, `refused log invalid-hash: a in "/d", 1 "f"=1`)
	if (r.Lost != Lost{Dropped: 9}) || r.Groups[0].Node != "h" {
		t.Errorf("%+v", r)
	}
	r = collect(t, Options{Boot: "two"}, log)
	want(t, r, `refused unknown invalid-hash: a in "/d", 1 "f"=1`, `refused enforce invalid-hash: a in "/d", 1 "f"=1`)
	if (r.Lost != Lost{Dropped: 4}) || r.Before != 1 {
		t.Errorf("%+v", r)
	}
}

// TestLoaded: rules count that were loaded, those of a policy that was not do not, and
// a record that two logs have counts once.
func TestLoaded(t *testing.T) {
	serial := 0
	one := func(kind int, fields string) string {
		serial++
		return fmt.Sprintf("[    1.0] audit: type=%d audit(%d.000:%d): %s\n", kind, 100+serial, serial, fields)
	}
	update := func(cause string, result int) string {
		return one(1802, fmt.Sprintf(`pid=1 uid=0 auid=4294967295 ses=4294967295 subj=unconfined op=policy_update cause=%s comm="systemd" res=%d errno=0`, cause, result))
	}
	log := one(1807, "action=appraise func=FOO res=0") + one(1807, "action=audit uid=0 res=1") + update("failed", 0) +
		one(1807, "action=dont_appraise fsmagic=0x9fa0 res=1") + one(1807, "action=appraise fowner=0 res=1") + update("completed", 1) +
		one(1807, "action=measure func=BPRM_CHECK res=1") + update("completed", 1) + one(1807, "action=measure res=1")
	got := collect(t, Options{}, log, log).Loaded
	if want := []string{"dont_appraise fsmagic=0x9fa0", "appraise fowner=0", "measure func=BPRM_CHECK"}; got.Times != 2 || !slices.Equal(got.Rules, want) || got.First.Unix() != 106 || got.Last.Unix() != 108 {
		t.Errorf("%+v", got)
	}
	var many strings.Builder
	for range maxRules/100 + 1 {
		for range 100 {
			many.WriteString(one(1807, "action=appraise fowner=0 res=1"))
		}
		many.WriteString(update("completed", 1))
	}
	if got := collect(t, Options{}, many.String()).Loaded; !got.Cut || len(got.Rules) > maxRules || got.Times != maxRules/100+1 {
		t.Errorf("%d rules of %d policies, cut: %v", len(got.Rules), got.Times, got.Cut)
	}
	if got := collect(t, Options{Since: time.Unix(107, 0)}, log).Loaded; got.Times != 1 || len(got.Rules) != 1 {
		t.Errorf("since then: %+v", got)
	}
}

func TestSince(t *testing.T) {
	log := refusal(1, 1, "a", "/d/f", 1) + refusal(2, 2, "a", "/d/f", 1) + refusal(3, 3, "a", "/d/f", 1) +
		"Nov 26 08:00:00 host audit[7]: INTEGRITY_DATA pid=1 op=appraise_data cause=invalid-hash comm=\"a\" name=\"/d/f\" dev=\"vda\" ino=1 res=0\n"
	r := collect(t, Options{Since: time.Unix(2, 0)}, log)
	want(t, r, `refused unknown invalid-hash: a in "/d", 2 "f"=2`)
	if r.Before != 1 || r.Undated != 1 || r.Records != 4 || !r.Groups[0].First.Equal(time.Unix(2, 0)) || !r.Groups[0].Last.Equal(time.Unix(3, 0)) {
		t.Errorf("%+v", r)
	}
	r = collect(t, Options{}, log)
	if g := r.Groups[0]; g.Count != 4 || !g.First.Equal(time.Unix(1, 0)) {
		t.Errorf("%+v", g)
	}
}

// TestOrder has the records of a log in other orders.
func TestOrder(t *testing.T) {
	lines := []string{refusal(3, 3, "a", "/d/f", 1), refusal(1, 1, "a", "/d/g", 2), refusal(2, 2, "b", "/e/f", 3)}
	first := collect(t, Options{}, strings.Join(lines, ""))
	slices.Reverse(lines)
	if second := collect(t, Options{}, strings.Join(lines, "")); fmt.Sprint(first) != fmt.Sprint(second) {
		t.Errorf("%+v\n%+v", first, second)
	}
	if g := first.Groups[0]; !g.First.Equal(time.Unix(1, 0)) || !g.Last.Equal(time.Unix(3, 0)) {
		t.Errorf("%+v", g)
	}
}

// TestPaths has records that have only the last name of a file.
func TestPaths(t *testing.T) {
	collectData := func(second int, name string, ino int) string {
		return line(second, second, fmt.Sprintf(`op=collect_data cause=failed comm="a" name=%q dev="vda" ino=%d res=0 errno=0`, name, ino))
	}
	log := collectData(1, "f", 1) + refusal(2, 2, "a", "/d/f", 1) + collectData(3, "other", 1) + collectData(4, "x", 9) +
		line(5, 5, `op=set_data cause=denied-hash-algorithm comm="a" name="/in/fs/y" dev="vda" ino=7 res=0 errno=0`) + collectData(6, "y", 7)
	var paths []string
	for _, g := range collect(t, Options{}, log).Groups {
		if g.Op == "collect_data" {
			for _, f := range g.Files {
				paths = append(paths, f.Path)
			}
		}
	}
	if fmt.Sprint(paths) != "[/d/f other x y]" {
		t.Errorf("%q", paths)
	}
}

func TestKinds(t *testing.T) {
	for _, test := range []struct {
		record audit.Record
		kind   string
	}{
		{audit.Record{Type: audit.Data, Op: "appraise_data", Result: audit.Failure}, "refused"},
		{audit.Record{Type: audit.Data, Op: "appraise_data", Result: audit.Success}, "refused"}, // of an empty security.ima
		{audit.Record{Type: audit.Data, Op: "appraise_data", Cut: true}, "refused"},
		{audit.Record{Type: audit.Data, Op: "collect_data", Result: audit.Failure}, "refused"},
		{audit.Record{Type: audit.Data, Op: "collect_data", Result: audit.Success}, ""},
		{audit.Record{Type: audit.Data, Cut: true}, ""},
		{audit.Record{Type: audit.Data, Cut: true, Op: "collect_data", Cause: "failed"}, "refused"},
		{audit.Record{Type: audit.Userspace, Op: "appraise_data", Result: audit.Failure}, "advised"},
		{audit.Record{Type: audit.Metadata, Result: audit.Failure}, "metadata"},
		{audit.Record{Type: audit.Status, Result: audit.Failure}, "policy"},
		{audit.Record{Type: audit.Status, Result: audit.Success}, ""},
		{audit.Record{Type: audit.PolicyRule, Result: audit.Failure}, "policy"},
		{audit.Record{Type: audit.PolicyRule, Result: audit.Success}, ""},
		{audit.Record{Type: audit.PCR, Op: "invalid_pcr", Result: audit.Success}, "violation"},
		{audit.Record{Type: audit.PCR, Op: "add_template_measure", Result: audit.Failure}, "unmeasured"},
		{audit.Record{Type: audit.PCR, Op: "add_template_measure", Result: audit.Success}, ""},
		{audit.Record{Type: audit.Rule}, ""},
		{audit.Record{Type: audit.EVMXattr, Result: audit.Failure}, ""},
	} {
		kind, ok := KindOf(&test.record)
		if ok != (test.kind != "") || ok && kind.String() != test.kind {
			t.Errorf("%+v: %s, %t", test.record, kind, ok)
		}
	}
}

func TestAddTells(t *testing.T) {
	l := New(Options{}).Log("")
	record := &audit.Record{Type: audit.Data, Op: "appraise_data", Serial: 1, Time: time.Unix(1, 0), Result: audit.Failure}
	if _, _, ok := l.Add(audit.Entry{Boot: &audit.Boot{CommandLine: "ima_appraise=log"}}); ok {
		t.Error("a boot counts")
	}
	if kind, mode, ok := l.Add(audit.Entry{Record: record}); !ok || kind != Refused || mode != LogOnly {
		t.Error(kind, mode, ok)
	}
	if _, _, ok := l.Add(audit.Entry{Record: record}); ok {
		t.Error("a record counts twice")
	}
}

func FuzzCollector(f *testing.F) {
	for _, name := range []string{"auditd.log", "journal.json", "kernel-7.x.log"} {
		f.Add(logOf(f, name), int64(0))
	}
	f.Add(boot("6.1", "ima_appraise=log")+refusal(1, 1, "a", "/d/f", 1), int64(1))
	f.Fuzz(func(t *testing.T, log string, since int64) {
		o := Options{}
		if since > 0 {
			o.Since = time.Unix(since, 0)
		}
		r := collect(t, o, log)
		counted := r.Duplicates + r.Before + r.Undated + r.Others
		for _, g := range r.Groups {
			counted += g.Count
			files := g.Unnamed
			for _, file := range g.Files {
				files += file.Count
			}
			if files > g.Count || g.First.After(g.Last) {
				t.Errorf("%+v", g)
			}
		}
		if counted != r.Records {
			t.Errorf("%d of %d records are counted: %+v", counted, r.Records, r)
		}
	})
}
