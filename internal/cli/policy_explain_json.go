package cli

import (
	"fmt"

	"imaseal/internal/policy"
	"imaseal/internal/policy/explain"
	"imaseal/internal/policy/match"
)

// What policy explain says of a file in JSON. The fields only ever grow; what is
// not known is absent, or null.
type (
	shownExplanation struct {
		shownPath
		Filesystem string     `json:"filesystem,omitempty"` // its type
		Magic      string     `json:"magic,omitempty"`
		UUID       string     `json:"uuid,omitempty"`
		Owner      *uint32    `json:"owner"`
		Group      *uint32    `json:"group"`
		Uses       []shownUse `json:"uses"`
	}
	shownUse struct {
		Operation string        `json:"operation"`
		Accesses  []string      `json:"accesses"`
		Answers   []shownAnswer `json:"answers"`
	}
	shownAnswer struct {
		Action string      `json:"action"`
		Taken  *bool       `json:"taken"`
		By     *shownRule  `json:"by,omitempty"`
		Rules  []shownStep `json:"rules"`
	}
	shownRule struct {
		Rule   string `json:"rule"`
		Number int    `json:"number"`
		Line   int    `json:"line,omitempty"`
	}
	shownStep struct {
		shownRule
		Asked   bool             `json:"asked"`
		Takes   *bool            `json:"takes"`
		Failed  []shownCondition `json:"failed,omitempty"`
		Unknown []shownCondition `json:"unknown,omitempty"`
	}
	shownCondition struct {
		Condition string `json:"condition"`
		Is        string `json:"is"`
	}
)

// shown explains for programs.
func (e *explainer) shown(x explained) shownExplanation {
	s := shownExplanation{
		shownPath: showPath(x.name), Filesystem: x.facts.FSName.Value, Owner: known(x.facts.Owner), Group: known(x.facts.Group), Uses: []shownUse{},
	}
	if x.facts.Subtype.Value != "" {
		s.Filesystem += "." + x.facts.Subtype.Value
	}
	if x.facts.Magic.Known {
		s.Magic = fmt.Sprintf("0x%x", x.facts.Magic.Value)
	}
	if x.facts.UUID.Known {
		s.UUID = x.facts.UUID.Value.String()
	}
	for _, o := range x.uses {
		for _, q := range e.Questions(o, x.facts, x.mode) {
			use := shownUse{Operation: string(o), Answers: []shownAnswer{}}
			for _, a := range q.Accesses {
				use.Accesses = append(use.Accesses, a.String())
			}
			for _, a := range q.Answers {
				use.Answers = append(use.Answers, e.answer(a))
			}
			s.Uses = append(s.Uses, use)
		}
	}
	return s
}

func (e *explainer) answer(a explain.Answer) shownAnswer {
	s := shownAnswer{Action: a.Action.String(), Taken: truth(a.Taken), Rules: []shownStep{}}
	if a.Rule >= 0 {
		by := e.rule(a.Rule)
		s.By = &by
	}
	for _, step := range a.Steps {
		s.Rules = append(s.Rules, shownStep{
			shownRule: e.rule(step.Rule), Asked: !step.Closed, Takes: truth(step.Takes),
			Failed: conditions(step.Failed), Unknown: conditions(step.Unknown),
		})
	}
	return s
}

func (e *explainer) rule(i int) shownRule {
	r := e.Policy.Rules[i]
	return shownRule{Rule: r.String(), Number: i + 1, Line: r.Line}
}

func conditions(all []match.Condition) []shownCondition {
	var shown []shownCondition
	for _, c := range all {
		shown = append(shown, shownCondition{c.Item, c.Have})
	}
	return shown
}

// truth is nil for what is not known.
func truth(t policy.Truth) *bool {
	if t == policy.Unknown {
		return nil
	}
	is := t == policy.True
	return &is
}

// known is nil for what is not known.
func known(m match.Maybe[uint32]) *uint32 {
	if !m.Known {
		return nil
	}
	return &m.Value
}
