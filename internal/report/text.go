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

// Text prints results for people: what failed as it happens, to Err; with
// Verbose a line per file to Out; at the end a summary to Out.
type Text struct {
	Out, Err io.Writer
	Verbose  bool
	Quiet    bool // no summary
	// Hint returns the code of an error and advice on it, or nothing. Each
	// advice is printed once.
	Hint func(error) (reason.Code, string)
	// Bar is moved with each result, if there is one.
	Bar *Bar
	// Groups are printed before the summary; nil for none.
	Groups *Groups

	out    *bufio.Writer
	hinted map[string]bool
}

// Start implements Handler.
func (t *Text) Start(Header) error {
	t.out = bufio.NewWriter(t.Out)
	t.hinted = make(map[string]bool)
	return nil
}

// Result implements Handler.
func (t *Text) Result(r Result) error {
	t.Bar.Add(r)
	if t.Groups != nil {
		t.Groups.Add(r)
	}
	var line string
	switch r.Outcome {
	case Failed, Invalid, Unlabelled, Unverifiable:
		line = fmt.Sprintf("imaseal: error: %s: %s\n", Quote(r.Path), problem(r))
	}
	if w := r.Warning(); w != "" {
		line += fmt.Sprintf("imaseal: warning: %s: %s\n", Quote(r.Path), w)
	}
	if hint := t.hint(r.Err); hint != "" {
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
	case r.Cause != "" || r.Reason != "":
		s += "  " + strings.TrimSuffix(strings.TrimPrefix(r.Cause+": "+r.Reason, ": "), ": ")
	case !r.Digest.IsZero():
		s += "  " + r.Digest.String()
	}
	if r.HasKeyID {
		s += "  keyid " + r.KeyID.String()
	}
	return s
}

func (t *Text) hint(err error) string {
	if err == nil || t.Hint == nil {
		return ""
	}
	_, hint := t.Hint(err)
	if t.hinted[hint] {
		return ""
	}
	t.hinted[hint] = true
	return hint
}

// Finish implements Handler.
func (t *Text) Finish(s Summary) error {
	t.Bar.Finish(s.Interrupted)
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
	"hash":    {Labelled, Unchanged, Failed},
	"sign":    {Labelled, Unchanged, Failed},
	"relabel": {Labelled, Unchanged, Failed},
	"clear":   {Cleared, Unchanged, Failed},
	"undo":    {Restored, Kept, Failed},
	"check":   {Allowed, Denied, Undecided, Failed},
	"verify":  {Valid, Invalid, Unlabelled, Failed},
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
	rate := fmt.Sprintf("%s in %.2f s, %s", Size(s.Bytes), s.Elapsed.Seconds(), plural(s.Jobs, "job"))
	fmt.Fprintf(w, "imaseal: %s\n", rate)
	if s.DryRun {
		fmt.Fprintln(w, "imaseal: dry run: nothing was written")
	}
	if s.Interrupted {
		fmt.Fprintln(w, "imaseal: interrupted: run the same command again to complete the job")
	}
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
