package page

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"

	"imaseal/internal/imaevm"
	"imaseal/internal/page/treemap"
	"imaseal/internal/page/words"
	"imaseal/internal/reason"
	"imaseal/internal/report"
)

const (
	// maxKinds bounds the labels, uses, keys and messages that are told apart.
	maxKinds = 256
	// shownGroups and shownKinds are listed.
	shownGroups, shownKinds = 60, 40
	// namedPaths are named for a kind of message.
	namedPaths = 3
)

// A KeyRing says whether the target has the key of a signature: of an EVM label, or
// of one that IMA looks at, by its id.
type KeyRing func(evm bool, id imaevm.KeyID) Knowledge

// Knowledge is what is known of a key.
type Knowledge string

// What can be known.
const (
	Known     Knowledge = "known"
	Unknown   Knowledge = "unknown"
	Ambiguous Knowledge = "several keys have this id"
	NotAsked  Knowledge = "no keys are named"
)

// A Finding is about the host: see package finding.
type Finding struct{ Level, Topic, Why, Do string }

// A Check collects what imaseal check finds. It is a report.Handler.
type Check struct {
	// Hint is that of report.Text.
	Hint func(report.Result) (reason.Code, string)
	// Fix is that of report.Groups.
	Fix func(report.Group) []string
	// Keys is asked of each key that a signature names; nil for nobody.
	Keys KeyRing
	// Archive is the name of the archive or image that the files are in; "" for none.
	Archive string
	// Host are findings about the host; nil where it was not asked about.
	Host []Finding

	groups   report.Groups
	forest   treemap.Forest
	labels   map[string]*treemap.Count
	uses     map[string]*treemap.Count
	keys     map[keyName]*treemap.Count
	messages map[messageKind]*message
	summary  report.Summary
	judged   bool
}

type keyName struct {
	evm bool
	id  string
	as  Knowledge
}

type messageKind struct {
	level string
	code  reason.Code
	words string
}

type message struct {
	files int
	paths []string
	hint  string
}

// Start implements report.Handler.
func (c *Check) Start(report.Header) error {
	c.judged = true
	if c.Archive != "" {
		c.forest.Archive = c.Archive + ":"
	}
	c.labels, c.uses = make(map[string]*treemap.Count), make(map[string]*treemap.Count)
	c.keys, c.messages = make(map[keyName]*treemap.Count), make(map[messageKind]*message)
	return nil
}

// Result implements report.Handler.
func (c *Check) Result(r report.Result) error {
	c.note(r)
	v, ok := treemap.VerdictOf(r.Outcome)
	if !ok {
		return nil
	}
	c.groups.Add(r)
	c.forest.Add(r.Path, v)
	if v == treemap.Failed {
		return nil
	}
	ima, evm := c.label(r.IMA, false, v), c.label(r.EVM, true, v)
	if evm != "" {
		ima += ", EVM " + evm
	}
	if ima == "" {
		ima = "no label"
	}
	tally(c.labels, ima, "others", v)
	for _, j := range r.Judgements {
		if v, ok := treemap.VerdictOf(j.Verdict); ok {
			tally(c.uses, j.Operation, "others", v)
		}
	}
	return nil
}

// tally counts one more of a name, or of those for which there is no room.
func tally[K comparable](to map[K]*treemap.Count, name, rest K, v treemap.Verdict) {
	if to[name] == nil && len(to) >= maxKinds {
		name = rest
	}
	if to[name] == nil {
		to[name] = new(treemap.Count)
	}
	to[name][v]++
}

// label says what a label is, and counts the key that it names.
func (c *Check) label(b []byte, evm bool, v treemap.Verdict) string {
	if len(b) == 0 {
		return ""
	}
	l, err := imaevm.Parse(b)
	switch l := l.(type) {
	case imaevm.HashLabel:
		return fmt.Sprintf("%s %s", l.Type(), l.Digest.Algorithm())
	case imaevm.Signature:
		as := NotAsked
		if c.Keys != nil {
			as = c.Keys(evm, l.KeyID)
		}
		tally(c.keys, keyName{evm, l.KeyID.String(), as}, keyName{id: "others"}, v)
		return fmt.Sprintf("%s v%d %s", l.Type(), l.Version, l.Alg)
	case imaevm.SignatureV1:
		tally(c.keys, keyName{evm, l.KeyID.String(), ""}, keyName{id: "others"}, v)
		return fmt.Sprintf("%s v1", l.Type())
	}
	if err != nil {
		return "a label that is none"
	}
	return l.Type().String()
}

// note counts what is to be said of a file.
func (c *Check) note(r report.Result) {
	code, hint := r.Code, ""
	if c.Hint != nil {
		code, hint = c.Hint(r)
	}
	if r.Outcome == report.Failed {
		words := code.Words()
		if code == "" && r.Err != nil {
			words = r.Err.Error()
		}
		c.message(messageKind{"error", code, words}, r.Path, hint)
	}
	for _, w := range r.Warnings {
		words := w.Code.Words()
		if w.Code == "" {
			words = w.Words
		}
		c.message(messageKind{"warning", w.Code, words}, r.Path, hint)
	}
}

func (c *Check) message(k messageKind, path, hint string) {
	if c.messages[k] == nil && len(c.messages) >= maxKinds {
		k = messageKind{level: k.level, words: "other messages"}
	}
	m := c.messages[k]
	if m == nil {
		m = &message{hint: hint}
		c.messages[k] = m
	}
	if m.files++; len(m.paths) < namedPaths {
		m.paths = append(m.paths, words.Shown(path))
	}
}

// Finish implements report.Handler.
func (c *Check) Finish(s report.Summary) error {
	c.summary = s
	return nil
}

// A checkView is a Check as its page shows it.
type checkView struct {
	Judged                     bool
	Count                      treemap.Count
	Selected, HardLinks, Gone  int
	Skipped                    string
	Atlas                      treemap.Atlas
	Causes                     []causeView
	MoreCauses, MoreFiles      int
	Labels, Uses               []rowView
	Keys                       []keyView
	Host                       []Finding
	Messages                   []messageView
	HostFails, HostWarns, Pass int
}

type causeView struct {
	Verdict treemap.Verdict
	Causes  []string
	Reasons reason.List
	Files   int
	Places  []placeView
	Advice  []advised
}

// A placeView is a directory, or a file, with files of a cause.
type placeView struct {
	Name  string
	Files int
}

type rowView struct {
	Name  string
	Count treemap.Count
}

type keyView struct {
	ID, Kind string
	Known    Knowledge
	Count    treemap.Count
}

type messageView struct {
	Level, Words string
	Files        int
	Paths        []string
	Hint         string
}

// Write writes the page. It may be called once, when all is collected. Of a run on files
// it knows the notes and the summary itself.
func (c *Check) Write(w io.Writer, f Frame) error {
	v := c.view()
	if c.judged {
		f.Notes, f.Summary = c.summary.Notes, c.summary.Lines()
	}
	return document{Frame: f, Command: "check", Answer: c.answer(v), Check: v}.write(w)
}

func (c *Check) view() *checkView {
	v := &checkView{Judged: c.judged, Host: c.Host, Skipped: report.Skips(c.summary.Skipped), HardLinks: c.summary.HardLinks, Selected: c.summary.Selected()}
	v.Gone = c.summary.Count[report.Vanished]
	v.Count = c.forest.Total()
	for _, f := range c.Host {
		switch f.Level {
		case "fail":
			v.HostFails++
		case "warn":
			v.HostWarns++
		default:
			v.Pass++
		}
	}
	if v.Count.Files() > 0 {
		v.Atlas = treemap.New(&c.forest)
	}
	c.groups.Fix = c.Fix
	for n, g := range c.groups.List() {
		if n >= shownGroups {
			v.MoreCauses++
			v.MoreFiles += g.Files
			continue
		}
		of, _ := treemap.VerdictOf(g.Outcome)
		cause := causeView{Verdict: of, Causes: g.Causes, Reasons: g.Reasons, Files: g.Files, Advice: advice(c.groups.Lines(g))}
		if of != treemap.Denied {
			cause.Causes = nil // they are what a denial might have
		}
		for i, place := range g.Places {
			cause.Places = append(cause.Places, placeView{words.Shown(place), g.Each[i]})
		}
		v.Causes = append(v.Causes, cause)
	}
	v.Labels, v.Uses = rows(c.labels), rows(c.uses)
	for _, k := range sorted(c.keys) {
		kind := "IMA"
		if k.evm {
			kind = "EVM"
		}
		v.Keys = append(v.Keys, keyView{k.id, kind, k.as, *c.keys[k]})
	}
	for _, k := range slices.SortedFunc(maps.Keys(c.messages), func(a, b messageKind) int {
		return cmp.Or(cmp.Compare(a.level, b.level), cmp.Compare(c.messages[b].files, c.messages[a].files), cmp.Compare(a.words, b.words))
	}) {
		m := c.messages[k]
		v.Messages = append(v.Messages, messageView{k.level, words.Clip(k.words), m.files, m.paths, m.hint})
	}
	v.Messages = v.Messages[:min(len(v.Messages), shownKinds)]
	return v
}

// rows are the counts of names, the most frequent first.
func rows(of map[string]*treemap.Count) []rowView {
	var all []rowView
	for _, name := range sorted(of) {
		all = append(all, rowView{name, *of[name]})
	}
	return all
}

// sorted are the most frequent keys of a map.
func sorted[K comparable](of map[K]*treemap.Count) []K {
	keys := slices.SortedFunc(maps.Keys(of), func(a, b K) int {
		return cmp.Or(cmp.Compare(of[b].Files(), of[a].Files()), cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	return keys[:min(len(keys), shownKinds)]
}

// answer is what the page says first.
func (c *Check) answer(v *checkView) answer {
	n := v.Count
	host := ""
	if v.HostFails > 0 {
		host = fmt.Sprintf(" The host itself is not ready: %s.", words.Plural(v.HostFails, "check")+" of it failed")
	}
	switch {
	case n[treemap.Denied] > 0:
		return answer{bad, "Not ready to enforce", fmt.Sprintf("A kernel that enforces this policy would deny %s of %s%s.%s", words.Number(n[treemap.Denied]), words.Plural(n.Files(), "file"), besides(n), host)}
	case host != "":
		return answer{bad, "Not ready to enforce", host[1:]}
	case !v.Judged:
		return answer{good, "The host is ready", "Its files were not looked at: imaseal check --host / does both."}
	case n.Files() == 0:
		return answer{unclear, "Nothing was judged", "No file was selected, so this page says nothing about any."}
	case n[treemap.Undecided]+n[treemap.Failed] > 0:
		return answer{unclear, "Not certain", fmt.Sprintf("Nothing is known to be denied, but of %s %s undecided, and %s could not be judged.",
			words.Plural(n.Files(), "file"), are(n[treemap.Undecided]), words.Number(n[treemap.Failed]))}
	case c.summary.Shard.IsGiven():
		return answer{good, "Nothing is denied in this part", fmt.Sprintf("A kernel that enforces this policy would let all %s be used. Other parts of the tree were judged by other runs.", words.Plural(n.Files(), "file"))}
	}
	more := ""
	if c.Host == nil {
		more = " Whether the host itself is ready was not asked: imaseal check --host says it."
	}
	return answer{good, "Ready to enforce: nothing would be denied", fmt.Sprintf("A kernel that enforces this policy would let all %s be used.%s", words.Plural(n.Files(), "file"), more)}
}

// besides says what is not certain besides what is denied.
func besides(c treemap.Count) string {
	switch {
	case c[treemap.Undecided] > 0 && c[treemap.Failed] > 0:
		return fmt.Sprintf("; %s undecided, and %s could not be judged", are(c[treemap.Undecided]), words.Number(c[treemap.Failed]))
	case c[treemap.Undecided] > 0:
		return fmt.Sprintf("; %s undecided", are(c[treemap.Undecided]))
	case c[treemap.Failed] > 0:
		return fmt.Sprintf("; %s could not be judged", words.Number(c[treemap.Failed]))
	}
	return ""
}

func are(n int) string {
	if n == 1 {
		return "1 is"
	}
	return words.Number(n) + " are"
}
