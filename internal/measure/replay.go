package measure

import (
	"fmt"
	"slices"

	"imaseal/hash"
	"imaseal/internal/pcr"
)

// A Replay computes the values that PCRs have after records. It belongs to one
// goroutine.
type Replay struct {
	padded bool
	values pcr.Values
	banks  []hash.Algorithm
	broken map[hash.Algorithm]error
}

// NewReplay returns a Replay of the banks, in which no PCR was extended yet.
func NewReplay(banks ...hash.Algorithm) *Replay {
	return &Replay{values: make(pcr.Values), banks: banks, broken: make(map[hash.Algorithm]error)}
}

// NewPaddedReplay returns a Replay for a kernel that can compute SHA-1 and the digests of
// the list's bank only, and extends other banks with padded ones: the list does not tell
// whether it was that. Linux 6.1 can be so about SHA-384 and SHA-512.
func NewPaddedReplay(banks ...hash.Algorithm) *Replay {
	p := NewReplay(banks...)
	p.padded = true
	return p
}

// Add extends the PCRs of all banks as the kernel did for the record. A bank for which
// that cannot be computed has no values from then on: see Err.
func (p *Replay) Add(r Record) {
	for _, bank := range p.banks {
		if p.broken[bank] != nil {
			continue
		}
		old, ok := p.values.Value(bank, r.PCR)
		if !ok {
			old = pcr.Zero(bank)
		}
		with, err := p.extended(r, bank)
		if err == nil {
			old, err = pcr.Extend(old, with)
		}
		if err != nil {
			p.Break(bank, fmt.Errorf("record %d: %w", r.Number, err))
			continue
		}
		p.values.Set(r.PCR, old)
	}
}

func (p *Replay) extended(r Record, bank hash.Algorithm) (hash.Digest, error) {
	if p.padded && bank != r.Layout.Bank && bank.Size() > hash.SHA1.Size() && !r.IsViolation() {
		return r.padded(bank)
	}
	return r.Extended(bank)
}

// Break says that the values of a bank cannot be computed, for a record that could not
// be read.
func (p *Replay) Break(bank hash.Algorithm, err error) {
	if p.broken[bank] == nil {
		p.broken[bank] = err
		delete(p.values, bank)
	}
}

// Err says why there are no values of a bank, nil if there are.
func (p *Replay) Err(bank hash.Algorithm) error { return p.broken[bank] }

// Value returns the value of a PCR, and false if no record extended it or it cannot be
// computed.
func (p *Replay) Value(bank hash.Algorithm, index int) (hash.Digest, bool) {
	return p.values.Value(bank, index)
}

// ValueOrZero is Value with zero for a PCR that no record has extended yet. It is false
// for a bank that cannot be computed, and for one that is not replayed.
func (p *Replay) ValueOrZero(bank hash.Algorithm, index int) (hash.Digest, bool) {
	if d, ok := p.Value(bank, index); ok {
		return d, true
	}
	return pcr.Zero(bank), slices.Contains(p.banks, bank) && p.broken[bank] == nil
}

// Values returns the values of all PCRs that records have extended. The caller must not
// change them.
func (p *Replay) Values() pcr.Values { return p.values }
