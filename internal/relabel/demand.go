package relabel

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"imaseal/hash"
	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/policy/inspect"
	"imaseal/internal/policy/match"
	"imaseal/walk"
)

// notAppraised is the reason of files that no rule of the policy can take.
const notAppraised = "not appraised"

var errNotAppraised = errors.New(notAppraised)

// A Policy selects the files that a kernel may appraise, whoever does with them
// what they are for, and says what their labels must be. It is safe for
// concurrent use.
type Policy struct {
	policy.Policy
	Kernel    policy.Kernel
	Inspector *inspect.Inspector // of the files
}

// A DemandError says that a file's label would not be what the policy demands.
type DemandError struct{ What, Advice string }

func (e *DemandError) Error() string { return e.What }

// demand returns what the policy may demand of the file: the strictest of all
// that is possible, and false if no rule can take it.
func (p *Policy) demand(e *walk.Entry) (match.Demands, bool, error) {
	var strictest match.Demands
	facts, err := p.Inspector.File(e.File, &e.Stat)
	if err != nil {
		return strictest, false, err
	}
	uses, err := inspect.Uses(e.File, &e.Stat, fullPath(e))
	if err != nil {
		return strictest, false, err
	}
	taken, plain := false, false
	for _, use := range append(uses, match.Write) {
		for _, a := range use.Accesses(p.Kernel) {
			for _, o := range match.Appraisal(p.Policy, match.Query{Access: a, File: facts}) {
				if !o.Appraise {
					continue
				}
				// Algorithms of two rules are both demanded.
				algos := strictest.Algos & o.Demands.Algos
				if strictest.Algos == 0 || o.Demands.Algos == 0 {
					algos = strictest.Algos | o.Demands.Algos
				}
				modSig := o.Demands.ModSig || !o.Demands.Signature
				if taken {
					modSig = modSig && strictest.ModSig
				}
				plain = plain || !o.Demands.Verity
				strictest = strictest.Or(o.Demands)
				strictest.Algos, strictest.ModSig, taken = algos, modSig, true
			}
		}
	}
	if strictest.Verity && plain {
		return strictest, taken, &DemandError{
			What:   "one rule of the policy compares the fs-verity digest and another the content's: no label fulfils both",
			Advice: "imaseal policy explain says which rules; exclude the file from one of them",
		}
	}
	return strictest, taken, nil
}

// fullPath is where the file is, which tells more of its use than where it is
// in a tree that may begin anywhere.
func fullPath(e *walk.Entry) string {
	if full, err := filepath.Abs(e.Path); err == nil {
		return full
	}
	return e.Rel
}

// byPolicy returns the class of a file as the policy demands it, where the rules
// decide class. The error is errNotAppraised, a *DemandError, or about reading
// the file.
func (l *Labeller) byPolicy(e *walk.Entry, class plan.Class) (plan.Class, error) {
	d, taken, err := l.Policy.demand(e)
	switch {
	case err != nil:
		return "", err
	case !taken:
		return "", errNotAppraised
	case d.Verity:
		return "", &DemandError{
			What:   "the policy compares the fs-verity digest, and labels are made over contents",
			Advice: "fsverity enable FILE, then evmctl ima_sign --veritysig; or exclude such files with --exclude",
		}
	case d.Algos != 0 && !d.Algos.Has(l.Algo):
		return "", &DemandError{
			What:   fmt.Sprintf("the policy allows labels of %s here, and not of %s", d.Algos, l.Algo),
			Advice: "--algo chooses the algorithm; leave it out to take one that the policy allows",
		}
	case !d.Signature || class == plan.Sign && !d.SigV3:
		return class, nil
	case l.Key == nil && d.ModSig && hasModSig(e):
		return class, nil
	case l.Key == nil:
		return "", &DemandError{What: "the policy demands a signature, and there is no key", Advice: needsKey}
	case d.SigV3 && l.Policy.Kernel.IsSigV3() && l.Key.Version != 3:
		return "", &DemandError{What: "the policy demands a signature of version 3", Advice: "--sig-version 3"}
	}
	return plan.Sign, nil
}

const needsKey = "--key FILE signs what the policy wants signed; imaseal keys generate makes a key"

// CheckKey returns a *DemandError if no file can be labelled as the policy
// demands without a key.
func (p *Policy) CheckKey() error {
	appraises := false
	for _, r := range p.Rules {
		if r.Action != policy.Appraise || r.Func == policy.SetxattrCheck {
			continue
		}
		if !r.Signature || r.ModSig {
			return nil
		}
		appraises = true
	}
	if !appraises {
		return nil
	}
	return &DemandError{What: "every appraise rule of the policy demands signatures, and there is no key", Advice: needsKey}
}

// preferred are the algorithms in the order in which they are chosen.
var preferred = []hash.Algorithm{hash.SHA256, hash.SHA512, hash.SHA384, hash.SHA3_256, hash.SHA3_512, hash.SHA3_384, hash.SM3, hash.SHA224, hash.SHA1}

// Algorithm returns the best algorithm that every rule of the policy allows.
func (p *Policy) Algorithm() (hash.Algorithm, error) {
	for _, a := range preferred {
		if p.allows(a) {
			return a, nil
		}
	}
	return 0, &DemandError{
		What:   "there is no algorithm that all rules of the policy allow",
		Advice: "label in several runs, each with --algo and --include",
	}
}

func (p *Policy) allows(a hash.Algorithm) bool {
	if p.Kernel.HasHash(a) == policy.False {
		return false
	}
	for _, r := range p.Rules {
		if r.Action == policy.Appraise && r.Algos != 0 && !r.Algos.Has(a) {
			return false
		}
	}
	return true
}

// modSigMarker ends files with an appended signature, as modules and kernels
// may have. Kernel: MODULE_SIG_STRING, include/linux/module_signature.h.
const modSigMarker = "~Module signature appended~\n"

// hasModSig reports whether the file ends as those with an appended signature
// do.
func hasModSig(e *walk.Entry) bool {
	b := make([]byte, len(modSigMarker))
	n, err := e.File.ReadAt(b, max(0, e.Stat.Size-int64(len(b))))
	return (err == nil || errors.Is(err, io.EOF)) && string(b[:n]) == modSigMarker
}
