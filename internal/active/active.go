// Package active says what the running kernel does about appraisal: which rules it
// has, how sure that is, since when, in which mode, what EVM verifies, and with which
// keys. It reads what the host shows of itself in files.
package active

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"imaseal/internal/finding"
	"imaseal/internal/host"
	"imaseal/internal/policy"
	"imaseal/internal/policy/builtin"
)

// A Question is what is to be known about a host whose kernel runs.
type Question struct {
	Host   host.Host
	Config host.Config // nil if it is not known
	Kernel policy.Kernel
	// Mode is what the kernel does about files that fail, as ima_appraise= has it, and
	// Loading what its log says of policies.
	Mode    string
	Loading Loading
	// Keys are those in a keyring, as far as they can be seen. Nil stands for a
	// function that sees none.
	Keys func(keyring string) []Key
	// Partial says that keyrings which this process may not view are left out of
	// /proc/keys, as for everybody but root.
	Partial bool
}

// A Key is one in a keyring, as far as it can be seen.
type Key struct {
	ID          string `json:"id"`
	Description string `json:"description"`
}

// A Ring is one of the keyrings by which the kernel verifies labels.
type Ring struct {
	Name string
	Keys []Key
	// Whole says that all of its keys are known.
	Whole bool
}

// An Answer is what was found out.
type Answer struct {
	Findings []finding.Finding
	State    State
	Rings    []Ring
}

// Look answers a question.
func Look(q Question) Answer {
	l := &look{Question: q}
	l.policy()
	l.keyrings()
	return Answer{l.Findings, l.state, l.rings}
}

type look struct {
	Question
	finding.List
	state State
	rings []Ring
}

func (l *look) read(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(l.Host.Root, name))
	return string(b), err
}

// A Loading is what the log of this boot says of policies that were loaded.
type Loading struct {
	At    time.Time // when the first was; zero if that is not known
	Rules []string  // as recorded, which tells nothing of permit_directio
	// Times is how many were loaded, Lossy that records of rules may be missing.
	Times int
	Lossy bool
}

// Where the rules of a State come from.
const (
	ShownByKernel   = "kernel"       // as it prints them
	FromRecords     = "records"      // as they were recorded when they were loaded
	FromCommandLine = "command-line" // the built-in ones that it names
	FromPolicyFile  = "policy-file"  // what systemd loads
)

// A State is what the running kernel does about appraisal, as far as that is known.
type State struct {
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

// PolicyFile is what systemd loads. Source: ima_setup() of systemd, src/core/ima-setup.c.
const PolicyFile = "/etc/ima/ima-policy"

// findActive finds out which rules are active.
func (l *look) findActive() (State, error) {
	text, err := l.Host.Policy()
	if err == nil {
		shown, err := policy.ParseShown(text, l.Kernel)
		if err != nil {
			return State{}, err
		}
		return l.named(State{Source: ShownByKernel, Certain: true, Policy: shown}), nil
	}
	loaded := l.Host.PolicyLoaded(l.Config)
	own, rules, isFile := l.ownRules()
	if log := l.Loading; log.Times > 0 && len(log.Rules) > 0 && !(log.Lossy && isFile) {
		if own, err := policy.Parse(strings.Join(log.Rules, "\n")+"\n", l.Kernel); err == nil {
			return l.named(State{Source: FromRecords, Certain: !log.Lossy, Policy: builtin.Custom(l.Kernel, own), Own: log.Rules}), nil
		}
	}
	words := l.Host.PolicyWords()
	a := State{hidden: "the kernel does not show it (no CONFIG_IMA_READ_POLICY)"}
	if errors.Is(err, host.ErrPolicyNotRoot) {
		a.hidden = "only root may see it"
	}
	if isFile && loaded != policy.False {
		a.Source, a.Policy, a.Own = FromPolicyFile, builtin.Custom(l.Kernel, own), rules
		return l.named(a), nil
	}
	switch {
	case loaded == policy.True, l.Loading.Times > 0:
		return State{Unseen: true, Since: l.Loading.At}, errUnseen
	case loaded == policy.Unknown && words == nil:
		return State{}, err
	}
	built, err := builtin.Policy(l.Kernel, words...)
	a.Source, a.Certain, a.Policy = FromCommandLine, loaded == policy.False, built
	return l.named(a), err
}

var errUnseen = errors.New("a policy was loaded, and neither the kernel nor the log shows its rules")

// ownRules returns the rules of the policy file, if it is one.
func (l *look) ownRules() (policy.Policy, []string, bool) {
	text, err := l.read(PolicyFile)
	if err != nil || strings.HasPrefix(text, "/") {
		return policy.Policy{}, nil, false
	}
	own, err := policy.Parse(text, l.Kernel)
	return own, lines(own.Rules), err == nil
}

// named fills in what follows from the rules.
func (l *look) named(a State) State {
	a.Appraises = slices.ContainsFunc(a.Policy.Rules, func(r policy.Rule) bool { return r.Action == policy.Appraise }) &&
		l.Mode != "off"
	a.Rules = lines(a.Policy.Rules)
	words := l.Host.PolicyWords()
	if built, err := builtin.Policy(l.Kernel, words...); err == nil && words != nil && same(built.Rules, a.Policy.Rules) {
		a.Name = strings.Join(words, " ")
	}
	if own, _, ok := l.ownRules(); ok && same(builtin.Custom(l.Kernel, own).Rules, a.Policy.Rules) {
		a.Name = PolicyFile
	}
	if kernels := builtin.Custom(l.Kernel, policy.Policy{}).Rules; a.Source == ShownByKernel && a.Name != strings.Join(words, " ") &&
		len(a.Policy.Rules) >= len(kernels) && same(kernels, a.Policy.Rules[:len(kernels)]) {
		a.Own = a.Rules[len(kernels):]
	}
	switch loaded := l.Host.PolicyLoaded(l.Config); {
	case !l.Loading.At.IsZero():
		a.Since = l.Loading.At
	case a.Source == FromCommandLine && a.Certain, a.Source == ShownByKernel && loaded == policy.False:
		a.Since = l.Host.Booted()
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
func (l *look) tellActive(a State) {
	const topic = "active policy"
	level, do, why := finding.Pass, "", ""
	switch n := finding.Count(len(a.Rules), "rule"); {
	case len(a.Rules) == 0:
		level, why = finding.Warn, "there is none"
	case a.Source == ShownByKernel:
		why = n + ", by the kernel's own list"
	case a.Source == FromRecords:
		why = n + ", by the records of the loading"
	case a.Source == FromPolicyFile:
		level, why = finding.Warn, fmt.Sprintf("most likely the %s of %s: %s", n, PolicyFile, a.hidden)
	case a.Certain:
		why = fmt.Sprintf("the %s of %s on the command line: no other was loaded", n, strings.Join(l.Host.PolicyWords(), " "))
	default:
		level, why = finding.Warn, fmt.Sprintf("most likely the %s of %s on the command line: %s", n, strings.Join(l.Host.PolicyWords(), " "), a.hidden)
	}
	switch {
	case a.Source == FromPolicyFile, a.Source == FromCommandLine, len(a.Rules) == 0:
	case a.Name != "":
		why += ": those of " + a.Name
	default:
		why += ": neither those of ima_policy= nor of " + PolicyFile
	}
	if a.Source == FromRecords && !a.Certain {
		level, why = finding.Warn, why+"; records are lost, and so rules may be"
	}
	if level == finding.Warn && len(a.Rules) > 0 {
		do = "audit=1 on the command line records the rules when they are loaded"
	}
	l.AddData(a, level, topic, do, "%s", why)
}

// tellSince says when the rules came.
func (l *look) tellSince(since time.Time) {
	const topic = "active since"
	booted := l.Host.Booted()
	data := struct {
		Since  *time.Time `json:"since,omitempty"`
		Booted *time.Time `json:"booted,omitempty"`
	}{utc(since), utc(booted)}
	at := since.Local().Format(time.DateTime)
	switch {
	case booted.IsZero():
		return
	case since.IsZero():
		l.AddData(data, finding.Warn, topic, "audit=1 on the command line records it", "not known: after the boot at %s", booted.Local().Format(time.DateTime))
	case since.Equal(booted):
		l.AddData(data, finding.Pass, topic, "", "%s, when the host was booted", at)
	default:
		l.AddData(data, finding.Pass, topic, "", "%s, %s after the boot: what was opened before is not appraised, and not labelled at close",
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
func (l *look) tellMode() {
	data := struct {
		Mode string `json:"mode"`
	}{l.Mode}
	switch l.Mode {
	case "log":
		l.AddData(data, finding.Pass, "mode", "ima_appraise=enforce at the next boot, when no denials are left", "log: files that fail are recorded, and used all the same")
	case "fix":
		l.AddData(data, finding.Warn, "mode", "ima_appraise=log, then enforce", "fix: files that fail get a label that fits, whatever is in them")
	default:
		l.AddData(data, finding.Pass, "mode", "", "enforce: files that fail are refused")
	}
}
