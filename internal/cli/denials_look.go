package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/advice"
	"imaseal/internal/appraise"
	"imaseal/internal/denials"
	"imaseal/internal/judge"
	"imaseal/internal/locate"
	"imaseal/internal/policy"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/target"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
	"imaseal/walk"
)

// maxLooked bounds how many files are looked at, those that were denied most often
// first: each may have to be read.
const maxLooked = 20000

// A looker looks at files of records as they are now.
type looker struct {
	program Program
	request denialsRequest
	remedy  advice.Remedy
	judge   *judge.Judge // nil where no files are looked at
	finder  *locate.Finder
	node    string       // the name of this machine
	mode    denials.Mode // that the running kernel is in
	booted  time.Time
	chosen  bool // somebody said by which policy and keys files are judged
	// kernel and policy are by what they are judged, in words.
	kernel, policy string
}

// A look is what was found of a file.
type look struct {
	state   locate.State
	path    string         // where it is now
	outcome report.Outcome // Denied, Allowed, Undecided, Skipped where no rule takes it, or "" where it was not judged
	why     report.Why
	// asRecorded says that the verdict is that of the record: the file was not
	// judged anew, since nothing has changed, or since the kernel opens it to
	// nobody.
	asRecorded bool
}

// newLooker finds out what machine this is. What judges files is made ready if it is
// needed, or if somebody says what it is.
func (p Program) newLooker(ctx context.Context, r denialsRequest) (*looker, error) {
	l := &looker{program: p, request: r, remedy: advice.Remedy{Magic: magicOf}}
	l.chosen = r.judge.policy.name != "" || len(r.judge.keys) > 0 || r.judge.evmKey != ""
	if r.elsewhere {
		return l, nil
	}
	l.booted = p.Host.Booted()
	l.node, _ = os.Hostname()
	if t, err := target.Open(target.Options{}, p.Host); err == nil && p.Host.HasIMA() {
		l.mode = p.runningMode(t)
	}
	if l.chosen || r.read.Follow {
		return l, l.ready(ctx)
	}
	return l, nil
}

// ready opens what judges files, once.
func (l *looker) ready(ctx context.Context) error {
	if l.judge != nil {
		return nil
	}
	p, r := l.program, l.request.judge
	t, err := p.openKeyedTarget(ctx, r)
	if err != nil {
		return err
	}
	pol, err := p.openLoadedPolicy(ctx, r.policy.name, t)
	if err != nil {
		return err
	}
	if l.judge, err = p.openJudge(ctx, r, t, pol.Policy); err != nil {
		return err
	}
	l.remedy.Policy, l.remedy.HasHMAC = pol.Policy, t.State().HMAC
	if pol.Name != defaultPolicy {
		l.remedy.Options = []advice.Option{{Name: "policy", Value: pol.Name}}
	}
	l.finder = locate.Open(p.Host.Root)
	l.kernel, l.policy = describe(t)+", with EVM "+evmWord(t.State()), pol.Name
	if !l.request.output.silent() {
		fmt.Fprintf(p.Stderr, "imaseal: files are judged as %s would under %s, with EVM %s\n", describe(t), report.Quote(pol.Name), evmWord(t.State()))
	}
	return nil
}

// runningMode is what ima_appraise= makes of the running kernel, unless it does not
// listen to that.
func (p Program) runningMode(t *target.Target) denials.Mode {
	value, given := p.Host.Option("ima_appraise")
	ignored := t.SecureBoot == policy.True || t.Configuration != nil && t.Configuration.Enabled("CONFIG_IMA") && !t.Configuration.Enabled("CONFIG_IMA_APPRAISE_BOOTPARAM")
	if !given || ignored {
		return denials.Enforce
	}
	return denials.ModeOf("ima_appraise=" + value)
}

// ownPolicy is what systemd loads. Source: ima_setup() of systemd, src/core/ima-setup.c.
const ownPolicy = "/etc/ima/ima-policy"

// openLoadedPolicy opens the policy that was asked for, else the one that is loaded,
// else, where the kernel does not show that, what it most likely is.
func (p Program) openLoadedPolicy(ctx context.Context, name string, t *target.Target) (target.Policy, error) {
	if name != "" {
		return openPolicy(ctx, t, name)
	}
	pol, err := t.OpenPolicy(target.RunningPolicy)
	if err == nil {
		return pol, nil
	}
	words := strings.Join(p.Host.PolicyWords(), "|")
	if words != "" && p.Host.PolicyLoaded(t.Configuration) == policy.False {
		return openPolicy(ctx, t, words)
	}
	name = cmp.Or(words, defaultPolicy)
	if _, err := os.Stat(p.Host.Root + ownPolicy); err == nil {
		name = p.Host.Root + ownPolicy
	}
	if cause := errors.Unwrap(err); cause != nil { // without a second time that it is about that policy
		err = cause
	}
	p.warn(reason.GuessedPolicy, "the loaded policy is not to be seen (%v): files are judged by %s, and --policy names another", err, report.Quote(name))
	return openPolicy(ctx, t, name)
}

// modeAt is the mode of a record whose log does not tell it.
func (l *looker) modeAt(at time.Time) denials.Mode {
	if at.IsZero() || l.booted.IsZero() || at.Before(l.booted) {
		return denials.ModeUnknown
	}
	return l.mode
}

// isHere reports whether a name is that of this machine.
func (l *looker) isHere(node string) bool {
	host, _, _ := strings.Cut(l.node, ".")
	name, _, _ := strings.Cut(node, ".")
	return name == host
}

// isOurs reports whether a group is about files of this machine.
func (l *looker) isOurs(g *denials.Group) bool {
	return !l.request.elsewhere && (g.Node == "" || l.isHere(g.Node)) && (g.Kind == denials.Refused || g.Kind == denials.Advised)
}

// A fileKey is a file of a report.
type fileKey struct {
	path, dev string
	inode     uint64
}

func keyOf(f denials.File) fileKey { return fileKey{f.Path, f.Dev, f.Inode} }

// look looks at the files of a report.
func (l *looker) look(ctx context.Context, r denials.Report) (map[fileKey]look, error) {
	looks := make(map[fileKey]look)
	judged := make(map[string][]fileKey) // by path
	var paths []string
	for i := range r.Groups {
		g := &r.Groups[i]
		if !l.isOurs(g) {
			continue
		}
		if err := l.ready(ctx); err != nil {
			return nil, err
		}
		for _, f := range g.Files {
			k := keyOf(f)
			if _, done := looks[k]; done || len(looks) >= maxLooked {
				continue
			}
			found := l.finder.Find(f.Dev, f.Inode, f.Path, f.Last)
			now := look{state: found.State, path: found.Path}
			switch {
			case found.Path == "":
			case l.isUnchanged(g, f, found):
				now = now.recorded()
			default:
				if judged[found.Path] == nil {
					paths = append(paths, found.Path)
				}
				judged[found.Path] = append(judged[found.Path], k)
			}
			looks[k] = now
		}
	}
	results, err := l.judgeAll(ctx, paths)
	if err != nil {
		return nil, err
	}
	for path, keys := range judged {
		for _, k := range keys {
			looks[k] = looks[k].judged(results[path])
		}
	}
	return looks, nil
}

// recorded is a look at a file that the kernel will treat as it did.
func (l look) recorded() look {
	l.outcome, l.asRecorded = report.Denied, true
	return l
}

// judged is a look at a file that was judged.
func (l look) judged(r report.Result) look {
	switch {
	case r.Outcome == report.Vanished, errors.Is(r.Err, fs.ErrNotExist):
		l.state, l.path = locate.Gone, ""
	case errors.Is(r.Err, unix.EACCES) && os.Geteuid() == 0:
		// Nothing else than appraisal keeps root from reading a file, or nearly so.
		return l.recorded()
	case r.Outcome == report.Failed:
		l.state = locate.Unreachable
	default:
		l.outcome, l.why = r.Outcome, r.Why
	}
	return l
}

// fixed are the causes that nothing but a change of the file, or of the policy, takes
// away. With others it may be a key that was loaded since.
var fixed = []appraise.Cause{
	appraise.MissingHash, appraise.InvalidHash, appraise.SignatureRequired, appraise.SigV3Required, appraise.InvalidSignatureVersion,
	appraise.UnknownData, appraise.DeniedAlgorithm, appraise.MissingHMAC,
}

// isUnchanged reports whether the kernel that runs has recorded the file as it is: to
// open it would only make another record.
func (l *looker) isUnchanged(g *denials.Group, f denials.File, now locate.Found) bool {
	return !l.chosen && (l.mode == denials.Enforce || l.mode == denials.LogOnly) && g.Mode == l.mode && g.Kind == denials.Refused &&
		!l.booted.IsZero() && f.Last.After(l.booted) && now.State == locate.Same && now.Changed.Before(f.Last) &&
		slices.Contains(fixed, appraise.Cause(g.Cause))
}

// judgeAll judges files, each by its path.
func (l *looker) judgeAll(ctx context.Context, paths []string) (map[string]report.Result, error) {
	results := make(verdicts, len(paths))
	if len(paths) == 0 {
		return results, nil
	}
	opener, err := mounted.Open(nil, mounted.Config{})
	if err != nil {
		return nil, err
	}
	defer opener.Close()
	job := &run.Run{
		Source: &recordedFiles{paths: paths, jobs: l.request.output.jobs, open: opener.OpenPath}, Job: l.judge, Report: results,
		Header: report.Header{Command: "denials", ReadOnly: true, Jobs: l.request.output.jobs},
	}
	_, err = job.Do(ctx)
	return results, err
}

// recordedFiles is a tree.Source of files that are named.
type recordedFiles struct {
	paths []string
	jobs  int
	open  func(string) (tree.File, error)
}

// Walk implements tree.Source.
func (s *recordedFiles) Walk(ctx context.Context, visit func(tree.Found) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	paths := make(chan string)
	var workers sync.WaitGroup
	for range s.jobs {
		workers.Go(func() {
			for path := range paths {
				if err := visit(s.found(path)); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, path := range s.paths {
		select {
		case paths <- path:
		case <-ctx.Done():
		}
	}
	close(paths)
	workers.Wait()
	return context.Cause(ctx)
}

func (s *recordedFiles) found(path string) tree.Found {
	f, err := s.open(path)
	if _, odd := errors.AsType[*walk.NotAFileError](err); odd || errors.Is(err, unix.EISDIR) {
		err = errNotRegular
	}
	return tree.Found{Path: path, File: f, Err: pathless(err)}
}

// verdicts is a report.Handler that keeps results by the path.
type verdicts map[string]report.Result

// Start implements report.Handler.
func (v verdicts) Start(report.Header) error { return nil }

// Result implements report.Handler.
func (v verdicts) Result(r report.Result) error { v[r.Path] = r; return nil }

// Finish implements report.Handler.
func (v verdicts) Finish(report.Summary) error { return nil }
