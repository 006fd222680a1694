package reason

import "strings"

// Why a path is not selected. Directories that are read are not reported at all.
const (
	OtherOwner      Code = "other-owner"
	OtherFilesystem Code = "other-filesystem"
	PseudoFS        Code = "pseudo-filesystem"
	Filtered        Code = "filtered"
	Symlink         Code = "symbolic-link"
	Special         Code = "special-file"
	Whiteout        Code = "whiteout" // of a layer of an image: it says that a file is gone
	Directory       Code = "directory"
	HardLink        Code = "hard-link"  // the inode is handled under another name
	OwnOutput       Code = "own-output" // written by this run
	OwnPath         Code = "own-path"   // given as a path of its own
	ByRule          Code = "rule"       // a rule of --rules skips it
	NotAppraised    Code = "not-appraised"
	SignatureFile   Code = "detached-signature"
	NotNamed        Code = "not-in-labels" // a file of labels has none for it
	OtherShard      Code = "other-shard"   // another run answers for it
)

// Why a file carries what it does, and was not written.
const (
	NoLabel      Code = "no-label"      // there was none to remove
	Signature    Code = "signature"     // better than the hash that would be written
	EVMSignature Code = "evm-signature" // better than the HMAC that would be written
	TrustedKey   Code = "trusted-key"   // a valid signature by a key that is trusted
	OtherFile    Code = "other-file"    // another file has the name since the run that is undone
	OtherLabel   Code = "other-label"   // the label was changed since that run
	NotChanged   Code = "not-changed"   // by that run
)

// What verify finds.
const (
	NoIMA          Code = "no-ima"
	NoEVM          Code = "no-evm"
	NoSidecar      Code = "no-detached-signature"
	Malformed      Code = "malformed-label"
	WrongDigest    Code = "wrong-digest"
	WrongType      Code = "wrong-type" // a label of a type that the kernel refuses there
	BadSignature   Code = "bad-signature"
	BadHMAC        Code = "bad-hmac"
	NoKey          Code = "no-key" // none was given to check with
	NoHMACKey      Code = "no-hmac-key"
	UnknownKey     Code = "unknown-key"
	AmbiguousKey   Code = "ambiguous-key"
	Unsupported    Code = "unsupported" // of its form nothing is known here
	NotComputable  Code = "not-computable"
	NoVerity       Code = "no-verity" // a verity signature, and no fs-verity
	WrongVerity    Code = "wrong-verity-algorithm"
	NeedsSignature Code = "signature-required"
)

// What comparing a measurement list with a tree finds.
const (
	NotMeasured        Code = "not-measured"
	OtherContent       Code = "other-content" // than was measured
	NamedAlike         Code = "named-alike"   // as a file that was measured
	MeasuredUnlabelled Code = "measured-unlabelled"
	OtherMeasured      Code = "other-label-measured"
	MeasuredVerity     Code = "measured-verity" // which is no digest of the content
	Gone               Code = "gone"
	OtherRoot          Code = "other-root" // of the mounts of a process
	MeasuredOpen       Code = "changed-while-measured"
	SeveralContents    Code = "several-contents"
	DeletedThen        Code = "deleted-when-measured"
	NoPath             Code = "no-path" // of the file system: memory, and what lies outside a root
	OutsideTree        Code = "outside-tree"
	NotSelected        Code = "not-selected" // and there
)

// Why a file cannot be given a label, besides what the system says: package
// advice has the codes of errors.
const (
	NeedsKey        Code = "needs-key"        // the policy demands a signature
	NeedsVersion3   Code = "needs-version-3"  // of signatures
	NeedsVerity     Code = "needs-verity"     // the policy compares fs-verity digests
	DeniedAlgorithm Code = "denied-algorithm" // by the policy
	NoLabelFulfils  Code = "no-label-fulfils" // rules that contradict one another
)

// What stands in the way of a run, or of a file: errors that several packages know.
// Package advice has the codes of the others.
const (
	NotPermitted    Code = "not-permitted"
	ReadOnly        Code = "read-only"
	NoAttributes    Code = "no-attributes" // on this file system
	NoSpace         Code = "no-space"
	NeedsPassphrase Code = "needs-passphrase" // a key
)

// What is to be known of a file though its outcome stands, and of a run.
const (
	OpenForWriting    Code = "open-for-writing"
	StaleEVM          Code = "stale-evm" // security.evm was made for the old label
	TrailingBytes     Code = "trailing-bytes"
	MendedEVM         Code = "mended-evm"         // the EVM label did not fit, the IMA label did
	ReplacedSignature Code = "replaced-signature" // of another key
	NoLeases          Code = "no-leases"          // only times tell of writers
	UnseenMount       Code = "unseen-mount"       // whether it maps owners is not known
	SELinuxRecord     Code = "selinux-record"     // of an archive, of which image makers know nothing
	AfterEnd          Code = "after-end"          // of an archive, where most programs do not look
	GlobalHeader      Code = "global-header"      // of an archive, which some programs do not read
	NothingWritten    Code = "nothing-written"    // of a new archive
	Artifacts         Code = "kept-artifacts"     // about an image that is another now
	LayerTable        Code = "layer-table"        // of contents, of which a new layer has none
	HiddenLabels      Code = "hidden-labels"      // that the kernel does not show
)

// What is to be known of the kernel that a run is for.
const (
	OldKernel Code = "old-kernel" // older than all whose rules are known
	NewKernel Code = "new-kernel" // newer than all whose rules are known
)

// What is to be known of a run as a whole, besides what package target says of the
// kernel.
const (
	AbsentDigest    Code = "absent-digest"
	ModularDigest   Code = "modular-digest"
	Key             Code = "key"             // something about a key or its certificate
	ReadableSecret  Code = "readable-secret" // by others
	Immutable       Code = "immutable-files" // once EVM is active
	BuildRules      Code = "build-rules"     // that a kernel has besides
	NoRules         Code = "no-rules"
	EVMActive       Code = "evm-active" // on the running kernel
	NothingSelected Code = "nothing-selected"
	TornLog         Code = "torn-log"
	Resumed         Code = "resumed"           // with what an earlier run has left
	OtherLines      Code = "other-lines"       // in a report or log, which are none of it
	NoReport        Code = "no-report"         // that is whole
	Archive         Code = "archive"           // that is labelled itself
	SomeEVM         Code = "some-evm"          // labels, but not on all files
	NoBootAggregate Code = "no-boot-aggregate" // in a policy for attestation
	NoRoot          Code = "no-root"           // is what looks like one
	OtherMachine    Code = "other-machine"     // or boot, that a list is of
	PartialCover    Code = "partial-cover"     // by a policy of what was measured
	OtherTemplate   Code = "other-template"    // than a verifier knows
	Violations      Code = "violations"        // in a measurement list
	NothingMeasured Code = "nothing-measured"
	LostLinks       Code = "lost-links"     // to what is not there
	NoPCRs          Code = "no-pcrs"        // to compare a measurement list with
	PaddedDigests   Code = "padded-digests" // of a measurement list
	PartialLogs     Code = "partial-logs"
	BinaryJournal   Code = "binary-journal"
	EmptyLogs       Code = "empty-logs"
	LostRecords     Code = "lost-records"    // by the kernel
	DamagedRecords  Code = "damaged-records" // in logs
	UndatedRecords  Code = "undated-records"
	GuessedPolicy   Code = "guessed-policy" // which the kernel does not show
	StoreAway       Code = "signature-store-away"
	StoreLies       Code = "signature-store-rejected"    // what it gave
	StoreFull       Code = "signature-store-not-written" // for whatever reason
	StorePlain      Code = "signature-store-unencrypted" // and the token with it
)

// words are what people read where it is not the code with blanks.
var words = map[Code]string{
	PseudoFS:           "pseudo-filesystem",
	OwnOutput:          "written by this run",
	OwnPath:            "given as a path of its own",
	NotNamed:           "not in the file of labels",
	NoVendorLabel:      "no signature in the RPM database",
	ChangedContent:     "changed since it was signed",
	NoLabel:            "no label",
	EVMSignature:       "EVM signature",
	TrustedKey:         "signature of a trusted key",
	OtherFile:          "another file has this name by now",
	OtherLabel:         "the label was changed since the run",
	NotChanged:         "was not changed by the run",
	NoIMA:              "no security.ima",
	OtherContent:       "the content is not what was measured",
	MeasuredUnlabelled: "was measured, and has no label",
	OtherMeasured:      "the label is not that of what was measured",
	Gone:               "was measured, and is not there",
	OtherRoot:          "was measured by a process of a container, perhaps",
	MeasuredOpen:       "was changed while it was measured",
	SeveralContents:    "was measured with several contents",
	DeletedThen:        "deleted when it was measured",
	OutsideTree:        "measured outside the tree",
	NotSelected:        "measured, there, and not selected",
	NoPath:             "measured, and no path of a file",
	NoEVM:              "no security.evm",
	WrongDigest:        "the content is not what the label says",
	BadHMAC:            "the HMAC does not match",
	NoKey:              "a signature, and no key to check it with",
	NoHMACKey:          "an HMAC, and no HMAC key to check it with",
	UnknownKey:         "a signature by a key that is not known",
	NeedsKey:           "the policy demands a signature, and there is no key",
	StaleEVM:           "an EVM label made for another IMA label",
	MendedEVM:          "an EVM label that did not fit is mended",
	ReplacedSignature:  "a signature by another key is replaced",
}

// plurals are the words for several.
var plurals = map[Code]string{
	Directory: "directories",
	PseudoFS:  "pseudo-filesystems",
	Special:   "special files",
	Symlink:   "symbolic links",
}

// Words returns the reason in words.
func (c Code) Words() string {
	if w, ok := words[c]; ok {
		return w
	}
	b := []byte(c)
	for i := range b {
		if b[i] == '-' {
			b[i] = ' '
		}
	}
	return string(b)
}

// Of returns the code that has the words.
func Of(text string) Code {
	for c, w := range words {
		if w == text {
			return c
		}
	}
	return Code(strings.ReplaceAll(text, " ", "-"))
}

// Plural returns the words for several files, such as in "3 symbolic links".
func (c Code) Plural() string {
	if w, ok := plurals[c]; ok {
		return w
	}
	return c.Words()
}
