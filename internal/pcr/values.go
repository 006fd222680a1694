package pcr

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"imaseal/hash"
)

// Values are values of PCRs, by bank and index. The zero value holds none and cannot be
// added to.
type Values map[hash.Algorithm]map[int]hash.Digest

// Set sets the value of the PCR of the value's bank.
func (v Values) Set(index int, value hash.Digest) {
	bank := v[value.Algorithm()]
	if bank == nil {
		bank = make(map[int]hash.Digest)
		v[value.Algorithm()] = bank
	}
	bank[index] = value
}

// Value returns the value of a PCR, and false if it is not known.
func (v Values) Value(bank hash.Algorithm, index int) (hash.Digest, bool) {
	d, ok := v[bank][index]
	return d, ok
}

// Banks returns the banks that have values, in the kernel's order of algorithms.
func (v Values) Banks() []hash.Algorithm { return slices.Sorted(maps.Keys(v)) }

// Indexes returns the indexes of a bank that have values, in order.
func (v Values) Indexes(bank hash.Algorithm) []int { return slices.Sorted(maps.Keys(v[bank])) }

// Zero returns the value that a PCR of a bank has after a reset.
func Zero(bank hash.Algorithm) hash.Digest {
	d, err := hash.NewDigest(bank, make([]byte, bank.Size()))
	if err != nil {
		panic(err) // the size is the bank's
	}
	return d
}

// Extend returns the value of a PCR after it was extended: the digest of the old value
// and the new one. The error is a *hash.NotComputableError.
func Extend(pcr, with hash.Digest) (hash.Digest, error) {
	return hash.Sum(pcr.Algorithm(), with.AppendTo(pcr.Bytes()))
}

// A MissingError says that the value of a PCR is not known.
type MissingError struct {
	Bank   hash.Algorithm
	Index  int
	Quoted bool // it was quoted, and only the digest of all is known
}

func (e *MissingError) Error() string {
	if e.Quoted {
		return fmt.Sprintf("PCR %d of bank %s was quoted, which IMA does not extend, and its value is not known", e.Index, e.Bank)
	}
	return fmt.Sprintf("the value of PCR %d of bank %s is not known", e.Index, e.Bank)
}

// BootAggregate computes what the record boot_aggregate has of the PCRs of a bank as
// they were when IMA started: the digest of PCRs 0 to 7, and for all banks but that of
// SHA-1 of 8 and 9 too. Before Linux 5.8 it was that of SHA-1 only. The error is a
// *MissingError or a *hash.NotComputableError. Kernel: ima_calc_boot_aggregate_tfm(),
// security/integrity/ima/ima_crypto.c.
func BootAggregate(v Values, bank hash.Algorithm) (hash.Digest, error) {
	var all bytes.Buffer
	for i := range BootPCRs(bank) {
		d, ok := v.Value(bank, i)
		if !ok {
			return hash.Digest{}, &MissingError{Bank: bank, Index: i}
		}
		all.Write(d.Bytes())
	}
	return hash.Sum(bank, all.Bytes())
}

// BootPCRs returns how many PCRs, from 0, the record boot_aggregate covers.
func BootPCRs(bank hash.Algorithm) int {
	if bank == hash.SHA1 {
		return 8
	}
	return 10
}
