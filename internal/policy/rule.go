package policy

import (
	"fmt"
	"strings"

	"imaseal/hash"
)

// An Action is the first word of a rule.
type Action uint8

// The actions: four pairs, the positive one first.
const (
	Measure Action = iota + 1
	DontMeasure
	Appraise
	DontAppraise
	Audit
	DontAudit // since 7.2
	Hash
	DontHash
)

var actionNames = [...]string{
	Measure: "measure", DontMeasure: "dont_measure",
	Appraise: "appraise", DontAppraise: "dont_appraise",
	Audit: "audit", DontAudit: "dont_audit",
	Hash: "hash", DontHash: "dont_hash",
}

// String returns the word of the language.
func (a Action) String() string {
	if a == 0 || int(a) >= len(actionNames) {
		return "none"
	}
	return actionNames[a]
}

// IsPositive reports whether a is not one of the dont_ actions.
func (a Action) IsPositive() bool { return a&1 == 1 }

// Positive returns the positive action of a's pair.
func (a Action) Positive() Action {
	if a.IsPositive() {
		return a
	}
	return a - 1
}

// A Hook is a place in the kernel that asks the policy, the value of func=.
type Hook uint8

// The hooks. PostSetattr is asked after chmod and chown and has no name in
// the language.
const (
	FileCheck Hook = iota + 1
	MmapCheck
	MmapCheckReqprot
	BprmCheck
	CredsCheck
	PostSetattr
	ModuleCheck
	FirmwareCheck
	KexecKernelCheck
	KexecInitramfsCheck
	PolicyCheck
	KexecCmdline
	KeyCheck
	CriticalData
	SetxattrCheck
)

var hookNames = [...]string{
	FileCheck: "FILE_CHECK", MmapCheck: "MMAP_CHECK", MmapCheckReqprot: "MMAP_CHECK_REQPROT",
	BprmCheck: "BPRM_CHECK", CredsCheck: "CREDS_CHECK", PostSetattr: "POST_SETATTR",
	ModuleCheck: "MODULE_CHECK", FirmwareCheck: "FIRMWARE_CHECK",
	KexecKernelCheck: "KEXEC_KERNEL_CHECK", KexecInitramfsCheck: "KEXEC_INITRAMFS_CHECK",
	PolicyCheck: "POLICY_CHECK", KexecCmdline: "KEXEC_CMDLINE", KeyCheck: "KEY_CHECK",
	CriticalData: "CRITICAL_DATA", SetxattrCheck: "SETXATTR_CHECK",
}

// String returns the name of the language, and "none" for the zero value.
func (h Hook) String() string {
	if h == 0 || int(h) >= len(hookNames) {
		return "none"
	}
	return hookNames[h]
}

// parseHook accepts the two old names too. POST_SETATTR is not one.
func parseHook(s string) Hook {
	switch s {
	case "PATH_CHECK":
		return FileCheck
	case "FILE_MMAP":
		return MmapCheck
	}
	for h, name := range hookNames {
		if name == s && s != "" && Hook(h) != PostSetattr {
			return Hook(h)
		}
	}
	return 0
}

// A Mask holds the access bits of include/linux/fs.h that policies look at.
type Mask uint8

// The access bits.
const (
	MayExec   Mask = 1
	MayWrite  Mask = 2
	MayRead   Mask = 4
	MayAppend Mask = 8
)

// String joins the names of the bits with a bar.
func (m Mask) String() string {
	var names []string
	for _, b := range maskNames {
		if m&b.bit != 0 {
			names = append(names, b.name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, "|")
}

var maskNames = []struct {
	bit  Mask
	name string
}{{MayExec, "MAY_EXEC"}, {MayWrite, "MAY_WRITE"}, {MayRead, "MAY_READ"}, {MayAppend, "MAY_APPEND"}}

// An Op compares a number with that of the rule.
type Op uint8

// The comparisons of the language. There is no <=, >= or !=.
const (
	Equal Op = iota + 1
	Less
	Greater
)

// String returns the sign, and nothing for the zero value.
func (o Op) String() string { return [...]string{"", "=", "<", ">"}[o] }

// An ID is a condition on a user or group; a zero Op is no condition.
type ID struct {
	Op    Op
	Value uint32
}

// IsSet reports whether there is a condition.
func (c ID) IsSet() bool { return c.Op != 0 }

// Holds reports whether id fulfils the condition.
func (c ID) Holds(id uint32) bool {
	switch c.Op {
	case Equal:
		return id == c.Value
	case Less:
		return id < c.Value
	case Greater:
		return id > c.Value
	}
	return true
}

// A Magic is a condition on the file system's magic number.
type Magic struct {
	Set   bool
	Value uint64 // the kernel takes 64 bits, though its numbers have 32
}

// A UUID is a file system's identifier in textual order.
type UUID [16]byte

// String prints the usual groups in lower case.
func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// An FSUUID is a condition on the file system's identifier.
type FSUUID struct {
	Set   bool
	Value UUID
}

// A PCR is the register that a measure rule extends.
type PCR struct {
	Set   bool
	Value uint8
}

// An LSM is one of the conditions on labels of security modules.
type LSM uint8

// The conditions on labels, of the file and of the task.
const (
	ObjUser LSM = iota
	ObjRole
	ObjType
	SubjUser
	SubjRole
	SubjType
	numLSM
)

var lsmNames = [numLSM]string{"obj_user", "obj_role", "obj_type", "subj_user", "subj_role", "subj_type"}

// String returns the name of the language.
func (l LSM) String() string { return lsmNames[l] }

// LSMs returns all of them in the kernel's order.
func LSMs() []LSM { return []LSM{ObjUser, ObjRole, ObjType, SubjUser, SubjRole, SubjType} }

// A Set is one of the kernel's built-in sets of rules.
type Set string

// The sets. SetTCB and the three behind it are words of ima_policy=;
// SetOldTCB is the parameter ima_tcb, whose companion ima_appraise_tcb means
// SetAppraiseTCB. SetArch and SetBuild come with the kernel.
const (
	SetTCB          Set = "tcb"
	SetAppraiseTCB  Set = "appraise_tcb"
	SetSecureBoot   Set = "secure_boot"
	SetCriticalData Set = "critical_data"
	SetOldTCB       Set = "ima_tcb"
	SetArch         Set = "arch"
	SetBuild        Set = "build"
)

// SplitSets returns the words in a value of ima_policy=. Kernel: policy_setup(),
// ima_policy.c.
func SplitSets(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '|' || r == '\n' })
}

// An Algos is a set of digest algorithms; the zero value is no restriction.
type Algos uint32

// Has reports whether a is in the set.
func (s Algos) Has(a hash.Algorithm) bool { return a != 0 && s&(1<<a.Number()) != 0 }

// Add adds a to the set.
func (s *Algos) Add(a hash.Algorithm) { *s |= 1 << a.Number() }

// String joins the names with commas, in the order of the kernel's table.
func (s Algos) String() string {
	var names []string
	for _, a := range hash.All() {
		if s.Has(a) {
			names = append(names, a.String())
		}
	}
	return strings.Join(names, ",")
}

// A Rule is one rule. Rules are comparable.
type Rule struct {
	Line   int // in the text it was parsed from, 0 if built in
	Origin Set // where a built-in rule comes from, empty for a text's

	Action Action

	// Conditions: all must hold, a zero one always does.
	Func      Hook
	Mask      Mask // one bit
	MaskIn    bool // mask=^: the bit must be among those asked for
	FSMagic   Magic
	FSName    string
	FSSubtype string
	FSUUID    FSUUID
	UID, EUID ID // at most one of the two
	GID, EGID ID // at most one of the two
	FOwner    ID
	FGroup    ID
	LSM       [numLSM]string
	Keyrings  string // joined with bars, for func=KEY_CHECK
	Label     string // joined with bars, for func=CRITICAL_DATA

	// Options.
	Signature bool // appraise_type=: security.ima must be a signature
	SigV3     bool // appraise_type=sigv3
	ModSig    bool // appraise_type=imasig|modsig
	Verity    bool // digest_type=verity
	Algos     Algos
	DirectIO  bool // permit_directio
	PCR       PCR
	Template  string
}

// ChecksBlacklist reports whether files of the rule are looked up in the
// .blacklist keyring: every rule of a text with an appraise_type does so, and
// the architecture's rules, which are texts inside the kernel.
func (r Rule) ChecksBlacklist() bool {
	return r.Signature && (r.Origin == "" || r.Origin == SetArch)
}

// A Policy is a list of rules in the order in which the kernel asks them.
type Policy struct {
	Rules []Rule
	// FailSecurely is the word fail_securely of ima_policy=: appraised files
	// on file systems whose changes the kernel cannot see are denied.
	FailSecurely bool
}
