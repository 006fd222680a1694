package cli

import (
	"errors"

	"imaseal/hash"
	"imaseal/internal/attest"
	"imaseal/internal/measure"
	"imaseal/internal/reason"
	"imaseal/internal/report"
)

// shownProblem is what measurements verify says of a problem in JSON. Its fields only
// ever grow.
type shownProblem struct {
	Number int64 `json:"number,omitempty"`
	Offset int64 `json:"offset,omitempty"`
	Line   int64 `json:"line,omitempty"`
	Column int   `json:"column,omitempty"`
	*shownPath
	Outcome report.Outcome `json:"outcome"`
	Code    reason.Code    `json:"code"`
	Reason  string         `json:"reason"`
}

func showProblem(problem attest.Problem) shownProblem {
	r := problem.Record
	s := shownProblem{Number: r.Number, Offset: r.Offset, Line: r.Line, Outcome: report.Invalid, Code: problem.Code, Reason: problem.Err.Error()}
	if problem.Unread {
		s.Outcome = report.Failed
	}
	if wrong, ok := errors.AsType[*measure.RecordError](problem.Err); ok {
		s.Number, s.Offset, s.Line, s.Column, s.Reason = wrong.Number, wrong.Offset, wrong.Line, wrong.Column, wrong.Err.Error()
	}
	if name := r.Name(); name != "" {
		path := showPath(name)
		s.shownPath = &path
	}
	return s
}

// verifySummary is the last object in JSON of measurements verify. Its fields only ever
// grow.
type verifySummary struct {
	Command    string                `json:"command"`
	Form       string                `json:"form"`
	Bank       string                `json:"bank"`
	Records    int64                 `json:"records"`
	Violations int64                 `json:"violations"`
	Boots      int64                 `json:"boots"`
	Signed     int64                 `json:"signed"`
	Verified   int64                 `json:"verified"`
	Uncovered  int64                 `json:"uncovered,omitempty"`
	Problems   map[reason.Code]int64 `json:"problems,omitempty"`
	// BootAggregate says whether that of the list was compared with the PCRs.
	BootAggregate bool `json:"boot_aggregate"`
	// Quoted is the record after which PCRs were quoted.
	Quoted *int64      `json:"quoted,omitempty"`
	PCRs   []shownPCR  `json:"pcrs,omitempty"`
	Notes  reason.List `json:"notes,omitempty"`
}

// A shownPCR is a PCR that the list was replayed into.
type shownPCR struct {
	Index   int    `json:"pcr"`
	Bank    string `json:"bank"`
	Value   string `json:"value,omitempty"` // of the TPM
	List    string `json:"list,omitempty"`  // after all records
	Matches *bool  `json:"matches,omitempty"`
	After   *int64 `json:"after,omitempty"` // the record
	Later   int64  `json:"later,omitempty"`
	Padded  bool   `json:"padded,omitempty"`
}

func (v *listVerifier) summary(res attest.Result) any {
	s := verifySummary{
		Command: "measurements verify", Form: v.list.Layout().Form.String(), Bank: v.options.Bank.String(), Records: res.Records, Violations: res.Violations,
		Boots: res.Boots, Signed: res.Signed, Verified: res.Verified, Uncovered: res.Uncovered, Problems: v.problems, BootAggregate: res.BootAggregate, Notes: v.program.notes(),
	}
	if v.request.quote.message != "" && res.HasMoment {
		s.Quoted = &res.Moment
	}
	for _, bank := range res.Values.Banks() {
		for _, i := range res.Values.Indexes(bank) {
			s.PCRs = append(s.PCRs, showPCR(res, i, bank))
		}
	}
	return struct {
		Summary verifySummary `json:"summary"`
	}{s}
}

func showPCR(res attest.Result, index int, bank hash.Algorithm) shownPCR {
	value, _ := res.Values.Value(bank, index)
	s := shownPCR{Index: index, Bank: bank.String(), List: value.String()}
	for _, t := range res.PCRs {
		if t.Index == index && t.Bank == bank {
			s.Value, s.Matches = t.Value.String(), &t.Matches
			if t.Matches {
				s.After, s.Later, s.Padded = &t.After, t.Later, t.Padded
			}
		}
	}
	return s
}
