// Package report turns results into text, JSON lines and a progress bar.
package report

import (
	"time"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/reason"
	"imaseal/internal/shard"
)

// An Outcome is the one thing that became of a file.
type Outcome string

// The outcomes. Runs that write have Labelled to Restored, verify has Valid to
// Unverifiable, check has Allowed to Undecided. All have the last three.
const (
	Labelled  Outcome = "labelled"  // carries a new label now
	Requested Outcome = "requested" // a label is to be made elsewhere
	Answered  Outcome = "answered"  // a label was made that was requested
	Unchanged Outcome = "unchanged" // was as asked, and not written
	Exported  Outcome = "exported"  // is in a policy that is written
	Kept      Outcome = "kept"      // carries something better, which was left
	Cleared   Outcome = "cleared"   // carries no label any more
	Restored  Outcome = "restored"  // carries what it did before the run that is undone

	Valid        Outcome = "valid"        // the label fits the content
	Unlabelled   Outcome = "unlabelled"   // there is no label
	Invalid      Outcome = "invalid"      // the label does not fit, or is none
	Unverifiable Outcome = "unverifiable" // a signature, and no key for it

	Allowed   Outcome = "allowed"   // the kernel lets it be used
	Denied    Outcome = "denied"    // the kernel refuses a use of it
	Undecided Outcome = "undecided" // it depends on what is not known

	Vanished Outcome = "vanished" // was gone when its turn came
	Failed   Outcome = "failed"   // see Err
	Skipped  Outcome = "skipped"  // not selected, see Reason
)

// outcomes lists the outcomes in the order of the summary.
func outcomes() []Outcome {
	return []Outcome{
		Allowed, Denied, Undecided, Labelled, Requested, Answered, Exported, Cleared, Restored, Valid, Invalid, Unlabelled, Unverifiable,
		Unchanged, Kept, Vanished, Failed,
	}
}

// A Result is what became of one file.
type Result struct {
	// Path is the path for messages.
	Path    string
	Outcome Outcome
	// Class is what the file should carry: "hash" or "sign"; empty where no
	// class was decided.
	Class string
	// IMA and EVM are the labels that the file carries now; nil for none.
	IMA, EVM []byte
	// Digest is that of the content, if it was computed.
	Digest hash.Digest
	// KeyID is that of the signature in IMA, if HasKeyID.
	KeyID    imaevm.KeyID
	HasKeyID bool
	// Code says why the outcome is what it is, and Reason says it in words;
	// of Failed, Err does.
	Code   reason.Code
	Reason string
	// Judgements are what is made of the uses of the file, in runs that check, and
	// Why what the outcome rests on.
	Judgements []Judgement
	Why
	// Warnings are what the user should know though the outcome stands.
	Warnings reason.List
	// Err is why the outcome is Failed.
	Err error
	// Bytes is how many bytes of content were read, Size how many the file
	// has.
	Bytes, Size int64
}

// Warn adds a warning.
func (r *Result) Warn(c reason.Code, text string) {
	r.Warnings = append(r.Warnings, reason.Reason{Code: c, Words: text})
}

// Warning returns the warnings in one line.
func (r *Result) Warning() string {
	return r.Warnings.String()
}

// A Judgement is what a kernel would make of one use of a file.
type Judgement struct {
	Operation string
	Access    string  // that the verdict is about
	Verdict   Outcome // Allowed, Denied or Undecided
	Why
	Rule string // that takes the file there
}

// A Header describes a run that starts.
type Header struct {
	Command string // as the user typed it: hash, verify, ...
	Jobs    int
	Algo    hash.Algorithm // zero where the run has none
	DryRun  bool
	// ReadOnly says that the command writes nothing to the tree.
	ReadOnly bool        `json:"-"`
	Shard    shard.Shard // that the run answers for
	// LabelsTo is the file that labels were written to instead of the tree, ""
	// for none.
	LabelsTo string
}

// A Summary counts what became of a run's files.
type Summary struct {
	Header
	Count     map[Outcome]int
	Skipped   map[reason.Code]int // hard links aside
	HardLinks int
	Warnings  int
	// Warned counts warnings by their kind.
	Warned map[reason.Code]int
	// Notes are what the user should know of the run as a whole; so many of them
	// were Said already.
	Said  int
	Notes reason.List
	Bytes int64
	// Signatures is how many a key has made, in runs of which that is told.
	Signatures uint64
	Elapsed    time.Duration
	// Store is what came of a store of signatures; nil for a run without.
	Store *Store
	// Interrupted says that the run was ended before all files had their
	// turn.
	Interrupted bool
	// Merged says what the summary was put together from; nil for that of one
	// run.
	Merged *Merged
}

// A Store counts what came of the signatures of a run with a store: see
// signatures.Statistic.
type Store struct {
	Found       int `json:"found"`
	Made        int `json:"made"`
	Stored      int `json:"stored"`
	Rejected    int `json:"rejected"`
	Unreachable int `json:"unreachable"`
	Unstored    int `json:"unstored"`
}

// Add adds those of another run.
func (s *Store) Add(o *Store) {
	s.Found += o.Found
	s.Made += o.Made
	s.Stored += o.Stored
	s.Rejected += o.Rejected
	s.Unreachable += o.Unreachable
	s.Unstored += o.Unstored
}

// A Merged says which runs a summary is of. Elapsed then is the time of the run that
// took longest.
type Merged struct {
	Reports int `json:"reports"`
	// Shards is how many there should be, 0 for runs without; Missing are those
	// that there are not, such as 3,5-7.
	Shards  int    `json:"shards,omitempty"`
	Missing string `json:"missing,omitempty"`
	// Seconds is the time of all runs together.
	Seconds float64 `json:"seconds"`
}

// NewSummary returns the summary of nothing yet.
func NewSummary(h Header) Summary {
	return Summary{Header: h, Count: make(map[Outcome]int), Skipped: make(map[reason.Code]int), Warned: make(map[reason.Code]int)}
}

// Add counts a result.
func (s *Summary) Add(r Result) {
	s.Bytes += r.Bytes
	if len(r.Warnings) > 0 {
		s.Warnings++
	}
	for _, w := range r.Warnings {
		if w.Code != "" {
			s.Warned[w.Code]++
		}
	}
	switch {
	case r.Outcome != Skipped:
		s.Count[r.Outcome]++
	case r.Code == reason.HardLink:
		s.HardLinks++
	default:
		s.Skipped[r.Code]++
	}
}

// Selected returns the number of files that the run answers for.
func (s *Summary) Selected() int {
	n := 0
	for _, c := range s.Count {
		n += c
	}
	return n
}

// A Handler prints a run. Its methods are called by one goroutine: Start,
// Result for each file, Finish.
type Handler interface {
	Start(Header) error
	Result(Result) error
	Finish(Summary) error
}
