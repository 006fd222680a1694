package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/attest"
	"imaseal/internal/host"
	"imaseal/internal/measure"
	"imaseal/internal/pcr"
	"imaseal/internal/reason"
	"imaseal/internal/report"
)

// measurementsVerifyOptions are the options of imaseal measurements verify.
type measurementsVerifyOptions struct {
	list        listOptions
	pcrs        pcrsOption
	quote       quoteOptions
	eventLog    string
	keys        []string
	json, quiet bool
}

func (o *measurementsVerifyOptions) flags() []urfave.Flag {
	tpm := append([]urfave.Flag{o.pcrs.flag(), eventLogFlag(&o.eventLog)}, o.quote.flags()...)
	return append(append(o.list.flags(), tpm...),
		&urfave.StringSliceFlag{Name: "key", Action: into(&o.keys), Category: labels, Usage: "certificates or public keys for the signatures of files: a `FILE`, or a directory of them"},
		jsonFlag(&o.json, "print one JSON object per problem, then a summary object"), quietFlag(&o.quiet))
}

// A measurementsVerifyRequest is what measurements verify is asked for.
type measurementsVerifyRequest struct {
	list        listRequest
	pcrs        pcrsRequest
	quote       quoteRequest
	eventLog    string
	keys        []string
	json, quiet bool
}

func (o *measurementsVerifyOptions) plan(args []string) (measurementsVerifyRequest, error) {
	r := measurementsVerifyRequest{keys: o.keys, eventLog: o.eventLog, json: o.json, quiet: o.quiet}
	var err, wrong, wrongQuote error
	r.list, err = o.list.plan(args)
	r.pcrs, wrong = o.pcrs.plan()
	r.quote, wrongQuote = o.quote.plan()
	output := outputOptions{json: o.json, quiet: o.quiet, jobs: 1, progress: "never"}
	readers := slices.Concat(r.pcrs.readers(), r.quote.readers(), []given{r.list.stdin(), reading("event-log", o.eventLog)})
	if err := firstError(err, wrong, wrongQuote, output.check(), readStdinOnce(readers...)); err != nil || r.quote.message == "" {
		return r, err
	}
	return r, refuseWith("quote", given{"pcrs", r.pcrs != nil})
}

func (p Program) measurementsVerifyCommand() *urfave.Command {
	o := new(measurementsVerifyOptions)
	return &urfave.Command{
		Name:      "verify",
		Usage:     "check the list against itself, the PCRs and keys",
		ArgsUsage: "[LIST]",
		Description: `Recomputes the digest of each record, replays the list into PCRs and compares
them with the TPM's, boot_aggregate with PCRs 0 to 9, digests of keys and other
data with these, and with --key the signatures that records have. For the
running kernel's list the PCRs are those of its TPM, for another --pcrs names
them. They are best read before the list is: how many records came after is
told. The exit status is 4 if something is wrong.

The running kernel's list:
   imaseal measurements verify

That of another machine, in this order:
   ssh host tpm2_pcrread >pcrs
   ssh host cat /sys/kernel/security/ima/binary_runtime_measurements >list
   imaseal measurements verify --pcrs pcrs --key /etc/keys/ima list

With what its TPM has signed, after tpm2_quote -c ak.ctx -l sha256:10 -q 5eed
-m msg -s sig there:
   imaseal measurements verify --quote msg --quote-signature sig \
      --quote-key ak.pem --quote-nonce 5eed list`,
		Flags:  o.flags(),
		Action: action(o.plan, p.measurementsVerify),
	}
}

func (p Program) measurementsVerify(ctx context.Context, r measurementsVerifyRequest) error {
	v := &listVerifier{program: p, request: r, hinted: make(map[string]bool)}
	if err := v.open(ctx); err != nil {
		return err
	}
	defer v.list.Close()
	for _, problem := range v.early {
		if err := v.tell(problem); err != nil {
			return err
		}
	}
	checker := attest.NewChecker(v.options)
	err := v.list.each(ctx, func(rec measure.Record, wrong *measure.RecordError) error {
		var err error
		if wrong != nil {
			err = wrong
		}
		for _, problem := range checker.Add(rec, err) {
			if err := v.tell(problem); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return v.finish(checker.Finish())
}

// A listVerifier tells what is wrong with a list.
type listVerifier struct {
	program Program
	request measurementsVerifyRequest
	list    *list
	options attest.Options
	hinted  map[string]bool

	early         []attest.Problem // that were found before the list was read
	problems      map[reason.Code]int64
	wrong, unread bool
	logCompared   bool // PCRs of the event log were
}

// open reads all that the list is checked with, and then opens the list: what is
// measured in between is behind the values of the PCRs.
func (v *listVerifier) open(ctx context.Context) error {
	v.problems = make(map[reason.Code]int64)
	if len(v.request.keys) > 0 {
		known, err := v.program.openVerifiers(ctx, v.request.keys)
		if err != nil {
			return err
		}
		v.options.Keys = known
	}
	if err := firstError(v.readPCRs(ctx), v.readEvents(ctx)); err != nil {
		return err
	}
	var err error
	if v.list, err = v.program.openList(ctx, v.request.list); err != nil {
		return err
	}
	v.options.Bank = v.list.Layout().Bank
	return nil
}

func (v *listVerifier) readPCRs(ctx context.Context) (err error) {
	switch {
	case v.request.quote.message != "":
		problem, err := v.readQuote(ctx, v.request.quote)
		if problem != nil {
			v.early = append(v.early, *problem)
		}
		return err
	case len(v.request.pcrs) > 0:
		v.options.PCRs, err = v.program.readPCRs(ctx, v.request.pcrs)
	case v.request.list.name == "":
		v.options.PCRs, err = v.program.Host.PCRs()
		if errors.Is(err, host.ErrNoTPM) || errors.Is(err, host.ErrNoPCRs) {
			v.program.warn(reason.NoPCRs, "%v: the list is compared with no PCRs", err)
			err = nil
		}
	default:
		v.program.warn(reason.NoPCRs, "the list is compared with no PCRs: --pcrs FILE names their values")
	}
	return err
}

// readEvents replays the event log, and compares PCRs 0 to 7, which the kernel does not
// extend, with those that are known.
func (v *listVerifier) readEvents(ctx context.Context) (err error) {
	if v.request.eventLog == "" {
		return nil
	}
	if v.options.Boot, err = v.program.readEventLog(ctx, v.request.eventLog); err != nil {
		return err
	}
	for _, bank := range v.options.PCRs.Banks() {
		for i := range pcr.BootPCRs(hash.SHA1) {
			value, known := v.options.PCRs.Value(bank, i)
			logged, ok := v.options.Boot.Value(bank, i)
			v.logCompared = v.logCompared || known && ok
			if known && ok && value != logged {
				v.early = append(v.early, attest.Problem{Code: attest.WrongEventLog,
					Err: fmt.Errorf("PCR %d of bank %s is %x, and the event log gives %x", i, bank, value.Bytes(), logged.Bytes())})
			}
		}
	}
	return nil
}

// tell prints a problem and counts it.
func (v *listVerifier) tell(problem attest.Problem) error {
	v.problems[problem.Code]++
	v.unread = v.unread || problem.Unread
	v.wrong = v.wrong || !problem.Unread
	if v.request.json {
		return v.program.printJSON(showProblem(problem))
	}
	err := problem.Err
	switch r := problem.Record; {
	case is[*measure.RecordError](err) || r.Number == 0:
		err = fmt.Errorf("%s: %w", v.list.name, err)
	default:
		name := r.Name()
		if name == "" {
			name = "no name"
		}
		err = fmt.Errorf("%s: %s: %s: %w", v.list.name, measure.Place(r.Number, r.Offset, r.Line, 0), report.Quote(name), err)
	}
	v.program.complain(err, v.hinted)
	return nil
}

// finish tells what came of the list as a whole.
func (v *listVerifier) finish(res attest.Result) error {
	if v.request.eventLog != "" && !v.logCompared && !res.BootAggregate && len(v.early) == 0 {
		res.Problems = append(res.Problems, attest.Problem{Code: attest.WrongEventLog, Unread: true,
			Err: errors.New("the event log was compared with nothing: neither PCRs 0 to 7 nor a boot_aggregate of its banks are known")})
	}
	for _, problem := range res.Problems {
		if err := v.tell(problem); err != nil {
			return err
		}
	}
	if res.Padded > 0 {
		v.program.warn(reason.PaddedDigests, "%s of bank %s are SHA-1's with zeros behind them: the kernel could not compute its own", plural(res.Padded, "digest"), v.options.Bank)
	}
	var err error
	switch {
	case v.request.json:
		err = v.program.printJSON(v.summary(res))
	case !v.request.quiet:
		err = v.program.print(v.text(res))
	}
	switch {
	case err != nil:
		return err
	case v.wrong:
		return &verdictError{status: exitVerdict}
	case v.unread:
		return &verdictError{status: exitFiles}
	}
	return nil
}

// text is the summary for people.
func (v *listVerifier) text(res attest.Result) string {
	t := fmt.Sprintf("imaseal: %s of bank %s, ", plural(res.Records, "record"), v.options.Bank)
	if len(v.problems) == 0 {
		t += "all as their digests say\n"
	} else {
		n := int64(0)
		for _, count := range v.problems {
			n += count
		}
		t += plural(n, "problem") + "\n"
	}
	if res.Violations > 0 {
		t += fmt.Sprintf("imaseal: %s: %s\n", plural(res.Violations, "violation"), violationMeans)
	}
	for _, target := range res.PCRs {
		t += "imaseal: " + targetText(target) + "\n"
	}
	switch {
	case v.request.quote.message != "" && res.HasMoment:
		t += fmt.Sprintf("imaseal: the PCRs were quoted after record %d; %s came after\n", res.Moment, plural(res.Records-res.Moment, "record"))
	case len(v.options.PCRs) == 0 && v.options.Moment == nil:
		t += valuesText(res)
	}
	switch {
	case res.BootAggregate && v.problems[attest.WrongBootAggregate]+v.problems[attest.ZeroBootAggregate] == 0:
		t += fmt.Sprintf("imaseal: boot_aggregate is that of the PCRs; the list is of %s\n", booted(res.Boots))
	case res.BootAggregate:
		t += "imaseal: boot_aggregate is not that of the PCRs\n"
	case res.Boots > 0:
		t += "imaseal: boot_aggregate is not compared: PCRs 0 to 9 are not known\n"
	}
	if v.options.Keys != nil {
		t += fmt.Sprintf("imaseal: %s of %s verified", plural(res.Verified, "signature"), plural(res.Signed, "record"))
		if res.Uncovered > 0 {
			t += fmt.Sprintf("; %d of EVM, over what the template does not have", res.Uncovered)
		}
		t += "\n"
	}
	return t
}

func booted(n int64) string {
	if n == 1 {
		return "one boot"
	}
	return fmt.Sprintf("%d boots, by kexec", n)
}

// valuesText says what the list gives, where there is nothing to compare it with.
func valuesText(res attest.Result) string {
	var t string
	for _, bank := range res.Values.Banks() {
		for _, i := range res.Values.Indexes(bank) {
			value, _ := res.Values.Value(bank, i)
			t += fmt.Sprintf("imaseal: the list makes PCR %d %s\n", i, value)
		}
	}
	return t
}

// targetText says what came of a PCR.
func targetText(t attest.Target) string {
	text := fmt.Sprintf("PCR %d of bank %s", t.Index, t.Bank)
	if t.Broken {
		return text + " cannot be replayed"
	}
	if !t.Matches {
		return text + " differs"
	}
	text += " is that of the list"
	if t.Later > 0 {
		text += fmt.Sprintf(" up to record %d; %s came after", t.After, plural(t.Later, "record"))
	}
	if t.Padded {
		text += ", by SHA-1: the kernel could not compute digests of this bank"
	}
	return text
}
