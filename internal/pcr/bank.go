// Package pcr has the values of a TPM's platform configuration registers: sets of them,
// what extends them, the texts that tools print of them, and the digest of those that
// tell how a machine was booted. See the packages below for event logs and quotes.
//
// A bank is the PCRs of one algorithm. A PCR begins as zeros and is extended: its new
// value is the bank's digest of the old value and of what it is extended with (TPM 2.0
// Library, Part 1, PCR operations). Its history cannot be changed, only gone on with.
//
// # Texts
//
// ParseText reads what these print, one PCR a line:
//
//	sha256:                            tpm2_pcrread (and tpm2_pcrlist, with a blank
//	  0 : 0x3D458CFE…                  in front of the colon and no 0x)
//	PCR-00: 3D 45 8C FE …              /sys/class/tpm/tpm0/pcrs, of TPMs 1.2
//
// The files /sys/class/tpm/tpm0/pcr-sha256/0 have one value each and nothing else.
package pcr

import (
	"slices"

	"imaseal/hash"
)

// banks are the algorithms of banks and their numbers (TPM_ALG_ID), those first that
// TPMs mostly have.
var banks = []struct {
	number    uint16
	algorithm hash.Algorithm
}{
	{0x04, hash.SHA1}, {0x0b, hash.SHA256}, {0x0c, hash.SHA384}, {0x0d, hash.SHA512}, {0x12, hash.SM3},
	{0x27, hash.SHA3_256}, {0x28, hash.SHA3_384}, {0x29, hash.SHA3_512},
}

// Bank returns the algorithm with the TPM's number (TPM_ALG_ID), and false for one that
// is not known as one of a bank.
func Bank(number uint16) (hash.Algorithm, bool) {
	for _, b := range banks {
		if b.number == number {
			return b.algorithm, true
		}
	}
	return 0, false
}

// Banks returns the algorithms that banks may have, the common ones first. The caller
// owns the slice.
func Banks() []hash.Algorithm {
	all := make([]hash.Algorithm, len(banks))
	for i, b := range banks {
		all[i] = b.algorithm
	}
	return all
}

// Selected returns the indexes of the PCRs that a bit map selects, in order. Format:
// TPMS_PCR_SELECTION, TPM 2.0 Library Specification, Part 2.
func Selected(bits []byte) []int {
	var all []int
	for i := range 8 * len(bits) {
		if bits[i/8]&(1<<(i%8)) != 0 {
			all = append(all, i)
		}
	}
	return all
}

// IsBank reports whether a bank may have the algorithm.
func IsBank(a hash.Algorithm) bool { return slices.Contains(Banks(), a) }

// Max is the index of the last PCR that a TPM of a PC has (PC Client Platform TPM
// Profile).
const Max = 23
