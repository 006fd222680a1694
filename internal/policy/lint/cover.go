package lint

import (
	"fmt"
	"math"

	"imaseal/internal/policy"
)

// bounds returns the ids that fulfil a condition, as a closed interval; it is
// empty if low is above high. 4294967295 is nobody's id.
func bounds(c policy.ID) (low, high int64) {
	low, high = 0, math.MaxUint32-1
	switch c.Op {
	case policy.Equal:
		return int64(c.Value), int64(c.Value)
	case policy.Less:
		high = int64(c.Value) - 1
	case policy.Greater:
		low = int64(c.Value) + 1
	}
	return low, high
}

// covers reports whether rule a matches whenever b does. It may say no where
// the answer is yes.
func covers(a, b *policy.Rule) bool {
	if a.Func == 0 && (b.Func == policy.KeyCheck || b.Func == policy.CriticalData) {
		return false
	}
	for f := range policy.NumFields {
		if a.Has(f) && !implied(a, b, f) {
			return false
		}
	}
	return true
}

// implied reports whether b's conditions imply a's one.
func implied(a, b *policy.Rule, f policy.Field) bool {
	if !b.Has(f) {
		return false
	}
	switch f {
	case policy.FieldFunc: // most pairs of rules end here or with the next ones, unprinted
		return a.Func == b.Func
	case policy.FieldFSMagic:
		return a.FSMagic == b.FSMagic
	case policy.FieldMask:
		return a.Mask == b.Mask && (a.MaskIn || !b.MaskIn)
	case policy.FieldUID, policy.FieldEUID, policy.FieldGID, policy.FieldEGID, policy.FieldFOwner, policy.FieldFGroup:
		alow, ahigh := bounds(a.ID(f))
		blow, bhigh := bounds(b.ID(f))
		return alow <= blow && bhigh <= ahigh
	}
	return a.Item(f) == b.Item(f)
}

// disjoint reports whether no file fulfils both rules' conditions on files. It
// may say no where the answer is yes.
func disjoint(a, b *policy.Rule) bool {
	for f := range policy.NumFields {
		if !a.Has(f) || !b.Has(f) {
			continue
		}
		switch f {
		case policy.FieldFSMagic, policy.FieldFSName, policy.FieldFSSubtype, policy.FieldFSUUID,
			policy.FieldLSM, policy.FieldLSM + 1, policy.FieldLSM + 2:
			if a.Item(f) != b.Item(f) {
				return true
			}
		case policy.FieldFOwner, policy.FieldFGroup:
			alow, ahigh := bounds(a.ID(f))
			blow, bhigh := bounds(b.ID(f))
			if max(alow, blow) > min(ahigh, bhigh) {
				return true
			}
		}
	}
	return false
}

// impossible says why no access ever fulfils the rule.
func impossible(r *policy.Rule) string {
	for f := range policy.NumFields {
		if low, high := bounds(r.ID(f)); low > high {
			return "no id fulfils " + r.Item(f)
		}
	}
	if r.FSMagic.Value > math.MaxUint32 {
		return "magic numbers have 32 bits"
	}
	var only policy.Mask
	switch r.Func {
	case policy.MmapCheck, policy.MmapCheckReqprot, policy.BprmCheck, policy.CredsCheck:
		only = policy.MayExec
	case policy.ModuleCheck, policy.FirmwareCheck, policy.KexecKernelCheck, policy.KexecInitramfsCheck, policy.PolicyCheck:
		only = policy.MayRead
	}
	switch {
	case r.Mask == 0:
		return ""
	case only != 0 && r.Mask != only:
		return fmt.Sprintf("%s asks for %s only", r.Func, only)
	case r.Mask == policy.MayAppend && !r.MaskIn:
		return "MAY_APPEND never comes alone; mask=^MAY_APPEND is meant"
	}
	return ""
}

// sparesRoot finds policies that appraise files, and none of root's.
func (l *linter) sparesRoot() {
	appraises := false
	for i := range l.policy.Rules {
		r := &l.policy.Rules[i]
		if r.Action != policy.Appraise {
			continue
		}
		appraises = true
		low, high := bounds(r.FOwner)
		if !r.Has(policy.FieldFOwner) || low <= 0 && high >= 0 {
			return
		}
	}
	if appraises {
		l.findings = append(l.findings, Finding{
			Severity: Warning, Code: NoneOfRoot, Rule: -1, Message: "no rule appraises a file of root (owner 0), such as the host's own programs",
			Advice: "add one, such as appraise fowner=0, if they are meant",
		})
	}
}
