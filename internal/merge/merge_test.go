package merge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/shard"
)

// A made is a report that a test makes.
type made struct {
	header      report.Header
	results     []report.Result
	interrupted bool
	verbose     bool
}

func (m made) summary() report.Summary {
	sum := report.NewSummary(m.header)
	for _, r := range m.results {
		sum.Add(r)
	}
	sum.Interrupted = m.interrupted
	sum.Elapsed = time.Duration(len(m.results)+1) * time.Millisecond
	return sum
}

func (m made) json(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	j := &report.JSON{Out: &out, Verbose: m.verbose}
	errs := []error{j.Start(m.header)}
	for _, r := range m.results {
		errs = append(errs, j.Result(r))
	}
	if err := errors.Join(append(errs, j.Finish(m.summary()))...); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func skip(c reason.Code) report.Result {
	return report.Result{Outcome: report.Skipped, Code: c, Reason: c.Words()}
}

// random returns results of a run of a command.
func random(r *rand.Rand, n int) []report.Result {
	kinds := []report.Result{
		{Outcome: report.Labelled, Bytes: 5}, {Outcome: report.Unchanged}, {Outcome: report.Failed, Err: errors.New("made up")},
		{Outcome: report.Vanished}, skip(reason.HardLink), skip(reason.Symlink), skip(reason.OwnPath),
		{Outcome: report.Labelled, Warnings: reason.List{{Code: reason.OpenForWriting, Words: "open"}}},
	}
	var all []report.Result
	for i := range n {
		res := kinds[r.IntN(len(kinds))]
		res.Path = fmt.Sprintf("dir%d/file%d\xff", i%7, i)
		all = append(all, res)
	}
	return all
}

// merge reads texts as files of these names.
func merge(t *testing.T, m *Merger, texts ...string) (report.Summary, string) {
	t.Helper()
	for i, text := range texts {
		if err := m.Read(t.Context(), string(rune('a'+i)), strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	sum, problems := m.Finish()
	var said []string
	for _, p := range problems {
		said = append(said, fmt.Sprintf("%s:%d: %v", p.Name, p.Line, p))
	}
	return sum, strings.Join(said, "\n")
}

// counts is what of a summary is the same however the work was divided.
func counts(s report.Summary) string {
	return fmt.Sprint(s.Command, s.Count, s.Skipped, s.HardLinks, s.Warnings, s.Warned, s.Bytes)
}

// TestPartsAreTheWhole: what parts count together is what one run counts, in
// whatever order they come, and each object is there once; also where some were
// joined before.
func TestPartsAreTheWhole(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		header := report.Header{Command: "hash", Jobs: 2}
		all := made{header: header, results: random(r, r.IntN(200))}
		count := 1 + r.IntN(8)
		parts := make([]made, count)
		for i := range parts {
			parts[i] = made{header: header, verbose: r.IntN(2) == 0}
			parts[i].header.Shard = shard.Shard{Index: i + 1, Count: count}
		}
		for _, res := range all.results {
			at := r.IntN(count)
			for i := range parts {
				if i == at {
					parts[i].results = append(parts[i].results, res)
				} else {
					other := skip(reason.OtherShard)
					other.Path = res.Path
					parts[i].results = append(parts[i].results, other)
				}
			}
		}
		var texts []string
		for _, i := range r.Perm(count) {
			texts = append(texts, parts[i].json(t))
		}
		objects := 0
		m := &Merger{Result: func(r report.Result, _ []byte) error {
			if r.Outcome != report.Skipped {
				objects++
			}
			return nil
		}}
		sum, problems := merge(t, m, texts...)
		want := all.summary()
		if problems != "" || counts(sum) != counts(want) || objects != want.Selected() || sum.Jobs != 2*count || sum.Merged.Reports != count || sum.Merged.Shards != count {
			t.Errorf("seed %d, %d parts: %s %d objects, %+v; want %s; %s", seed, count, counts(sum), objects, sum.Merged, counts(want), problems)
		}
		if count < 3 {
			continue
		}
		one, _ := merge(t, new(Merger), texts[:2]...)
		two, _ := merge(t, new(Merger), texts[2:]...)
		again, problems := merge(t, new(Merger), summaryOf(t, one), summaryOf(t, two))
		if problems != "" || counts(again) != counts(want) || again.Merged.Reports != count {
			t.Errorf("seed %d: joined twice: %s, want %s; %s", seed, counts(again), counts(want), problems)
		}
	}
}

// summaryOf prints a summary alone.
func summaryOf(t *testing.T, s report.Summary) string {
	var out bytes.Buffer
	j := &report.JSON{Out: &out}
	if err := errors.Join(j.Start(s.Header), j.Finish(s)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestCutAnywhere: a report that is cut at any byte is none.
func TestCutAnywhere(t *testing.T) {
	text := made{header: report.Header{Command: "verify"}, results: random(rand.New(rand.NewPCG(1, 1)), 12)}.json(t)
	for n := range len(text) - 1 { // what is missing then is the last newline
		if _, problems := merge(t, new(Merger), text[:n]); problems == "" {
			t.Fatalf("cut to %d bytes of %d, it counts", n, len(text))
		}
	}
	// A line that is lost, or that is there twice.
	lines := strings.SplitAfter(text, "\n")
	for i := range lines[:len(lines)-2] {
		if !strings.Contains(lines[i], `"skipped"`) || strings.Contains(lines[i], "hard link") {
			_, less := merge(t, new(Merger), strings.Join(slices.Concat(lines[:i], lines[i+1:]), ""))
			_, more := merge(t, new(Merger), strings.Join(slices.Concat(lines[:i+1], lines[i:]), ""))
			if less == "" || more == "" {
				t.Errorf("without line %d: %q; with it twice: %q", i+1, less, more)
			}
		}
	}
}

// TestProblems: what is wrong is said, and where.
func TestProblems(t *testing.T) {
	part := func(index, count int, change func(*made)) string {
		m := made{header: report.Header{Command: "hash", Shard: shard.Shard{Index: index, Count: count}}, results: []report.Result{{Path: "x", Outcome: report.Labelled}}}
		if change != nil {
			change(&m)
		}
		return m.json(t)
	}
	one, two := part(1, 2, nil), part(2, 2, nil)
	for _, c := range []struct {
		name  string
		texts []string
		want  []string // pieces of it, none for no problem
	}{
		{"all", []string{one, two}, nil},
		{"one behind the other", []string{one + two}, nil},
		{"among other lines", []string{"imaseal: warning: x\n" + one + "slurmstepd: done\n\n", two}, nil},
		{"without the last newline", []string{one, strings.TrimSuffix(two, "\n")}, nil},
		{"ends of lines of another system", []string{strings.ReplaceAll(one, "\n", "\r\n"), two}, nil},
		{"summaries alone", []string{lastLine(one), lastLine(two)}, nil},
		{"other objects", []string{`{"host":{"status":"pass"}}` + "\n" + one, two}, nil},
		{"fields to come", []string{strings.Replace(one, `{"path"`, `{"colour":"red","path"`, 1), two}, nil},

		{"missing", []string{one}, []string{":0: no report of shard 2 of 2"}},
		{"several missing", []string{part(2, 9, nil), part(6, 9, nil)}, []string{"no report of shard 1,3-5,7-9 of 9"}},
		{"twice", []string{one, two, one}, []string{"c:2: there is a report of shard 1 of 2 already, in a"}},
		{"interrupted", []string{one, part(2, 2, func(m *made) { m.interrupted = true })}, []string{"b:2: the run was interrupted: --shard 2/2 is to be run again"}},
		{"another command", []string{one, part(2, 2, func(m *made) { m.header.Command = "sign" })}, []string{"b:2: does not belong to the others: it is of imaseal sign, and they are of hash", "no report of shard 2"}},
		{"a dry run", []string{one, part(2, 2, func(m *made) { m.header.DryRun = true })}, []string{"b:2: does not belong"}},
		{"another division", []string{one, part(2, 3, nil)}, []string{"it is of 3 shards, and they are of 2 shards"}},
		{"no shard", []string{one, part(0, 0, func(m *made) { m.header.Shard = shard.Shard{} })}, []string{"it is of no shard, and they are of 2 shards"}},
		{"no file", nil, []string{"there is no report"}},
		{"empty", []string{""}, []string{"a:0: is no report: there is no summary in it"}},
		{"text", []string{"hello\n"}, []string{"a:0: is no report"}},
		{"no object", []string{"{]\n" + one}, []string{"a:1: is damaged"}},
		{"torn line", []string{strings.Replace(one, `"}`, `"`, 1)}, []string{"a:1: is damaged"}},
		{"no outcome", []string{strings.Replace(one, `labelled"`, `lost"`, 1)}, []string{`a:1: is damaged: "lost" is no outcome`}},
		{"a keys report", []string{`{"path":"k","holds":"private-key"}` + "\n"}, []string{`a:1: is damaged: "" is no outcome`}},
		{"another summary", []string{`{"summary":{"command":"keys generate"}}` + "\n"}, []string{"a:1: is damaged: the summary is none of a run on files"}},
		{"counts below zero", []string{strings.Replace(lastLine(one), `"labelled":1`, `"labelled":-1`, 1)}, []string{"is no count"}},
		{"no such shard", []string{strings.Replace(lastLine(one), `"index":1`, `"index":3`, 1)}, []string{"there is no shard 3/2"}},
		{"a billion shards", []string{strings.Replace(lastLine(one), `"count":2`, `"count":1000000000`, 1)}, []string{"there are not so many shards"}},
		{"bad list of shards", []string{strings.Replace(lastLine(one), `"jobs":0`, `"jobs":0,"merged":{"reports":1,"shards":4,"missing":"3,1"}`, 1)}, []string{`"3,1" names no shards of 4`}},
		{"endless line", []string{"{" + strings.Repeat(" ", maxLine+100)}, []string{"a line of more than"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problems := merge(t, new(Merger), c.texts...)
			if (problems == "") != (c.want == nil) {
				t.Errorf("problems: %s", problems)
			}
			for _, want := range c.want {
				if !strings.Contains(problems, want) {
					t.Errorf("%s\nis without: %s", problems, want)
				}
			}
		})
	}
}

// TestStoresAndLabels: what came of stores of signatures is added up, and the files
// that labels went to are named.
func TestStoresAndLabels(t *testing.T) {
	var texts []string
	for i := range 3 {
		sum := report.NewSummary(report.Header{Command: "sign", Shard: shard.Shard{Index: i + 1, Count: 3}, LabelsTo: fmt.Sprint("labels.", i/2)})
		sum.Signatures = uint64(i)
		if i > 0 {
			sum.Store = &report.Store{Found: i, Made: 10, Stored: 100, Rejected: 1000, Unreachable: 10000, Unstored: 100000}
		}
		texts = append(texts, summaryOf(t, sum))
	}
	sum, problems := merge(t, new(Merger), texts...)
	want := report.Store{Found: 3, Made: 20, Stored: 200, Rejected: 2000, Unreachable: 20000, Unstored: 200000}
	if problems != "" || *sum.Store != want || sum.Signatures != 3 || sum.LabelsTo != "labels.0, labels.1" {
		t.Errorf("%+v, %q, %s", sum.Store, sum.LabelsTo, problems)
	}
	other := summaryOf(t, report.NewSummary(report.Header{Command: "sign", Shard: shard.Shard{Index: 3, Count: 3}}))
	if _, problems := merge(t, new(Merger), texts[0], texts[1], other); !strings.Contains(problems, "some runs have written their labels to files, others to trees") {
		t.Error(problems)
	}
}

func lastLine(text string) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	return lines[len(lines)-1] + "\n"
}

// TestMemory: a report of any length takes the memory of a short one.
func TestMemory(t *testing.T) {
	line := `{"path":"` + strings.Repeat("d/", 40) + `","outcome":"valid","class":"hash","ima":"0404` + strings.Repeat("ab", 32) + `"}` + "\n"
	const lines = 200_000
	in := io.MultiReader(&repeated{line, lines * len(line), 0},
		strings.NewReader(fmt.Sprintf(`{"summary":{"command":"verify","outcomes":{"valid":%d},"hard_links":0}}`, lines)))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m := new(Merger)
	if err := m.Read(t.Context(), "a", in); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if sum, problems := m.Finish(); len(problems) > 0 || sum.Count[report.Valid] != lines {
		t.Errorf("%v, %v", sum.Count, problems)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("%d bytes are held", grown)
	}
}

// A repeated is a line again and again, n bytes in all.
type repeated struct {
	line  string
	n, at int
}

func (r *repeated) Read(b []byte) (int, error) {
	if r.at >= r.n {
		return 0, io.EOF
	}
	n := copy(b, r.line[r.at%len(r.line):])
	r.at += n
	return n, nil
}

// FuzzRead: whatever it is that is read, nothing is counted below zero, and what is
// joined can be joined again.
func FuzzRead(f *testing.F) {
	f.Add(`{"path":"x","outcome":"labelled"}` + "\n" + `{"summary":{"command":"hash","outcomes":{"labelled":1},"shard":{"index":1,"count":2}}}` + "\n")
	f.Add(`{"summary":{"command":"hash","outcomes":{},"merged":{"reports":2,"shards":9,"missing":"1,3-5"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		m := new(Merger)
		if err := m.Read(t.Context(), "a", strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		sum, problems := m.Finish()
		if len(problems) > 0 {
			return
		}
		again, wrong := merge(t, new(Merger), summaryOf(t, sum))
		if wrong != "" || !maps.Equal(again.Count, sum.Count) {
			t.Errorf("%+v is read again as %+v, %s", sum, again, wrong)
		}
	})
}
