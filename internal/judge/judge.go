// Package judge says what an enforcing kernel would make of files: it gathers
// what counts of each for package appraise, asks that for every use of the file,
// and makes one outcome of the answers. It changes nothing.
package judge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"imaseal/hash"
	"imaseal/internal/appraise"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/policy/inspect"
	"imaseal/internal/policy/match"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/target"
	"imaseal/internal/tree"
)

// A Judge is a run.Job that judges files. It is safe for concurrent use.
type Judge struct {
	Policy policy.Policy
	Kernel appraise.Kernel
	// Place is the file system that the files will be on, where it is not the
	// one that they are on now.
	Place inspect.Place
	// Subject is who does something with the files.
	Subject match.Subject
	// Operations are what is done with them; nil stands for what each file
	// seems to be for.
	Operations []match.Operation
	// Covers is what the kernel's EVM covers, where it is active.
	Covers target.EVM
	// Moves says that the files will be copied: their inodes will be others.
	Moves bool
	// Lacks reports whether the kernel is known to be built without an option of
	// its configuration; nil for one of which nothing is known. That counts for
	// the type of Place only: where files lie now is not where they will be.
	Lacks func(option string) bool
	// IsRoot says that they are those of a root file system, of which some are
	// used before the kernel can load modules from it.
	IsRoot bool

	print sync.Once
	rules []string // as they are printed
}

// Decide implements run.Job. It changes nothing.
func (j *Judge) Decide(ctx context.Context, r *hash.Reader, f tree.File) (run.Decision, error) {
	facts, err := j.Place.Facts(f)
	if err != nil {
		return run.Decision{}, err
	}
	uses := j.Operations
	if uses == nil {
		if uses, err = inspect.Uses(f); err != nil {
			return run.Decision{}, err
		}
	}
	if !j.mayTake(uses, facts) {
		return run.Skip(reason.NotAppraised), nil
	}
	content := &content{ctx: ctx, reader: r, file: f}
	file, err := j.file(f, facts, content, j.takesModSig(uses))
	if err != nil {
		return run.Decision{}, err
	}
	d := run.Decision{Content: true, Meta: true}
	d.Result.IMA, d.Result.EVM = file.IMA, file.EVM
	for _, use := range uses {
		judgement := j.Kernel.Judge(j.Policy, file, use, j.Subject)
		d.Result.Judgements = append(d.Result.Judgements, j.told(use, judgement))
	}
	d.Result.Bytes = content.read
	if content.err != nil {
		return d, content.err
	}
	sum(&d.Result)
	return d, nil
}

// mayTake reports whether a rule may take a file for one of its uses, whoever
// it is that uses it.
func (j *Judge) mayTake(uses []match.Operation, facts match.File) bool {
	for _, use := range uses {
		for _, a := range use.Accesses(j.Kernel.Kernel) {
			appraises := func(o match.Outcome) bool { return o.Appraise }
			if slices.ContainsFunc(match.Appraisal(j.Policy, match.Query{Access: a, File: facts}), appraises) {
				return true
			}
		}
	}
	return false
}

// takesModSig reports whether one of the uses looks for an appended signature.
func (j *Judge) takesModSig(uses []match.Operation) bool {
	return slices.ContainsFunc(uses, func(use match.Operation) bool {
		return slices.ContainsFunc(use.Accesses(j.Kernel.Kernel), appraise.TakesModSig)
	})
}

// file gathers what the kernel looks at in a file, and whether it ends in an
// appended signature only if that is asked for.
func (j *Judge) file(f tree.File, facts match.File, content *content, modSig bool) (*appraise.File, error) {
	meta := f.Meta()
	a := &appraise.File{File: facts, Regular: true, Mode: meta.Mode, UserMount: policy.False, AtBoot: j.IsRoot, Content: content, ModSig: appraise.ModSigNone}
	if facts.Magic.Known {
		if facts.Magic.Value == policy.MagicFUSE {
			a.UserMount = policy.Unknown
		}
		a.NoXattrs = isBare(facts.Magic.Value)
	}
	if j.HidingOption() != "" {
		a.NoXattrs = true
		return a, nil
	}
	switch {
	case !modSig: // nobody looks
	case inspect.HasModSig(f):
		a.ModSig = appraise.ModSigUnchecked
	case j.unpacks(f):
		a.ModSig = appraise.ModSigUnknown
	}
	var err error
	if a.IMA, err = tree.Value(f, imaevm.AttrIMA); errors.Is(err, errors.ErrUnsupported) {
		placed, ok := tree.As[tree.Placed](f)
		a.NoXattrs = a.NoXattrs || j.Place.Type == "" && ok && placed.NoAttributes()
		return a, nil // no label, to the kernel
	} else if err != nil {
		return nil, err
	}
	if a.EVM, err = tree.Value(f, imaevm.AttrEVM); err != nil || !j.Kernel.EVM.IsActive() {
		return a, err
	}
	if err := target.CheckOwner(f); err != nil {
		return nil, err
	}
	if a.Attrs, err = j.attrs(f); err != nil {
		return nil, err
	}
	a.Meta = imaevm.Meta{UID: meta.UID, GID: meta.GID, Mode: meta.Mode}
	a.Bound = j.bind(f, a)
	return a, nil
}

// unpacks reports whether the kernel unpacks the file itself when it is loaded
// as a module, and looks for a signature behind what comes out. Kernel:
// kernel_read_file() with READING_MODULE_COMPRESSED, since 7.2.
func (j *Judge) unpacks(f tree.File) bool {
	return j.Kernel.AtLeast(7, 2) && plan.IsModule(f.Rel()) && !strings.HasSuffix(f.Rel(), ".ko")
}

// HidingOption returns the option without which the kernel was built and shows no
// labels of the file system that the files will be on; "" for none.
func (j *Judge) HidingOption() string {
	fs, _ := policy.ByName(j.Place.Type)
	if fs.Option == "" || j.Lacks == nil || !j.Lacks(fs.Option) {
		return ""
	}
	return fs.Option
}

// Notes implements tree.Noter.
func (j *Judge) Notes() reason.List {
	option := j.HidingOption()
	if option == "" {
		return nil
	}
	return reason.List{reason.New(reason.HiddenLabels, "the kernel shows no labels of %s: it was built without %s", j.Place.Type, option)}
}

func isBare(magic uint32) bool {
	fs, _ := policy.ByMagic(magic)
	return fs.Bare
}

// bind fills in what binds a label to the inode, and reports whether that is
// what the kernel will see.
func (j *Judge) bind(f tree.File, a *appraise.File) bool {
	bound, ok := tree.As[tree.Bound](f)
	if !ok || j.Moves || j.Covers.CountsUUID == policy.Unknown {
		return false
	}
	generation, err := bound.Generation()
	if err != nil {
		return false
	}
	a.Meta.Inode, a.Meta.Generation = bound.Inode(), generation
	if j.Covers.CountsUUID == policy.False {
		return true
	}
	uuid := [16]byte(a.UUID.Value)
	a.Meta.UUID = &uuid
	return a.UUID.Known
}

// attrs returns the attributes that EVM covers, but for its own and that of
// IMA.
func (j *Judge) attrs(f tree.File) ([]appraise.Attr, error) {
	found, err := target.Protected(f, slices.Concat(j.Covers.Names(), j.Covers.Added), nil)
	var attrs []appraise.Attr
	for _, a := range found {
		attrs = append(attrs, appraise.Attr{Attr: a, Counts: j.Covers.Counts(a.Name)})
	}
	return attrs, err
}

// told puts a judgement into the words of reports.
func (j *Judge) told(use match.Operation, judged appraise.Judgement) report.Judgement {
	t := report.Judgement{
		Operation: string(use), Verdict: report.Outcome(judged.Status.String()), Why: report.Why{Reasons: judged.Reasons},
	}
	for _, c := range judged.Causes {
		t.Causes = append(t.Causes, string(c))
	}
	if judged.Access.Hook != 0 {
		t.Access = judged.Access.String()
	}
	if judged.Rule != match.NoRule {
		t.Rule = j.rule(judged.Rule)
	}
	return t
}

// rule returns a rule as it is printed, which takes longer than most of a judgement.
func (j *Judge) rule(n int) string {
	j.print.Do(func() {
		for i := range j.Policy.Rules {
			j.rules = append(j.rules, j.Policy.Rules[i].String())
		}
	})
	return j.rules[n]
}

// sum makes one outcome of the judgements.
func sum(res *report.Result) {
	res.Outcome, res.Why = report.Allowed, report.Why{}
	for _, t := range res.Judgements {
		if t.Verdict == report.Denied || t.Verdict == report.Undecided && res.Outcome == report.Allowed {
			res.Outcome, res.Why = t.Verdict, t.Why
		}
		if t.Verdict == report.Denied {
			return
		}
	}
}

// A content computes the digests of a file when they are asked for, each once.
type content struct {
	ctx     context.Context
	reader  *hash.Reader
	file    tree.File
	digests []hash.Digest
	read    int64
	err     error // that ends the attempt
}

// Digest implements appraise.Content.
func (c *content) Digest(a hash.Algorithm) (hash.Digest, error) {
	for _, d := range c.digests {
		if d.Algorithm() == a {
			return d, nil
		}
	}
	d, n, err := c.reader.Content(c.ctx, a, c.file, c.file.Meta().Size)
	c.read += n
	_, cannot := errors.AsType[*hash.NotComputableError](err)
	_, short := errors.AsType[*hash.ShortError](err)
	switch {
	case err == nil:
		c.digests = append(c.digests, d)
	case short:
		c.err = &tree.ChangedError{Cause: err}
	case !cannot && c.err == nil && c.ctx.Err() != nil:
		c.err = err
	case !cannot && c.err == nil:
		c.err = fmt.Errorf("reading: %w", err)
	}
	return d, err
}

// Verity implements appraise.Content.
func (c *content) Verity() (hash.Digest, error) {
	d, _, err := inspect.VerityDigest(c.file)
	return d, err
}
