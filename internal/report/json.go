package report

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"io"
	"unicode/utf8"

	"imaseal/hash"
	"imaseal/internal/reason"
	"imaseal/internal/shard"
)

// JSON prints one object per line: one for each file, the summary last.
// Skipped files other than hard links are printed if Verbose; they are always
// counted. The fields are documented in the man page and only ever grow.
type JSON struct {
	Out     io.Writer
	Verbose bool
	// Hint returns the code of a result, that of its error if it has one, and
	// advice on it, or nothing.
	Hint func(Result) (reason.Code, string)
	// Bar is moved with each result, if there is one.
	Bar *Bar

	out *bufio.Writer
	enc *json.Encoder
}

type jsonResult struct {
	Path       string       `json:"path"`
	PathBase64 []byte       `json:"path_base64,omitempty"`
	Outcome    Outcome      `json:"outcome"`
	Class      string       `json:"class,omitempty"`
	IMA        string       `json:"ima,omitempty"`
	EVM        string       `json:"evm,omitempty"`
	Digest     *hash.Digest `json:"digest,omitempty"`
	KeyID      string       `json:"keyid,omitempty"`
	jsonWhy
	Judgements []jsonJudgement `json:"judgements,omitempty"`
	Warning    string          `json:"warning,omitempty"`
	Warnings   reason.List     `json:"warnings,omitempty"`
	Hint       string          `json:"hint,omitempty"`
}

type jsonJudgement struct {
	Operation string  `json:"operation"`
	Access    string  `json:"access,omitempty"`
	Verdict   Outcome `json:"verdict"`
	jsonWhy
	Rule string `json:"rule,omitempty"`
}

// A jsonWhy is a Why as JSON has it: what is certain has a field of its own.
type jsonWhy struct {
	Cause   string      `json:"cause,omitempty"`
	Causes  []string    `json:"causes,omitempty"`
	Reason  string      `json:"reason,omitempty"`
	Code    reason.Code `json:"code,omitempty"`
	Reasons reason.List `json:"reasons,omitempty"`
}

func (w Why) json(o Outcome) jsonWhy {
	j := jsonWhy{Reason: w.Reasons.String(), Code: w.Reasons.Code()}
	if o == Denied && len(w.Causes) == 1 {
		j.Cause = w.Causes[0]
	} else {
		j.Causes = w.Causes
	}
	if len(w.Reasons) > 1 {
		j.Reasons = w.Reasons
	}
	return j
}

type jsonSummary struct {
	Command     string              `json:"command"`
	Algorithm   string              `json:"algorithm,omitempty"`
	DryRun      bool                `json:"dry_run"`
	LabelsTo    string              `json:"labels_to,omitempty"`
	Interrupted bool                `json:"interrupted"`
	Shard       *shard.Shard        `json:"shard,omitempty"`
	Outcomes    map[Outcome]int     `json:"outcomes"`
	HardLinks   int                 `json:"hard_links"`
	Skipped     map[string]int      `json:"skipped"`
	Warnings    int                 `json:"warnings"`
	Warned      map[reason.Code]int `json:"warned,omitempty"`
	Notes       reason.List         `json:"notes,omitempty"`
	Bytes       int64               `json:"bytes"`
	Signatures  uint64              `json:"signatures,omitempty"`
	Seconds     float64             `json:"seconds"`
	Jobs        int                 `json:"jobs"`
	Store       *Store              `json:"signature_store,omitempty"`
	Merged      *Merged             `json:"merged,omitempty"`
}

// Start implements Handler.
func (j *JSON) Start(Header) error {
	j.out = bufio.NewWriter(j.Out)
	j.enc = json.NewEncoder(j.out)
	j.enc.SetEscapeHTML(false)
	return nil
}

// Result implements Handler.
func (j *JSON) Result(r Result) error {
	j.Bar.Add(r)
	if r.Outcome == Skipped && r.Code != reason.HardLink && !j.Verbose {
		return nil
	}
	o := jsonResult{
		Path: r.Path, Outcome: r.Outcome, Class: r.Class,
		IMA: hex.EncodeToString(r.IMA), EVM: hex.EncodeToString(r.EVM),
		jsonWhy: r.Why.json(r.Outcome), Warning: r.Warning(), Warnings: r.Warnings,
	}
	if r.Reason != "" {
		o.Reason, o.Code = r.Reason, r.Code
	}
	for _, t := range r.Judgements {
		o.Judgements = append(o.Judgements, jsonJudgement{t.Operation, t.Access, t.Verdict, t.Why.json(t.Verdict), t.Rule})
	}
	if !utf8.ValidString(r.Path) {
		o.PathBase64 = []byte(r.Path)
	}
	if !r.Digest.IsZero() {
		o.Digest = &r.Digest
	}
	if r.HasKeyID {
		o.KeyID = r.KeyID.String()
	}
	if r.Err != nil {
		o.Reason = oneLine(r.Err)
	}
	if j.Hint != nil && (r.Err != nil || r.Outcome == Unverifiable) {
		o.Code, o.Hint = j.Hint(r)
	}
	return j.enc.Encode(o)
}

// Finish implements Handler.
func (j *JSON) Finish(s Summary) error {
	j.Bar.Finish(s.Interrupted)
	o := jsonSummary{
		Command: s.Command, DryRun: s.DryRun, LabelsTo: s.LabelsTo, Interrupted: s.Interrupted,
		Outcomes: s.Count, HardLinks: s.HardLinks, Skipped: make(map[string]int), Warnings: s.Warnings, Warned: s.Warned, Notes: s.Notes,
		Bytes: s.Bytes, Signatures: s.Signatures, Seconds: s.Elapsed.Seconds(), Jobs: s.Jobs, Store: s.Store, Merged: s.Merged,
	}
	for c, n := range s.Skipped { // by their words, as ever
		o.Skipped[c.Words()] = n
	}
	if s.Shard.IsGiven() {
		o.Shard = &s.Shard
	}
	if s.Algo != 0 {
		o.Algorithm = s.Algo.String()
	}
	err := j.enc.Encode(struct {
		Summary jsonSummary `json:"summary"`
	}{o})
	if err != nil {
		return err
	}
	return j.out.Flush()
}
