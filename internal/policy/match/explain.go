package match

import "imaseal/internal/policy"

// A Condition is one condition of a rule beside what the query has there.
type Condition struct {
	Item string // as printed, such as fowner=0
	Have string // such as 1000, or unknown
}

// A Step says what one rule made of a query.
type Step struct {
	Rule int // its index
	// Takes says whether the rule takes the file: True only for the rule that
	// decides, Unknown where it may.
	Takes policy.Truth
	// Closed says that an earlier rule has decided for certain. The
	// conditions are then not looked at.
	Closed  bool
	Failed  []Condition
	Unknown []Condition
}

// Explain returns a step for each rule of the action's pair, in the policy's
// order.
func Explain(p policy.Policy, q Query, a policy.Action) []Step {
	var steps []Step
	closed := false
	for i := range p.Rules {
		r := &p.Rules[i]
		if r.Action.Positive() != a.Positive() {
			continue
		}
		if closed {
			steps = append(steps, Step{Rule: i, Takes: policy.False, Closed: true})
			continue
		}
		s := Step{Rule: i, Takes: q.match(r)}
		for f := range policy.NumFields {
			c := Condition{Item: r.Item(f), Have: q.have(f)}
			switch q.test(r, f) {
			case policy.False:
				s.Failed = append(s.Failed, c)
			case policy.Unknown:
				s.Unknown = append(s.Unknown, c)
			}
		}
		closed = s.Takes == policy.True
		steps = append(steps, s)
	}
	return steps
}
