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
		return k.algorithms(allowed(), alg, d)
	}
	digest, v := k.collect(f, alg, have == ofVerity || have == byDemand && d.Verity)
	if v.Status == Denied {
		if direct {
			v = denied(FailedDirectIO, v.Reasons...)
		}
		return v
	}
	v, isSigned := k.measureModSig(f, a, d, digest)
	if direct && d.DirectIO {
		v = allowed()
	}
	v = k.algorithms(v, alg, d)
	if a.Mask&policy.MayWrite != 0 && isSigned && v.Status != Denied {
		return denied("", because(NotWritable))
	}
	return v
}

// isKernelRead: the kernel has the content in a buffer and hashes that.
func isKernelRead(h policy.Hook) bool {
	return h >= policy.ModuleCheck && h <= policy.PolicyCheck
}

// A digester computes the digest to compare with when it is needed.
type digester func() (hash.Digest, Verdict)

// collect is ima_collect_measurement(): it denies what cannot be collected.
// The content is read only when the digest is asked for.
func (k *Kernel) collect(f *File, alg hash.Algorithm, verity bool) (digester, Verdict) {
	if verity {
		sum, err := f.Content.Verity()
		switch {
		case err != nil:
			return func() (hash.Digest, Verdict) {
				return hash.Digest{}, undecided(reason.New(NoVerity, "the fs-verity digest: %v", err))
			}, allowed()
		case sum.IsZero():
			return nil, denied(NoVerityDigest)
		}
		return func() (hash.Digest, Verdict) { return sum, allowed() }, allowed()
	}
	if alg != 0 && k.HasHash(alg) == policy.False {
		return nil, denied(Failed, notThere(alg))
	}
	return func() (hash.Digest, Verdict) {
		if alg == 0 {
			return hash.Digest{}, undecided(because(NoDefaultHash))
		}
		sum, err := f.Content.Digest(alg)
		if err != nil {
			return hash.Digest{}, undecided(reason.New(NoContent, "the content's digest: %v", err))
		}
		return sum, allowed()
	}, allowed()
}

// algorithms applies appraise_algos, to the label's algorithm.
func (k *Kernel) algorithms(v Verdict, alg hash.Algorithm, d match.Demands) Verdict {
	switch {
	case v.Status == Denied || d.Algos == 0 || d.Algos.Has(alg):
		return v
	case alg == 0:
		return undecided(because(NoDefaultHash))
	}
	return denied(DeniedAlgorithm)
}

// measureModSig tries what an appended signature may be.
func (k *Kernel) measureModSig(f *File, a match.Access, d match.Demands, digest digester) (Verdict, bool) {
	states := []ModSig{f.ModSig}
	mayHave := a.Hook == policy.ModuleCheck || a.Hook == policy.KexecKernelCheck || a.Hook == policy.KexecInitramfsCheck
	switch {
	case !d.ModSig || !mayHave || k.Config.ModSig == policy.False:
		states = []ModSig{ModSigNone}
	case f.ModSig == ModSigUnknown:
		states = []ModSig{ModSigNone, ModSigRight, ModSigWrong}
	case f.ModSig == ModSigUnchecked:
		states = []ModSig{ModSigRight, ModSigWrong}
	}
	var verdict Verdict
	isSigned := false
	for i, state := range states {
		v, signed := k.measure(f, a, d, digest, state)
		if i == 0 {
			verdict, isSigned = v, signed
		} else if v.Status != verdict.Status {
			return undecided(because(UncheckedModSig)), false
		}
	}
	return verdict, isSigned
}
