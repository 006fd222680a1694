// Package explain tells people what rules of a policy answer about a file, and
// why: match.Explain in words, where rules that are alike take one line.
package explain

import (
	"fmt"
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

// A Question is what the kernel asks its policy when something is done with a file,
// and what comes of it.
type Question struct {
	// Accesses are those that are asked about, all with the same answers.
	Accesses []match.Access
	// Answers has one for each action of which the policy has rules.
	Answers []Answer
}

// An Answer is what rules of an action, and those that except from it, make of a
// file.
type Answer struct {
	Action policy.Action
	// Taken says whether the action is taken, Rule which rule decides that, by
	// its index: -1 if none does, or it is not known.
	Taken policy.Truth
	Rule  int
	Steps []match.Step // for each rule, in the policy's order
}

// Questions returns what the kernel asks its policy when something is done with a
// file of the given mode. Questions with the same answers are one.
func (e *Explainer) Questions(o match.Operation, f match.File, mode uint32) []Question {
	var questions []Question
	for _, a := range o.Accesses(e.Kernel) {
		answers := e.answers(match.Query{Access: a, File: f, Subject: o.Task(e.Kernel, a, e.Subject, f, mode)})
		if n := len(questions); n > 0 && slices.Equal(e.text(questions[n-1].Answers), e.text(answers)) {
			questions[n-1].Accesses = append(questions[n-1].Accesses, a)
			continue
		}
		questions = append(questions, Question{Accesses: []match.Access{a}, Answers: answers})
	}
	return questions
}

// Operation says in words what Questions returns. Each line of the text ends with
// a newline.
func (e *Explainer) Operation(o match.Operation, f match.File, mode uint32) string {
	var b strings.Builder
	for _, q := range e.Questions(o, f, mode) {
		var names []string
		for _, a := range q.Accesses {
			names = append(names, a.String())
		}
		fmt.Fprintf(&b, "  %s, asked as %s:\n", o, strings.Join(names, ", "))
		for _, line := range e.text(q.Answers) {
			b.WriteString("    " + line + "\n")
		}
	}
	return b.String()
}

// answers returns what comes of each action.
func (e *Explainer) answers(q match.Query) []Answer {
	var all []Answer
	for _, action := range []policy.Action{policy.Measure, policy.Appraise, policy.Audit, policy.Hash} {
		if !slices.ContainsFunc(e.Policy.Rules, func(r policy.Rule) bool { return r.Action == action }) {
			continue
		}
		a := Answer{Action: action, Taken: policy.False, Rule: -1, Steps: match.Explain(e.Policy, q, action)}
		for _, s := range a.Steps {
			if s.Takes == policy.Unknown {
				a.Taken = policy.Unknown
				break
			}
			if s.Takes == policy.True {
				a.Taken, a.Rule = policy.Of(e.Policy.Rules[s.Rule].Action == action), s.Rule
				break
			}
		}
		all = append(all, a)
	}
	return all
}

// text says what each rule answers, and what comes of it, a line each.
func (e *Explainer) text(answers []Answer) []string {
	var lines []string
	for _, a := range answers {
		lines = append(lines, e.verdict(a))
		for steps := a.Steps; len(steps) > 0; {
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

// verdict says what comes of the rules of an action.
func (e *Explainer) verdict(a Answer) string {
	switch {
	case a.Taken == policy.Unknown:
		return "it depends on what is not known here whether it is " + done[a.Action]
	case a.Taken == policy.True:
		return done[a.Action] + " by " + e.number(a.Rule)
	case a.Rule >= 0:
		return "not " + done[a.Action] + ", by " + e.number(a.Rule)
	}
	return "not " + done[a.Action] + ": no rule takes it"
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
