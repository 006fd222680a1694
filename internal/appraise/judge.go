package appraise

import (
	"fmt"
	"strings"

	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
)

// A Judgement is the answer for one operation, and what decided it.
type Judgement struct {
	Verdict
	// Access is the one that the verdict is about; zero if no rule matches.
	Access match.Access
	// Rule is the index of the rule that takes the file there, or
	// match.NoRule, also if it depends on Depends.
	Rule int
	// Demands are those of the rule.
	Demands match.Demands
	// Depends lists the unknown conditions of rules that the verdict hangs on.
	Depends []string
}

// Judge decides about an operation under a policy. It is denied if one of the
// operation's accesses is denied for certain, and else undecided if one of
// them is. What a rule demands counts for the operation's later accesses too,
// as the kernel keeps it with the inode.
func (k *Kernel) Judge(p policy.Policy, f *File, o match.Operation, s match.Subject, direct bool) Judgement {
	best := Judgement{Verdict: allowed(), Rule: match.NoRule}
	if !f.Regular {
		return best
	}
	var sticky match.Demands
	for _, a := range o.Accesses(k.Kernel) {
		q := match.Query{Access: a, File: f.File, Subject: s}
		outcomes := match.Appraisal(p, q)
		j := k.judgeAccess(p, f, q, outcomes, sticky, direct)
		switch {
		case j.Status == Denied:
			return j
		case j.Status == Undecided && best.Status == Allowed:
			best = j
		case j.Rule != match.NoRule && best.Rule == match.NoRule && best.Status == Allowed:
			best = j
		}
		if len(outcomes) == 1 {
			sticky = sticky.Or(outcomes[0].Demands)
		}
	}
	return best
}

func (k *Kernel) judgeAccess(p policy.Policy, f *File, q match.Query, outcomes []match.Outcome, sticky match.Demands, direct bool) Judgement {
	judge := func(o match.Outcome) Judgement {
		j := Judgement{Verdict: allowed(), Access: q.Access, Rule: o.Rule}
		if o.Appraise {
			j.Demands = o.Demands.Or(sticky)
			j.Verdict = k.Check(f, q.Access, j.Demands, direct)
		}
		return j
	}
	first := judge(outcomes[0])
	if len(outcomes) == 1 {
		return first
	}
	var words []string
	certain := true
	for _, o := range outcomes {
		j := judge(o)
		certain = certain && j.Verdict.Status == first.Status
		words = append(words, describe(p, o, j.Verdict))
	}
	if certain && first.Status != Undecided {
		return first
	}
	return Judgement{
		Verdict: undecided(strings.Join(words, "; ")),
		Access:  q.Access, Rule: match.NoRule, Depends: match.Depends(outcomes),
	}
}

// describe says in words what an outcome would mean.
func describe(p policy.Policy, o match.Outcome, v Verdict) string {
	rule := "no rule"
	if o.Rule != match.NoRule {
		rule = fmt.Sprintf("%q", p.Rules[o.Rule].String())
	}
	word := v.Status.String()
	switch {
	case v.Cause != "":
		word += " (" + string(v.Cause) + ")"
	case v.Why != "":
		word += " (" + v.Why + ")"
	}
	if len(o.If) == 0 {
		return fmt.Sprintf("else %s: %s", rule, word)
	}
	return fmt.Sprintf("if %s, %s: %s", strings.Join(o.If, " and "), rule, word)
}
