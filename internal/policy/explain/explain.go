// Package explain tells people what rules of a policy answer about a file, and
// why: match.Explain in words, where rules that are alike take one line.
package explain

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
)

// An Explainer answers for a policy, the kernel that has it, and somebody who
// does something with files. It is not changed, and safe for concurrent use.
type Explainer struct {
	Policy  policy.Policy
	Kernel  policy.Kernel
	Subject match.Subject
}

// File says what of a file the conditions of rules look at: the file system that
// it is on, and its owner.
func File(f match.File) string {
	text := "a file system of unknown type"
	if f.FSName.Known {
		text = f.FSName.Value
		if f.Subtype.Value != "" {
			text += "." + f.Subtype.Value
		}
	}
	if f.Magic.Known {
		text += fmt.Sprintf(" (0x%x)", f.Magic.Value)
	}
	if f.UUID.Known {
		text += " " + f.UUID.Value.String()
	}
	return fmt.Sprintf("on %s, owner %d, group %d", text, f.Owner.Value, f.Group.Value)
}

// Operation says what the kernel asks its policy when something is done with a
// file of the given mode, and what each rule answers. Questions with the same
// answers are one. Each line of the text ends with a newline.
func (e *Explainer) Operation(o match.Operation, f match.File, mode uint32) string {
	var b strings.Builder
	accesses := o.Accesses(e.Kernel)
	answers := func(a match.Access) []string {
		return e.answers(match.Query{Access: a, File: f, Subject: o.Task(e.Kernel, a, e.Subject, f, mode)})
	}
	for len(accesses) > 0 {
		first := answers(accesses[0])
		same := 1
		for same < len(accesses) && reflect.DeepEqual(answers(accesses[same]), first) {
			same++
		}
		var names []string
		for _, a := range accesses[:same] {
			names = append(names, a.String())
		}
		fmt.Fprintf(&b, "  %s, asked as %s:\n", o, strings.Join(names, ", "))
		for _, line := range first {
			b.WriteString("    " + line + "\n")
		}
		accesses = accesses[same:]
	}
	return b.String()
}

// answers says what each rule answers, and what comes of it.
func (e *Explainer) answers(q match.Query) []string {
	var lines []string
	for _, action := range []policy.Action{policy.Measure, policy.Appraise, policy.Audit, policy.Hash} {
		if !slices.ContainsFunc(e.Policy.Rules, func(r policy.Rule) bool { return r.Action == action }) {
			continue
		}
		steps := match.Explain(e.Policy, q, action)
		lines = append(lines, e.verdict(steps, action))
		for len(steps) > 0 {
			n := alike(steps)
			lines = append(lines, "  "+e.step(steps[:n]))
			steps = steps[n:]
		}
	}
	if len(lines) == 0 {
		lines = []string{"the policy has no rule that does anything"}
	}
	return lines
}

var done = map[policy.Action]string{
	policy.Measure: "measured", policy.Appraise: "appraised", policy.Audit: "audited", policy.Hash: "hashed",
}

// verdict says what comes of the rules of an action's pair.
func (e *Explainer) verdict(steps []match.Step, a policy.Action) string {
	for _, s := range steps {
		switch {
		case s.Takes == policy.Unknown:
			return "it depends on what is not known here whether it is " + done[a]
		case s.Takes == policy.True && e.Policy.Rules[s.Rule].Action == a:
			return done[a] + " by " + e.number(s.Rule)
		case s.Takes == policy.True:
			return "not " + done[a] + ", by " + e.number(s.Rule)
		}
	}
	return "not " + done[a] + ": no rule takes it"
}

// alike returns the number of steps at the beginning that differ only in what
// one condition is compared with, or that are not asked any more.
func alike(steps []match.Step) int {
	const few = 3 // are told one by one
	n := 1
	for n < len(steps) && sameReason(steps[0], steps[n]) {
		n++
	}
	if n < few {
		return 1
	}
	return n
}

func sameReason(a, b match.Step) bool {
	if a.Closed || b.Closed {
		return a.Closed && b.Closed
	}
	return a.Takes == policy.False && b.Takes == policy.False && len(a.Unknown)+len(b.Unknown) == 0 &&
		len(a.Failed) == 1 && len(b.Failed) == 1 && a.Failed[0].Have == b.Failed[0].Have &&
		field(a.Failed[0]) == field(b.Failed[0])
}

// field is the condition without what it is compared with.
func field(c match.Condition) string { return c.Item[:strings.IndexAny(c.Item, "=<>")] }

// step says what rules that are alike answer.
func (e *Explainer) step(steps []match.Step) string {
	first := steps[0]
	r := e.Policy.Rules[first.Rule]
	if len(steps) == 1 && r.Func == policy.SetxattrCheck {
		return fmt.Sprintf("%s, %s: no, it is about setting security.ima", e.number(first.Rule), r)
	}
	if len(steps) == 1 {
		return fmt.Sprintf("%s, %s: %s", e.number(first.Rule), r, why(first))
	}
	last := steps[len(steps)-1]
	_, end := e.place(last.Rule)
	text := fmt.Sprintf("%s to %d: ", e.number(first.Rule), end)
	if first.Closed {
		return text + why(first)
	}
	var items []string
	for _, s := range steps {
		items = append(items, s.Failed[0].Item)
	}
	return fmt.Sprintf("%sno, %s is %s: %s", text, field(first.Failed[0]), first.Failed[0].Have, strings.Join(items, " "))
}

// number names a rule by its place.
func (e *Explainer) number(i int) string {
	what, number := e.place(i)
	return fmt.Sprintf("%s %d", what, number)
}

// place is where a rule stands: its line, if it has one, else its number.
func (e *Explainer) place(i int) (what string, number int) {
	if line := e.Policy.Rules[i].Line; line > 0 {
		return "line", line
	}
	return "rule", i + 1
}

// why says why a rule takes a file or does not.
func why(s match.Step) string {
	var failed, unknown []string
	for _, c := range s.Failed {
		failed = append(failed, c.Item+" but it is "+c.Have)
	}
	for _, c := range s.Unknown {
		unknown = append(unknown, c.Item)
	}
	switch {
	case s.Closed:
		return "not asked any more"
	case s.Takes == policy.True:
		return "takes it"
	case s.Takes == policy.Unknown:
		return "takes it if " + strings.Join(unknown, " and ") + ", which is not known here"
	case len(s.Failed) == 0:
		return "is not about files"
	}
	return "no, " + strings.Join(failed, ", ")
}
