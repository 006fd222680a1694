package match

import (
	"slices"

	"imaseal/internal/policy"
)

// Demands is what the matching rules ask of an appraised file. Rules of all
// actions add to them: a measure rule with digest_type=verity makes an
// appraise rule compare with the fs-verity digest too.
type Demands struct {
	Signature    bool // security.ima must be a signature
	SigV3        bool // of version 3; counts since 7.2
	ModSig       bool // one appended to the file counts too
	Verity       bool // the fs-verity digest is compared
	DirectIO     bool // O_DIRECT is let through, without appraisal
	Blacklist    bool // the .blacklist keyring is asked
	FailSecurely bool // changes that the kernel cannot see are a denial
	Algos        policy.Algos
}

// Or returns the demands of both. The kernel adds what a rule demands to the
// inode and keeps it there until the attributes change or the inode leaves
// memory, so that it counts for later accesses under other rules. Algos are
// not kept: those of d remain.
func (d Demands) Or(o Demands) Demands {
	return Demands{
		Signature:    d.Signature || o.Signature,
		SigV3:        d.SigV3 || o.SigV3,
		ModSig:       d.ModSig || o.ModSig,
		Verity:       d.Verity || o.Verity,
		DirectIO:     d.DirectIO || o.DirectIO,
		Blacklist:    d.Blacklist || o.Blacklist,
		FailSecurely: d.FailSecurely || o.FailSecurely,
		Algos:        d.Algos,
	}
}

// demandsOf returns the demands of a rule.
func demandsOf(p policy.Policy, rule int) Demands {
	r := &p.Rules[rule]
	return Demands{
		Signature: r.Signature, SigV3: r.SigV3, ModSig: r.ModSig,
		Verity: r.Verity, DirectIO: r.DirectIO, Blacklist: r.ChecksBlacklist(),
		FailSecurely: r.Action == policy.Appraise && p.FailSecurely, Algos: r.Algos,
	}
}

// NoRule is the index that stands for no rule.
const NoRule = -1

// An Outcome is one possible answer to a query.
type Outcome struct {
	Rule     int // index of the appraise or dont_appraise rule, or NoRule
	Appraise bool
	Demands  Demands
	// If lists the unknown conditions, as printed, that must hold for this
	// outcome. What must not hold is in the outcomes before it.
	If []string
}

// Appraisal returns what the policy may answer to q. One outcome means that
// the answer is certain; outcomes that demand the same but come from other
// measure, audit or hash rules are one. The list is never empty. It may hold
// an outcome that other conditions exclude (uid=0 and uid>0 are taken for
// independent), but lacks none.
func Appraisal(p policy.Policy, q Query) []Outcome {
	var outcomes []Outcome
	others := []flags{{}}
	for _, a := range []policy.Action{policy.Measure, policy.Audit, policy.Hash} {
		if asks(p, a) && (q.Hook != policy.PostSetattr || a == policy.Hash) {
			others = combine(others, p, branches(p, &q, a))
		}
	}
	if !asks(p, policy.Appraise) {
		return []Outcome{{Rule: NoRule}}
	}
	for _, b := range branches(p, &q, policy.Appraise) {
		o := Outcome{Rule: b.rule, If: b.unknown}
		if b.rule == NoRule || p.Rules[b.rule].Action != policy.Appraise {
			outcomes = append(outcomes, o)
			continue
		}
		o.Appraise = true
		o.Demands = demandsOf(p, b.rule)
		for _, f := range others {
			with := o
			with.Demands.Verity = o.Demands.Verity || f.verity
			with.Demands.DirectIO = o.Demands.DirectIO || f.directIO
			with.If = slices.Concat(o.If, f.unknown)
			if !slices.ContainsFunc(outcomes, func(x Outcome) bool { return x.Rule == with.Rule && x.Demands == with.Demands }) {
				outcomes = append(outcomes, with)
			}
		}
	}
	return outcomes
}

// asks reports whether the kernel asks for the pair of actions: only if the
// policy has a positive rule of it (ima_get_action(), ima_api.c, and
// ima_update_policy_flags()).
func asks(p policy.Policy, a policy.Action) bool {
	return slices.ContainsFunc(p.Rules, func(r policy.Rule) bool {
		return r.Action == a && r.Func != policy.SetxattrCheck
	})
}

// A branch is a rule that may decide for its pair of actions.
type branch struct {
	rule    int
	unknown []string
}

// branches returns the rules that may be the first to match, the last one for
// certain.
func branches(p policy.Policy, q *Query, a policy.Action) []branch {
	var all []branch
	var denied []string // conditions known not to hold further down
	for i := range p.Rules {
		r := &p.Rules[i]
		if r.Action.Positive() != a {
			continue
		}
		m := q.match(r)
		if m == policy.False {
			continue
		}
		if m == policy.True {
			return append(all, branch{rule: i})
		}
		unknown := q.unknown(r)
		if slices.ContainsFunc(unknown, func(c string) bool { return slices.Contains(denied, c) }) {
			continue
		}
		all = append(all, branch{rule: i, unknown: unknown})
		if len(unknown) == 1 {
			denied = append(denied, unknown[0])
		}
	}
	return append(all, branch{rule: NoRule})
}

func (q *Query) unknown(r *policy.Rule) []string {
	var items []string
	for f := range policy.NumFields {
		if q.test(r, f) == policy.Unknown {
			items = append(items, r.Item(f))
		}
	}
	return items
}

// flags are what rules of other actions add to an appraisal.
type flags struct {
	verity, directIO bool
	unknown          []string
}

func combine(have []flags, p policy.Policy, with []branch) []flags {
	var all []flags
	for _, f := range have {
		for _, b := range with {
			next := flags{f.verity, f.directIO, slices.Concat(f.unknown, b.unknown)}
			if b.rule != NoRule {
				next.verity = next.verity || p.Rules[b.rule].Verity
				next.directIO = next.directIO || p.Rules[b.rule].DirectIO
			}
			i := slices.IndexFunc(all, func(x flags) bool { return x.verity == next.verity && x.directIO == next.directIO })
			switch {
			case i < 0:
				all = append(all, next)
			case len(next.unknown) < len(all[i].unknown):
				all[i].unknown = next.unknown // the same under fewer conditions
			}
		}
	}
	return all
}

// Leaves returns what an access leaves with the inode for later ones, whether
// it is appraised or not: the demands of rules of all actions, and whether the
// digest is computed, which is then not computed again. Rules that match
// perhaps are left out.
func Leaves(p policy.Policy, q Query) (d Demands, collects bool) {
	for _, a := range []policy.Action{policy.Measure, policy.Appraise, policy.Audit, policy.Hash} {
		if !asks(p, a) {
			continue
		}
		b := branches(p, &q, a)
		if len(b) != 1 || b[0].rule == NoRule {
			continue
		}
		r := &p.Rules[b[0].rule]
		d = d.Or(demandsOf(p, b[0].rule))
		collects = collects || r.Action.IsPositive() && r.Action != policy.Hash
	}
	return d, collects
}

// Depends returns the unknown conditions that decide between the outcomes,
// each once; none if there is one outcome.
func Depends(outcomes []Outcome) []string {
	var items []string
	if len(outcomes) < 2 {
		return nil
	}
	for _, o := range outcomes {
		for _, item := range o.If {
			if !slices.Contains(items, item) {
				items = append(items, item)
			}
		}
	}
	return items
}
