package cli

import (
	"context"
	"encoding/hex"
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/attest"
	"imaseal/internal/measure"
	"imaseal/internal/reason"
	"imaseal/internal/report"
)

// measurementsShowOptions are the options of imaseal measurements show.
type measurementsShowOptions struct {
	list listOptions
	json bool
}

func (o *measurementsShowOptions) flags() []urfave.Flag {
	return append(o.list.flags(), jsonFlag(&o.json, "print one JSON object per record, then a summary object"))
}

// A measurementsShowRequest is what measurements show is asked for.
type measurementsShowRequest struct {
	list listRequest
	json bool
}

func (o *measurementsShowOptions) plan(args []string) (measurementsShowRequest, error) {
	l, err := o.list.plan(args)
	return measurementsShowRequest{l, o.json}, err
}

func (p Program) measurementsShowCommand() *urfave.Command {
	o := new(measurementsShowOptions)
	return &urfave.Command{
		Name:      "show",
		Usage:     "print what was measured",
		ArgsUsage: "[LIST]",
		Description: `Prints a line for each record: its number, PCR, template, digest and name, and
what else it has: the key that signed a file, keys that were loaded, command
lines of kexec, states of the kernel. Nothing is verified.

   imaseal measurements show
   ssh host cat /sys/kernel/security/ima/binary_runtime_measurements |
      imaseal measurements show -

Files that were measured while they could be changed:
   imaseal measurements show --json |
      jq -r 'select(.kind == "violation").path'`,
		Flags:  o.flags(),
		Action: action(o.plan, p.measurementsShow),
	}
}

func (p Program) measurementsShow(ctx context.Context, r measurementsShowRequest) error {
	l, err := p.openList(ctx, r.list)
	if err != nil {
		return err
	}
	defer l.Close()
	hinted := make(map[string]bool)
	s := &recordsSummary{Command: "measurements show"}
	err = l.each(ctx, func(rec measure.Record, wrong *measure.RecordError) error {
		s.count(rec, wrong)
		if wrong != nil {
			p.complain(fmt.Errorf("%s: %w", l.name, wrong), hinted)
		}
		if r.json {
			return p.printJSON(showRecord(rec, wrong))
		}
		if rec.Digest == nil {
			return nil
		}
		return p.print(recordText(rec))
	})
	if err != nil {
		return err
	}
	s.Form, s.Bank = l.Layout().Form.String(), l.Layout().Bank.String()
	if err := p.finishShow(r, s); err != nil {
		return err
	}
	if s.Damaged > 0 {
		return &verdictError{status: exitFiles}
	}
	return nil
}

// violationMeans says what a violation is.
const violationMeans = "a file was opened for writing while it was read, or read while it was open for writing: what was measured is not what was used"

func (p Program) finishShow(r measurementsShowRequest, s *recordsSummary) error {
	if r.json {
		return p.printRecordsSummary(s)
	}
	text := fmt.Sprintf("imaseal: %s, %s list of bank %s", plural(s.Records, "record"), s.Form, s.Bank)
	if s.Violations > 0 {
		text += fmt.Sprintf("; %s: %s", plural(s.Violations, "violation"), violationMeans)
	}
	return p.print(text + "\n")
}

// plural counts things.
func plural(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// recordsSummary is the last object in JSON of measurements show. Its fields only ever
// grow.
type recordsSummary struct {
	Command    string      `json:"command"`
	Form       string      `json:"form,omitempty"`
	Bank       string      `json:"bank,omitempty"`
	Records    int64       `json:"records"`
	Violations int64       `json:"violations"`
	Boots      int64       `json:"boots"`
	Damaged    int64       `json:"damaged,omitempty"`
	Notes      reason.List `json:"notes,omitempty"`
}

func (s *recordsSummary) count(r measure.Record, wrong *measure.RecordError) {
	s.Records++
	switch {
	case wrong != nil:
		s.Damaged++
	case r.IsViolation():
		s.Violations++
	case r.IsBootAggregate():
		s.Boots++
	}
}

func (p Program) printRecordsSummary(s *recordsSummary) error {
	s.Notes = p.notes()
	return p.printJSON(struct {
		Summary *recordsSummary `json:"summary"`
	}{s})
}

// recordText prints a record for people.
func recordText(r measure.Record) string {
	e := attest.Describe(r)
	name, digest := "-", "-"
	if e.Name != "" {
		name = report.Quote(e.Name)
	}
	if d, ok := r.FileDigest(); ok {
		digest = d.Digest.String()
		if d.Kind == measure.KindVerity {
			digest = d.Kind + ":" + digest
		}
	}
	if e.Kind == attest.Violation {
		digest = "violation"
	}
	t := fmt.Sprintf("%6d  %2d  %-9s  %s  %s", r.Number, r.PCR, r.Template, digest, name)
	for _, l := range []struct {
		name  string
		value []byte
	}{{"", e.IMA}, {"EVM ", e.EVM}} {
		if l.value != nil {
			t += "  " + signatureText(l.name, decodeLabel(l.value))
		}
	}
	if uid, ok := r.Uint("iuid"); ok {
		gid, _ := r.Uint("igid")
		mode, _ := r.Uint("imode")
		t += fmt.Sprintf("  of %d:%d, mode %04o", uid, gid, mode&0o7777)
	}
	if more := eventText(r, e); more != "" {
		t += "  " + more
	}
	return t + "\n"
}

func signatureText(what string, l *shownLabel) string {
	if l.KeyID == "" {
		return what + "label: " + l.Problem
	}
	return fmt.Sprintf("%ssigned by %s (%s, version %d)", what, l.KeyID, l.Algorithm, l.Version)
}

// eventText says what a record stands for that is no file.
func eventText(r measure.Record, e attest.Event) string {
	switch e.Kind {
	case attest.Key:
		if e.Certificate == nil {
			return fmt.Sprintf("a key of %d bytes was loaded into it", len(e.Buffer))
		}
		return fmt.Sprintf("key %s was loaded into it: %s", keyID(e.Certificate), printableText(e.Certificate.Subject))
	case attest.CommandLine, attest.Data:
		if e.Text != "" {
			return report.Quote(e.Text)
		}
		return fmt.Sprintf("%d bytes of data", len(e.Buffer))
	case attest.Unknown:
		if r.Data != nil {
			return fmt.Sprintf("%d bytes of data", len(r.Data))
		}
	}
	return ""
}

// keyID is the usual id of a certificate.
func keyID(c *attest.Certificate) string {
	if len(c.KeyIDs) == 0 {
		return "without an id"
	}
	return c.KeyIDs[0].String()
}

// shownRecord is what measurements show says of a record in JSON. Its fields only ever
// grow.
type shownRecord struct {
	Number         int64       `json:"number"`
	Offset         int64       `json:"offset"`
	Line           int64       `json:"line,omitempty"`
	PCR            *int        `json:"pcr,omitempty"`
	Template       string      `json:"template,omitempty"`
	TemplateDigest string      `json:"template_digest,omitempty"`
	Kind           attest.Kind `json:"kind"`
	*shownPath
	Digest       string            `json:"digest,omitempty"`
	Verity       bool              `json:"verity,omitempty"`
	IMA          *shownLabel       `json:"ima,omitempty"`
	EVM          *shownLabel       `json:"evm,omitempty"`
	Modsig       string            `json:"modsig,omitempty"`
	ModsigDigest string            `json:"modsig_digest,omitempty"`
	UID          *uint32           `json:"uid,omitempty"`
	GID          *uint32           `json:"gid,omitempty"`
	Mode         *uint32           `json:"mode,omitempty"`
	Xattrs       map[string]string `json:"xattrs,omitempty"`
	KeyIDs       []string          `json:"keyids,omitempty"`
	Subject      string            `json:"subject,omitempty"`
	Text         string            `json:"text,omitempty"`
	Buffer       string            `json:"buffer,omitempty"`
	Data         string            `json:"data,omitempty"`
	Problem      string            `json:"problem,omitempty"`
}

func showRecord(r measure.Record, wrong *measure.RecordError) shownRecord {
	if wrong != nil && r.Digest == nil {
		return shownRecord{Number: wrong.Number, Offset: wrong.Offset, Line: wrong.Line, Kind: attest.Unknown, Problem: wrong.Error()}
	}
	e := attest.Describe(r)
	s := shownRecord{
		Number: r.Number, Offset: r.Offset, Line: r.Line, PCR: &r.PCR, Template: r.Template, TemplateDigest: r.Layout.Bank.String() + ":" + hex.EncodeToString(r.Digest),
		Kind: e.Kind, Text: e.Text, Buffer: hex.EncodeToString(e.Buffer),
	}
	if wrong != nil {
		s.Problem = wrong.Error()
	}
	if e.Name != "" {
		path := showPath(e.Name)
		s.shownPath = &path
	}
	if d, ok := r.FileDigest(); ok && e.Kind != attest.Violation {
		s.Digest, s.Verity = d.Digest.String(), d.Kind == measure.KindVerity
	}
	if e.IMA != nil {
		s.IMA = decodeLabel(e.IMA)
	}
	if e.EVM != nil {
		s.EVM = decodeLabel(e.EVM)
	}
	if c := e.Certificate; c != nil {
		s.Subject = c.Subject
		for _, id := range c.KeyIDs {
			s.KeyIDs = append(s.KeyIDs, id.String())
		}
	}
	s.addMetadata(r)
	return s
}

// addMetadata adds what the rarer templates have.
func (s *shownRecord) addMetadata(r measure.Record) {
	for _, n := range []struct {
		id string
		to **uint32
	}{{"iuid", &s.UID}, {"igid", &s.GID}, {"imode", &s.Mode}} {
		if v, ok := r.Uint(n.id); ok {
			*n.to = &v
		}
	}
	if all, err := r.Xattrs(); err == nil && len(all) > 0 {
		s.Xattrs = make(map[string]string)
		for _, x := range all {
			s.Xattrs[x.Name] = hex.EncodeToString(x.Value)
		}
	}
	if d, ok := r.ModsigDigest(); ok {
		s.ModsigDigest = d.String()
	}
	modsig, _ := r.Field("modsig")
	s.Modsig = hex.EncodeToString(modsig)
	if s.Kind == attest.Unknown {
		s.Data = hex.EncodeToString(r.Data)
	}
}
