package cli

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"imaseal/internal/reason"
)

// A shownPath is a path as JSON has it.
type shownPath struct {
	Path       string `json:"path"`
	PathBase64 []byte `json:"path_base64,omitempty"` // if Path is not UTF-8
}

func showPath(path string) shownPath {
	s := shownPath{Path: path}
	if !utf8.ValidString(path) {
		s.PathBase64 = []byte(path)
	}
	return s
}

// A shownSummary is the last object in JSON of commands that walk no trees; those
// that do have a summary of package report. Its fields only ever grow.
type shownSummary struct {
	Command string `json:"command"`
	// Findings of policy lint, by their severity.
	Findings map[string]int `json:"findings,omitempty"`
	// Notes are the warnings that were printed.
	Notes reason.List `json:"notes,omitempty"`
}

// printSummary prints the last object, with the warnings so far.
func (p Program) printSummary(s shownSummary) error {
	s.Notes = p.notes()
	return p.printJSON(struct {
		Summary shownSummary `json:"summary"`
	}{s})
}

// printJSON prints a value as one line of JSON.
func (p Program) printJSON(value any) error {
	line, err := jsonLine(value)
	if err != nil {
		return err
	}
	return p.print(line)
}

func jsonLine(value any) (string, error) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	err := enc.Encode(value)
	return line.String(), err
}
