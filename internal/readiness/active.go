package readiness

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"imaseal/internal/host"
	"imaseal/internal/policy"
	"imaseal/internal/policy/builtin"
)

// A Loading is what the log of this boot says of policies that were loaded.
type Loading struct {
	At    time.Time // when the first was; zero if that is not known
	Rules []string  // as recorded, which tells nothing of permit_directio
	// Times is how many were loaded, Lossy that records of rules may be missing.
	Times int
	Lossy bool
}

// Where the rules of an Active come from.
const (
	ShownByKernel   = "kernel"       // as it prints them
	FromRecords     = "records"      // as they were recorded when they were loaded
	FromCommandLine = "command-line" // the built-in ones that it names
	FromPolicyFile  = "policy-file"  // what systemd loads
)

// An Active is what the running kernel does about appraisal, as far as that is known.
type Active struct {
	// Appraises says that rules demand labels, and that the mode does not turn
	// them off.
	Appraises bool   `json:"appraises"`
	Source    string `json:"source,omitempty"` // "" if nothing is known
	// Certain says that the rules are the ones; else they are what is most likely.
	Certain bool `json:"certain"`
	// Name is that of the policy that has just these rules, "" if none has.
	Name  string   `json:"name,omitempty"`
	Rules []string `json:"rules,omitempty"`

	// Unseen says that rules were loaded of which nothing is known; the rest but Since
	// then is empty.
	Unseen bool `json:"-"`

	Policy policy.Policy `json:"-"`
	// Own are the rules that were loaded, without those of the kernel; nil for none.
	Own   []string  `json:"-"`
	Since time.Time `json:"-"` // zero if not known

	hidden string // why the kernel does not tell
}

// policyFile is what systemd loads. Source: ima_setup() of systemd, src/core/ima-setup.c.
const policyFile = "/etc/ima/ima-policy"

// findActive finds out which rules are active.
func (t *table) findActive() (Active, error) {
	text, err := t.Host.Policy()
	if err == nil {
		shown, err := policy.ParseShown(text, t.Kernel)
		if err != nil {
			return Active{}, err
		}
		return t.active(Active{Source: ShownByKernel, Certain: true, Policy: shown}), nil
	}
	loaded := t.Host.PolicyLoaded(t.Config)
	own, rules, isFile := t.ownRules()
	if l := t.Loading; l.Times > 0 && len(l.Rules) > 0 && !(l.Lossy && isFile) {
		if own, err := policy.Parse(strings.Join(l.Rules, "\n")+"\n", t.Kernel); err == nil {
			return t.active(Active{Source: FromRecords, Certain: !l.Lossy, Policy: builtin.Custom(t.Kernel, own), Own: l.Rules}), nil
		}
	}
	words := t.Host.PolicyWords()
	a := Active{hidden: "the kernel does not show it (no CONFIG_IMA_READ_POLICY)"}
	if errors.Is(err, host.ErrPolicyNotRoot) {
		a.hidden = "only root may see it"
	}
	if isFile && loaded != policy.False {
		a.Source, a.Policy, a.Own = FromPolicyFile, builtin.Custom(t.Kernel, own), rules
		return t.active(a), nil
	}
	switch {
	case loaded == policy.True, t.Loading.Times > 0:
		return Active{Unseen: true, Since: t.Loading.At}, errUnseen
	case loaded == policy.Unknown && words == nil:
		return Active{}, err
	}
	built, err := builtin.Policy(t.Kernel, words...)
	a.Source, a.Certain, a.Policy = FromCommandLine, loaded == policy.False, built
	return t.active(a), err
}

var errUnseen = errors.New("a policy was loaded, and neither the kernel nor the log shows its rules")

// ownRules returns the rules of the policy file, if it is one.
func (t *table) ownRules() (policy.Policy, []string, bool) {
	text, err := t.read(policyFile)
	if err != nil || strings.HasPrefix(text, "/") {
		return policy.Policy{}, nil, false
	}
	own, err := policy.Parse(text, t.Kernel)
	return own, lines(own.Rules), err == nil
}

// active fills in what follows from the rules.
func (t *table) active(a Active) Active {
	a.Appraises = slices.ContainsFunc(a.Policy.Rules, func(r policy.Rule) bool { return r.Action == policy.Appraise }) &&
		!(t.Mode == "off" && !t.modeIgnored())
	a.Rules = lines(a.Policy.Rules)
	words := t.Host.PolicyWords()
	if built, err := builtin.Policy(t.Kernel, words...); err == nil && words != nil && same(built.Rules, a.Policy.Rules) {
		a.Name = strings.Join(words, " ")
	}
	if own, _, ok := t.ownRules(); ok && same(builtin.Custom(t.Kernel, own).Rules, a.Policy.Rules) {
		a.Name = policyFile
	}
	if kernels := builtin.Custom(t.Kernel, policy.Policy{}).Rules; a.Source == ShownByKernel && a.Name != strings.Join(words, " ") &&
		len(a.Policy.Rules) >= len(kernels) && same(kernels, a.Policy.Rules[:len(kernels)]) {
		a.Own = a.Rules[len(kernels):]
	}
	switch loaded := t.Host.PolicyLoaded(t.Config); {
	case !t.Loading.At.IsZero():
		a.Since = t.Loading.At
	case a.Source == FromCommandLine && a.Certain, a.Source == ShownByKernel && loaded == policy.False:
		a.Since = t.Host.Booted()
	}
	return a
}

// lines are rules as policies have them, but for where they stand.
func lines(rules []policy.Rule) []string {
	var all []string
	for _, r := range rules {
		all = append(all, r.String())
	}
	return all
}

// same reports whether rules are the same, as far as records tell.
func same(a, b []policy.Rule) bool {
	return slices.EqualFunc(a, b, func(x, y policy.Rule) bool {
		x.Line, x.Origin, x.DirectIO = 0, "", false
		y.Line, y.Origin, y.DirectIO = 0, "", false
		return x.String() == y.String()
	})
}

// tellActive says which rules are active.
func (t *table) tellActive(a Active) {
	const topic = "active policy"
	level, do, why := Pass, "", ""
	switch n := plural(len(a.Rules), "rule"); {
	case len(a.Rules) == 0:
		level, why = Warn, "there is none"
	case a.Source == ShownByKernel:
		why = n + ", by the kernel's own list"
	case a.Source == FromRecords:
		why = n + ", by the records of the loading"
	case a.Source == FromPolicyFile:
		level, why = Warn, fmt.Sprintf("most likely the %s of %s: %s", n, policyFile, a.hidden)
	case a.Certain:
		why = fmt.Sprintf("the %s of %s on the command line: no other was loaded", n, strings.Join(t.Host.PolicyWords(), " "))
	default:
		level, why = Warn, fmt.Sprintf("most likely the %s of %s on the command line: %s", n, strings.Join(t.Host.PolicyWords(), " "), a.hidden)
	}
	switch {
	case a.Source == FromPolicyFile, a.Source == FromCommandLine, len(a.Rules) == 0:
	case a.Name != "":
		why += ": those of " + a.Name
	default:
		why += ": neither those of ima_policy= nor of " + policyFile
	}
	if a.Source == FromRecords && !a.Certain {
		level, why = Warn, why+"; records are lost, and so rules may be"
	}
	if level == Warn && len(a.Rules) > 0 {
		do = "audit=1 on the command line records the rules when they are loaded"
	}
	t.addData(a, level, topic, do, "%s", why)
}

// tellSince says when the rules came.
func (t *table) tellSince(since time.Time) {
	const topic = "active since"
	booted := t.Host.Booted()
	data := struct {
		Since  *time.Time `json:"since,omitempty"`
		Booted *time.Time `json:"booted,omitempty"`
	}{utc(since), utc(booted)}
	at := since.Local().Format(time.DateTime)
	switch {
	case booted.IsZero():
		return
	case since.IsZero():
		t.addData(data, Warn, topic, "audit=1 on the command line records it", "not known: after the boot at %s", booted.Local().Format(time.DateTime))
	case since.Equal(booted):
		t.addData(data, Pass, topic, "", "%s, when the host was booted", at)
	default:
		t.addData(data, Pass, topic, "", "%s, %s after the boot: what was opened before is not appraised, and not labelled at close",
			at, max(0, since.Sub(booted)).Round(time.Second))
	}
}

// utc returns a time for JSON, nil for none.
func utc(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}

// tellMode says what becomes of files that fail.
func (t *table) tellMode() {
	data := struct {
		Mode string `json:"mode"`
	}{t.Mode}
	switch t.Mode {
	case "log":
		t.addData(data, Pass, "mode", "ima_appraise=enforce at the next boot, when no denials are left", "log: files that fail are recorded, and used all the same")
	case "fix":
		t.addData(data, Warn, "mode", "ima_appraise=log, then enforce", "fix: files that fail get a label that fits, whatever is in them")
	default:
		t.addData(data, Pass, "mode", "", "enforce: files that fail are refused")
	}
}
