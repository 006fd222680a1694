package quote

import (
	"encoding/binary"
	"errors"
	"fmt"

	"imaseal/hash"
	"imaseal/internal/pcr"
)

// Sizes in files that tpm2_quote -o writes: the structures of tpm2-tss, TPML_PCR_SELECTION
// and TPML_DIGEST, as they are in the memory of a machine with padding, little endian.
const (
	maxSelections = 16
	selectionSize = 8 // 2 bytes of TPM_ALG_ID, 1 of size, 4 of bits, 1 of padding
	listSize      = 4 + maxSelections*selectionSize
	maxDigests    = 8
	digestSize    = 2 + hash.MaxSize
	digestsSize   = 4 + maxDigests*digestSize
)

var errPCRs = errors.New("not what tpm2_quote -o writes")

// ParsePCRs parses the values of the PCRs that were quoted. They are to be believed only
// where Matches says that they are. Two forms of tpm2_quote -o FILE are read:
//
//	-F serialized  which PCRs of which banks, and lists of at most eight digests
//	-F values      the digests, in the order of the quote
func (q *Quote) ParsePCRs(data []byte) (pcr.Values, error) {
	if values, err := q.plainPCRs(data); err == nil {
		return values, nil
	}
	if len(data) < listSize+4 {
		return nil, errPCRs
	}
	selections, err := parseSelections(data[:listSize])
	if err != nil {
		return nil, err
	}
	sums, err := parseDigests(data[listSize:])
	if err != nil {
		return nil, err
	}
	values := make(pcr.Values)
	for _, s := range selections {
		for _, i := range s.Indexes {
			if len(sums) == 0 {
				return nil, fmt.Errorf("%w: there are fewer values than PCRs", errPCRs)
			}
			d, err := hash.NewDigest(s.Bank, sums[0])
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errPCRs, err)
			}
			values.Set(i, d)
			sums = sums[1:]
		}
	}
	if len(sums) > 0 {
		return nil, fmt.Errorf("%w: there are more values than PCRs", errPCRs)
	}
	return values, nil
}

// plainPCRs parses values without anything else.
func (q *Quote) plainPCRs(data []byte) (pcr.Values, error) {
	values := make(pcr.Values)
	for _, s := range q.Selections {
		for _, i := range s.Indexes {
			if len(data) < s.Bank.Size() {
				return nil, errPCRs
			}
			d, err := hash.NewDigest(s.Bank, data[:s.Bank.Size()])
			if err != nil {
				return nil, err
			}
			values.Set(i, d)
			data = data[s.Bank.Size():]
		}
	}
	if len(data) > 0 {
		return nil, errPCRs
	}
	return values, nil
}

func parseSelections(data []byte) ([]Selection, error) {
	count := binary.LittleEndian.Uint32(data)
	if count == 0 || count > maxSelections {
		return nil, fmt.Errorf("%w: %d banks", errPCRs, count)
	}
	var all []Selection
	for i := range int(count) {
		s := data[4+i*selectionSize:][:selectionSize]
		id, size := binary.LittleEndian.Uint16(s), int(s[2])
		if size > 4 {
			return nil, fmt.Errorf("%w: %d bytes of bits", errPCRs, size)
		}
		indexes := pcr.Selected(s[3 : 3+size])
		if len(indexes) == 0 {
			continue
		}
		bank, ok := pcr.Bank(id)
		if !ok {
			return nil, fmt.Errorf("%w: bank %#x", errPCRs, id)
		}
		all = append(all, Selection{bank, indexes})
	}
	return all, nil
}

// parseDigests parses lists of digests.
func parseDigests(data []byte) ([][]byte, error) {
	count := binary.LittleEndian.Uint32(data)
	if data = data[4:]; uint64(len(data)) != uint64(count)*digestsSize {
		return nil, fmt.Errorf("%w: %d lists in %d bytes", errPCRs, count, len(data))
	}
	var all [][]byte
	for ; len(data) > 0; data = data[digestsSize:] {
		n := binary.LittleEndian.Uint32(data)
		if n > maxDigests {
			return nil, fmt.Errorf("%w: a list of %d values", errPCRs, n)
		}
		for i := range int(n) {
			d := data[4+i*digestSize:][:digestSize]
			size := int(binary.LittleEndian.Uint16(d))
			if size > hash.MaxSize {
				return nil, fmt.Errorf("%w: a value of %d bytes", errPCRs, size)
			}
			all = append(all, d[2:2+size])
		}
	}
	return all, nil
}
