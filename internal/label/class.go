package label

import (
	"errors"
	"fmt"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/policy/inspect"
	"imaseal/internal/policy/match"
	"imaseal/internal/reason"
	"imaseal/internal/tree"
)

var errNotAppraised = errors.New("not appraised")

// A Policy selects the files that a kernel may appraise, whoever uses them and
// whatever for, and says what their labels must be. It is safe for concurrent
// use.
type Policy struct {
	policy.Policy
	Kernel policy.Kernel
	Place  inspect.Place // of the files
}

// A DemandError says that a file's label would not be what the policy demands.
type DemandError struct {
	Code         reason.Code
	What, Advice string
}

func (e *DemandError) Error() string { return e.What }

// Leave returns a reason to leave out a name that a rule skips, so that the file
// can be labelled under another one.
func (l *Labeller) Leave(f tree.File) reason.Code {
	if class, err := l.byRules(f); err == nil && class == plan.Skip {
		return reason.ByRule
	}
	return ""
}

// byRules returns the class that the rules decide.
func (l *Labeller) byRules(f tree.File) (plan.Class, error) {
	return l.Rules.Class(f.Rel(), func() (bool, error) { return isExecutable(f) })
}

// A choice is what rules and policy decide about a file.
type choice struct {
	class plan.Class
	// verity is the fs-verity digest if the signature must be over that; zero
	// for the content's.
	verity hash.Digest
}

// choose returns what rules and policy decide.
func (l *Labeller) choose(f tree.File) (choice, error) {
	class, err := l.byRules(f)
	if err != nil || class == plan.Skip || l.Policy == nil {
		return choice{class: class}, err
	}
	return l.byPolicy(f, class)
}

// demand returns what the policy may demand of the file: the strictest of all
// that is possible, and false if no rule can take it.
func (p *Policy) demand(f tree.File) (match.Demands, bool, error) {
	var strictest match.Demands
	facts, err := p.Place.Facts(f)
	if err != nil {
		return strictest, false, err
	}
	uses, err := inspect.Uses(f)
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
			Code:   reason.NoLabelFulfils,
			What:   "one rule of the policy compares the fs-verity digest and another the content's: no label fulfils both",
			Advice: "imaseal policy explain FILE says which rules; exclude the file from one of them",
		}
	}
	return strictest, taken, nil
}

const (
	needsSignature = "the policy demands a signature, and there is no key"
	needsKey       = "--key FILE signs what the policy wants signed, and --trust CERT keeps what others have signed; imaseal keys generate --out PREFIX makes a key"
)

// byPolicy returns the choice that the policy demands, where the rules decide
// class. The error is errNotAppraised, a *DemandError, or about reading the file.
func (l *Labeller) byPolicy(f tree.File, class plan.Class) (choice, error) {
	d, taken, err := l.Policy.demand(f)
	var verity hash.Digest
	switch {
	case err != nil:
		return choice{}, err
	case !taken:
		return choice{}, errNotAppraised
	case d.Verity:
		if verity, err = veritySigned(f, d); err != nil {
			return choice{}, err
		}
	case d.Algos != 0 && !d.Algos.Has(l.Algo):
		return choice{}, &DemandError{
			Code:   reason.DeniedAlgorithm,
			What:   fmt.Sprintf("the policy allows labels of %s here, and not of %s", d.Algos, l.Algo),
			Advice: "--algo chooses the algorithm; leave it out to take one that the policy allows",
		}
	case !d.Signature || class == plan.Sign && !d.SigV3:
		return choice{class: class}, nil
	case l.Key == nil && d.ModSig && inspect.HasModSig(f):
		return choice{class: class}, nil
	}
	switch {
	case l.Key == nil && (l.Trust == nil || !isSigned(f)):
		return choice{}, &DemandError{Code: reason.NeedsKey, What: needsSignature, Advice: needsKey}
	case l.Key != nil && verity.IsZero() && d.SigV3 && l.Policy.Kernel.IsSigV3() && l.Key.Version != 3:
		return choice{}, &DemandError{Code: reason.NeedsVersion3, What: "the policy demands a signature of version 3", Advice: "--sig-version 3"}
	}
	return choice{plan.Sign, verity}, nil
}

// veritySigned returns the fs-verity digest of a file of which the policy compares
// that: kernels then take nothing but a signature over it. The error is a
// *DemandError, or about asking for the digest.
func veritySigned(f tree.File, d match.Demands) (hash.Digest, error) {
	digest, ok, err := inspect.VerityDigest(f)
	switch {
	case err != nil:
		return digest, err
	case !ok:
		return digest, &DemandError{
			Code:   reason.NeedsVerity,
			What:   "the policy compares the fs-verity digest, and the file has none",
			Advice: "fsverity enable FILE, for each, and run the same command again; or exclude such files with --exclude",
		}
	case d.Algos != 0 && !d.Algos.Has(digest.Algorithm()):
		return digest, &DemandError{
			Code:   reason.DeniedAlgorithm,
			What:   fmt.Sprintf("the policy allows labels of %s here, and the fs-verity digest is of %s", d.Algos, digest.Algorithm()),
			Advice: "fsverity enable --hash-alg=sha512 FILE, or sha256, of a new copy of the file: what is enabled stays so",
		}
	}
	return digest, nil
}

// isSigned reports whether the file has a signature for a label, right or wrong.
func isSigned(f tree.File) bool {
	label, err := f.Attr(imaevm.AttrIMA)
	if err != nil {
		return false
	}
	_, err = imaevm.ParseSignature(label)
	return err == nil
}

// CheckKey returns a *DemandError if a rule demands a signature of files that
// every tree has, which fails them one by one without a key; narrowed says that
// the user has chosen the files, and only a policy that demands signatures of all
// is refused.
func (p *Policy) CheckKey(narrowed bool) error {
	appraises, demands, all := false, "", true
	for _, r := range p.Rules {
		if r.Action != policy.Appraise || r.Func == policy.SetxattrCheck {
			continue
		}
		appraises = true
		if !r.Signature || r.ModSig {
			all = false
		} else if demands == "" && r.Func <= policy.FirmwareCheck {
			demands = r.String()
		}
	}
	switch {
	case appraises && all:
		return &DemandError{Code: reason.NeedsKey, What: "every appraise rule of the policy demands signatures, and there is no key", Advice: needsKey}
	case demands != "" && !narrowed:
		return &DemandError{
			Code: reason.NeedsKey, What: fmt.Sprintf("a rule of the policy demands signatures, and there is no key: %s", demands),
			Advice: needsKey + "; with --include or --exclude the rest is labelled without",
		}
	}
	return nil
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
		Code:   reason.DeniedAlgorithm,
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
