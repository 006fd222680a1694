package measured

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/measure"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/tree"
)

// listOf makes a list of lines, as an ASCII list has them behind the template digest,
// which is that of zeros for a violation.
func listOf(t *testing.T, lines string) *List {
	t.Helper()
	l := NewList()
	for line := range strings.Lines(lines) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		digest := strings.Repeat("1", 40)
		if rest, ok := strings.CutPrefix(line, "violation "); ok {
			digest, line = strings.Repeat("0", 40), rest
		}
		r, err := measure.Open(strings.NewReader("10 "+digest+" "+line), measure.Layout{Form: measure.ASCII, Bank: hash.SHA1})
		if err != nil {
			t.Fatal(err)
		}
		rec, err := r.Next()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		l.Add(rec)
	}
	return l
}

func sum(t *testing.T, a hash.Algorithm, content string) hash.Digest {
	t.Helper()
	d, err := hash.Sum(a, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// results are what a run found, a line each, sorted.
type results struct {
	lines []string
	sum   report.Summary
}

func (r *results) Start(report.Header) error { return nil }

func (r *results) Result(res report.Result) error {
	line := fmt.Sprintf("%s: %s %s", res.Path, res.Outcome, res.Code)
	for _, w := range res.Warnings {
		line += " +" + string(w.Code)
	}
	r.lines = append(r.lines, line)
	return nil
}

func (r *results) Finish(s report.Summary) error { r.sum = s; return nil }

// A dir is a source of files below /.
type dir map[string]file

func (d dir) Walk(_ context.Context, visit func(tree.Found) error) error {
	for name, f := range d {
		found := tree.Found{Path: name, Rel: name, File: placed{f, "/" + name}}
		if f.content == nil {
			found = tree.Found{Path: name, Rel: name, Skip: reason.Code(f.label)}
		}
		if err := visit(found); err != nil {
			return err
		}
	}
	return nil
}

type placed struct {
	file
	full string
}

func (p placed) Full() string { return p.full }
func (p placed) Close() error { return nil }

func hashLabel(t *testing.T, d hash.Digest) []byte {
	t.Helper()
	b, err := imaevm.NewHash(d).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCompare(t *testing.T) {
	a, b := sum(t, hash.SHA256, "a"), sum(t, hash.SHA256, "b")
	list := listOf(t, fmt.Sprintf(`
ima-ng %[1]s boot_aggregate
ima-ng %[1]s /same
ima-ng %[1]s /same_512
ima-ng %[1]s /changed
ima-ng %[1]s /unlabelled
ima-ng %[1]s /stale
ima-ng %[1]s /upgraded
ima-ng %[2]s /upgraded
ima-ng %[2]s /back
ima-ng %[1]s /back
ima-ng %[1]s /with_blank
ima-ng %[2]s /with_blank
ima-ng %[1]s /gone
ima-ng %[1]s /usr/bin/x
ima-ng %[1]s /tmp/t_(deleted)
ima-ng %[1]s /memfd:x_(deleted)
ima-ng %[1]s memory
ima-ng %[1]s /outside/x
ima-ng %[1]s /hidden
ima-ng %[1]s /filtered
ima-ng %[1]s /link
ima-sig %[1]s /unsigned 030204aaaaaaaa0001ff
ima-sig %[1]s /rolled_back 030204bbbbbbbb0001ff
ima-sig %[2]s /rolled_back 030204aaaaaaaa0001ff
ima-ng streebog256:%[3]s /not-computed
ima-ng %[2]s /not-computed-now
ima-ng streebog256:%[3]s /not-computed-now
ima-ng of-the-future:%[3]s /not-known
ima-ng wp512:%[3]s%[3]s /not-computed-then
ima-ng %[2]s /not-computed-then
ima-ng of-the-future:%[3]s /not-known-then
ima-ng %[2]s /not-known-then
violation ima-ng sha256:%[3]s /only-open
violation ima-ng sha256:%[3]s /same
ima-sig %[1]s /signed 030204aaaaaaaa0001ff
ima-ngv2 verity:%[1]s /verity
ima-buf %[1]s .ima 00
`, a, b, strings.Repeat("0", 64)))
	if list.Violations != 2 || list.Others != 1 || list.Len() != 27 {
		t.Errorf("%d names, %d violations, %d others", list.Len(), list.Violations, list.Others)
	}
	fits := hashLabel(t, a)
	signature := []byte("\x03\x02\x04\xaa\xaa\xaa\xaa\x00\x01\xff")
	other := []byte("\x03\x02\x04\xbb\xbb\xbb\xbb\x00\x01\xff")
	content := []byte("a")
	files := dir{
		"same": {content: content, label: fits}, "same 512": {content: content, label: hashLabel(t, sum(t, hash.SHA512, "a"))},
		"changed": {content: []byte("c"), label: fits}, "unlabelled": {content: content}, "stale": {content: content, label: hashLabel(t, b)},
		"upgraded": {content: []byte("b"), label: hashLabel(t, b)}, "back": {content: content, label: fits},
		"with blank": {content: content, label: fits}, "with_blank": {content: []byte("b"), label: hashLabel(t, b)},
		"srv/jail/usr/bin/x": {content: content}, "not-measured": {content: content},
		"filtered": {label: []byte(reason.Filtered)}, "link": {label: []byte(reason.Symlink)},
		"signed": {content: content, label: other}, "verity": {content: content, label: signature},
		"unsigned": {content: content, label: fits}, "rolled back": {content: content, label: other}, "only-open": {content: content, label: fits},
		"not-computed": {content: content, label: fits}, "not-computed-now": {content: content, label: fits}, "not-known": {content: content, label: fits},
		"not-computed-then": {content: content, label: fits}, "not-known-then": {content: content, label: fits},
	}
	places := Places{{"/", "/"}}
	var out results
	r := run.Run{
		Source: &Missing{
			Like: tree.Like{Source: files}, List: list, Name: func(f tree.Found) string { return places.Of("/" + f.Rel) },
			Wanted: func(name string) bool { return !strings.HasPrefix(name, "/outside/") }, Exists: func(name string) bool { return name == "/hidden" },
		},
		Job: &Comparer{List: list, Place: places.Of}, Report: &out,
	}
	if _, err := r.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out.lines)
	want := `
/gone: invalid gone
/hidden: skipped not-selected
/link: invalid gone
/memfd:x_(deleted): skipped deleted-when-measured
/outside/x: skipped outside-tree
/tmp/t_(deleted): skipped deleted-when-measured
/usr/bin/x: invalid other-root
back: valid  +several-contents
changed: invalid other-content
filtered: skipped filtered
link: skipped symbolic-link
memory: skipped no-path
not-computed-now: unverifiable not-computable +several-contents
not-computed-then: unverifiable not-computable +several-contents
not-computed: unverifiable not-computable
not-known-then: unverifiable not-computable
not-known: unverifiable not-computable
not-measured: skipped not-measured
only-open: skipped changed-while-measured
rolled back: valid  +several-contents
same 512: valid 
same: valid  +changed-while-measured
signed: invalid other-label-measured
srv/jail/usr/bin/x: skipped not-measured
stale: invalid other-label-measured
unlabelled: unlabelled measured-unlabelled
unsigned: invalid other-label-measured
upgraded: valid  +several-contents
verity: unverifiable measured-verity
with blank: valid  +several-contents
with_blank: valid  +several-contents`
	if got := "\n" + strings.Join(out.lines, "\n"); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// TestListMetadata has what only the template evm-sig tells.
func TestListMetadata(t *testing.T) {
	d := sum(t, hash.SHA256, "a")
	l := listOf(t, "evm-sig "+d.String()+" /a     0 5 33261\n")
	a := l.Entry("/a")
	if a == nil || a.UID == nil || *a.UID != 0 || a.Mode == nil || *a.Mode != 0o100755 {
		t.Errorf("%+v", a)
	}
}

func TestFrom(t *testing.T) {
	places := Places{{"/mnt/root", "/"}, {"/mnt/usr", "/usr"}}
	for to, want := range map[string]string{"/bin/x": "/mnt/root/bin/x", "/usr/bin/x": "/mnt/usr/bin/x", "/usrx": "/mnt/root/usrx", "/": "/mnt/root"} {
		if got, _, ok := places.From(to); !ok || got != want {
			t.Errorf("%s: %s, %v", to, got, ok)
		}
	}
	if _, rel, _ := places.From("/usr/bin/x"); rel != "bin/x" {
		t.Errorf("%s", rel)
	}
	if got, _, ok := (Places{{"/a", "/b"}}).From("/c"); ok {
		t.Errorf("%s", got)
	}
}

// TestManyContents has a file that was measured with as many contents as there are records,
// as logs are that root reads.
func TestManyContents(t *testing.T) {
	const n = 200_000
	l := NewList()
	began := time.Now()
	for i := range 2 * n {
		d := sum(t, hash.SHA256, fmt.Sprint(i%n))
		field := append([]byte("sha256:\x00"), d.Bytes()...)
		l.Add(measure.Record{Digest: []byte{1}, Fields: []measure.Field{{ID: "d-ng", Value: field}, {ID: "n-ng", Value: []byte("/log\x00")}}})
	}
	e := l.Entry("/log")
	if len(e.Digests) != n || e.Last.Digest != sum(t, hash.SHA256, fmt.Sprint(n-1)) || !e.has(e.Digests[7]) {
		t.Errorf("%d digests", len(e.Digests))
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
}
