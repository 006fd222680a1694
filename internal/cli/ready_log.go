package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"imaseal/internal/active"
	"imaseal/internal/audit"
	"imaseal/internal/denials"
	"imaseal/internal/finding"
	"imaseal/internal/locate"
	"imaseal/internal/logs"
	"imaseal/internal/policy"
	"imaseal/internal/readiness"
	"imaseal/internal/report"
	"imaseal/internal/target"
	"imaseal/internal/upgrade"
)

const (
	// bootLogTime is how long the log is read: a few million records.
	bootLogTime = 10 * time.Second
	// maxDenied is how many files of denials are looked at.
	maxDenied = 500
)

// A bootLog is what this machine's log has of this boot.
type bootLog struct {
	reader  *logReader
	found   denials.Report
	mode    denials.Mode
	booted  time.Time
	read    int     // logs, to their end or until time was up
	hidden  bool    // there may be logs that this user does not see
	partial bool    // it was not read to its end
	errs    []error // of logs that could not be read
}

// readBoot reads the log of this boot, for some time at most. Its errors are those of
// ctx alone: what cannot be read is told in the table.
func (p Program) readBoot(ctx context.Context, t *target.Target) (*bootLog, error) {
	quiet := p
	quiet.Stderr, quiet.said = io.Discard, nil
	b := &bootLog{mode: p.runningMode(t), booted: p.Host.Booted(), hidden: os.Geteuid() != 0}
	r := denialsRequest{logs: []string{""}, boot: true, output: outputOptions{quiet: true, jobs: 1}}
	r.read = logs.Options{Boot: true}
	if !b.booted.IsZero() {
		r.read.Since = b.booted.AddDate(0, 0, -1) // clocks are set at boot
	}
	l := &looker{program: quiet, request: r, mode: b.mode, booted: b.booted}
	l.remedy.Magic = magicOf
	l.node, _ = os.Hostname()
	b.reader = quiet.newLogReader(r, l)
	limited, cancel := context.WithTimeout(ctx, bootLogTime)
	defer cancel()
	for _, s := range b.reader.sources() {
		err := b.reader.each(limited, s, func(l *denials.Log, e audit.Entry) error { l.Add(e); return nil })
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case limited.Err() != nil:
			b.partial = true
			b.read++
		case err == nil:
			b.read++
		case err != nil && !s.besides:
			b.errs = append(b.errs, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	b.found = b.reader.collector.Report()
	return b, nil
}

// loading is what the log says of policies.
func (b *bootLog) loading() active.Loading {
	l := b.found.Loaded
	return active.Loading{At: l.First, Rules: l.Rules, Times: l.Times, Lossy: l.Cut || b.found.Lost.Any() || b.partial || len(b.errs) > 0}
}

// afterSwitch says what became of the host since its kernel appraises.
func (p Program) afterSwitch(ctx context.Context, r checkRequest, t *target.Target, table readiness.Table, b *bootLog) ([]finding.Finding, error) {
	l := b.reader.looker
	var err error
	if l.judge, err = p.openJudge(ctx, r, t, table.Active.Policy); err != nil {
		return nil, err
	}
	l.finder = locate.Open(p.Host.Root)
	b.trim()
	looks, err := l.look(ctx, b.found)
	if err != nil {
		return nil, err
	}
	stale, err := p.staleLabels(ctx, table, b, looks)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]finding.Finding{b.denials(looks), stale}, p.otherKernels(t, table)), nil
}

// own is the program whose denials are those of this check and of others before it.
const own = "imaseal"

// trim leaves the files that are to be looked at.
func (b *bootLog) trim() {
	left := maxDenied
	for i := range b.found.Groups {
		g := &b.found.Groups[i]
		if g.Program == own {
			g.Files = nil
		}
		n := min(left, len(g.Files))
		g.Files, left = g.Files[:n], left-n
	}
}

// A toldDenials is what programs are told of the log.
type toldDenials struct {
	Denied    uint64     `json:"denied"`           // refused, in the mode enforce
	LetPass   uint64     `json:"let_pass"`         // would have been, in another mode
	OtherMode uint64     `json:"unknown_mode"`     // of which the log does not tell
	Own       uint64     `json:"own"`              // of imaseal itself, which are not in the numbers above
	Metadata  uint64     `json:"change_refused"`   // by EVM
	Policies  uint64     `json:"policy_refused"`   // policies, and rules of them
	Open      int        `json:"open_files"`       // files that would still be denied
	Partial   bool       `json:"partial"`          // the log was not read to its end
	Lost      *shownLost `json:"lost,omitempty"`   // as in the summary of denials
	Last      *time.Time `json:"last,omitempty"`   // of the denials
	Unread    []string   `json:"unread,omitempty"` // logs that could not be read, and why
}

// denials counts what was denied in this boot.
func (b *bootLog) denials(looks map[fileKey]look) finding.Finding {
	var d toldDenials
	var last time.Time
	for i := range b.found.Groups {
		g := &b.found.Groups[i]
		switch {
		case g.Kind == denials.Metadata:
			d.Metadata += g.Count
		case g.Kind == denials.Policy:
			d.Policies += g.Count
		case g.Kind != denials.Refused:
		case g.Program == own:
			d.Own += g.Count
		default:
			*map[denials.Mode]*uint64{denials.Enforce: &d.Denied, denials.ModeUnknown: &d.OtherMode, denials.LogOnly: &d.LetPass, denials.Fix: &d.LetPass, denials.Off: &d.LetPass}[g.Mode] += g.Count
			if g.Last.After(last) {
				last = g.Last
			}
		}
	}
	open := make(map[fileKey]bool)
	for k, l := range looks {
		if l.path != "" {
			k = fileKey{path: l.path}
		}
		if l.outcome == report.Denied {
			open[k] = true
		}
	}
	d.Open = len(open)
	d.Partial, d.Last = b.partial, whenKnown(last)
	if lost := b.found.Lost; lost.Any() {
		d.Lost = &shownLost{lost.Suppressed, lost.Dropped, lost.Missed, lost.More}
	}
	for _, err := range b.errs {
		d.Unread = append(d.Unread, printable(err))
	}
	return b.tell(d, last)
}

// tell is the line about the log.
func (b *bootLog) tell(d toldDenials, last time.Time) finding.Finding {
	f := finding.Finding{Level: finding.Pass, Topic: "denials", Data: d}
	if b.read == 0 {
		f.Level, f.Do = finding.Warn, "run as root"
		f.Why = "not known, since no log can be read: " + strings.Join(d.Unread, "; ")
		return f
	}
	var parts []string
	for _, n := range []struct {
		count uint64
		what  string
	}{
		{d.Denied, "%d denied"}, {d.LetPass, "%d let through, which enforcing would deny"}, {d.OtherMode, "%d denied, if the mode was enforce"},
		{d.Metadata, "EVM refused %d times to change owner, mode or labels"}, {d.Policies, "%d policies or rules refused"},
	} {
		if n.count > 0 {
			parts = append(parts, fmt.Sprintf(n.what, n.count))
		}
	}
	f.Why = "nothing was denied in this boot"
	if b.hidden {
		f.Level, f.Do = finding.Warn, "run as root"
		f.Why = "not known: not run as root, and logs that are not shown to everybody are not read"
	}
	if parts != nil {
		f.Level, f.Do = finding.Warn, "imaseal denials --boot says what, and what mends it"
		f.Why = "in this boot: " + strings.Join(parts, "; ")
		if !last.IsZero() {
			f.Why += "; last " + last.Local().Format(time.DateTime)
		}
	}
	if d.Own > 0 {
		f.Why += fmt.Sprintf("; %d more by imaseal, as by this check", d.Own)
	}
	if b.partial {
		f.Level, f.Do = finding.Warn, "imaseal denials --boot reads all of it"
		f.Why += fmt.Sprintf("; at least: the log was not read to its end in %v", bootLogTime)
	}
	if d.Lost != nil {
		f.Level = finding.Warn
		f.Why += "; records are lost, so there may be more"
		if f.Do == "" {
			f.Do = "run auditd, or audit_backlog_limit=8192 log_buf_len=16M on the command line"
		}
	}
	if d.Unread != nil {
		f.Level = finding.Warn
		f.Why += "; not read: " + strings.Join(d.Unread, "; ")
	}
	return f
}

// staleLabels looks for labels that have become wrong: of files that were denied in
// this boot, and of those that boots and timers write which were written since the
// policy came and are not open for writing. A whole tree is for check PATH.
func (p Program) staleLabels(ctx context.Context, table readiness.Table, b *bootLog, looks map[fileKey]look) (finding.Finding, error) {
	l := b.reader.looker
	stale := make(map[string]bool)
	looked, hidden := 0, 0
	count := func(now look) {
		looked++
		switch {
		case now.outcome == report.Denied && now.path != "":
			stale[now.path] = true
		case now.state == locate.Unreachable:
			hidden++
		}
	}
	known := make(map[string]bool)
	for _, now := range looks {
		if now.path != "" {
			count(now)
			known[now.path] = true
		}
	}
	since := table.Active.Since
	if since.IsZero() {
		since = b.booted
	}
	var paths []string
	for _, name := range table.Written {
		path := filepath.Join(p.Host.Root, name)
		if info, err := os.Stat(path); err == nil && !info.ModTime().Before(since) && !slices.Contains(table.Open, path) && !known[path] {
			paths = append(paths, path)
		}
	}
	results, err := l.judgeAll(ctx, paths)
	if err != nil {
		return finding.Finding{}, err
	}
	for _, path := range paths {
		count(look{path: path}.judged(results[path]))
	}
	return staleFinding(stale, looked, hidden, b.mode), nil
}

func staleFinding(stale map[string]bool, looked, hidden int, mode denials.Mode) finding.Finding {
	var names []string
	for name := range stale {
		names = append(names, name)
	}
	slices.Sort(names)
	f := finding.Finding{Level: finding.Pass, Topic: "stale labels", Data: struct {
		Files  []string `json:"files,omitempty"`
		Looked int      `json:"looked_at"`
		Hidden int      `json:"unreadable,omitempty"`
	}{names, looked, hidden}}
	of := fmt.Sprintf("of the files that were denied, or that boots and timers have written since the policy came (%d)", looked)
	switch {
	case names != nil:
		f.Level, f.Why, f.Do = finding.Fail, fmt.Sprintf("%s, the label does not fit of %d: %s", of, len(names), few(names)), "imaseal relabel "+few(names)+"; imaseal denials --boot says more"
		if mode == denials.Enforce {
			f.Do += "; under enforcement from log mode or a rescue system, or write them anew, as a package does"
		}
	case looked == 0:
		f.Why = "no file was denied, and none that boots and timers write was written since the policy came; imaseal check / looks at all files"
	default:
		f.Why = of + ", none has a label that does not fit; imaseal check / looks at all files"
	}
	if hidden > 0 {
		f.Why += fmt.Sprintf("; %d cannot be read", hidden)
		if f.Level == finding.Pass {
			f.Level, f.Do = finding.Warn, "run as root"
		}
	}
	return f
}

// few names some of many, as a command takes them.
func few(names []string) string {
	var quoted []string
	for _, name := range names[:min(len(names), namedFiles)] {
		quoted = append(quoted, report.Quote(name))
	}
	text := strings.Join(quoted, " ")
	if n := len(names) - namedFiles; n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	return text
}

// Why kernels cannot be compared.
var (
	errNoConfig   = errors.New("the running kernel's configuration is not known")
	errConfigless = errors.New("its configuration is neither in /boot nor in /lib/modules")
)

// otherKernels says what the kernels that are installed would change if they were
// booted.
func (p Program) otherKernels(t *target.Target, table readiness.Table) []finding.Finding {
	var findings []finding.Finding
	add := func(level finding.Level, release string, code upgrade.Code, do, why string) {
		findings = append(findings, finding.Finding{Level: level, Topic: "other kernel", Why: release + ": " + why, Do: do, Data: struct {
			Version string       `json:"version"`
			Change  upgrade.Code `json:"change,omitempty"`
		}{release, code}})
	}
	state := t.State()
	use := upgrade.Use{Words: p.Host.PolicyWords(), Loaded: table.Active.Own, HMAC: state.HMAC, X509: state.X509, Filesystems: table.Filesystems}
	use.Mode, _ = p.Host.Option("ima_appraise")
	now := upgrade.Build{Release: p.Host.Release(), Kernel: t.Kernel, Config: t.Configuration}
	for _, release := range p.Host.Kernels() {
		if _, err := policy.ParseKernel(release); err != nil || release == now.Release {
			continue // such as 0-rescue-ID
		}
		config, file, err := p.Host.ConfigOf(release)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = errConfigless
		case err == nil && now.Config == nil:
			err = errNoConfig
		}
		if err != nil {
			add(finding.Warn, release, "unknown", "extract-ikconfig of the kernel's source may get it out of the image; then imaseal check --host --kernel-config CONFIG", "not compared: "+printable(pathless(err)))
			continue
		}
		next, err := upgrade.NewBuild(release, file, config, t.SecureBoot)
		if err != nil {
			continue
		}
		changes := upgrade.Compare(now, next, use)
		for _, c := range changes {
			add(finding.Warn, release, c.Code, c.Do, c.Why)
		}
		if changes == nil {
			add(finding.Pass, release, "", "", "it takes labels, keys and rules as this one does")
		}
	}
	return findings
}
