package attest

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"imaseal/hash"
	"imaseal/internal/measure"
	"imaseal/internal/pcr"
	"imaseal/internal/reason"
	"imaseal/sign"
)

// Codes of problems, besides those of signatures.
const (
	DamagedRecord      reason.Code = "damaged-record"
	WrongTemplate      reason.Code = "wrong-template-digest"
	WrongBuffer        reason.Code = "wrong-buffer-digest"
	UncheckedTemplate  reason.Code = "unchecked-template-digest"
	WrongPCR           reason.Code = "wrong-pcr"
	UncomparedPCR      reason.Code = "uncompared-pcr"
	BeginsLate         reason.Code = "begins-late"
	WrongBootAggregate reason.Code = "wrong-boot-aggregate"
	ZeroBootAggregate  reason.Code = "zero-boot-aggregate"
	WrongQuote         reason.Code = "wrong-quote"
	WrongEventLog      reason.Code = "wrong-event-log"
)

// Errors of a list as a whole.
var (
	ErrBeginsLate = errors.New("the list does not begin with boot_aggregate: records were removed from its front, and no PCR can be replayed without them")
	ErrNoMoment   = errors.New("after no record of the list the PCRs are as they were quoted")
)

// A PCRError says that a PCR has another value than the list gives.
type PCRError struct {
	Index       int
	Value, List hash.Digest
}

func (e *PCRError) Error() string {
	return fmt.Sprintf("PCR %d of bank %s is %x, and the list gives %x", e.Index, e.Value.Algorithm(), e.Value.Bytes(), e.List.Bytes())
}

// A Problem is what is wrong with a record, or with the list as a whole.
type Problem struct {
	Record measure.Record // its Number is zero for the list as a whole
	Code   reason.Code
	Err    error
	// Unread says that something could not be read or checked, which does not say
	// that it is wrong.
	Unread bool
}

// A Target is a PCR with the value that it has, and after which record of the list it has
// it.
type Target struct {
	Bank    hash.Algorithm
	Index   int
	Value   hash.Digest
	Matches bool
	After   int64 // the record, 0 for none
	Until   int64 // the record of this PCR that changed it, 0 for none
	Later   int64 // records of this PCR from then on
	Padded  bool  // it was extended with padded SHA-1 digests
	Broken  bool  // it cannot be replayed to the end, and does not match before
}

// Options say what a list is checked with.
type Options struct {
	Bank hash.Algorithm // of the list
	Keys sign.Verifiers // nil for no signatures
	PCRs pcr.Values     // as the TPM has them; what is not there is not compared
	// Quoted says that all PCRs had their values at one moment.
	Quoted bool
	// Boot are values of PCRs for boot_aggregate alone, where PCRs has none.
	Boot pcr.Values
	// Moment is asked before the first record and after each whether the PCRs are as
	// they were at the moment that was quoted. Nil for none.
	Moment func(*measure.Replay) bool
	// MomentPCRs are those that it asks for.
	MomentPCRs map[hash.Algorithm][]int
}

// A Checker checks records one after the other. It belongs to one goroutine.
type Checker struct {
	options Options
	replay  *measure.Replay
	padded  *measure.Replay // by a kernel that cannot compute other banks, nil if there are none
	targets []*Target
	count   Counts
	first   *measure.Record
	extends map[int]int64 // how many records extend a PCR
}

// Counts are how many records were of a kind.
type Counts struct {
	Records    int64
	Violations int64
	Boots      int64
	Padded     int64 // digests that are SHA-1's, padded
	Signed     int64 // records with a signature
	Verified   int64 // signatures that are right
	Uncovered  int64 // signatures of EVM over what the template does not have

	HasMoment bool  // the moment of Options was found
	Moment    int64 // the record after which it was
}

// NewChecker returns a Checker.
func NewChecker(o Options) *Checker {
	c := &Checker{options: o, extends: make(map[int]int64)}
	banks := o.banks()
	for _, bank := range o.PCRs.Banks() {
		for _, i := range o.PCRs.Indexes(bank) {
			value, _ := o.PCRs.Value(bank, i)
			c.targets = append(c.targets, &Target{Bank: bank, Index: i, Value: value, Matches: value == pcr.Zero(bank)})
		}
	}
	c.replay = measure.NewReplay(banks...)
	if len(banks) > 1 {
		c.padded = measure.NewPaddedReplay(banks...)
	}
	c.moment()
	return c
}

func (c *Checker) moment() {
	if c.options.Moment != nil && (c.options.Moment(c.replay) || c.padded != nil && c.options.Moment(c.padded)) {
		c.count.HasMoment, c.count.Moment = true, c.count.Records
	}
}

// Add checks a record as measure.Reader gives it: with an error of its, too.
func (c *Checker) Add(r measure.Record, err error) []Problem {
	c.count.Records++
	if c.first == nil {
		c.first = &r
	}
	if err != nil {
		wrong := []Problem{{Record: r, Code: DamagedRecord, Err: err, Unread: true}}
		if r.Digest != nil {
			c.extend(r) // with the digest that it shows
		} else {
			c.breakOff(fmt.Errorf("record %d cannot be read", c.count.Records))
		}
		return wrong
	}
	c.extend(r)
	return c.check(r)
}

// banks are those that are replayed: the list's first.
func (o Options) banks() []hash.Algorithm {
	all := []hash.Algorithm{o.Bank}
	for _, bank := range append(o.PCRs.Banks(), slices.Sorted(maps.Keys(o.MomentPCRs))...) {
		if !slices.Contains(all, bank) {
			all = append(all, bank)
		}
	}
	return all
}

// breakOff says that a record is missing that PCRs were extended with.
func (c *Checker) breakOff(err error) {
	for _, bank := range c.options.banks() {
		c.replay.Break(bank, err)
		if c.padded != nil {
			c.padded.Break(bank, err)
		}
	}
}

func (c *Checker) extend(r measure.Record) {
	c.extends[r.PCR]++
	c.replay.Add(r)
	if c.padded != nil {
		c.padded.Add(r)
	}
	for _, t := range c.targets {
		if t.Index != r.PCR {
			continue
		}
		is := func(p *measure.Replay) bool { v, ok := p.Value(t.Bank, t.Index); return ok && v == t.Value }
		switch {
		case is(c.replay):
			t.Matches, t.After, t.Until, t.Later = true, c.count.Records, 0, 0
		case c.padded != nil && is(c.padded):
			t.Matches, t.After, t.Until, t.Later, t.Padded = true, c.count.Records, 0, 0, true
		default:
			if t.Later == 0 {
				t.Until = c.count.Records
			}
			t.Later++
		}
	}
	c.moment()
}

// check checks what a record says itself.
func (c *Checker) check(r measure.Record) []Problem {
	var all []Problem
	add := func(code reason.Code, unread bool, err error) {
		all = append(all, Problem{Record: r, Code: code, Err: err, Unread: unread})
	}
	if r.IsViolation() {
		c.count.Violations++
		if d, ok := r.FileDigest(); ok && d.Digest != pcr.Zero(d.Digest.Algorithm()) {
			add(WrongTemplate, false, fmt.Errorf("the record is that of a violation, by its template digest, and has the digest %s, where kernels put zeros", d.Digest))
		}
		return all
	}
	if err := r.Verify(); is[*measure.DigestError](err) {
		add(WrongTemplate, false, err)
	} else if err != nil {
		add(UncheckedTemplate, true, err)
	}
	if r.IsPadded() {
		c.count.Padded++
	}
	if r.IsBootAggregate() {
		c.count.Boots++
		if code, err := c.bootAggregate(r); err != nil {
			add(code, false, err)
		}
	}
	if err := checkBuffer(r); err != nil {
		add(WrongBuffer, false, err)
	}
	signatures, err := c.signatures(r)
	if err != nil {
		return append(all, Problem{Record: r, Code: codeOf(err), Err: err, Unread: false})
	}
	c.count.Verified += signatures
	return all
}

// checkBuffer compares a buffer with its digest. Kernel: process_buffer_measurement(),
// security/integrity/ima/ima_main.c.
func checkBuffer(r measure.Record) error {
	buf, ok := r.Field("buf")
	d, hasDigest := r.FileDigest()
	if !ok || !hasDigest {
		return nil
	}
	got, err := hash.Sum(d.Digest.Algorithm(), buf)
	if err == nil && got != d.Digest {
		return fmt.Errorf("the record has the digest %s, and that of its data is %s", d.Digest, got)
	}
	return nil
}

// bootAggregate compares a boot aggregate with the PCRs, if they are known.
func (c *Checker) bootAggregate(r measure.Record) (reason.Code, error) {
	d, ok := r.FileDigest()
	if !ok {
		return "", nil
	}
	want, err := c.options.aggregate(d.Digest.Algorithm())
	zero := d.Digest == pcr.Zero(d.Digest.Algorithm())
	switch {
	case zero && err == nil:
		return ZeroBootAggregate, errors.New("boot_aggregate is zero: IMA found no TPM when it began, and has extended none")
	case err != nil, zero:
		return "", nil
	case want != d.Digest:
		return WrongBootAggregate, fmt.Errorf("boot_aggregate is %s, and the PCRs give %s", d.Digest, want)
	}
	return "", nil
}

// aggregate computes what the boot aggregate should be.
func (o Options) aggregate(bank hash.Algorithm) (hash.Digest, error) {
	d, err := pcr.BootAggregate(o.PCRs, bank)
	if err != nil && len(o.Boot) > 0 {
		return pcr.BootAggregate(o.Boot, bank)
	}
	return d, err
}

// A Result is what came of a list.
type Result struct {
	Counts
	PCRs     []Target   // those that the list has records of, and are compared
	Values   pcr.Values // that the list gives
	Problems []Problem  // with the list as a whole
	// BootAggregate reports whether that of the first record was compared.
	BootAggregate bool
}

// Finish returns what came of the list.
func (c *Checker) Finish() Result {
	res := Result{Counts: c.count, Values: c.replay.Values()}
	begins := c.first != nil && c.first.IsBootAggregate()
	if begins {
		d, ok := c.first.FileDigest()
		_, err := c.options.aggregate(d.Digest.Algorithm())
		res.BootAggregate = ok && err == nil
	}
	for _, t := range c.targets {
		_, used := c.replay.Value(t.Bank, t.Index)
		broken := c.replay.Err(t.Bank) != nil
		if broken { // which loses the values
			used = t.Index >= pcr.BootPCRs(t.Bank) && (c.extends[t.Index] > 0 || !t.Matches)
			t.Broken = !t.Matches
		}
		if used {
			res.PCRs = append(res.PCRs, *t) // IMA has a part in it
		}
	}
	if c.first != nil && !begins {
		res.Problems = append(res.Problems, Problem{Code: BeginsLate, Err: ErrBeginsLate})
		return res
	}
	for _, t := range res.PCRs {
		if err := c.compare(t); err != nil {
			res.Problems = append(res.Problems, *err)
		}
	}
	res.Problems = append(res.Problems, c.uncovered()...)
	isTold := slices.ContainsFunc(res.Problems, func(p Problem) bool { return p.Code == WrongPCR })
	if err := c.oneMoment(&res); err != nil && !isTold {
		res.Problems = append(res.Problems, Problem{Code: WrongPCR, Err: err})
	}
	return res
}

// is reports whether err wraps an error of type E.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
