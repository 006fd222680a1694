package report

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"imaseal/internal/reason"
)

// Text prints results for people: what failed as it happens, to Err, the first few
// of each kind; with Verbose all of them, and a line per file to Out; at the end a
// summary to Out.
type Text struct {
	Out, Err io.Writer
	Verbose  bool
	Quiet    bool // no summary
	// Hint returns the code of a result, that of its error if it has one, and
	// advice on it, or nothing. Each advice is printed once.
	Hint func(Result) (reason.Code, string)
	// Bar is moved with each result, if there is one.
	Bar *Bar
	// Groups are printed before the summary; nil for none.
	Groups *Groups

	out    *bufio.Writer
	hinted map[string]bool
	kinds  map[kind]int // messages
}

// Start implements Handler.
func (t *Text) Start(Header) error {
	t.out = bufio.NewWriter(t.Out)
	t.hinted, t.kinds = make(map[string]bool), make(map[kind]int)
	return nil
}

// Result implements Handler.
func (t *Text) Result(r Result) error {
	t.Bar.Add(r)
	if t.Groups != nil {
		t.Groups.Add(r)
	}
	code, hint := t.explain(r)
	var line string
	switch r.Outcome {
	case Failed, Invalid, Unlabelled, Unverifiable:
		line = t.kind(kind{"error", code, problemKind(r, code)}, fmt.Sprintf("%s: %s", Quote(r.Path), problem(r)))
	}
	for _, w := range r.Warnings {
		line += t.kind(kind{"warning", w.Code, w.Code.Words()}, fmt.Sprintf("%s: %s", Quote(r.Path), w.Words))
	}
	if hint != "" && !t.hinted[hint] {
		t.hinted[hint] = true
		line += fmt.Sprintf("imaseal: hint: %s\n", hint)
	}
	if line != "" {
		t.Bar.Clear()
		// What was printed to Out so far came before.
		if err := t.out.Flush(); err != nil {
			return err
		}
		if _, err := io.WriteString(t.Err, line); err != nil {
			return err
		}
	}
	if !t.Verbose {
		return nil
	}
	t.Bar.Clear()
	_, err := fmt.Fprintln(t.out, detail(r))
	if t.Bar != nil && err == nil {
		err = t.out.Flush()
	}
	return err
}

// problem says what is wrong with a file.
func problem(r Result) string {
	switch {
	case r.Err != nil:
		return oneLine(r.Err)
	case r.Reason != "":
		return r.Reason
	}
	return string(r.Outcome)
}

// oneLine prints an error that may be several joined ones.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func detail(r Result) string {
	s := fmt.Sprintf("%-12s %s", r.Outcome, Quote(r.Path))
	switch {
	case r.Err != nil:
		s += "  " + oneLine(r.Err)
	case r.Reason != "":
		s += "  " + r.Reason
	case r.Why.text(r.Outcome) != "":
		s += "  " + r.Why.text(r.Outcome)
	case !r.Digest.IsZero():
		s += "  " + r.Digest.String()
	}
	if r.HasKeyID {
		s += "  keyid " + r.KeyID.String()
	}
	return s
}

// explain returns the code of a result and advice on it.
func (t *Text) explain(r Result) (reason.Code, string) {
	if t.Hint == nil {
		return r.Code, ""
	}
	return t.Hint(r)
}

// FirstFew of the messages of one kind are printed, unless users want all.
const FirstFew = 3

// A kind is what messages have in common: whether they are errors or warnings, and
// their code. Those without a code have their words in common.
type kind struct {
	level string
	code  reason.Code
	words string
}

// problemKind returns the words for problems like that of a result.
func problemKind(r Result, code reason.Code) string {
	if code == "" {
		return problem(r)
	}
	return code.Words()
}

// kind returns the line of a message, nothing if there were enough of its kind.
func (t *Text) kind(k kind, message string) string {
	if t.kinds[k]++; t.kinds[k] > FirstFew && !t.Verbose {
		return ""
	}
	return fmt.Sprintf("imaseal: %s: %s\n", k.level, message)
}

// More says that n more messages of a kind were not printed.
func More(n int, words string) string {
	return fmt.Sprintf("and %d more like this: %s (-v lists them)", n, words)
}

// more says how many messages of each kind were not printed.
func (t *Text) more() string {
	var lines []string
	for k, n := range t.kinds {
		if n > FirstFew && !t.Verbose {
			lines = append(lines, fmt.Sprintf("imaseal: %s: %s\n", k.level, More(n-FirstFew, k.words)))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// Finish implements Handler.
func (t *Text) Finish(s Summary) error {
	t.Bar.Finish(s.Interrupted)
	if more := t.more(); more != "" {
		if err := t.out.Flush(); err != nil {
			return err
		}
		if _, err := io.WriteString(t.Err, more); err != nil {
			return err
		}
	}
	for _, n := range s.Notes[min(s.Said, len(s.Notes)):] {
		if _, err := fmt.Fprintf(t.Err, "imaseal: warning: %s\n", n.Words); err != nil {
			return err
		}
	}
	if t.Groups != nil {
		if err := t.Groups.write(t.out); err != nil {
			return err
		}
	}
	if !t.Quiet {
		writeSummary(t.out, s)
	}
	return t.out.Flush()
}

// always lists the outcomes that a summary names even if there were none.
var always = map[string][]Outcome{
	"hash":                 {Labelled, Unchanged, Failed},
	"sign":                 {Labelled, Unchanged, Failed},
	"relabel":              {Labelled, Unchanged, Failed},
	"request":              {Requested, Unchanged, Failed},
	"answer":               {Answered},
	"apply":                {Labelled, Unchanged, Failed},
	"clear":                {Cleared, Unchanged, Failed},
	"undo":                 {Restored, Kept, Failed},
	"measurements export":  {Exported, Failed},
	"measurements compare": {Valid, Invalid, Unlabelled, Failed},
	"check":                {Allowed, Denied, Undecided, Failed},
	"verify":               {Valid, Invalid, Unlabelled, Failed},
}

// Lines are the summary as Text prints it.
func (s Summary) Lines() []string {
	var b strings.Builder
	writeSummary(&b, s)
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

func writeSummary(w io.Writer, s Summary) {
	var parts []string
	for _, o := range outcomes() {
		n := s.Count[o]
		if o == Failed && s.HardLinks > 0 {
			parts = append(parts, plural(s.HardLinks, "hard link"))
		}
		if n == 0 && !slices.Contains(always[s.Command], o) {
			continue
		}
		part := fmt.Sprintf("%d %s", n, o)
		if o == Labelled && s.Algo != 0 {
			part += " (" + s.Algo.String() + ")"
		}
		parts = append(parts, part)
	}
	line := strings.Join(parts, ", ")
	if skipped := Skips(s.Skipped); skipped != "" {
		line += "; " + skipped
	}
	fmt.Fprintf(w, "imaseal: %s\n", line)
	work := Size(s.Bytes)
	if s.Command == "answer" {
		work = plural(int(s.Signatures), "signature")
	}
	rate := fmt.Sprintf("%s in %.2f s, %s", work, s.Elapsed.Seconds(), plural(s.Jobs, "job"))
	if m := s.Merged; m != nil {
		rate = fmt.Sprintf("%s, %s; %s took %.2f s in all, the longest %.2f s",
			Size(s.Bytes), plural(s.Jobs, "job"), plural(m.Reports, "run"), m.Seconds, s.Elapsed.Seconds())
	}
	fmt.Fprintf(w, "imaseal: %s\n", rate)
	if g := s.Store; g != nil {
		fmt.Fprintf(w, "imaseal: signatures: %s\n", g)
	}
	if s.Shard.IsGiven() {
		fmt.Fprintf(w, "imaseal: shard %d of %d\n", s.Shard.Index, s.Shard.Count)
	}
	if warned := warned(s.Warned); warned != "" {
		fmt.Fprintf(w, "imaseal: warnings: %s\n", warned)
	}
	if s.DryRun {
		fmt.Fprintln(w, "imaseal: dry run: nothing was written")
	}
	if s.LabelsTo != "" && !s.Interrupted {
		what := "labels"
		if s.Command == "request" {
			what = "requests"
		}
		fmt.Fprintf(w, "imaseal: the %s are in %s; nothing was written to the tree\n", what, labelsIn(s.LabelsTo))
	}
	switch {
	case s.Interrupted && s.ReadOnly:
		fmt.Fprintln(w, "imaseal: interrupted: this is about a part of the files")
	case s.Interrupted:
		fmt.Fprintln(w, "imaseal: interrupted: run the same command again to complete the job")
	}
}

// String prints what there is, and of what went wrong only that.
func (s *Store) String() string {
	text := fmt.Sprintf("%d found in the store, %d made, %d stored", s.Found, s.Made, s.Stored)
	for _, c := range []struct {
		n    int
		what string
	}{
		{s.Rejected, "%d rejected"}, {s.Unreachable, "%d times out of reach"}, {s.Unstored, "%d not stored"},
	} {
		if c.n > 0 {
			text += ", " + fmt.Sprintf(c.what, c.n)
		}
	}
	return text
}

// warned says how many files have a warning, by its kind.
func warned(count map[reason.Code]int) string {
	var parts []string
	for _, c := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%s (%s)", c.Words(), plural(count[c], "file")))
	}
	return strings.Join(parts, ", ")
}

// Skips says how many files were skipped, the most frequent reason first.
func Skips(count map[reason.Code]int) string {
	reasons := slices.Collect(maps.Keys(count))
	slices.SortFunc(reasons, func(a, b reason.Code) int {
		if count[a] != count[b] {
			return count[b] - count[a]
		}
		return strings.Compare(a.Words(), b.Words())
	})
	total := 0
	var parts []string
	for _, r := range reasons {
		total += count[r]
		word := r.Words()
		if count[r] != 1 {
			word = r.Plural()
		}
		parts = append(parts, word)
	}
	switch len(parts) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("%d skipped (%s)", total, parts[0])
	}
	for i, r := range reasons {
		parts[i] = fmt.Sprintf("%d %s", count[r], parts[i])
	}
	return fmt.Sprintf("%d skipped (%s)", total, strings.Join(parts, ", "))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Size prints a number of bytes in binary units with three significant
// digits or so: 11 B, 1.5 KiB, 218 MiB.
func Size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n), "KMGTPE"
	i := -1
	for f >= 1023.5 && i < len(units)-1 { // which would be printed as 1024
		f /= 1024
		i++
	}
	if f < 9.95 {
		return fmt.Sprintf("%.1f %ciB", f, units[i])
	}
	return fmt.Sprintf("%.0f %ciB", f, units[i])
}

// Quote returns the path as it is if it can stand in a line of text, and
// otherwise quoted as Go quotes strings.
func Quote(path string) string {
	if path == "" || !utf8.ValidString(path) || strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(path)
	}
	return path
}

// labelsIn says where labels were written to.
func labelsIn(file string) string {
	if file == "-" {
		return "standard output"
	}
	return Quote(file)
}
