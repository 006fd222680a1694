// Package wire holds what the kernel lab and its guest program say to each
// other: a Job travels in the initramfs, Reports come back on a raw disk.
package wire

import (
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// ShellOption on the kernel command line asks for an interactive shell on the
// console before the probes.
const ShellOption = "lab.shell"

// Places inside the initramfs and devices of the guest.
const (
	JobPath     = "/job"
	Root        = "/newroot"
	RootDisk    = "/dev/vda"
	ReportDisk  = "/dev/vdb"
	JournalDisk = "/dev/vdc"
)

// MoreDisk is the device of the nth filesystem of Job.More, of which the first is 1.
func MoreDisk(n int) string { return "/dev/vd" + string(rune('c'+n)) }

// ImageRoot is where a filesystem is mounted: 0 is the root filesystem.
func ImageRoot(n int) string {
	if n == 0 {
		return Root
	}
	return Root + strconv.Itoa(n)
}

// An Op is what a probe does with its file.
type Op string

// The operations. All but Sh, Tree, Rule, Remount and AddKey take Probe.Path,
// resolved inside the root filesystem, symbolic links included.
const (
	Read    Op = "read"    // open for reading
	Direct  Op = "direct"  // open for reading with O_DIRECT
	Write   Op = "write"   // open for writing, without truncation, and close
	Append  Op = "append"  // the same with O_APPEND
	Update  Op = "update"  // open for reading and writing, and close
	Extend  Op = "extend"  // the same with O_APPEND
	Create  Op = "create"  // create, write Probe.Script into it, close
	MapExec Op = "mapexec" // open for reading and map executable
	Protect Op = "protect" // open and map for reading, and make the mapping executable
	Written Op = "written" // open for writing, map shared and writable, and again executable
	Exec    Op = "exec"    // execve, killed before its first instruction
	Module  Op = "module"  // load as a kernel module; one that is none is allowed
	Kexec   Op = "kexec"   // load as the kernel of a kexec; likewise
	Sh      Op = "sh"      // run Probe.Script in the initramfs; the root is at /newroot
	Tree    Op = "tree"    // run Probe.Script by the root filesystem's own /bin/sh, in a chroot
	Rule    Op = "rule"    // write Probe.Script to the policy file, and have nothing loaded
	Remount Op = "remount" // mount the root filesystem anew: nothing of its files is cached then
	AddKey  Op = "addkey"  // add Probe.Offer to a keyring that is made for it
)

// A Probe is one thing to try. Names are for the caller alone.
type Probe struct {
	Name   string
	Op     Op
	Path   string
	Script string
	// User opens or executes the path instead of root, with a group of the same
	// number and no capability but those to open what belongs to others and to
	// watch what is executed. Only for Read and Exec.
	User uint32
	// Image is where the path is, or the tree: 0 is the root filesystem, n the
	// nth of Job.More. For Tree and what takes a path.
	Image int
	// Offer is what AddKey adds.
	Offer *Offer
}

// An Offer is a certificate, or something like it, for a keyring.
type Offer struct {
	Certificate []byte
	// Issuer restricts the keyring to what this certificate signed, if there is one.
	Issuer []byte
	// Find are searches for keys in the keyring, such as id:01234567.
	Find []string
	// Signature is checked with the key, if there is one.
	Signature *Signature
}

// A Signature is one for KEYCTL_PKEY_VERIFY.
type Signature struct {
	Info   string // such as "enc=pkcs1 hash=sha256"
	Digest []byte
	Raw    []byte
}

// An Added is what became of an Offer that was taken.
type Added struct {
	Description []byte // of the key
	Found       []bool // by Find
	Verify      string // empty if Signature is right or there is none, else the error
}

// A Verdict is what became of a probe.
type Verdict struct {
	// Errno is empty if the operation was allowed, else a name such as EACCES.
	// For Sh and Tree it is "exit N" with the script's status.
	Errno string `json:"errno,omitempty"`
	// Step names the call that failed: open, write, mmap, exec.
	Step string `json:"step,omitempty"`
	// Output is what a script wrote to its standard output and error.
	Output string `json:"output,omitempty"`
	// Cause is the cause of the last integrity record about a failure that the
	// kernel wrote meanwhile, and Records are all integrity records, raw.
	Cause   string   `json:"cause,omitempty"`
	Records []string `json:"records,omitempty"`
	// Added is set by AddKey where it succeeds.
	Added *Added `json:"added,omitempty"`
}

// Allowed says whether the kernel let the operation through.
func (v Verdict) Allowed() bool { return v.Errno == "" }

// A Key is added to a keyring of the guest before anything is mounted.
type Key struct {
	Type    string // asymmetric, user, encrypted, …
	Desc    string // may be empty for asymmetric keys
	Payload []byte
	Ring    string // "" is root's user keyring, else a keyring made inside it
}

// A Job is all that the guest program needs to know.
type Job struct {
	Modules      []string // paths in the initramfs, in loading order
	Keys         []Key
	Setup        string   // run by busybox sh -e, after the keys
	Policy       []string // rules, one write each
	EVM          []string // values for securityfs evm, one write each
	FS           string   // type of the root filesystem; "" is no root
	More         []string // types of other filesystems, which are only read
	MountOptions string
	Probes       []Probe
	Init         string // program in the root filesystem to hand over to at the end
}

// A Report is one line of the report disk. Exactly one field is set.
type Report struct {
	Index   *int     `json:"index,omitempty"` // of the probe Verdict belongs to
	Verdict *Verdict `json:"verdict,omitempty"`
	Error   string   `json:"error,omitempty"` // the guest program gave up
	Done    bool     `json:"done,omitempty"`  // all probes made
}

// WriteJob encodes a job.
func WriteJob(w io.Writer, j Job) error {
	if err := gob.NewEncoder(w).Encode(j); err != nil {
		return fmt.Errorf("encoding job: %w", err)
	}
	return nil
}

// ReadJob decodes a job.
func ReadJob(r io.Reader) (Job, error) {
	var j Job
	if err := gob.NewDecoder(r).Decode(&j); err != nil {
		return Job{}, fmt.Errorf("decoding job: %w", err)
	}
	return j, nil
}

// ErrUnfinished says that a report stream ended without an end mark.
var ErrUnfinished = errors.New("the guest did not finish its report")

// ReadReports decodes the verdicts of n probes from a report disk. It returns
// those that are there also beside an error.
func ReadReports(r io.Reader, n int) ([]Verdict, error) {
	verdicts := make([]Verdict, 0, n)
	dec := json.NewDecoder(r)
	for {
		var rep Report
		if err := dec.Decode(&rep); err != nil {
			return verdicts, fmt.Errorf("%w: %d of %d verdicts", ErrUnfinished, len(verdicts), n)
		}
		switch {
		case rep.Error != "":
			return verdicts, fmt.Errorf("guest: %s", rep.Error)
		case rep.Done && len(verdicts) == n:
			return verdicts, nil
		case rep.Verdict != nil && rep.Index != nil && *rep.Index == len(verdicts):
			verdicts = append(verdicts, *rep.Verdict)
		default:
			return verdicts, fmt.Errorf("unexpected report after %d of %d verdicts", len(verdicts), n)
		}
	}
}
