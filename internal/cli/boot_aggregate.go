package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/measure"
	"imaseal/internal/pcr"
	"imaseal/internal/reason"
)

// bootAggregateOptions are the options of imaseal boot-aggregate.
type bootAggregateOptions struct {
	pcrs     pcrsOption
	eventLog string
	bank     string
	json     bool
}

func (o *bootAggregateOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		bankFlag(&o.bank, "only that of this `BANK`"),
		o.pcrs.flag(), eventLogFlag(&o.eventLog),
		jsonFlag(&o.json, "print one JSON object per bank, then a summary object"),
	}
}

// A bootAggregateRequest is what boot-aggregate is asked for.
type bootAggregateRequest struct {
	pcrs     pcrsRequest    // nil for those of this machine
	eventLog string         // instead, "" for none
	bank     hash.Algorithm // zero for all
	list     *listRequest   // nil for none
	json     bool
}

func (o *bootAggregateOptions) plan(args []string) (bootAggregateRequest, error) {
	r := bootAggregateRequest{eventLog: o.eventLog, json: o.json}
	l, err := new(listOptions).plan(args)
	if len(args) > 0 {
		r.list = &l
	}
	var wrongBank, wrongPCRs error
	r.bank, wrongBank = planBank(o.bank)
	r.pcrs, wrongPCRs = o.pcrs.plan()
	err = firstError(err, wrongBank, wrongPCRs, readStdinOnce(append(r.pcrs.readers(), l.stdin(), reading("event-log", o.eventLog))...))
	if err != nil || o.eventLog == "" {
		return r, err
	}
	return r, refuseWith("event-log", given{"pcrs", r.pcrs != nil})
}

func (p Program) bootAggregateCommand() *urfave.Command {
	o := new(bootAggregateOptions)
	return &urfave.Command{
		Name:      "boot-aggregate",
		Usage:     "compute what a measurement list begins with",
		ArgsUsage: "[LIST]",
		Description: `Prints the digest of the PCRs that tell how the machine was booted, 0 to 7 in
bank sha1 and 0 to 9 in others, a line per bank, as the first record of a
measurement list has it. With LIST, or if the running kernel's list can be read,
it says whether they are equal; the exit status is 4 if they are not.

   imaseal boot-aggregate
   imaseal boot-aggregate --pcrs pcrs --bank sha256 list`,
		Flags:  o.flags(),
		Action: action(o.plan, p.bootAggregate),
	}
}

// shownAggregate is what boot-aggregate says of a bank in JSON. Its fields only ever
// grow.
type shownAggregate struct {
	Bank   string `json:"bank"`
	Digest string `json:"digest"`
	// Recorded is that of the list, if it has one of this bank.
	Recorded string `json:"recorded,omitempty"`
	Matches  *bool  `json:"matches,omitempty"`
}

func (p Program) bootAggregate(ctx context.Context, r bootAggregateRequest) error {
	values, err := p.bootPCRs(ctx, r)
	if err != nil {
		return err
	}
	made, err := aggregates(values, r.bank)
	if err != nil {
		return err
	}
	recorded, where, err := p.recordedAggregate(ctx, r)
	if err != nil {
		return err
	}
	differs := false
	for _, d := range made {
		s := shownAggregate{Bank: d.Algorithm().String(), Digest: d.String()}
		if recorded.Algorithm() == d.Algorithm() {
			equal := recorded == d
			s.Recorded, s.Matches = recorded.String(), &equal
			differs = differs || !equal
		}
		line := d.String() + "\n"
		if r.json {
			if line, err = jsonLine(s); err != nil {
				return err
			}
		}
		if err := p.print(line); err != nil {
			return err
		}
	}
	return p.tellAggregate(r, made, recorded, where, differs)
}

func (p Program) bootPCRs(ctx context.Context, r bootAggregateRequest) (pcr.Values, error) {
	if r.eventLog != "" {
		return p.readEventLog(ctx, r.eventLog)
	}
	if r.pcrs == nil {
		return p.Host.PCRs()
	}
	return p.readPCRs(ctx, r.pcrs)
}

// aggregates computes those of the banks of which enough PCRs are known.
func aggregates(values pcr.Values, bank hash.Algorithm) ([]hash.Digest, error) {
	banks := values.Banks()
	if bank != 0 {
		banks = []hash.Algorithm{bank}
	}
	var all []hash.Digest
	var missing error
	for _, b := range banks {
		d, err := pcr.BootAggregate(values, b)
		if err != nil {
			missing = err
			continue
		}
		all = append(all, d)
	}
	if len(all) == 0 {
		return nil, missing
	}
	return all, nil
}

// recordedAggregate returns the digest of the first record. Where a list was not asked
// for, and the running kernel's cannot be read, there is none.
func (p Program) recordedAggregate(ctx context.Context, r bootAggregateRequest) (hash.Digest, string, error) {
	asked := r.list != nil
	if !asked {
		ours := !slices.ContainsFunc(r.pcrs, func(f pcrFile) bool { return f.name != running }) && (r.eventLog == "" || r.eventLog == running)
		if !ours {
			return hash.Digest{}, "", nil
		}
		r.list = new(listRequest)
	}
	l, err := p.openList(ctx, *r.list)
	if err != nil {
		if !asked {
			return hash.Digest{}, "", nil
		}
		return hash.Digest{}, "", err
	}
	defer l.Close()
	rec, err := l.Next()
	if err == io.EOF {
		return hash.Digest{}, "", fmt.Errorf("%s: the list has no records", l.name)
	}
	if err != nil {
		return hash.Digest{}, "", fmt.Errorf("%s: the first record: %w", l.name, err)
	}
	if !rec.IsBootAggregate() {
		return hash.Digest{}, "", &noBootAggregateError{l.name}
	}
	d, ok := rec.FileDigest()
	if !ok {
		return hash.Digest{}, "", fmt.Errorf("%s: %s: its digest cannot be read", l.name, measure.Place(rec.Number, rec.Offset, rec.Line, 0))
	}
	return d.Digest, l.name, nil
}

// A noBootAggregateError says that a list begins elsewhere.
type noBootAggregateError struct{ list string }

func (e *noBootAggregateError) Error() string {
	return e.list + ": the list does not begin with boot_aggregate: records were removed from its front"
}

// tellAggregate says what the comparison came to.
func (p Program) tellAggregate(r bootAggregateRequest, made []hash.Digest, recorded hash.Digest, where string, differs bool) error {
	compared := slices.ContainsFunc(made, func(d hash.Digest) bool { return d.Algorithm() == recorded.Algorithm() })
	switch {
	case recorded.IsZero():
	case !compared:
		p.warn(reason.NoPCRs, "the boot_aggregate of %s is of bank %s, which is not among these", where, recorded.Algorithm())
	case recorded == pcr.Zero(recorded.Algorithm()):
		p.complain(fmt.Errorf("%s: %w", where, errZeroAggregate), make(map[string]bool))
	case differs:
		p.complain(fmt.Errorf("%s: boot_aggregate is %s, which is not that of the PCRs", where, recorded), make(map[string]bool))
	case !r.json:
		fmt.Fprintf(p.Stderr, "imaseal: the boot_aggregate of %s is that of bank %s\n", where, recorded.Algorithm())
	}
	if r.json {
		if err := p.printSummary(shownSummary{Command: "boot-aggregate"}); err != nil {
			return err
		}
	}
	if differs {
		return &verdictError{status: exitVerdict}
	}
	return nil
}

var errZeroAggregate = errors.New("boot_aggregate is zero: IMA found no TPM when it began, and has extended none")
