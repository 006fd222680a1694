package relabel

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/appraise"
	"imaseal/internal/attr"
	"imaseal/internal/imaevm"
	"imaseal/internal/inode"
	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/policy/inspect"
	"imaseal/internal/policy/match"
	"imaseal/internal/report"
	"imaseal/sign"
	"imaseal/walk"
)

// A Judge says what an enforcing kernel would make of files. Its methods are
// safe for concurrent use.
type Judge struct {
	Store  attr.Store
	Policy Policy
	Kernel appraise.Kernel
	// Subject is who does something with the files.
	Subject match.Subject
	// Operations are what is done with them; nil stands for what each file
	// seems to be for.
	Operations []match.Operation
	// Counts says whether the kernel's HMACs and inode-bound signatures cover
	// an attribute; portable signatures cover all that are here. Added are
	// attributes that root adds at run time, in their order.
	Counts map[string]policy.Truth
	Added  []string
	// CountsUUID says whether they cover the UUID of the file system. Moves
	// says that the files will be copied: their inodes will be others.
	CountsUUID policy.Truth
	Moves      bool
}

// Check is a Job: it judges a file.
func (j *Judge) Check(ctx context.Context, w *Worker, e *walk.Entry) report.Result {
	res := report.Result{Path: e.Path}
	err := unchanging(e, func() error { return j.try(ctx, w, e, &res) })
	if err != nil {
		res.Outcome, res.Reason, res.Cause, res.Err = report.Failed, "", "", err
		res.Judgements = nil
	}
	return res
}

func (j *Judge) try(ctx context.Context, w *Worker, e *walk.Entry, res *report.Result) error {
	facts, err := j.Policy.Inspector.File(e.File, &e.Stat)
	if err != nil {
		return err
	}
	uses := j.Operations
	if uses == nil {
		if uses, err = inspect.Uses(e.File, &e.Stat, fullPath(e)); err != nil {
			return err
		}
	}
	if !j.Policy.mayTake(uses, facts) {
		res.Outcome, res.Code, res.Reason = report.Skipped, "not-appraised", notAppraised
		return nil
	}
	content := &content{ctx: ctx, worker: w, entry: e}
	file, err := j.file(e, facts, content)
	if err != nil {
		return err
	}
	res.IMA, res.EVM, res.Judgements = file.IMA, file.EVM, nil
	for _, use := range uses {
		judgement := j.Kernel.Judge(j.Policy.Policy, file, use, j.Subject)
		res.Judgements = append(res.Judgements, j.told(use, judgement))
	}
	res.Bytes += content.read
	if content.err != nil {
		return content.err
	}
	j.sum(res)
	return nil
}

// mayTake reports whether a rule may take a file for one of its uses, whoever
// it is that uses it.
func (p *Policy) mayTake(uses []match.Operation, facts match.File) bool {
	for _, use := range uses {
		for _, a := range use.Accesses(p.Kernel) {
			appraises := func(o match.Outcome) bool { return o.Appraise }
			if slices.ContainsFunc(match.Appraisal(p.Policy, match.Query{Access: a, File: facts}), appraises) {
				return true
			}
		}
	}
	return false
}

// file gathers what the kernel looks at in a file.
func (j *Judge) file(e *walk.Entry, facts match.File, content *content) (*appraise.File, error) {
	f := &appraise.File{File: facts, Regular: true, Mode: e.Stat.Mode, UserMount: policy.False, Content: content, ModSig: appraise.ModSigNone}
	if facts.Magic.Known {
		if facts.Magic.Value == policy.MagicFUSE {
			f.UserMount = policy.Unknown
		}
		f.NoXattrs = isBare(facts.Magic.Value)
	}
	switch {
	case hasModSig(e):
		f.ModSig = appraise.ModSigUnchecked
	case j.unpacks(e):
		f.ModSig = appraise.ModSigUnknown
	}
	var err error
	if f.IMA, err = get(j.Store, e, imaevm.AttrIMA); errors.Is(err, unix.EOPNOTSUPP) {
		f.NoXattrs = f.NoXattrs || j.Policy.Inspector.Type == "" && hasNoAttributes(e)
		return f, nil // no label, to the kernel
	} else if err != nil {
		return nil, err
	}
	if f.EVM, err = get(j.Store, e, imaevm.AttrEVM); err != nil || !j.Kernel.EVM.IsActive() {
		return f, err
	}
	if f.Attrs, err = j.attrs(e); err != nil {
		return nil, err
	}
	f.Meta = imaevm.Meta{Inode: e.Stat.Ino, UID: e.Stat.Uid, GID: e.Stat.Gid, Mode: e.Stat.Mode}
	f.Bound = j.bind(e, f)
	return f, nil
}

// unpacks reports whether the kernel unpacks the file itself when it is loaded
// as a module, and looks for a signature behind what comes out. Kernel:
// kernel_read_file() with READING_MODULE_COMPRESSED, since 7.2.
func (j *Judge) unpacks(e *walk.Entry) bool {
	return j.Policy.Kernel.AtLeast(7, 2) && plan.IsModule(e.Path) && !strings.HasSuffix(e.Path, ".ko")
}

// hasNoAttributes reports whether the file system of a file that refuses
// security attributes has no others either: the kernel then does not ask for a
// label, and writes no record (IOP_XATTR, xattr_resolve_name() in fs/xattr.c).
func hasNoAttributes(e *walk.Entry) bool {
	for _, name := range []string{"user.imaseal", "trusted.imaseal"} {
		if _, err := unix.Fgetxattr(int(e.File.Fd()), name, nil); !errors.Is(err, unix.EOPNOTSUPP) {
			return false
		}
	}
	return true
}

func isBare(magic uint32) bool {
	return slices.ContainsFunc(policy.Filesystems(), func(fs policy.Filesystem) bool { return fs.Magic == magic && fs.Bare })
}

// bind fills in what binds a label to the inode, and reports whether that is
// what the kernel will see.
func (j *Judge) bind(e *walk.Entry, f *appraise.File) bool {
	generation, err := inode.Generation(e.File)
	if err != nil || j.Moves || j.CountsUUID == policy.Unknown {
		return false
	}
	f.Meta.Generation = generation
	if j.CountsUUID == policy.False {
		return true
	}
	uuid := [16]byte(f.UUID.Value)
	f.Meta.UUID = &uuid
	return f.UUID.Known
}

// attrs returns the attributes that EVM covers, but for its own and that of
// IMA.
func (j *Judge) attrs(e *walk.Entry) ([]appraise.Attr, error) {
	var names []string
	for _, p := range imaevm.Protected() {
		names = append(names, p.Name)
	}
	found, err := protected(j.Store, e, slices.Concat(names, j.Added), nil)
	var attrs []appraise.Attr
	for _, a := range found {
		counts := j.Counts[a.Name]
		if slices.Contains(j.Added, a.Name) {
			counts = policy.True
		}
		attrs = append(attrs, appraise.Attr{Attr: a, Counts: counts})
	}
	return attrs, err
}

// told puts a judgement into the words of reports.
func (j *Judge) told(use match.Operation, judged appraise.Judgement) report.Judgement {
	t := report.Judgement{Operation: string(use), Verdict: judged.Status.String(), Cause: string(judged.Cause), Reason: judged.Why}
	if judged.Access.Hook != 0 {
		t.Access = judged.Access.String()
	}
	if judged.Rule != match.NoRule {
		t.Rule = j.Policy.Rules[judged.Rule].String()
	}
	return t
}

// sum makes one outcome of the judgements.
func (j *Judge) sum(res *report.Result) {
	res.Outcome, res.Cause, res.Reason = report.Allowed, "", ""
	for _, t := range res.Judgements {
		switch {
		case t.Verdict == appraise.Denied.String():
			res.Outcome, res.Cause, res.Reason = report.Denied, t.Cause, t.Reason
			if res.Reason == "" {
				res.Reason = j.detail(appraise.Cause(t.Cause), res.IMA)
			}
			return
		case t.Verdict == appraise.Undecided.String() && res.Outcome == report.Allowed:
			res.Outcome, res.Reason = report.Undecided, t.Reason
		}
	}
}

// detail says more of a denial than its cause.
func (j *Judge) detail(c appraise.Cause, ima []byte) string {
	if c != appraise.InvalidSignature && c != appraise.InvalidVeritySignature {
		return ""
	}
	sig, err := imaevm.ParseSignature(ima)
	if err != nil {
		return "the signature is malformed"
	}
	if j.Kernel.Keys != nil {
		_, err := j.Kernel.Keys.Verifier(sig.KeyID)
		if _, unknown := errors.AsType[*sign.UnknownKeyError](err); unknown {
			return "signed by key " + sig.KeyID.String() + ", which is not among the kernel's"
		}
	}
	return "the signature is not that of the content"
}

// A content computes the digests of a file when they are asked for, each once.
type content struct {
	ctx     context.Context
	worker  *Worker
	entry   *walk.Entry
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
	d, n, err := c.worker.read(c.ctx, c.entry, a)
	c.read += n
	if err == nil {
		c.digests = append(c.digests, d)
	} else if _, cannot := errors.AsType[*hash.NotComputableError](err); !cannot && c.err == nil {
		c.err = err
	}
	return d, err
}

// Verity implements appraise.Content.
func (c *content) Verity() (hash.Digest, error) {
	d, _, err := verityDigest(c.entry)
	return d, err
}
