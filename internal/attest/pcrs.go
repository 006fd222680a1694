package attest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// uncovered says which records are in no PCR that is compared: what is in them may be
// anybody's.
func (c *Checker) uncovered() []Problem {
	switch {
	case len(c.options.PCRs) == 0 && c.options.Moment == nil:
		return nil
	case c.first == nil:
		return []Problem{{Code: WrongPCR, Err: errors.New("the list is empty, and IMA puts boot_aggregate into each")}}
	}
	var all []Problem
	for _, i := range slices.Sorted(maps.Keys(c.extends)) {
		if !c.options.compares(i) {
			all = append(all, Problem{Code: UncomparedPCR, Unread: true,
				Err: fmt.Errorf("records of PCR %d cannot be checked, %d in the list: its value is not among those that are known", i, c.extends[i])})
		}
	}
	return all
}

// compares reports whether a PCR is compared, in whatever bank.
func (o Options) compares(index int) bool {
	for _, bank := range o.PCRs.Banks() {
		if _, ok := o.PCRs.Value(bank, index); ok {
			return true
		}
	}
	for _, indexes := range o.MomentPCRs {
		if slices.Contains(indexes, index) {
			return true
		}
	}
	return false
}

// compare says what is wrong with a PCR.
func (c *Checker) compare(t Target) *Problem {
	value, _ := c.replay.Value(t.Bank, t.Index)
	broken := c.replay.Err(t.Bank)
	switch {
	case t.Matches && t.After == 0 && t.Index == c.first.PCR: // which has boot_aggregate since IMA began
		return &Problem{Code: WrongPCR, Err: fmt.Errorf("PCR %d of bank %s is zero: nothing of the list was extended into it", t.Index, t.Bank)}
	case t.Matches:
		return nil
	case broken != nil:
		return &Problem{Code: WrongPCR, Unread: true, Err: fmt.Errorf("PCR %d of bank %s cannot be replayed: %w", t.Index, t.Bank, broken)}
	}
	return &Problem{Code: WrongPCR, Err: &PCRError{t.Index, t.Value, value}}
}

// oneMoment finds the record after which all PCRs had the values that were quoted: one at
// which each was as it is, and none had changed again.
func (c *Checker) oneMoment(res *Result) error {
	if c.options.Moment != nil && !res.HasMoment {
		return ErrNoMoment
	}
	if c.options.Moment != nil && res.Moment == 0 {
		return errors.New("the PCRs that were quoted are zero: nothing of the list was extended into them")
	}
	if !c.options.Quoted {
		return nil
	}
	if slices.ContainsFunc(res.PCRs, func(t Target) bool { return !t.Matches }) {
		return nil // which is told of the PCR
	}
	for _, t := range res.PCRs {
		res.Moment = max(res.Moment, t.After)
	}
	res.HasMoment = true
	for _, t := range res.PCRs {
		if t.Until != 0 && t.Until <= res.Moment {
			res.HasMoment = false
			return fmt.Errorf("the PCRs never had the values together that were quoted: PCR %d changed with record %d, before others had theirs", t.Index, t.Until)
		}
	}
	return nil
}
