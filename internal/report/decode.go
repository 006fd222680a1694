package report

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/reason"
)

// A Line is one object of a report that JSON has printed: at most one of its fields
// is set. Objects that are neither about a file nor a summary have none.
type Line struct {
	Result  *Result
	Summary *Summary
}

// A Recorded is an error, or another problem, as a report in JSON has it.
type Recorded struct {
	Text string
	Code reason.Code
	Hint string
}

func (e *Recorded) Error() string { return e.Text }

// RecordedHint is what Text.Hint was when a result was recorded.
func RecordedHint(r Result) (reason.Code, string) {
	if e, ok := errors.AsType[*Recorded](r.Err); ok {
		return e.Code, e.Hint
	}
	return r.Code, ""
}

// Decode reads one object, which JSON has printed as a line: what Text prints of it
// is what it would have printed then, with RecordedHint. Fields that are not known
// do not count, since there may be new ones. On error the line is empty.
func Decode(b []byte) (Line, error) {
	var o struct {
		Path    *string         `json:"path"`
		Summary json.RawMessage `json:"summary"`
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return Line{}, err
	}
	switch {
	case o.Path != nil && o.Summary != nil:
		return Line{}, errors.New("a path and a summary in one object")
	case o.Path != nil:
		r, err := decodeResult(b)
		if err != nil {
			return Line{}, err
		}
		return Line{Result: r}, nil
	case o.Summary != nil:
		s, err := decodeSummary(o.Summary)
		if err != nil {
			return Line{}, err
		}
		return Line{Summary: s}, nil
	}
	return Line{}, nil
}

func decodeResult(b []byte) (*Result, error) {
	var o jsonResult
	if err := json.Unmarshal(b, &o); err != nil {
		return nil, err
	}
	if !isOutcome(o.Outcome) {
		return nil, fmt.Errorf("%q is no outcome", o.Outcome)
	}
	r := &Result{Path: o.Path, Outcome: o.Outcome, Class: o.Class, Warnings: o.Warnings}
	if o.PathBase64 != nil {
		r.Path = string(o.PathBase64)
	}
	var err error
	if r.IMA, err = hex.DecodeString(o.IMA); err != nil {
		return nil, fmt.Errorf("ima: %w", err)
	}
	if r.EVM, err = hex.DecodeString(o.EVM); err != nil {
		return nil, fmt.Errorf("evm: %w", err)
	}
	if o.Digest != nil {
		r.Digest = *o.Digest
	}
	if o.KeyID != "" {
		if r.KeyID, err = imaevm.ParseKeyID(o.KeyID); err != nil {
			return nil, err
		}
		r.HasKeyID = true
	}
	for _, j := range o.Judgements {
		r.Judgements = append(r.Judgements, Judgement{j.Operation, j.Access, j.Verdict, j.why(), j.Rule})
	}
	switch {
	case o.Outcome == Failed, o.Hint != "":
		r.Err = &Recorded{Text: o.Reason, Code: o.Code, Hint: o.Hint}
	case o.Outcome == Denied, o.Outcome == Undecided, o.Outcome == Allowed:
		r.Why = o.why()
	default:
		r.Reason, r.Code = o.Reason, o.Code
	}
	return r, nil
}

// why is what Why.json made of it.
func (j jsonWhy) why() Why {
	w := Why{Causes: j.Causes, Reasons: j.Reasons}
	if j.Cause != "" {
		w.Causes = []string{j.Cause}
	}
	if len(w.Reasons) == 0 && j.Reason != "" {
		w.Reasons = reason.List{{Code: j.Code, Words: j.Reason}}
	}
	return w
}

// isOutcome reports whether there is such an outcome.
func isOutcome(o Outcome) bool {
	for _, known := range outcomes() {
		if o == known {
			return true
		}
	}
	return o == Skipped
}

// maxCount is more than there can be files: greater numbers would overflow where they
// are added.
const maxCount = 1e15

func isCount(n int) bool { return n >= 0 && int64(n) <= maxCount }

func decodeSummary(b []byte) (*Summary, error) {
	var o jsonSummary
	if err := json.Unmarshal(b, &o); err != nil {
		return nil, err
	}
	if o.Command == "" || o.Outcomes == nil {
		return nil, errors.New("the summary is none of a run on files")
	}
	s := NewSummary(Header{Command: o.Command, Jobs: o.Jobs, DryRun: o.DryRun})
	if o.Algorithm != "" {
		var err error
		if s.Algo, err = hash.Parse(o.Algorithm); err != nil {
			return nil, err
		}
	}
	if o.Shard != nil {
		if o.Shard.Index < 1 || o.Shard.Index > o.Shard.Count {
			return nil, fmt.Errorf("there is no shard %s", o.Shard)
		}
		s.Shard = *o.Shard
	}
	for outcome, n := range o.Outcomes {
		if !isOutcome(outcome) || !isCount(n) {
			return nil, fmt.Errorf("%d times %q is no count", n, outcome)
		}
		s.Count[outcome] = n
	}
	for words, n := range o.Skipped {
		if !isCount(n) {
			return nil, fmt.Errorf("%d skipped is no count", n)
		}
		s.Skipped[reason.Of(words)] += n
	}
	if !isCount(o.HardLinks) || !isCount(o.Warnings) || o.Bytes < 0 || !(o.Seconds >= 0 && o.Seconds < 1e9) || !isCount(o.Jobs) {
		return nil, errors.New("the summary has numbers that are no counts")
	}
	s.HardLinks, s.Warnings, s.Notes, s.Bytes, s.Interrupted = o.HardLinks, o.Warnings, o.Notes, o.Bytes, o.Interrupted
	if o.Warned != nil {
		s.Warned = o.Warned
	}
	s.Elapsed = time.Duration(o.Seconds * float64(time.Second))
	if g := o.Store; g != nil && !(isCount(g.Found) && isCount(g.Made) && isCount(g.Stored) && isCount(g.Rejected) && isCount(g.Unreachable) && isCount(g.Unstored)) {
		return nil, errors.New("the summary has numbers of signatures that are no counts")
	}
	if o.Signatures > maxCount {
		return nil, errors.New("the summary has a number of signatures that is no count")
	}
	s.Signatures, s.Store, s.Merged, s.LabelsTo = o.Signatures, o.Store, o.Merged, o.LabelsTo
	return &s, nil
}
