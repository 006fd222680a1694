package audit

import (
	"strconv"
	"time"
)

// A Type is the number of a kind of record.
type Type uint16

// The types of integrity records.
const (
	Data       Type = 1800
	Metadata   Type = 1801
	Status     Type = 1802
	Hash       Type = 1803
	PCR        Type = 1804
	Rule       Type = 1805
	EVMXattr   Type = 1806
	PolicyRule Type = 1807
	Userspace  Type = 1808
)

// lastType ends the block of numbers that are kept for integrity records.
const lastType Type = 1899

// typeNames are the names that auditd gives types (lib/msg_typetab.h of audit).
var typeNames = map[Type]string{
	Data: "INTEGRITY_DATA", Metadata: "INTEGRITY_METADATA", Status: "INTEGRITY_STATUS", Hash: "INTEGRITY_HASH", PCR: "INTEGRITY_PCR",
	Rule: "INTEGRITY_RULE", EVMXattr: "INTEGRITY_EVM_XATTR", PolicyRule: "INTEGRITY_POLICY_RULE", Userspace: "INTEGRITY_USERSPACE",
}

var typesByName = func() map[string]Type {
	types := make(map[string]Type)
	for t, name := range typeNames {
		types[name] = t
	}
	return types
}()

// String returns auditd's name of the type.
func (t Type) String() string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return "UNKNOWN[" + strconv.Itoa(int(t)) + "]"
}

func (t Type) isIntegrity() bool { return Data <= t && t <= lastType }

// NoID stands for a user or session that is not set, and for one that a record
// does not tell: (uid_t)-1.
const NoID = 1<<32 - 1

// A Result is what a record says of the success of what it is about.
type Result uint8

// The results.
const (
	Untold Result = iota // the record does not say
	Failure
	Success
)

// A Record is an integrity record. What it does not tell is zero, or NoID.
type Record struct {
	Type Type
	// Time has milliseconds, Serial is the same for all records of a system
	// call. Both are zero where the log does not say.
	Time   time.Time
	Serial uint64
	// Node is the name of the machine, where a log tells it, and Boot the id
	// of the boot, in the journal.
	Node, Boot string

	PID                int // of the thread
	UID, AUID, Session uint32
	Subject            string // of the security module
	Op, Cause          string
	Comm               string // of the program, up to 15 bytes
	// Name is a path from the root of the kernel, not from that of the
	// process, or, depending on Op, only its last name, or the name of
	// something that is no file. It is bytes, as names of files are.
	Name   string
	Dev    string // the file system's id, mostly the name of its device
	Inode  uint64
	Result Result
	Errno  int

	Digest string // of Rule, as ALGORITHM:HEX
	Xattr  string // of EVMXattr
	Rule   string // of PolicyRule, as in a policy

	// Cut says that the record ends too early: what is behind the cut is not
	// told.
	Cut bool
}

// A Loss says that records are missing.
type Loss struct {
	Kind LossKind
	// Count is how many are missing, and Total how many the kernel has dropped
	// since it booted; zero if not told.
	Count, Total uint64
	// Message is what the log says.
	Message string
	Boot    string // as in Record
}

// A LossKind says who lost records.
type LossKind uint8

// The kinds.
const (
	// Suppressed records were not printed among the kernel's messages, since
	// there were too many at once. auditd has got them, if it runs.
	Suppressed LossKind = iota
	// Dropped records are gone: the kernel's queue was full, or a rate limit
	// of audit was passed.
	Dropped
	// Missed messages of the kernel were overwritten before somebody read
	// them.
	Missed
)

// A Boot is what the kernel says of itself when it starts.
type Boot struct {
	ID string // as in Record
	// Of these one is set. Release and CommandLine are those of the kernel;
	// SecureBoot says that it ignores ima_appraise= on its command line.
	Release, CommandLine string
	SecureBoot           bool
}

// An Entry is what one line of a log says. One field is set.
type Entry struct {
	Record *Record
	Loss   *Loss
	Boot   *Boot
}
