package denials

import "imaseal/internal/audit"

// maxRules bounds what is remembered of policies.
const maxRules = 1 << 14

// load notes what a record says of the loading of a policy: a record of each rule, and
// then one of the whole. Kernel: ima_parse_rule(), ima_release_policy().
func (c *Collector) load(r *audit.Record) {
	l := &c.report.Loaded
	switch {
	case r.Type == audit.PolicyRule && r.Result == audit.Success:
		if len(c.rules)+len(l.Rules) >= maxRules || !c.spend(len(r.Rule)) {
			l.Cut = true
			return
		}
		c.rules = append(c.rules, r.Rule)
	case r.Type == audit.Status && r.Op == "policy_update":
		if r.Result == audit.Success {
			l.Times++
			l.Rules = append(l.Rules, c.rules...)
			if l.First.IsZero() {
				l.First = r.Time
			}
			l.Last = r.Time
		}
		c.rules = nil
	}
}
