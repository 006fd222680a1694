package policy

import "slices"

// validate is ima_validate_rule(): which items go together.
func (p *parser) validate() *Error {
	r := p.rule
	switch {
	case r.Action == 0:
		return p.blame("", "the rule has no action: measure, appraise, audit, hash, or their dont_ forms")
	case r.PCR.Set && r.Action != Measure:
		return p.blame("pcr", "pcr belongs to measure rules")
	case r.Action != Appraise && r.Signature:
		return p.blame("appraise_type", "appraise_type belongs to appraise rules")
	case r.Action != Appraise && r.Algos != 0:
		return p.blame("appraise_algos", "appraise_algos belongs to appraise rules")
	}
	measureOnly := r.Func == KexecCmdline || r.Func == KeyCheck || r.Func == CriticalData
	if measureOnly && r.Action.Positive() != Measure {
		return p.blame("func", "%s is for measure and dont_measure", r.Func)
	}
	if r.Func == SetxattrCheck && (r.Action != Appraise || r.Algos == 0) {
		return p.blame("func", "SETXATTR_CHECK is for appraise with appraise_algos")
	}
	for _, it := range p.items {
		if name := itemName(it.text); !r.allows(name, it.text, p.kernel) {
			return p.blame(name, "%s does not go with %s", name, hookWords(r.Func))
		}
	}
	if r.Action == Appraise && r.Verity && !r.Signature {
		return p.blame("digest_type", "an appraise rule with digest_type=verity needs appraise_type=sigv3")
	}
	return nil
}

func hookWords(h Hook) string {
	if h == 0 {
		return "a rule without func"
	}
	return "func=" + h.String()
}

// allows says whether an item may stand in a rule for r.Func. Items that leave
// no flag in the kernel's rule (template, appraise_flag) are never asked for.
func (r Rule) allows(name, text string, k Kernel) bool {
	lsm := slices.Contains(lsmNames[:], name)
	switch name {
	case "keyrings":
		return r.Func == KeyCheck
	case "label":
		return r.Func == CriticalData
	case "template", "appraise_flag", "func":
		return true
	}
	switch r.Func {
	case ModuleCheck, KexecKernelCheck, KexecInitramfsCheck:
		return name != "digest_type"
	case KexecCmdline:
		return name != "mask" && name != "digest_type" && name != "permit_directio"
	case KeyCheck, CriticalData:
		return name == "uid" || name == "gid" || name == "pcr" || isAction(name)
	case SetxattrCheck:
		return name == "appraise_algos" || isAction(name)
	}
	return lsm || text != "appraise_type=imasig|modsig"
}

func isAction(name string) bool { return slices.Contains(actionNames[1:], name) }

// itemName returns the part before the sign.
func itemName(text string) string {
	if i := slices.IndexFunc([]byte(text), func(c byte) bool { return c == '=' || c == '<' || c == '>' }); i >= 0 {
		return text[:i]
	}
	return text
}

// blame makes an error at the last item of the name, or at the first item.
func (p *parser) blame(name, format string, args ...any) *Error {
	at := p.items[0]
	for _, it := range p.items {
		if name != "" && itemName(it.text) == name {
			at = it
		}
	}
	err := fault(invalid, format, args...)
	err.Column = at.column
	if name != "" {
		err.Item = at.text
	}
	return err
}
