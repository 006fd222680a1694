package report

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"imaseal/hash"
	"imaseal/internal/reason"
)

var (
	_ Handler = (*Text)(nil)
	_ Handler = (*JSON)(nil)
)

// run is a run with a result of every kind.
func run(t *testing.T) ([]Result, Summary) {
	t.Helper()
	digest, err := hash.Sum(hash.SHA256, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	label := []byte{4, 4, 1, 2}
	results := []Result{
		{Path: "a", Outcome: Labelled, Class: "hash", IMA: label, EVM: label[:1], Digest: digest, Bytes: 1, Size: 1},
		{Path: "b", Outcome: Unchanged, Class: "hash", IMA: label, Digest: digest, Bytes: 1, Size: 1},
		{Path: "c", Outcome: Kept, Class: "sign", IMA: label, KeyID: 0xa1b2c3d4, HasKeyID: true, Reason: "signature", Size: 1},
		{Path: "d", Outcome: Vanished},
		{Path: "e\nf", Outcome: Failed, Err: errors.New("writing security.ima: operation not permitted"), Size: 1},
		{Path: "g", Outcome: Failed, Err: errors.Join(errors.New("writing security.ima: operation not permitted"), errors.New("and again"))},
		{Path: "\xff", Outcome: Failed, Err: errors.New("no hint for this")},
		{Path: "h", Outcome: Skipped, Code: reason.HardLink, Reason: "hard link"},
		{Path: "i", Outcome: Skipped, Code: reason.OtherOwner, Reason: "other owner"},
		{Path: "j", Outcome: Skipped, Code: reason.Symlink, Reason: "symbolic link"},
		{Path: "k", Outcome: Skipped, Code: reason.Symlink, Reason: "symbolic link"},
		{Path: "l", Outcome: Labelled, IMA: label, Warnings: reason.List{{Code: reason.OpenForWriting, Words: "open for writing"}}, Bytes: 2 << 20},
		{Path: "m", Outcome: Invalid, Reason: "does not fit", Digest: digest},
		{Path: "n", Outcome: Unlabelled},
	}
	sum := NewSummary(Header{Command: "hash", Jobs: 2, Algo: hash.SHA256})
	for _, r := range results {
		sum.Add(r)
	}
	sum.Elapsed = 1500 * time.Millisecond
	return results, sum
}

func hint(r Result) (reason.Code, string) {
	err := r.Err
	if err == nil {
		return r.Code, ""
	}
	if strings.Contains(err.Error(), "not permitted") {
		return "not-permitted", "run as root"
	}
	return "", ""
}

func play(t *testing.T, h Handler, results []Result, sum Summary) {
	t.Helper()
	if err := h.Start(sum.Header); err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if err := h.Result(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Finish(sum); err != nil {
		t.Fatal(err)
	}
}

func TestText(t *testing.T) {
	const errs = `imaseal: error: "e\nf": writing security.ima: operation not permitted
imaseal: hint: run as root
imaseal: error: g: writing security.ima: operation not permitted; and again
imaseal: error: "\xff": no hint for this
imaseal: warning: l: open for writing
imaseal: error: m: does not fit
imaseal: error: n: unlabelled
`
	const sums = `imaseal: 2 labelled (sha256), 1 invalid, 1 unlabelled, 1 unchanged, 1 kept, 1 vanished, 1 hard link, 3 failed; 3 skipped (2 symbolic links, 1 other owner)
imaseal: 2.0 MiB in 1.50 s, 2 jobs
imaseal: warnings: open for writing (1 file)
`
	const digest = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	const lines = `labelled     a  ` + digest + `
unchanged    b  ` + digest + `
kept         c  signature  keyid a1b2c3d4
vanished     d
failed       "e\nf"  writing security.ima: operation not permitted
failed       g  writing security.ima: operation not permitted; and again
failed       "\xff"  no hint for this
skipped      h  hard link
skipped      i  other owner
skipped      j  symbolic link
skipped      k  symbolic link
labelled     l
invalid      m  does not fit
unlabelled   n
`
	tests := []struct {
		name           string
		verbose, quiet bool
		out            string
	}{
		{name: "plain", out: sums},
		{name: "verbose", verbose: true, out: lines + sums},
		{name: "quiet", quiet: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, err bytes.Buffer
			results, sum := run(t)
			play(t, &Text{Out: &out, Err: &err, Verbose: tt.verbose, Quiet: tt.quiet, Hint: hint}, results, sum)
			if out.String() != tt.out {
				t.Errorf("output:\n%s\nwant:\n%s", &out, tt.out)
			}
			if err.String() != errs {
				t.Errorf("errors:\n%s\nwant:\n%s", &err, errs)
			}
		})
	}
}

// TestReplay records a run as JSON and prints what was recorded as text: it
// must be what the run itself would have printed, for nothing is lost.
func TestReplay(t *testing.T) {
	results, sum := run(t)
	var wantOut, wantErr, recorded, out, errs bytes.Buffer
	play(t, &Text{Out: &wantOut, Err: &wantErr, Verbose: true, Hint: hint}, results, sum)
	play(t, &JSON{Out: &recorded, Verbose: true, Hint: hint}, results, sum)
	replayed, replayedSum := replay(t, recorded.Bytes())
	text := &Text{Out: &out, Err: &errs, Verbose: true, Hint: RecordedHint}
	play(t, text, replayed, replayedSum)
	if out.String() != wantOut.String() {
		t.Errorf("output:\n%s\nwant:\n%s", &out, &wantOut)
	}
	if errs.String() != wantErr.String() {
		t.Errorf("errors:\n%s\nwant:\n%s", &errs, &wantErr)
	}
}

// replay reads recorded JSON lines.
func replay(t *testing.T, recorded []byte) (results []Result, sum Summary) {
	t.Helper()
	for line := range bytes.Lines(recorded) {
		l, err := Decode(line)
		switch {
		case err != nil:
			t.Fatalf("%s: %v", line, err)
		case l.Result != nil:
			results = append(results, *l.Result)
		default:
			sum = *l.Summary
		}
	}
	return results, sum
}

func TestJSONLeavesOutWhatIsSkipped(t *testing.T) {
	results, sum := run(t)
	var out bytes.Buffer
	play(t, &JSON{Out: &out}, results, sum)
	lines := bufio.NewScanner(&out)
	last, skipped := "", 0
	for lines.Scan() {
		last = lines.Text()
		if strings.Contains(last, `"outcome":"skipped"`) {
			skipped++
		}
	}
	if skipped != 1 || !strings.HasPrefix(last, `{"summary":{`) || !strings.Contains(last, `"skipped":{"other owner":1,"symbolic link":2}`) {
		t.Errorf("%d skipped, the last line is %s", skipped, last)
	}
}

// failing takes n bytes.
type failing struct{ n int }

func (w *failing) Write(b []byte) (int, error) {
	if len(b) > w.n {
		return 0, io.ErrClosedPipe
	}
	w.n -= len(b)
	return len(b), nil
}

// TestHazardReportFails has every handler give the error of its writer, at the
// latest in the end.
func TestHazardReportFails(t *testing.T) {
	results, sum := run(t)
	handlers := map[string]func(n int) Handler{
		"json": func(n int) Handler { return &JSON{Out: &failing{n}} },
		"text": func(n int) Handler { return &Text{Out: &failing{n}, Err: io.Discard, Verbose: true} },
		"errs": func(n int) Handler { return &Text{Out: io.Discard, Err: &failing{n}} },
	}
	for name, handler := range handlers {
		for n := range 200 {
			h := handler(n)
			err := h.Start(sum.Header)
			for _, r := range results {
				err = errors.Join(err, h.Result(r))
			}
			if err = errors.Join(err, h.Finish(sum)); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("%s: error %v after %d bytes", name, err, n)
			}
		}
	}
}

// Where both streams go to one place, what came first stands first.
func TestTextKeepsOrder(t *testing.T) {
	var out bytes.Buffer
	h := &Text{Out: &out, Err: &out, Verbose: true, Quiet: true}
	play(t, h, []Result{
		{Path: "a", Outcome: Labelled},
		{Path: "b", Outcome: Failed, Err: errors.New("broken")},
		{Path: "c", Outcome: Labelled, Warnings: reason.List{{Words: "odd"}}},
	}, NewSummary(Header{}))
	want := "labelled     a\nimaseal: error: b: broken\nfailed       b  broken\nimaseal: warning: c: odd\nlabelled     c\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}

func TestSummaryLines(t *testing.T) {
	tests := []struct {
		sum  Summary
		want string
	}{
		{
			Summary{Header: Header{Command: "verify", Jobs: 1}},
			"imaseal: 0 valid, 0 invalid, 0 unlabelled, 0 failed\nimaseal: 0 B in 0.00 s, 1 job\n",
		},
		{
			Summary{Header: Header{Command: "clear", Jobs: 2, DryRun: true}, HardLinks: 2, Interrupted: true},
			"imaseal: 0 cleared, 0 unchanged, 2 hard links, 0 failed\nimaseal: 0 B in 0.00 s, 2 jobs\n" +
				"imaseal: dry run: nothing was written\nimaseal: interrupted: run the same command again to complete the job\n",
		},
		{
			Summary{Header: Header{Command: "check", Jobs: 2, ReadOnly: true}, Interrupted: true},
			"imaseal: 0 allowed, 0 denied, 0 undecided, 0 failed\nimaseal: 0 B in 0.00 s, 2 jobs\nimaseal: interrupted: this is about a part of the files\n",
		},
		{
			Summary{Header: Header{Command: "undo", Jobs: 1}, Count: map[Outcome]int{Restored: 3, Vanished: 1}},
			"imaseal: 3 restored, 0 kept, 1 vanished, 0 failed\nimaseal: 0 B in 0.00 s, 1 job\n",
		},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		writeSummary(&out, tt.sum)
		if out.String() != tt.want {
			t.Errorf("%s: got\n%swant\n%s", tt.sum.Command, &out, tt.want)
		}
	}
}

// TestEveryOutcomeIsSummed has no outcome left out of the summary.
func TestEveryOutcomeIsSummed(t *testing.T) {
	for _, o := range outcomes() {
		var out bytes.Buffer
		sum := NewSummary(Header{Command: "hash"})
		sum.Add(Result{Outcome: o})
		writeSummary(&out, sum)
		if !strings.Contains(out.String(), "1 "+string(o)) || sum.Selected() != 1 {
			t.Errorf("%s: %s", o, &out)
		}
	}
}

func TestSkips(t *testing.T) {
	tests := []struct {
		count map[reason.Code]int
		want  string
	}{
		{nil, ""},
		{map[reason.Code]int{reason.OtherOwner: 23}, "23 skipped (other owner)"},
		{map[reason.Code]int{reason.Directory: 1}, "1 skipped (directory)"},
		{map[reason.Code]int{reason.Directory: 2}, "2 skipped (directories)"},
		{map[reason.Code]int{reason.Filtered: 1, reason.OtherOwner: 1, reason.Symlink: 2}, "4 skipped (2 symbolic links, 1 filtered, 1 other owner)"},
	}
	for _, tt := range tests {
		if got := Skips(tt.count); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.count, got, tt.want)
		}
	}
}

func TestSize(t *testing.T) {
	tests := []struct {
		n    int64
		want string
	}{
		{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {1536, "1.5 KiB"},
		{10188, "9.9 KiB"}, {10189, "10 KiB"}, {1<<20 - 1, "1.0 MiB"}, {1023 << 10, "1023 KiB"}, {1 << 20, "1.0 MiB"},
		{218 << 20, "218 MiB"}, {1 << 40, "1.0 TiB"}, {1<<63 - 1, "8.0 EiB"},
	}
	for _, tt := range tests {
		if got := Size(tt.n); got != tt.want {
			t.Errorf("Size(%d) is %q, want %q", tt.n, got, tt.want)
		}
	}
}

func TestQuote(t *testing.T) {
	tests := []struct{ path, want string }{
		{"a b", "a b"}, {`a"b\`, `a"b\`}, {"ü/日本", "ü/日本"},
		{"", `""`}, {"a\nb", `"a\nb"`}, {"\x1b[31m", `"\x1b[31m"`}, {"\xff", `"\xff"`}, {"a\u202eb", `"a\u202eb"`}, {"a\u00a0b", `"a\u00a0b"`},
	}
	for _, tt := range tests {
		if got := Quote(tt.path); got != tt.want {
			t.Errorf("Quote(%q) is %s, want %s", tt.path, got, tt.want)
		}
	}
}
