// Package lint finds what is wrong or unwise about a policy: what the kernel
// would refuse, rules that can never match, and rules that would lock out the
// host's own programs. It sees the policy only, not the host.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"imaseal/internal/policy"
	"imaseal/internal/reason"
)

// A Severity says how bad a finding is.
type Severity uint8

// The severities.
const (
	Note    Severity = iota + 1 // worth knowing
	Warning                     // probably not what was meant
	Error                       // the kernel refuses the policy, or the host does not work under it
)

// String names the severity.
func (s Severity) String() string {
	return [...]string{"", "note", "warning", "error"}[s]
}

// The kinds of findings.
const (
	Refused       reason.Code = "refused" // by the kernel
	NeverMatches  reason.Code = "never-matches"
	Shadowed      reason.Code = "shadowed"  // an earlier rule takes everything
	NoEffect      reason.Code = "no-effect" // an exclusion from nothing
	LSMLabel      reason.Code = "security-module-label"
	NeedsOption   reason.Code = "needs-kernel-option"
	Ignored       reason.Code = "ignored-item"
	DefaultHash   reason.Code = "default-hash-not-allowed"
	NarrowMask    reason.Code = "narrow-mask"
	UnknownMagic  reason.Code = "unknown-filesystem"
	MixedVerity   reason.Code = "mixed-verity"
	OddText       reason.Code = "odd-text"
	OldCall       reason.Code = "system-call-refused" // in favour of another
	NoMoreText    reason.Code = "policy-by-path-only"
	PseudoFiles   reason.Code = "pseudo-filesystems-appraised"
	BareFiles     reason.Code = "bare-filesystems-appraised" // which hold no labels
	AllSigned     reason.Code = "signatures-of-everything"
	AllOwners     reason.Code = "files-of-all-owners"
	NoneOfRoot    reason.Code = "files-of-root-not-appraised"
	InMemoryFiles reason.Code = "files-in-memory-appraised"
)

// A Finding is one remark about a policy.
type Finding struct {
	Severity Severity
	Code     reason.Code
	Line     int    // of the rule; 0 for a built-in one
	Column   int    // in the line, of what the kernel refuses; 0 if the whole rule is meant
	Rule     int    // index of the rule, or -1
	Text     string // of the rule, as the kernel prints it; empty without one
	Message  string // what is so
	Advice   string // what to do
}

// Text checks the text of a policy.
func Text(text string, k policy.Kernel) []Finding {
	p, errs := policy.ParseAll(text, k)
	l := &linter{policy: p, kernel: k}
	for _, e := range errs {
		advice := "correct the line: the kernel drops the whole policy for it"
		if e.Problem == policy.NoRule {
			advice = "write rules; imaseal policy show appraise_tcb prints those of the kernel's own policy"
		}
		l.findings = append(l.findings, Finding{Severity: Error, Code: Refused, Line: e.Line, Column: e.Column, Rule: -1, Message: e.Fault(), Advice: advice})
	}
	l.text(text)
	l.rules()
	return l.sorted()
}

// Policy checks rules that have no text, such as those of the running kernel.
func Policy(p policy.Policy, k policy.Kernel) []Finding {
	l := &linter{policy: p, kernel: k}
	l.rules()
	return l.sorted()
}

type linter struct {
	policy   policy.Policy
	kernel   policy.Kernel
	findings []Finding
}

// sorted puts the findings into the order of the text, the worst of a line
// first.
func (l *linter) sorted() []Finding {
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Rule, b.Rule), cmp.Compare(b.Severity, a.Severity))
	})
	return l.findings
}

// add adds a finding about a rule. What was said of an earlier one is not said
// at length again, and notes not at all.
func (l *linter) add(s Severity, c reason.Code, i int, advice, format string, args ...any) {
	r := &l.policy.Rules[i]
	f := Finding{Severity: s, Code: c, Line: r.Line, Rule: i, Text: r.String(), Message: fmt.Sprintf(format, args...), Advice: advice}
	for _, earlier := range l.findings {
		if earlier.Message != f.Message || earlier.Rule == i || earlier.Rule < 0 {
			continue
		}
		if s == Note {
			return
		}
		f.Advice = "as for " + l.name(earlier.Rule)
		break
	}
	l.findings = append(l.findings, f)
}

// name says which rule is meant.
func (l *linter) name(i int) string {
	r := l.policy.Rules[i]
	if r.Line == 0 {
		return fmt.Sprintf("rule %d (%s)", i+1, r)
	}
	return fmt.Sprintf("line %d (%s)", r.Line, r)
}

// text finds what the rules do not show.
func (l *linter) text(text string) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		trimmed := strings.TrimLeft(line, " \t")
		if !strings.HasPrefix(trimmed, "#") && strings.Contains(trimmed, "appraise_flag=") {
			l.remark(Note, Ignored, number, "appraise_flag is ignored: every appraise_type has the blacklist asked", "leave it out")
		}
		if strings.HasSuffix(strings.TrimSuffix(line, "\n"), "\r") && l.hasRule(number) {
			l.remark(Warning, OddText, number, "a carriage return is part of the last item, which the kernel takes so: no file and no task has it", "end lines with a newline alone")
		}
		if !strings.HasSuffix(line, "\n") {
			l.remark(Warning, OddText, number, "no newline behind the last line: loading the file by its path fails with EINVAL", "end the file with a newline")
		}
	}
}

// remark adds a finding about a line of the text.
func (l *linter) remark(s Severity, c reason.Code, line int, message, advice string) {
	l.findings = append(l.findings, Finding{Severity: s, Code: c, Line: line, Rule: -1, Message: message, Advice: advice})
}

// hasRule reports whether the kernel takes a line of the text for a rule.
func (l *linter) hasRule(line int) bool {
	return slices.ContainsFunc(l.policy.Rules, func(r policy.Rule) bool { return r.Line == line })
}

func (l *linter) rules() {
	for i := range l.policy.Rules {
		l.neverMatches(i)
		l.noEffect(i)
		l.options(i)
		l.lockOut(i)
	}
	l.sparesRoot()
}

// neverMatches finds rules that no file and no task fulfils, and rules behind
// others that take everything they would. It does not find all of them.
func (l *linter) neverMatches(i int) {
	r := &l.policy.Rules[i]
	if why := impossible(r); why != "" {
		l.add(Warning, NeverMatches, i, "correct the condition or leave the rule out", "this rule can never match: %s", why)
		return
	}
	for j := range i {
		earlier := &l.policy.Rules[j]
		if r.Func == policy.SetxattrCheck {
			if earlier.Func == policy.SetxattrCheck {
				l.add(Warning, Shadowed, i, "put all algorithms into the first one", "this rule never counts: only the first SETXATTR_CHECK rule does, %s", l.name(j))
				return
			}
			continue
		}
		if earlier.Action.Positive() == r.Action.Positive() && covers(earlier, r) {
			l.add(Warning, Shadowed, i, "put it in front of the other rule, or leave it out",
				"this rule can never match: %s takes everything it would", l.name(j))
			return
		}
	}
}

// noEffect finds exclusions with nothing behind them to exclude from.
func (l *linter) noEffect(i int) {
	r := &l.policy.Rules[i]
	if r.Action.IsPositive() {
		return
	}
	for j := i + 1; j < len(l.policy.Rules); j++ {
		o := l.policy.Rules[j]
		if o.Action == r.Action.Positive() && o.Func != policy.SetxattrCheck {
			return
		}
	}
	l.add(Warning, NoEffect, i, fmt.Sprintf("put it in front of the %s rule it is an exception to, or leave it out", r.Action.Positive()),
		"this rule has no effect: there is no %s rule behind it", r.Action.Positive())
}

// options finds what depends on the kernel, and options with surprises.
func (l *linter) options(i int) {
	r := &l.policy.Rules[i]
	for _, lsm := range policy.LSMs() {
		if r.LSM[lsm] == "" {
			continue
		}
		isNew := !slices.ContainsFunc(l.policy.Rules[:i], func(o policy.Rule) bool { return o.LSM[lsm] == r.LSM[lsm] })
		if isNew {
			l.add(Note, LSMLabel, i, "load the policy after that of the security module, and try it",
				"%s=%s must be known to the security module when the rule is loaded; else the kernel refuses it or, as a later policy, never matches it", lsm, r.LSM[lsm])
		}
	}
	config := l.kernel.Config
	if r.ModSig && config.ModSig == policy.Unknown && r.Origin == "" {
		l.add(Note, NeedsOption, i, "look into the kernel's configuration", "imasig|modsig needs a kernel with CONFIG_IMA_APPRAISE_MODSIG, else it is refused")
	}
	if r.Func == policy.KeyCheck && config.MeasureKeys == policy.Unknown {
		l.add(Note, NeedsOption, i, "look into the kernel's configuration", "KEY_CHECK needs a kernel with CONFIG_IMA_MEASURE_ASYMMETRIC_KEYS, else it is refused")
	}
	if (r.Func == policy.KeyCheck || r.Func == policy.CriticalData) && r.GID.IsSet() {
		l.add(Warning, Ignored, i, "leave it out", "%s rules ignore gid", r.Func)
	}
	if d := l.kernel.DefaultHash; r.Algos != 0 && d != 0 && !r.Algos.Has(d) {
		l.add(Warning, DefaultHash, i, fmt.Sprintf("add %s, or boot with ima_hash= one of these", d),
			"the kernel labels new and changed files with %s, which this rule does not allow", d)
	}
	if (r.Func == 0 || r.Func == policy.FileCheck) && !r.MaskIn && (r.Mask == policy.MayRead || r.Mask == policy.MayWrite) {
		l.add(Note, NarrowMask, i, fmt.Sprintf("write mask=^%s to match them too", r.Mask),
			"mask=%s does not match opens for reading and writing at once, nor for appending", r.Mask)
	}
	if r.FSMagic.Set {
		if _, ok := policy.NameOf(uint32(r.FSMagic.Value)); !ok {
			l.add(Note, UnknownMagic, i, "compare with include/uapi/linux/magic.h", "0x%x is the magic number of no file system known here", r.FSMagic.Value)
		}
	}
	l.mixing(i)
}

// mixing: verity flags of one rule change what another demands.
func (l *linter) mixing(i int) {
	r := &l.policy.Rules[i]
	if !r.Verity {
		return
	}
	for j := range l.policy.Rules {
		o := &l.policy.Rules[j]
		if o.Action != policy.Appraise || o.Verity || o.Func == policy.SetxattrCheck || disjoint(r, o) {
			continue
		}
		advice := "give both rules conditions on the file that exclude each other, such as fsuuid"
		if r.Action == policy.Appraise {
			l.add(Warning, MixedVerity, i, advice, "a file that both this rule and %s take cannot meet both: one compares the fs-verity digest, the other the content's", l.name(j))
		} else {
			l.add(Warning, MixedVerity, i, advice, "for a file that both rules take, %s compares the fs-verity digest too: flags of all matching rules add up", l.name(j))
		}
		return
	}
}
