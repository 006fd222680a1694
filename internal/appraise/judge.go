package appraise

import (
	"fmt"
	"strings"

	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
	"imaseal/internal/reason"
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
// them is; the causes are those of all accesses up to the one that is denied. What the kernel keeps with the inode between the accesses counts:
// demands, the digest, and that the file passed. Not so for the ways of Write:
// a program goes one of them.
func (k *Kernel) Judge(p policy.Policy, f *File, o match.Operation, s match.Subject) Judgement {
	best, total := Judgement{Verdict: allowed(), Rule: match.NoRule}, allowed()
	if !f.Regular {
		return best
	}
	var h history
	for _, a := range o.Accesses(k.Kernel) {
		q := match.Query{Access: a, File: f.File, Subject: o.Task(k.Kernel, a, s, f.File, f.Mode)}
		outcomes := match.Appraisal(p, q)
		j := k.judgeAccess(p, f, q, outcomes, &h, o == match.DirectRead)
		total = total.then(j.Verdict)
		switch {
		case j.Status == Denied, j.Status == Undecided && best.Status == Allowed,
			j.Rule != match.NoRule && best.Rule == match.NoRule && best.Status == Allowed:
			best = j
		}
		if total.Status == Denied {
			break
		}
		if o != match.Write {
			h.add(p, f, q, outcomes)
		}
	}
	best.Verdict = total
	return best
}

// A history is what the kernel keeps with an inode (struct ima_iint_cache).
type history struct {
	demands match.Demands
	have    kind
	passed  [policy.SetxattrCheck]bool // by slot
}

// slot is where a verdict is kept: rules without func= share that of
// FILE_CHECK (get_subaction(), ima_policy.c).
func slot(r *policy.Rule, h policy.Hook) policy.Hook {
	switch {
	case r.Func == 0:
		return policy.FileCheck
	case h == policy.MmapCheckReqprot:
		return policy.MmapCheck
	case h >= policy.ModuleCheck:
		return policy.ModuleCheck
	}
	return h
}

// add notes an access that was not denied, by a file opened without O_DIRECT.
func (h *history) add(p policy.Policy, f *File, q match.Query, outcomes []match.Outcome) {
	d, collects := match.Leaves(p, q)
	h.demands = h.demands.Or(d)
	if collects && h.have == byDemand {
		h.have = ofContent
		if h.demands.Verity {
			h.have = ofVerity
			if sum, err := f.Content.Verity(); err != nil || sum.IsZero() {
				h.have = byDemand // the collection failed
			}
		}
	}
	if len(outcomes) == 1 && outcomes[0].Appraise {
		h.passed[slot(&p.Rules[outcomes[0].Rule], q.Hook)] = true
	}
}

func (k *Kernel) judgeAccess(p policy.Policy, f *File, q match.Query, outcomes []match.Outcome, h *history, direct bool) Judgement {
	judge := func(o match.Outcome) Judgement {
		j := Judgement{Verdict: allowed(), Access: q.Access, Rule: o.Rule}
		if o.Appraise {
			j.Demands = o.Demands.Or(h.demands)
			// A verdict that is kept is returned as it is: neither the label nor
			// its algorithm is looked at again. A signed file, which cannot be
			// opened for writing, has not passed for that before.
			if !h.passed[slot(&p.Rules[o.Rule], q.Hook)] {
				j.Verdict = k.check(f, q.Access, j.Demands, direct, h.have)
			}
		}
		return j
	}
	first := judge(outcomes[0])
	if len(outcomes) == 1 {
		return first
	}
	var said []string
	var verdicts []Verdict
	for _, o := range outcomes {
		v := judge(o).Verdict
		verdicts = append(verdicts, v)
		said = append(said, describe(p, o, v))
	}
	v := oneOf(reason.List{{Code: Conditional, Words: strings.Join(said, "; ")}}, verdicts...)
	if !v.Reasons.Has(Conditional) {
		first.Verdict = v
		return first
	}
	return Judgement{Verdict: v, Access: q.Access, Rule: match.NoRule, Depends: match.Depends(outcomes)}
}

// describe says in words what an outcome would mean.
func describe(p policy.Policy, o match.Outcome, v Verdict) string {
	rule := "no rule"
	if o.Rule != match.NoRule {
		rule = fmt.Sprintf("%q", p.Rules[o.Rule].String())
	}
	word := v.text()
	if len(o.If) == 0 {
		return fmt.Sprintf("else %s: %s", rule, word)
	}
	return fmt.Sprintf("if %s, %s: %s", strings.Join(o.If, " and "), rule, word)
}
