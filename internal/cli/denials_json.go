package cli

import (
	"time"

	"imaseal/internal/denials"
	"imaseal/internal/locate"
	"imaseal/internal/reason"
	"imaseal/internal/report"
)

// shownGroup is what denials says of a group in JSON. Its fields only ever grow.
type shownGroup struct {
	Kind      string       `json:"kind"`
	Mode      string       `json:"mode"`
	Node      string       `json:"node,omitempty"`
	Operation string       `json:"operation,omitempty"` // the kernel's word
	Cause     string       `json:"cause,omitempty"`
	Program   string       `json:"program,omitempty"`
	Directory string       `json:"directory,omitempty"`
	Count     uint64       `json:"count"`
	First     *time.Time   `json:"first,omitempty"`
	Last      *time.Time   `json:"last,omitempty"`
	Files     []shownInLog `json:"files,omitempty"`
	// Unnamed are records of files that are not in Files, Open those of which it
	// is not known that they would not be made again.
	Unnamed uint64   `json:"unnamed,omitempty"`
	Open    uint64   `json:"open"`
	Rest    bool     `json:"rest,omitempty"`
	Do      []string `json:"do,omitempty"`
}

// A shownInLog is a file of records.
type shownInLog struct {
	shownPath
	Device string     `json:"device,omitempty"`
	Inode  uint64     `json:"inode,omitempty"`
	Count  uint64     `json:"count"`
	First  *time.Time `json:"first,omitempty"`
	Last   *time.Time `json:"last,omitempty"`
	Now    *shownNow  `json:"now,omitempty"`
}

// A shownNow is a file as it is now.
type shownNow struct {
	State   locate.State   `json:"state"`
	Path    *shownPath     `json:"at,omitempty"` // where it is another
	Outcome report.Outcome `json:"outcome,omitempty"`
	Causes  []string       `json:"causes,omitempty"`
	Code    reason.Code    `json:"code,omitempty"`
	Reason  string         `json:"reason,omitempty"`
}

// whenKnown returns a time for JSON, nil for none.
func whenKnown(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func showGroup(g *denials.Group, told toldGroup) shownGroup {
	s := shownGroup{
		Kind: g.Kind.String(), Mode: g.Mode.String(), Node: g.Node, Operation: g.Op, Cause: g.Cause, Program: g.Program, Directory: g.Directory,
		Count: g.Count, First: whenKnown(g.First), Last: whenKnown(g.Last), Unnamed: g.Unnamed, Open: told.open, Rest: g.Rest, Do: told.lines,
	}
	for i, f := range g.Files {
		in := shownInLog{shownPath: showPath(f.Path), Device: f.Dev, Inode: f.Inode, Count: f.Count, First: whenKnown(f.First), Last: whenKnown(f.Last)}
		if l := told.looks[i]; l.state != "" {
			in.Now = &shownNow{State: l.state, Outcome: l.outcome, Causes: l.why.Causes, Code: l.why.Reasons.Code(), Reason: l.why.Reasons.String()}
			if l.asRecorded && g.Cause != "" {
				in.Now.Causes = []string{g.Cause}
			}
			if l.path != "" && l.path != f.Path {
				at := showPath(l.path)
				in.Now.Path = &at
			}
		}
		s.Files = append(s.Files, in)
	}
	return s
}

// A shownDenials is the last object of denials. Its fields only ever grow.
type shownDenials struct {
	Command    string      `json:"command"`
	Records    uint64      `json:"records"`
	Groups     int         `json:"groups"`
	Open       uint64      `json:"open"`
	Duplicates uint64      `json:"duplicates,omitempty"`
	Before     uint64      `json:"before,omitempty"`
	Undated    uint64      `json:"undated,omitempty"`
	Others     uint64      `json:"others,omitempty"`
	Damaged    int64       `json:"damaged,omitempty"`
	Lost       *shownLost  `json:"lost,omitempty"`
	Notes      reason.List `json:"notes,omitempty"`
}

// A shownLost is what logs have lost.
type shownLost struct {
	Suppressed uint64 `json:"suppressed,omitempty"`
	Dropped    uint64 `json:"dropped,omitempty"`
	Missed     uint64 `json:"missed,omitempty"`
	More       bool   `json:"more,omitempty"`
}

func (t *denialTeller) summary() any {
	f := t.found
	s := shownDenials{
		Command: "denials", Records: f.Records, Groups: len(f.Groups), Open: t.unmended, Duplicates: f.Duplicates, Before: f.Before, Undated: f.Undated,
		Others: f.Others, Damaged: t.damaged, Notes: t.program.notes(),
	}
	if f.Lost.Any() {
		s.Lost = &shownLost{f.Lost.Suppressed, f.Lost.Dropped, f.Lost.Missed, f.Lost.More}
	}
	return struct {
		Summary shownDenials `json:"summary"`
	}{s}
}
