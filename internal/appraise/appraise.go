// Package appraise is the kernel's appraisal decision as a pure function: what
// is known of a file at rest, its labels, the rules that match, the keys and
// the state of EVM become allowed, denied or undecided. Denied comes with the
// cause that the kernel's audit record gives, where it writes one.
//
// It follows process_measurement() (security/integrity/ima/ima_main.c),
// ima_appraise_measurement() and xattr_verify() (ima_appraise.c), and
// evm_verify_hmac() (security/integrity/evm/evm_main.c) of 6.12 and 7.2, in
// enforce mode, for a file that was not opened before.
//
// Not modelled, since it cannot be seen in a file at rest: what earlier
// operations left with the inode (verdicts, digests, demands; within one
// operation Judge follows them), writers that have the file open or mapped
// ("mmapped_writers"), new files, and the .blacklist keyring, which may deny
// any file that a rule with appraise_type takes. Since 7.2 the signature
// appended to a compressed module that the kernel unpacks itself is that of
// its unpacked form, while the label is that of the file: to the caller such a
// file's ModSig is unknown.
package appraise

import (
	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
	"imaseal/internal/reason"
	"imaseal/sign"
)

// EVM is the state of EVM in the kernel that decides.
type EVM struct {
	HMAC  bool // EVM_INIT_HMAC: the key is loaded
	X509  bool // EVM_INIT_X509: signatures are verified
	SigV3 bool // EVM_SIGV3_REQUIRED, since 7.2

	Keys   sign.Verifiers   // the certificates in the keyring .evm or _evm; nil: not known
	KeysV1 sign.VerifiersV1 // the user keys in it; nil: not known
	Key    *imaevm.HMACKey  // nil: not at hand
	Target imaevm.Target    // layout of what HMACs and signatures cover
}

// IsActive reports whether appraised files need an EVM label.
func (e EVM) IsActive() bool { return e.HMAC || e.X509 }

// A Kernel is who decides.
type Kernel struct {
	policy.Kernel
	Keys   sign.Verifiers   // the certificates in the keyring .ima or _ima; nil: not known
	KeysV1 sign.VerifiersV1 // the user keys in it, for signatures of version 1; nil: not known
	// Platform is the keyring .platform, which is tried second for kexec
	// images if the kernel has it. Nil means that it holds no key.
	Platform sign.Verifiers
	EVM      EVM
}

// A Content gives the digests of a file. Digest may be asked for every
// algorithm of the table. Verity returns the zero digest for a file without
// fs-verity.
type Content interface {
	Digest(hash.Algorithm) (hash.Digest, error)
	Verity() (hash.Digest, error)
}

// An Attr is an attribute that EVM covers. Counts says whether HMACs and
// inode-bound signatures do so with the kernel's build; portable signatures
// cover them all.
type Attr struct {
	imaevm.Attr
	Counts policy.Truth
}

// A ModSig is what is known of a signature appended to the file.
type ModSig uint8

// The states of an appended signature.
const (
	ModSigUnknown ModSig = iota // it is not known whether there is one
	ModSigNone
	ModSigUnchecked // there is one
	ModSigRight
	ModSigWrong
)

// A File is what counts of a file.
type File struct {
	match.File
	Regular bool   // of others nothing is appraised
	Mode    uint32 // the set-id bits of programs count
	// AtBoot says that the file may be used before modules can be loaded from
	// where it is.
	AtBoot bool
	// NoXattrs says that the file system has no extended attributes at all;
	// an appraised file is then denied without a record.
	NoXattrs bool
	// UserMount says that the file system was mounted in a user namespace.
	UserMount policy.Truth

	IMA []byte // security.ima; none and an empty one are the same to the kernel
	EVM []byte // security.evm; nil is none, an empty one is wrong
	// Attrs are the attributes that EVM covers, as the file system holds them
	// and in the kernel's order, without security.ima and security.evm.
	Attrs []Attr
	// Meta is what EVM covers of the inode. Bound says that inode number,
	// generation and file system UUID are those that the kernel will see;
	// Meta.UUID is nil if the kernel's build does not count it.
	Meta  imaevm.Meta
	Bound bool

	Content Content
	ModSig  ModSig
}

// A kind is which digest of a file counts.
type kind uint8

const (
	byDemand  kind = iota // as the rules say: nothing was computed before
	ofContent             // an earlier access computed it
	ofVerity
)

// check decides about an access to a file that an appraise rule matches, with
// what the rules demand. direct says that the file is opened with O_DIRECT, have
// which digest an earlier access has computed.
func (k *Kernel) check(f *File, a match.Access, d match.Demands, direct bool, have kind) Verdict {
	if !f.Regular {
		return allowed()
	}
	alg := k.labelAlgorithm(f.IMA)
	if have == byDemand && direct && !d.Verity && !isKernelRead(a.Hook) {
		if !d.DirectIO {
			return denied(FailedDirectIO)
		}
		return k.algorithms(alg, d)
	}
	digest, collected := k.collect(f, alg, have == ofVerity || have == byDemand && d.Verity)
	if direct {
		collected = collected.renamed(FailedDirectIO)
	}
	if collected.Status == Denied {
		return collected
	}
	v, isSigned := k.measureModSig(f, a, d, digest)
	if direct && d.DirectIO {
		v = allowed()
	}
	v = collected.then(v).then(k.algorithms(alg, d))
	if a.Mask&policy.MayWrite != 0 && isSigned {
		v = v.then(denied("", because(NotWritable)))
	}
	return v
}

// isKernelRead: the kernel has the content in a buffer and hashes that.
func isKernelRead(h policy.Hook) bool {
	return h >= policy.ModuleCheck && h <= policy.PolicyCheck
}

// A digester is the digest to compare with.
type digester struct {
	alg hash.Algorithm // zero if that is not known
	// compute returns it, or why it cannot be computed. The content is read only
	// when it is called.
	compute func() (hash.Digest, reason.List)
}

// collect is ima_collect_measurement(): the verdict is about what cannot be
// collected.
func (k *Kernel) collect(f *File, alg hash.Algorithm, verity bool) (digester, Verdict) {
	if verity {
		sum, err := f.Content.Verity()
		switch {
		case err != nil:
			why := missing(reason.New(NoVerity, "the fs-verity digest: %v", err))
			return digester{compute: func() (hash.Digest, reason.List) { return hash.Digest{}, why }}, maybe(why, NoVerityDigest)
		case sum.IsZero():
			return digester{}, denied(NoVerityDigest)
		}
		return digester{sum.Algorithm(), func() (hash.Digest, reason.List) { return sum, nil }}, allowed()
	}
	if alg == 0 {
		why := missing(because(NoDefaultHash))
		return digester{compute: func() (hash.Digest, reason.List) { return hash.Digest{}, why }}, allowed()
	}
	return digester{alg, func() (hash.Digest, reason.List) {
		sum, err := f.Content.Digest(alg)
		if err != nil {
			return hash.Digest{}, missing(reason.New(NoContent, "the content's digest: %v", err))
		}
		return sum, nil
	}}, k.computes(f, alg)
}

// computes is the verdict about whether the kernel can compute a file's digest.
func (k *Kernel) computes(f *File, alg hash.Algorithm) Verdict {
	switch p := k.Presence(alg); {
	case p == policy.Absent:
		return denied(Failed, notThere(alg))
	case p == policy.UnknownPresence:
		return maybe(missing(reason.New(UnknownDigest, "not known whether the kernel has %s", alg)), Failed)
	case p == policy.Module && f.AtBoot:
		return maybe(missing(reason.New(reason.ModularDigest, "denied before the initramfs has loaded the module for %s", alg)), Failed)
	case p == policy.Present && f.AtBoot:
		return maybe(missing(reason.New(reason.ModularDigest, "not known whether the kernel has %s built in; else denied before the initramfs has loaded its module", alg)), Failed)
	}
	return allowed()
}

// algorithms applies appraise_algos, to the label's algorithm.
func (k *Kernel) algorithms(alg hash.Algorithm, d match.Demands) Verdict {
	switch {
	case d.Algos == 0 || d.Algos.Has(alg):
		return allowed()
	case alg == 0:
		return maybe(missing(because(NoDefaultHash)), DeniedAlgorithm)
	}
	return denied(DeniedAlgorithm)
}

// TakesModSig reports whether the kernel may look for an appended signature when a
// file is accessed so: no rules of other hooks can allow one (ima_validate_rule(),
// security/integrity/ima/ima_policy.c).
func TakesModSig(a match.Access) bool {
	return a.Hook == policy.ModuleCheck || a.Hook == policy.KexecKernelCheck || a.Hook == policy.KexecInitramfsCheck
}

// measureModSig tries what an appended signature may be.
func (k *Kernel) measureModSig(f *File, a match.Access, d match.Demands, digest digester) (Verdict, bool) {
	states := []ModSig{f.ModSig}
	switch {
	case !d.ModSig || !TakesModSig(a) || k.Config.ModSig == policy.False:
		states = []ModSig{ModSigNone}
	case f.ModSig == ModSigUnknown:
		states = []ModSig{ModSigNone, ModSigRight, ModSigWrong}
	case f.ModSig == ModSigUnchecked:
		states = []ModSig{ModSigRight, ModSigWrong}
	}
	var verdicts []Verdict
	isSigned := false
	for _, state := range states {
		v, signed := k.measure(f, a, d, digest, state)
		verdicts = append(verdicts, v)
		isSigned = isSigned || signed
	}
	return oneOf(missing(because(UncheckedModSig)), verdicts...), isSigned
}
