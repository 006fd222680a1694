// Package denials makes of integrity records what an administrator asks: what was
// refused, to which program, in which directory, why, how often, and since when.
//
// A [Collector] takes what package audit reads, one [Log] for each log, in any
// order, and counts in groups. Its memory is bounded, whatever the logs say: what
// is too much is counted without a name. It looks at no files.
//
// A record alone does not tell whether the kernel enforced: in log mode it writes
// the same. What tells is ima_appraise= on the command line of the boot, which
// the kernel's messages have; where they are missing the caller says it.
package denials

import (
	"strings"
	"time"

	"imaseal/internal/audit"
)

// A Kind says what a record means.
type Kind uint8

// The kinds, in the order of a report.
const (
	// Refused: the kernel appraised a file, and it failed.
	Refused Kind = iota
	// Advised: a file failed where a program had asked for its opinion
	// (AT_EXECVE_CHECK), and the kernel refuses nothing.
	Advised
	// Metadata: EVM refused to let a file's owner, mode or attributes change.
	Metadata
	// Policy: a policy, or a rule of it, was not taken.
	Policy
	// Violation: a measured file was changed while it was used, so that its
	// measurement says nothing.
	Violation
	// Unmeasured: something could not be measured.
	Unmeasured
)

var kindNames = [...]string{
	Refused: "refused", Advised: "advised", Metadata: "metadata", Policy: "policy", Violation: "violation", Unmeasured: "unmeasured",
}

// String returns the name of the kind, which is stable.
func (k Kind) String() string { return kindNames[k] }

// IsDamaged reports whether a record ends before what tells whether it is about a
// denial.
func IsDamaged(r *audit.Record) bool {
	_, is := KindOf(r)
	return r.Cut && !is && r.Type <= audit.Userspace
}

// KindOf returns what a record means, and false for one that is about nothing
// that went wrong.
func KindOf(r *audit.Record) (Kind, bool) {
	failed := r.Result == audit.Failure
	switch r.Type {
	case audit.Data:
		// appraise_data is only recorded when it fails, also with res=1. One
		// that is cut has lost its result.
		return Refused, failed || r.Op == "appraise_data" || r.Cut && r.Cause != ""
	case audit.Userspace:
		return Advised, failed || r.Op == "appraise_data" || r.Cut && r.Cause != ""
	case audit.Metadata:
		return Metadata, failed || r.Cut && r.Cause != ""
	case audit.Status, audit.PolicyRule:
		return Policy, failed
	case audit.PCR:
		// A violation is recorded as a success (ima_add_violation()).
		if r.Op == "invalid_pcr" {
			return Violation, true
		}
		return Unmeasured, failed
	}
	return 0, false
}

// A Mode is what the kernel does about a file that fails.
type Mode uint8

// The modes. See ima_appraise= in Documentation/admin-guide/kernel-parameters.txt.
const (
	ModeUnknown Mode = iota
	Enforce          // it is refused
	LogOnly          // it is recorded, and used
	Fix              // its label is made anew
	Off              // the same as LogOnly, where a rule is evaluated at all
)

var modeNames = [...]string{ModeUnknown: "unknown", Enforce: "enforce", LogOnly: "log", Fix: "fix", Off: "off"}

// String returns the mode as ima_appraise= has it, or "unknown".
func (m Mode) String() string { return modeNames[m] }

// ModeOf returns the mode that a command line chooses, for a kernel that lets it
// choose (CONFIG_IMA_APPRAISE_BOOTPARAM, no secure boot). The kernel compares the
// beginning of the value, leaves the mode as it is if it is none, and lets the
// last one win (ima_appraise_parse_cmdline()).
func ModeOf(commandLine string) Mode {
	mode := Enforce
	for word := range strings.FieldsSeq(commandLine) {
		if word == "--" { // the rest is for the first program
			break
		}
		value, ok := strings.CutPrefix(word, "ima_appraise=")
		if !ok {
			continue
		}
		for _, m := range []Mode{Off, LogOnly, Fix, Enforce} {
			if strings.HasPrefix(value, m.String()) {
				mode = m
				break
			}
		}
	}
	return mode
}

// A Group is what happened alike.
type Group struct {
	Node string // as in audit.Record
	Kind Kind
	Mode Mode
	// Op and Cause are the kernel's words.
	Op, Cause string
	// Program is the first 15 bytes of the program's name.
	Program string
	// Directory is that of the files; "" where records do not tell, as those
	// of EVM do not.
	Directory string

	Count       uint64
	First, Last time.Time // zero if no record tells
	// Files are those that were remembered, the most frequent first.
	Files []File
	// Unnamed is how many of Count are about files that were not remembered.
	Unnamed uint64
	// Times are when they were made, the first one first, if that was asked for.
	Times []Piece
	// Rest says that the group is what was left over when there were too many:
	// Op, Cause, Program and Directory may be any.
	Rest bool
}

// A File is a file of a group, as far as the records tell.
type File struct {
	// Path is absolute, or only the last name where no record tells more.
	// Of Op set_data it begins at the root of the file system.
	Path        string
	Dev         string
	Inode       uint64 // 0 if not known
	Count       uint64
	First, Last time.Time
}

// A Report is what was collected.
type Report struct {
	// Groups are in the order of kinds, and then the most frequent first.
	Groups []Group
	// Piece is how long the pieces of their Times are.
	Piece time.Duration
	// Records is how many were added, of which Duplicates were there already,
	// Before were too old, Undated have no time that could be compared, and
	// Others are about nothing that went wrong.
	Records, Duplicates, Before, Undated, Others uint64
	Lost                                         Lost
	Loaded                                       Loaded
}

// A Loaded is what the records say of policies that the kernel took. What is lost of
// them is not in it.
type Loaded struct {
	Times int // how many it took
	// Rules are those of all of them, as policies have them. A permit_directio is
	// not recorded.
	Rules       []string
	Cut         bool      // there were too many to remember them all
	First, Last time.Time // zero if no record tells
}

// Lost says what logs have lost, as far as they say.
type Lost struct {
	// Suppressed records are not among the kernel's messages, Dropped ones
	// nowhere, and Missed messages of the kernel may have been any.
	Suppressed, Dropped, Missed uint64
	// More says that there were losses of which nobody counted.
	More bool
}

// Any reports whether anything is lost.
func (l Lost) Any() bool { return l != Lost{} }
