package audit

import (
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// all reads a log to its end.
func all(t testing.TB, log string) (entries []Entry, damaged int64) {
	t.Helper()
	r := NewReader(strings.NewReader(log))
	for {
		e, err := r.Next()
		if err == io.EOF {
			return entries, r.Damaged()
		}
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
}

// records returns the records of a log.
func records(t testing.TB, log string) []Record {
	t.Helper()
	entries, damaged := all(t, log)
	if damaged > 0 {
		t.Errorf("%d damaged", damaged)
	}
	var found []Record
	for _, e := range entries {
		if e.Record != nil {
			found = append(found, *e.Record)
		}
	}
	return found
}

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// plain finds a field of a record that has nothing special in it.
func plain(line, key string) string {
	m := regexp.MustCompile(` ` + key + `=("[^"]*"|[^ "]*)`).FindStringSubmatch(line)
	if m == nil {
		return ""
	}
	return m[1]
}

// text decodes a field that the kernel wrote as untrusted.
func text(t *testing.T, value string) string {
	t.Helper()
	if bare, ok := strings.CutPrefix(value, `"`); ok {
		return strings.TrimSuffix(bare, `"`)
	}
	b, err := hex.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestKernels reads what kernels have written, as internal/kernellab's TestRecords
// kept it.
func TestKernels(t *testing.T) {
	for _, series := range []string{"6.1", "6.12", "7.x"} {
		t.Run(series, func(t *testing.T) {
			log := read(t, "kernel-"+series+".log")
			entries, damaged := all(t, log)
			if damaged != 0 {
				t.Errorf("%d damaged", damaged)
			}
			seen := make(map[string]bool)
			i := 0
			for line := range strings.Lines(log) {
				if !strings.Contains(line, "type=18") {
					continue
				}
				for entries[i].Record == nil {
					i++
				}
				checkLine(t, line, *entries[i].Record)
				seen[entries[i].Record.Cause] = true
				i++
			}
			if len(seen) < 15 {
				t.Errorf("only %d causes", len(seen))
			}
			checkBoot(t, log, entries, series)
		})
	}
}

// checkLine compares a record with what the line has, found in a simple way.
func checkLine(t *testing.T, line string, r Record) {
	t.Helper()
	line = strings.TrimSpace(line)
	kind, _ := strconv.Atoi(line[strings.Index(line, "type=")+5:][:4])
	stamp := regexp.MustCompile(`audit\((\d+)\.(\d+):(\d+)\): `).FindStringSubmatch(line)
	if got := strconv.FormatInt(r.Time.UnixMilli(), 10); r.Type != Type(kind) || got != stamp[1]+stamp[2] || strconv.FormatUint(r.Serial, 10) != stamp[3] {
		t.Errorf("%s: %+v", line, r)
	}
	if r.Cut || r.Node != "" || r.Boot != "" {
		t.Errorf("%s: %+v", line, r)
	}
	if r.Type == PolicyRule {
		if want := regexp.MustCompile(`\): (?:action=)?(.*) res=\d$`).FindStringSubmatch(line); r.Rule != want[1] {
			t.Errorf("%s: %+v", line, r)
		}
		return
	}
	results := map[string]Result{"": Untold, "0": Failure, "1": Success}
	number := func(key string) string { return strings.Trim(plain(line, key), `"`) }
	if strconv.Itoa(r.PID) != number("pid") || strconv.Itoa(int(r.UID)) != number("uid") || strconv.Itoa(int(r.AUID)) != number("auid") ||
		strconv.Itoa(int(r.Session)) != number("ses") || r.Subject != number("subj") || r.Op != number("op") || r.Cause != number("cause") ||
		r.Comm != text(t, plain(line, "comm")) || r.Result != results[number("res")] || r.Errno != 0 {
		t.Errorf("%s: %+v", line, r)
	}
	name := plain(line, "name")
	if r.Type == Rule {
		name = plain(line, "file")
		if want := text(t, plain(line, "hash")); r.Digest != want || !strings.Contains(want, ":") {
			t.Errorf("%s: %+v", line, r)
		}
	} else if r.Type != Status && (r.Dev != "vda" || strconv.FormatUint(r.Inode, 10) != number("ino")) {
		t.Errorf("%s: %+v", line, r)
	}
	if name != "" && r.Name != text(t, name) {
		t.Errorf("%s: %+v", line, r)
	}
}

// checkBoot looks for the entries that are no records.
func checkBoot(t *testing.T, log string, entries []Entry, series string) {
	t.Helper()
	want := uint64(0)
	for _, m := range regexp.MustCompile(`(\d+) callbacks suppressed`).FindAllStringSubmatch(log, -1) {
		n, _ := strconv.ParseUint(m[1], 10, 64)
		want += n
	}
	var release, line string
	suppressed := uint64(0)
	for _, e := range entries {
		switch {
		case e.Boot != nil && e.Boot.Release != "":
			release = e.Boot.Release
		case e.Boot != nil:
			line = e.Boot.CommandLine
		case e.Loss != nil && e.Loss.Kind == Suppressed:
			suppressed += e.Loss.Count
		}
	}
	major := strings.TrimSuffix(series, "x")
	if !strings.HasPrefix(release, major) || !strings.HasSuffix(line, " ima_appraise=enforce") || suppressed != want {
		t.Errorf("release %q, command line %q, %d suppressed, want %d", release, line, suppressed, want)
	}
}

// TestOneBoot reads what was written of one boot of Debian 12 with auditd: its
// log, the journal, and the journal as text.
func TestOneBoot(t *testing.T) {
	auditd := records(t, read(t, "auditd.log"))
	journal := records(t, read(t, "journal.json"))
	short := records(t, read(t, "journal.txt"))
	if len(auditd) != 25 || len(journal) != 25 || len(short) != 25 {
		t.Fatalf("%d, %d and %d records", len(auditd), len(journal), len(short))
	}
	want := Record{
		Type: Data, Time: time.UnixMilli(1795685934372).UTC(), Serial: 55, PID: 239, AUID: NoID, Session: NoID, Subject: "unconfined",
		Op: "appraise_data", Cause: "invalid-hash", Comm: "cat", Name: "/lab/a b", Dev: "vda", Inode: 11468, Result: Failure,
	}
	if auditd[5] != want {
		t.Errorf("%+v\nwant %+v", auditd[5], want)
	}
	for i, r := range auditd {
		j := journal[i]
		if j.Node != "vm" || j.Boot != "2a9e250bcb2b4255904cb8fb1526ce10" {
			t.Errorf("%+v", j)
		}
		j.Node, j.Boot = "", ""
		if j != r {
			t.Errorf("the journal has %+v\nauditd has %+v", j, r)
		}
		r.Time, r.Serial = time.Time{}, 0
		if short[i] != r {
			t.Errorf("the text has %+v\nauditd has %+v", short[i], r)
		}
	}
	entries, _ := all(t, read(t, "journal.json"))
	isLoss := func(e Entry) bool {
		return e.Loss != nil && e.Loss.Kind == Suppressed && e.Loss.Count == 6 && e.Loss.Boot != ""
	}
	isBoot := func(e Entry) bool {
		return e.Boot != nil && strings.Contains(e.Boot.CommandLine, "ima_appraise=enforce") && e.Boot.ID != ""
	}
	if !slices.ContainsFunc(entries, isLoss) || !slices.ContainsFunc(entries, isBoot) {
		t.Errorf("%+v", entries)
	}
}

const (
	stamped = `audit(1700000000.123:45): `
	body    = `pid=7 uid=0 auid=1000 ses=3 subj=unconfined op=appraise_data cause=invalid-hash comm="cat" name="/etc/passwd" dev="vda1" ino=131 res=0 errno=-13`
)

// whole is the record of body.
var whole = Record{
	Type: Data, Time: time.UnixMilli(1700000000123).UTC(), Serial: 45, PID: 7, AUID: 1000, Session: 3, Subject: "unconfined",
	Op: "appraise_data", Cause: "invalid-hash", Comm: "cat", Name: "/etc/passwd", Dev: "vda1", Inode: 131, Result: Failure, Errno: -13,
}

// with returns whole, changed.
func with(change func(*Record)) *Record {
	r := whole
	change(&r)
	return &r
}

func replaced(old, new string) string { return strings.Replace(body, old, new, 1) }

func TestRecordForms(t *testing.T) {
	for _, test := range []struct {
		name, line string
		want       *Record
	}{
		{"auditd", "type=INTEGRITY_DATA msg=" + stamped + body, &whole},
		{"node", "node=host.example type=INTEGRITY_DATA msg=" + stamped + body, with(func(r *Record) { r.Node = "host.example" })},
		{"enriched", "type=INTEGRITY_DATA msg=" + stamped + body + "\x1dUID=\"root\" AUID=\"me\" RES=\"x\"", &whole},
		{"enriched in the old way", "type=INTEGRITY_DATA msg=" + stamped + body + " UID=\"root\" AUID=\"me\"", &whole},
		{"unknown type", "type=UNKNOWN[1808] msg=" + stamped + body, with(func(r *Record) { r.Type = Userspace })},
		{"type without name", "type=UNKNOWN[1850] msg=" + stamped + body, with(func(r *Record) { r.Type = 1850 })},
		{"CRLF", "type=INTEGRITY_DATA msg=" + stamped + body + "\r", &whole},
		{"behind a hole", "\x00\x00\x00type=INTEGRITY_DATA msg=" + stamped + body, &whole},
		{"dmesg", "[ 1234.567890] audit: type=1800 " + stamped + body, &whole},
		{"dmesg -T", "[Mon Nov 26 08:00:00 2026] audit: type=1800 " + stamped + body, &whole},
		{"dmesg with callers", "[    1.234567][  T123] audit: type=1800 " + stamped + body, &whole},
		{"dmesg -x", "kern  :notice: [    1.234567] audit: type=1800 " + stamped + body, &whole},
		{"dmesg -r", "<5>[    1.234567] audit: type=1800 " + stamped + body, &whole},
		{"dmesg -t", "audit: type=1800 " + stamped + body, &whole},
		{"syslog", "Nov 26 08:00:00 host kernel: [    1.234567] audit: type=1800 " + stamped + body, &whole},
		{"syslog, RFC 3339", "2026-11-26T08:00:00.123456+01:00 host kernel: audit: type=1800 " + stamped + body, &whole},
		{"journalctl -k", "Nov 26 08:00:00 host kernel: audit: type=1800 " + stamped + body, &whole},
		{"short-monotonic", "[    1.234567] host kernel: audit: type=1800 " + stamped + body, &whole},
		{"journalctl", "Nov 26 08:00:00 host audit[7]: INTEGRITY_DATA " + body, with(func(r *Record) { r.Time, r.Serial = time.Time{}, 0 })},
		{"journal", `{"_TRANSPORT":"audit","_AUDIT_TYPE":"1800","_AUDIT_ID":"45","_SOURCE_REALTIME_TIMESTAMP":"1700000000123000","MESSAGE":"INTEGRITY_DATA ` + strings.ReplaceAll(body, `"`, `\"`) + `"}`, &whole},
		{"journal with blanks", `{ "_TRANSPORT" : "audit", "_AUDIT_TYPE" : "1800", "_AUDIT_ID" : "45", "_SOURCE_REALTIME_TIMESTAMP" : "1700000000123000", "MESSAGE" : "AUDIT1800 ` + strings.ReplaceAll(body, `"`, `\u0022`) + `" }`, &whole},
		{"json-seq", "\x1e" + `{"_TRANSPORT":"kernel","MESSAGE":"audit: type=1800 ` + stamped + strings.ReplaceAll(body, `"`, `\"`) + `"}`, &whole},
		{"journal, several values", `{"_HOSTNAME":["a","b"],"_BOOT_ID":[[98],[99]],"X":null,"_TRANSPORT":"kernel","MESSAGE":"audit: type=1800 ` + stamped + strings.ReplaceAll(body, `"`, `\"`) + `"}`,
			with(func(r *Record) { r.Node, r.Boot = "a", "b" })},
		{"old kernels", "type=INTEGRITY_DATA msg=" + stamped + `pid=7 uid=0 auid=1000 ses=3 subj=unconfined op="appraise_data" cause="invalid-hash" comm="cat" name="/etc/passwd" dev="vda1" ino=131 res=0`,
			with(func(r *Record) { r.Errno = 0 })},
		{"another order", "type=INTEGRITY_DATA msg=" + stamped + `res=0 errno=-13 ino=131 dev="vda1" name="/etc/passwd" comm="cat" cause=invalid-hash op=appraise_data subj=unconfined ses=3 auid=1000 uid=0 pid=7`, &whole},
		{"unknown fields", "type=INTEGRITY_DATA msg=" + stamped + `new="x y" ` + body + " later=1 more", &whole},
		{"AppArmor", "type=INTEGRITY_DATA msg=" + stamped + replaced("subj=unconfined", "subj=docker-default (enforce)"), with(func(r *Record) { r.Subject = "docker-default (enforce)" })},
		{"SELinux", "type=INTEGRITY_DATA msg=" + stamped + replaced("subj=unconfined", "subj=system_u:system_r:init_t:s0-s0:c0.c1023"), with(func(r *Record) { r.Subject = "system_u:system_r:init_t:s0-s0:c0.c1023" })},
		{"cause with blanks", "type=INTEGRITY_STATUS msg=" + stamped + replaced("cause=invalid-hash", "cause=signed policy required"),
			with(func(r *Record) { r.Type, r.Cause = Status, "signed policy required" })},
		{"hexadecimal", "type=INTEGRITY_DATA msg=" + stamped + replaced(`comm="cat" name="/etc/passwd"`, `comm=6120622263 name=2F61FF0A`), with(func(r *Record) { r.Comm, r.Name = `a b"c`, "/a\xff\n" })},
		{"hexadecimal in quotes", "type=INTEGRITY_DATA msg=" + stamped + replaced(`comm="cat"`, `comm="DEADBEEF"`), with(func(r *Record) { r.Comm = "DEADBEEF" })},
		{"no name", "type=INTEGRITY_DATA msg=" + stamped + replaced(`name="/etc/passwd"`, `name=(null)`), with(func(r *Record) { r.Name = "" })},
		{"no user", "type=INTEGRITY_DATA msg=" + stamped + replaced("auid=1000 ses=3", "auid=4294967295 ses=-1"), with(func(r *Record) { r.AUID, r.Session = NoID, NoID })},
		{"success", "type=INTEGRITY_PCR msg=" + stamped + replaced("res=0", "res=1"), with(func(r *Record) { r.Type, r.Result = PCR, Success })},
		{"attribute", `type=INTEGRITY_EVM_XATTR msg=` + stamped + `xattr="security.mine" res=1`,
			&Record{Type: EVMXattr, Time: whole.Time, Serial: 45, UID: NoID, AUID: NoID, Session: NoID, Xattr: "security.mine", Result: Success}},
		{"rule of a policy", `type=INTEGRITY_POLICY_RULE msg=` + stamped + `action=appraise func=FILE_CHECK mask=^MAY_READ fowner<10  appraise_type=imasig res=1`,
			&Record{Type: PolicyRule, Time: whole.Time, Serial: 45, UID: NoID, AUID: NoID, Session: NoID, Rule: "appraise func=FILE_CHECK mask=^MAY_READ fowner<10  appraise_type=imasig", Result: Success}},
		{"file of a rule", `type=INTEGRITY_RULE msg=` + stamped + `file=2F612062 hash="sha256:ab01" ppid=0 pid=7 auid=1000 uid=5 gid=0 euid=0 tty=(none) ses=3 comm="cat" exe="/bin/cat" subj=unconfined`,
			&Record{Type: Rule, Time: whole.Time, Serial: 45, PID: 7, UID: 5, AUID: 1000, Session: 3, Comm: "cat", Subject: "unconfined", Name: "/a b", Digest: "sha256:ab01"}},

		{"another type", "type=SYSCALL msg=" + stamped + body, nil},
		{"another type in the journal", `{"_TRANSPORT":"audit","_AUDIT_TYPE":"1300","MESSAGE":"SYSCALL x"}`, nil},
		{"blank line", "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := records(t, test.line+"\n")
			switch {
			case test.want == nil && len(got) > 0:
				t.Errorf("%+v, want none", got)
			case test.want != nil && (len(got) != 1 || got[0] != *test.want):
				t.Errorf("%+v\nwant %+v", got, *test.want)
			}
		})
	}
}

func TestBoots(t *testing.T) {
	for line, want := range map[string]Boot{
		"[    0.000000] Linux version 6.12.9-amd64 (x@y) #1 SMP":                                                  {Release: "6.12.9-amd64"},
		"[    0.000000] Command line: root=/dev/vda1 ima_appraise=log":                                            {CommandLine: "root=/dev/vda1 ima_appraise=log"},
		"Nov 26 08:00:00 host kernel: Command line: quiet":                                                        {CommandLine: "quiet"},
		`{"_TRANSPORT":"kernel","_BOOT_ID":"b","MESSAGE":"Command line: \"a b\""}`:                                {ID: "b", CommandLine: `"a b"`},
		"[    1.000000] ima: Secure boot enabled: ignoring ima_appraise=log option":                               {SecureBoot: true},
		"Nov 26 08:00:00 host kernel: [    1.000000] ima: Secure boot enabled: ignoring ima_appraise=log option.": {SecureBoot: true},
	} {
		entries, damaged := all(t, line)
		if len(entries) != 1 || entries[0].Boot == nil || *entries[0].Boot != want || damaged != 0 {
			t.Errorf("%s: %+v", line, entries)
		}
	}
	// The same again, with what the kernel has added to it.
	if entries, _ := all(t, "[    0.000000] Kernel command line: BOOT_IMAGE=x quiet"); len(entries) > 0 {
		t.Errorf("%+v", entries)
	}
}
