package tpm

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"imaseal/internal/pcr"
)

// A Bank holds the values of a TPM's PCRs with one algorithm.
type Bank struct {
	Algorithm uint16 // TPM_ALG_ID
	Values    map[int][]byte
}

// atOnce is how many PCRs a TPM reads with one command at most: TPML_DIGEST has no
// more.
const atOnce = 8

// readTries is how often PCRs are read anew that were extended meanwhile.
const readTries = 5

// ReadPCRs reads the PCRs of all banks that the TPM has, all at one time: if one is
// extended while they are read, they are read again. Of the options Device and Timeout
// count. The errors are *child.TimeoutError, tpm2.TPMRC and the system's.
func ReadPCRs(ctx context.Context, o Options) ([]Bank, error) {
	l, err := newLink(o.Device, o.Timeout)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	device := run{ctx, l}
	answer, err := tpm2.GetCapability{Capability: tpm2.TPMCapPCRs, PropertyCount: 1}.Execute(device)
	if err != nil {
		return nil, fmt.Errorf("asking for PCR banks: %w", err)
	}
	allocated, err := answer.CapabilityData.Data.AssignedPCR()
	if err != nil {
		return nil, fmt.Errorf("asking for PCR banks: %w", err)
	}
	for range readTries {
		banks, same, err := readAll(device, allocated.PCRSelections)
		if err != nil || same {
			return banks, err
		}
	}
	return nil, errors.New("PCRs are extended all the time while they are read")
}

// readAll reads all PCRs, and reports whether none was extended meanwhile.
func readAll(device run, allocated []tpm2.TPMSPCRSelection) (banks []Bank, same bool, err error) {
	var first *uint32
	same = true
	for _, want := range allocated {
		bank := Bank{Algorithm: uint16(want.Hash), Values: make(map[int][]byte)}
		for left := pcr.Selected(want.PCRSelect); len(left) > 0; {
			part := left[:min(len(left), atOnce)]
			values, counter, err := readSome(device, want.Hash, part)
			if err != nil {
				return nil, false, err
			}
			for i, v := range values {
				bank.Values[i] = v
			}
			if first == nil {
				first = &counter
			}
			same = same && counter == *first
			left = left[len(part):]
		}
		if len(bank.Values) > 0 {
			banks = append(banks, bank)
		}
	}
	return banks, same, nil
}

// readSome reads a few PCRs of a bank, and the counter of changes.
func readSome(device run, alg tpm2.TPMAlgID, part []int) (map[int][]byte, uint32, error) {
	answer, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: alg, PCRSelect: selection(part)}}}}.Execute(device)
	if err != nil {
		return nil, 0, fmt.Errorf("reading PCRs: %w", err)
	}
	var read []int
	for _, s := range answer.PCRSelectionOut.PCRSelections {
		read = append(read, pcr.Selected(s.PCRSelect)...)
	}
	if len(read) != len(part) || len(read) != len(answer.PCRValues.Digests) {
		return nil, 0, fmt.Errorf("reading PCRs: %d values of %d", len(answer.PCRValues.Digests), len(part))
	}
	values := make(map[int][]byte)
	for i, d := range answer.PCRValues.Digests {
		values[read[i]] = d.Buffer
	}
	return values, answer.PCRUpdateCounter, nil
}

// selection makes a bit map of at least three bytes, as TPMs want it.
func selection(indexes []int) []byte {
	bits := make([]byte, 3)
	for _, i := range indexes {
		for len(bits) <= i/8 {
			bits = append(bits, 0)
		}
		bits[i/8] |= 1 << (i % 8)
	}
	return bits
}
