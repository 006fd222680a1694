package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/host"
	"imaseal/internal/measure"
	"imaseal/internal/pcr"
	"imaseal/internal/report"
	"imaseal/internal/stream"
)

func (p Program) measurementsCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "measurements",
		Usage: "work with what kernels measure",
		Description: `A kernel that measures keeps a list of what was used, and extends a TPM with it.
LIST is a measurement list of IMA, in ASCII or binary, of any template and
bank; - is standard input. Without LIST it is that of the running kernel, which
root can read.`,
		Subcommands: []*urfave.Command{p.measurementsShowCommand(), p.measurementsVerifyCommand(), p.measurementsCompareCommand(), p.measurementsExportCommand()},
	}
}

// listOptions say which list is read, and what it does not tell itself.
type listOptions struct{ bank, order string }

func (o *listOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		bankFlag(&o.bank, "`BANK` of the list's template digests, if neither they nor its name tell; of the running kernel's lists, that of this bank"),
		&urfave.StringFlag{Name: "byte-order", Destination: &o.order, Category: listCategory, DefaultText: "found out", Usage: "`ORDER` of the machine whose list it is: little or big"},
	}
}

func bankFlag(field *string, usage string) urfave.Flag {
	return &urfave.StringFlag{Name: "bank", Destination: field, Category: listCategory, Usage: usage}
}

// A listRequest names a list.
type listRequest struct {
	name   string // "" is that of the running kernel
	layout measure.Layout
}

// stdin is the list as a reader of standard input.
func (r listRequest) stdin() given { return given{"-", r.name == "-"} }

func (o *listOptions) plan(args []string) (listRequest, error) {
	var r listRequest
	switch {
	case len(args) > 1:
		return r, conflict(fmt.Sprintf("%q: one LIST at a time", args[1]), "lists of several boots or machines have nothing to do with one another")
	case len(args) == 1 && args[0] == "":
		return r, conflict("LIST is empty", "a shell variable may be unset; without LIST that of the running kernel is read")
	case len(args) == 1:
		r.name = args[0]
	}
	var err error
	if r.layout.Bank, err = planBank(o.bank); err != nil || o.order == "" {
		return r, err
	}
	r.layout.Order = binary.LittleEndian
	if o.order == "big" {
		r.layout.Order = binary.BigEndian
	}
	return r, checkWord("byte-order", o.order)
}

// planBank returns the bank of a name, zero for none.
func planBank(name string) (hash.Algorithm, error) {
	if name == "" {
		return 0, nil
	}
	if err := checkWord("bank", name); err != nil {
		return 0, err
	}
	return hash.Parse(name)
}

func bankNames() []string {
	var names []string
	for _, bank := range pcr.Banks() {
		names = append(names, bank.String())
	}
	return names
}

// A list is a measurement list that is open.
type list struct {
	*measure.Reader
	io.Closer
	name string // for messages
}

// openList opens a list.
func (p Program) openList(ctx context.Context, r listRequest) (*list, error) {
	name := r.name
	if name == "-" {
		in := p.stdinUntil(ctx)
		return newList(in, in, "standard input", r.layout)
	}
	if name == "" {
		var err error
		if name, err = p.Host.MeasurementList(r.layout.Bank); err != nil {
			return nil, err
		}
	}
	f, err := stream.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, &os.PathError{Op: "open", Path: name, Err: errors.New("is a directory, and a list is a file")}
	}
	if bank, ok := measure.BankOfName(name); ok && r.layout.Bank == 0 {
		r.layout.Bank = bank
	}
	return newList(f, f, report.Quote(name), r.layout)
}

func newList(in io.Reader, closer io.Closer, name string, layout measure.Layout) (*list, error) {
	reader, err := measure.Open(in, layout)
	if err != nil {
		closer.Close()
		return nil, fmt.Errorf("%s: %w", name, pathless(err))
	}
	return &list{reader, closer, name}, nil
}

// each calls do for each record, with what is wrong with it. It ends with the list, with
// ctx, and with the first error of do or of reading.
func (l *list) each(ctx context.Context, do func(measure.Record, *measure.RecordError) error) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rec, err := l.Next()
		if err == io.EOF {
			return nil
		}
		wrong, ok := errors.AsType[*measure.RecordError](err)
		if err != nil && !ok {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		if err := do(rec, wrong); err != nil {
			return err
		}
	}
}

// pcrsOption names what has the values of PCRs.
type pcrsOption struct{ names []string }

func (o *pcrsOption) flag() urfave.Flag {
	return &urfave.StringSliceFlag{Name: "pcrs", Action: into(&o.names), Category: tpmCategory, Usage: "values of the PCRs: a `FILE` as tpm2_pcrread prints them, BANK,FILE if it does not name the bank, a directory like /sys/class/tpm/tpm0, or running"}
}

// running is the word for what this machine has now.
const running = "running"

// A pcrsRequest is where the values of PCRs are.
type pcrsRequest []pcrFile

// A pcrFile is a file of values; its bank is zero if the file names it.
type pcrFile struct {
	name string // or running
	bank hash.Algorithm
}

func (o *pcrsOption) plan() (pcrsRequest, error) {
	var r pcrsRequest
	for _, name := range o.names {
		f := pcrFile{name: name}
		for _, bank := range pcr.Banks() {
			if rest, ok := strings.CutPrefix(name, bank.String()+","); ok {
				f = pcrFile{rest, bank}
			}
		}
		if f.name == "" {
			return nil, conflict("--pcrs names no file", "a shell variable may be unset")
		}
		r = append(r, f)
	}
	return r, nil
}

// readers are the files that are standard input.
func (r pcrsRequest) readers() []given {
	var all []given
	for _, f := range r {
		all = append(all, reading("pcrs", f.name))
	}
	return all
}

// maxPCRs is the size of the longest text of PCRs: 24 lines of eight banks are below.
const maxPCRs = 1 << 20

// readPCRs reads the values.
func (p Program) readPCRs(ctx context.Context, r pcrsRequest) (pcr.Values, error) {
	all := make(pcr.Values)
	for _, f := range r {
		values, err := p.readPCRFile(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, bank := range values.Banks() {
			for _, i := range values.Indexes(bank) {
				v, _ := values.Value(bank, i)
				if old, ok := all.Value(bank, i); ok && old != v {
					return nil, fmt.Errorf("%s: another value of PCR %d of bank %s than the one named before it", report.Quote(f.name), i, bank)
				}
				all.Set(i, v)
			}
		}
	}
	return all, nil
}

func (p Program) readPCRFile(ctx context.Context, f pcrFile) (pcr.Values, error) {
	if f.name == running {
		return p.Host.PCRs()
	}
	if info, err := os.Stat(f.name); err == nil && info.IsDir() {
		return host.ReadPCRs(f.name)
	}
	text, err := p.readSmall(ctx, f.name, maxPCRs)
	if err != nil {
		return nil, err
	}
	values, err := pcr.ParseText(text, f.bank)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", report.Quote(f.name), err)
	}
	return values, nil
}

// readSmall reads a file, or standard input, that has no more bytes than it can need.
func (p Program) readSmall(ctx context.Context, name string, limit int64) ([]byte, error) {
	in, err := p.openInput(ctx, name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: more than %s, which is not what it should be", report.Quote(name), report.Size(limit))
	}
	return b, err
}
