package page

import (
	"errors"
	"flag"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/page/treemap"
	"imaseal/internal/reason"
	"imaseal/internal/report"
)

var update = flag.Bool("update", false, "write golden files anew")

// aFrame is one that is the same whenever the test runs.
func aFrame(status int) Frame {
	return Frame{
		Version: "1.2", Host: "build.example", Made: time.Date(2026, 11, 26, 14, 30, 0, 0, time.UTC), Status: status,
		Facts: []Fact{{"Files in", "/"}, {"Kernel", "the running kernel 6.12"}, {"Policy", "appraise_tcb"}, {"EVM", "not active"}, {"Keys", "/etc/keys/ima.der"}},
	}
}

func sha256Label(t testing.TB) []byte {
	d, err := hash.NewDigest(hash.SHA256, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	b, err := imaevm.NewHash(d).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func signature(t testing.TB, id imaevm.KeyID) []byte {
	b, err := imaevm.Signature{Kind: imaevm.TypeSignature, Version: 2, Alg: hash.SHA256, KeyID: id, Raw: make([]byte, 64)}.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A tree is a run of imaseal check on files that are made up.
type tree struct {
	testing.TB
	check *Check
	sum   report.Summary
}

func newTree(t testing.TB) *tree {
	h := report.Header{Command: "check", Jobs: 2}
	tr := &tree{t, &Check{
		Fix: func(g report.Group) []string {
			return []string{"they have no label:", "imaseal relabel " + strings.Join(g.Places, " ")}
		},
		Keys: func(_ bool, id imaevm.KeyID) Knowledge {
			if id == 1 {
				return Known
			}
			return Unknown
		},
		Hint: func(r report.Result) (reason.Code, string) {
			if r.Err != nil {
				return reason.NotPermitted, "run it as root"
			}
			return r.Code, ""
		},
	}, report.NewSummary(h)}
	if err := tr.check.Start(h); err != nil {
		t.Fatal(err)
	}
	return tr
}

func (t *tree) add(r report.Result) {
	t.sum.Add(r)
	if err := t.check.Result(r); err != nil {
		t.Fatal(err)
	}
}

// files adds so many of a directory.
func (t *tree) files(n int, dir string, r report.Result) {
	r.Judgements = []report.Judgement{{Operation: "read", Verdict: r.Outcome, Why: r.Why}}
	for i := range n {
		r.Path = fmt.Sprintf("%s/file%d", dir, i)
		t.add(r)
	}
}

func (t *tree) page(f Frame) string {
	t.sum.Elapsed = 1500 * time.Millisecond
	if err := t.check.Finish(t.sum); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := t.check.Write(&b, f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// root is a small root file system in which not all is well.
func root(t testing.TB) *tree {
	tr := newTree(t)
	fine := report.Result{Outcome: report.Allowed, IMA: sha256Label(t)}
	signed := report.Result{Outcome: report.Allowed, IMA: signature(t, 1)}
	bare := report.Result{Outcome: report.Denied, Why: report.Why{Causes: []string{"missing-hash"}}}
	stale := report.Result{Outcome: report.Denied, IMA: sha256Label(t), Why: report.Why{Causes: []string{"invalid-hash"}}}
	other := report.Result{Outcome: report.Undecided, IMA: signature(t, 0xdeadbeef), Why: report.Why{Reasons: reason.List{reason.New("no-keys", "the keys are not known")}}}
	tr.files(1400, "/usr/bin", signed)
	tr.files(320, "/usr/sbin", signed)
	tr.files(2100, "/usr/lib/x86_64-linux-gnu", fine)
	tr.files(30, "/usr/lib/x86_64-linux-gnu/security", stale)
	tr.files(700, "/usr/lib/modules/6.12.0/kernel/drivers/net", signed)
	tr.files(900, "/usr/lib/modules/6.12.0/kernel/drivers/gpu", signed)
	tr.files(240, "/usr/lib/modules/6.12.0/kernel/fs", other)
	for _, doc := range []string{"bash", "coreutils", "openssl", "systemd", "zlib1g"} {
		tr.files(150, "/usr/share/doc/"+doc, fine)
	}
	tr.files(1700, "/usr/share/zoneinfo", fine)
	tr.files(600, "/usr/share/locale", fine)
	tr.files(420, "/etc", fine)
	tr.files(60, "/etc/ssl/certs", bare)
	tr.files(12, "/opt/vendor/bin", bare)
	tr.files(90, "/var/lib/dpkg/info", fine)
	tr.add(report.Result{Path: "/root/.profile", Outcome: report.Failed, Err: errors.New("reading: operation not permitted")})
	for i := range 900 {
		tr.add(report.Result{Path: fmt.Sprintf("/usr/link%d", i), Outcome: report.Skipped, Code: reason.Symlink})
	}
	tr.sum.Notes = reason.List{reason.New(reason.GuessedPolicy, "the loaded policy is not to be seen")}
	return tr
}

// golden compares a text with a file, and names the first line that differs.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		if i >= len(gotLines) || i >= len(wantLines) || gotLines[i] != wantLines[i] {
			t.Fatalf("%s: line %d differs, -update writes it anew:\n%s", path, i+1, strings.Join(gotLines[min(i, len(gotLines)):min(i+1, len(gotLines))], ""))
		}
	}
}

// withoutFiles leaves out what has files of its own.
func withoutFiles(page string) string {
	for _, name := range []string{"page.css", "page.js"} {
		page = strings.Replace(page, content(name), "", 1)
		page = strings.Replace(page, strings.ReplaceAll(html.EscapeString(source(content(name))), "+", "&#43;"), name, 1)
	}
	return page
}

func TestCheckPage(t *testing.T) {
	tr := newTree(t)
	tr.files(3, "/etc", report.Result{Outcome: report.Allowed, IMA: sha256Label(t)})
	tr.files(2, "/usr/bin", report.Result{Outcome: report.Denied, Why: report.Why{Causes: []string{"missing-hash"}}})
	tr.files(1, "/usr/lib", report.Result{Outcome: report.Undecided, IMA: signature(t, 2), EVM: []byte{2}, Why: report.Why{
		Causes: []string{"invalid-signature"}, Reasons: reason.List{reason.New("no-keys", "the keys are not known")},
	}})
	tr.add(report.Result{Path: "/usr/lib/secret", Outcome: report.Failed, Err: errors.New("not permitted")})
	tr.add(report.Result{Path: "/usr/lib/gone", Outcome: report.Vanished})
	tr.add(report.Result{Path: "/dev/null", Outcome: report.Skipped, Code: reason.Special})
	tr.check.Host = []Finding{{"pass", "kernel", "it appraises", ""}, {"fail", "keys", "there are none", "load one"}}
	tr.sum.Notes = reason.List{reason.New(reason.GuessedPolicy, "the loaded policy is not to be seen")}
	golden(t, "check.html", withoutFiles(tr.page(aFrame(4))))
}

// TestAnswers: what a page says first is what the run found.
func TestAnswers(t *testing.T) {
	fine, deny := report.Result{Path: "/a", Outcome: report.Allowed}, report.Result{Path: "/b", Outcome: report.Denied, Why: report.Why{Causes: []string{""}}}
	unsure, failed := report.Result{Path: "/c", Outcome: report.Undecided}, report.Result{Path: "/d", Outcome: report.Failed, Err: errors.New("x")}
	ready, unready := []Finding{{Level: "pass"}, {Level: "warn"}}, []Finding{{Level: "fail"}}
	for _, c := range []struct {
		name    string
		results []report.Result
		host    []Finding
		shard   int
		level   level
		words   string
	}{
		{"all fine", []report.Result{fine}, nil, 0, good, "would let all 1 file be used. Whether the host"},
		{"with a host", []report.Result{fine}, ready, 0, good, "would let all 1 file be used."},
		{"a shard", []report.Result{fine}, nil, 2, good, "Other parts"},
		{"one denied", []report.Result{fine, unsure, deny}, nil, 0, bad, "would deny 1 of 3 files; 1 is undecided."},
		{"a bad host", []report.Result{fine}, unready, 0, bad, "The host itself is not ready: 1 check of it failed."},
		{"both", []report.Result{deny}, unready, 0, bad, "deny 1 of 1 file. The host itself is not ready"},
		{"one undecided", []report.Result{fine, unsure}, nil, 0, unclear, "of 2 files 1 is undecided, and 0 could not"},
		{"one failed", []report.Result{fine, failed}, nil, 0, unclear, "0 are undecided, and 1 could not"},
		{"nothing", nil, nil, 0, unclear, "No file was selected"},
	} {
		tr := newTree(t)
		for _, r := range c.results {
			tr.add(r)
		}
		tr.check.Host = c.host
		tr.sum.Shard.Count, tr.sum.Shard.Index = c.shard, min(c.shard, 1)
		page := tr.page(aFrame(0))
		if !strings.Contains(page, `<section class="answer `+string(c.level)+`"`) || !strings.Contains(page, c.words) {
			t.Errorf("%s: want %s, %q", c.name, c.level, c.words)
		}
	}
	var b strings.Builder
	if err := (&Check{Host: ready}).Write(&b, aFrame(0)); err != nil || !strings.Contains(b.String(), "The host is ready") || strings.Contains(b.String(), `id="map"`) {
		t.Errorf("only a host: %v", err)
	}
}

// hostile are names that pages may stumble over.
var hostile = []string{
	"<script>pwned=1</script>", `"><img src=x onerror=pwned=1>`, "'); pwned=1; ('", "</title></style></svg><svg onload=pwned=1>", "{{.Style}}", "&lt;b&gt;&amp;",
	"new\nline\x1b[31m\x00", "\xff\xfe", "\u202egnp.exe", "<!--", "javascript:pwned=1", strings.Repeat("長", 85), "a b", "%s%n",
}

// hostileTree has such names wherever a name can be.
func hostileTree(t testing.TB) *tree {
	tr := newTree(t)
	for i, name := range hostile {
		tr.files(40+i, "/srv/"+name, report.Result{Outcome: report.Allowed})
		tr.files(9, "/srv/"+name+"/"+name, report.Result{Outcome: report.Denied, Why: report.Why{Causes: []string{name}, Reasons: reason.List{reason.New(reason.Code(name), "%s", name)}}})
		tr.add(report.Result{Path: "/" + name + "/x", Outcome: report.Failed, Err: errors.New(name)})
		tr.sum.Notes = append(tr.sum.Notes, reason.New(reason.Code(name), "%s", name))
		tr.check.Host = append(tr.check.Host, Finding{"warn", name, name, name})
	}
	tr.check.Hint = func(r report.Result) (reason.Code, string) { return "", r.Path }
	return tr
}

// hostileFrame has them, too.
func hostileFrame() Frame {
	f := aFrame(0)
	f.Host = hostile[0]
	for _, name := range hostile {
		f.Facts = append(f.Facts, Fact{name, name})
	}
	return f
}

// TestHostileNames: what files are called is text on the page. That it has no effect in
// a browser is for TestBrowser.
func TestHostileNames(t *testing.T) {
	page := hostileTree(t).page(hostileFrame())
	if !utf8.ValidString(page) || strings.ContainsFunc(page, func(r rune) bool { return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) }) {
		t.Error("there are control characters on the page, or bytes that are no text")
	}
	for _, markup := range []string{"<script>pwned", "<img", "<svg onload", "<!--"} {
		if strings.Contains(strings.ToLower(withoutFiles(page)), markup) {
			t.Errorf("%q is on the page", markup)
		}
	}
	if !strings.Contains(page, "&lt;script&gt;pwned=1&lt;/script&gt;") {
		t.Error("a name is not on the page")
	}
}

// A machine is a million files in more directories than a page, or memory, has room
// for: deep ones, wide ones, and long names.
func machine(t testing.TB, files int) (*tree, uint64) {
	tr := newTree(t)
	label := sha256Label(t)
	why := report.Why{Causes: []string{"missing-hash"}}
	var m runtime.MemStats
	var peak uint64
	long := strings.Repeat("x", 200)
	for i := range files {
		r := report.Result{Outcome: report.Allowed, IMA: label}
		switch i % 4 {
		case 0:
			r.Path = fmt.Sprintf("/wide/%s%d/file", long, i)
		case 1:
			r.Path = fmt.Sprintf("/deep%s/%d/file", strings.Repeat("/d", i%200), i%1000)
		case 2:
			r.Path = fmt.Sprintf("/usr/lib/%d/%d/file%d", i%64, i%4096, i)
		default:
			r.Path = fmt.Sprintf("/usr/bin/file%d", i)
		}
		if i%1000 == 2 {
			r.Outcome, r.IMA, r.Why = report.Denied, nil, why
		}
		tr.add(r)
		if i%50_000 == 0 {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
	}
	return tr, peak
}

// TestMillionFiles: the page and what it takes to make it do not grow with the files,
// and no file is lost.
func TestMillionFiles(t *testing.T) {
	const files = 1_000_000
	tr, peak := machine(t, files)
	if peak > 40<<20 {
		t.Errorf("%d MiB of heap", peak>>20)
	}
	page := tr.page(aFrame(4))
	if len(page) > 2<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
	c := tr.check.forest.Total()
	if c[treemap.Denied] != files/1000 || c[treemap.Allowed] != files-files/1000 {
		t.Errorf("%v", c)
	}
	for _, want := range []string{"would deny 1,000 of 1,000,000 files", "the smallest are counted with the one that they are in", ">lib", ">usr"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	t.Logf("%d MiB of heap, a page of %d bytes", peak>>20, len(page))
}

// TestManyOfEverything: lists end, and say so.
func TestManyOfEverything(t *testing.T) {
	tr := newTree(t)
	tr.check.Fix = func(g report.Group) []string { return []string{"imaseal relabel " + strings.Repeat("x", 20<<10)} }
	tr.check.Hint = nil
	long := strings.Repeat("y", 4000)
	for i := range 3000 {
		tr.add(report.Result{
			Path: fmt.Sprintf("/d%d/%s/f", i, strings.Repeat("n", 3000)), Outcome: report.Denied, IMA: signature(t, imaevm.KeyID(i)),
			Why:        report.Why{Causes: []string{fmt.Sprintf("cause-%d", i)}, Reasons: reason.List{reason.New("x", "%s", long)}},
			Judgements: []report.Judgement{{Operation: fmt.Sprintf("use%d", i), Verdict: report.Denied}},
		})
		tr.add(report.Result{Path: fmt.Sprintf("/e%d/f", i), Outcome: report.Failed, Err: fmt.Errorf("error %d %s", i, long)})
		tr.sum.Notes = append(tr.sum.Notes, reason.New("x", "%s", long))
	}
	page := tr.page(aFrame(4))
	if len(page) > 2<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
	for _, want := range []string{"more groups</", "too long for this page", "others"} {
		if !strings.Contains(strings.ReplaceAll(page, " with ", "</"), want) {
			t.Errorf("%q is not on the page", want)
		}
	}
}
