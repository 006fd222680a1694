// Package eventlog reads the log of what firmware and boot loaders have extended PCRs
// with, and replays it: /sys/kernel/security/tpm0/binary_bios_measurements. Everything is
// little endian (TCG PC Client Platform Firmware Profile, Event Logging).
//
// A log of a TPM 1.2, and the first event of every log, TCG_PCClientPCREvent:
//
//	4   PCR index            20  SHA-1 digest        …  event
//	4   type of the event    4   size of the event
//
// If the first event is of type EV_NO_ACTION and its data begin so, TCG_EfiSpecIDEvent,
// the log has all banks of the TPM:
//
//	16  "Spec ID Event03", NUL                 2n  for each, its number (TPM_ALG_ID)
//	4   class of the platform                  2n  and the size of its digests
//	4   minor and major version, errata, size  1   size of what the vendor says
//	4   number n of algorithms                 …   that
//
// The events behind it then are TCG_PCR_EVENT2:
//
//	4   PCR index                              …   digests: 2 bytes of TPM_ALG_ID, digest
//	4   type of the event                      4   size of the event
//	4   number of digests                      …   event
//
// PCRs 0 to 16 begin as zeros. Events of type EV_NO_ACTION extend nothing; one that is
// "StartupLocality", NUL and a byte tells the last byte of PCR 0 at its begin.
package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"imaseal/hash"
	"imaseal/internal/pcr"
)

// noAction is the type EV_NO_ACTION.
const noAction = 3

// Limits of what a log may claim. Firmware gives some hundred KiB to the whole log.
const (
	maxEvent      = 4 << 20
	maxAlgorithms = 16
)

// Words in events of type EV_NO_ACTION.
const (
	specID          = "Spec ID Event03\x00"
	startupLocality = "StartupLocality\x00"
)

// zeroed are the PCRs that a reset sets to zero and that events extend.
const zeroed = 17

// An EventError says what is wrong with an event.
type EventError struct {
	Number int   // from 1
	Offset int64 // of its first byte
	Err    error
}

func (e *EventError) Error() string {
	return fmt.Sprintf("event %d (at byte %d): %v", e.Number, e.Offset, e.Err)
}

func (e *EventError) Unwrap() error { return e.Err }

var errEnd = errors.New("the log ends in the middle of it")

// An algorithm is one of a log's.
type algorithm struct {
	bank hash.Algorithm // zero for one that is not known
	size int
}

// A replay is a log on its way into PCRs.
type replay struct {
	in         io.Reader
	number     int
	offset     int64
	algorithms map[uint16]algorithm // nil for the legacy form
	values     pcr.Values
	extended   bool // PCR 0 was
}

// Replay returns the values that PCRs 0 to 16 have after the events of a log, in all banks
// that the log has digests of. The error is an *EventError, or that of in.
func Replay(in io.Reader) (pcr.Values, error) {
	r := &replay{in: in, values: make(pcr.Values)}
	for {
		start := r.offset
		err := r.event()
		switch {
		case err == io.EOF && r.offset == start && r.number > 0:
			return r.values, nil
		case err == io.EOF && r.number == 0 && r.offset == 0:
			return nil, errors.New("the event log is empty")
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			err = errEnd
		case err == nil:
			r.number++
			continue
		}
		return nil, &EventError{r.number + 1, start, err}
	}
}

// bytes reads n bytes.
func (r *replay) bytes(n int) ([]byte, error) {
	var b bytes.Buffer
	got, err := io.CopyN(&b, r.in, int64(n))
	r.offset += got
	return b.Bytes(), err
}

func (r *replay) uint32() (uint32, error) {
	b, err := r.bytes(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

// event reads an event and extends the PCR with it.
func (r *replay) event() error {
	index, err := r.uint32()
	if err != nil {
		return err
	}
	kind, err := r.uint32()
	if err != nil {
		return errEnd
	}
	digests, err := r.digests()
	if err != nil {
		return err
	}
	size, err := r.uint32()
	if err != nil {
		return errEnd
	}
	if size > maxEvent {
		return fmt.Errorf("an event of %d bytes, which is more than %d", size, maxEvent)
	}
	data, err := r.bytes(int(size))
	if err != nil {
		return errEnd
	}
	if r.number == 0 {
		if err := r.begin(kind, data); err != nil || r.algorithms != nil {
			return err
		}
	}
	if kind == noAction {
		return r.noAction(data)
	}
	return r.extend(index, digests)
}

// digests reads those of an event, of banks that are known.
func (r *replay) digests() ([]hash.Digest, error) {
	if r.algorithms == nil {
		b, err := r.bytes(hash.SHA1.Size())
		if err != nil {
			return nil, errEnd
		}
		d, err := hash.NewDigest(hash.SHA1, b)
		return []hash.Digest{d}, err
	}
	count, err := r.uint32()
	if err != nil {
		return nil, errEnd
	}
	if int64(count) > int64(len(r.algorithms)) {
		return nil, fmt.Errorf("%d digests, and the log has %d algorithms", count, len(r.algorithms))
	}
	var all []hash.Digest
	for range count {
		b, err := r.bytes(2)
		if err != nil {
			return nil, errEnd
		}
		id := binary.LittleEndian.Uint16(b)
		a, ok := r.algorithms[id]
		if !ok {
			return nil, fmt.Errorf("a digest of algorithm %#x, which the log does not have", id)
		}
		if b, err = r.bytes(a.size); err != nil {
			return nil, errEnd
		}
		if a.bank == 0 {
			continue
		}
		d, err := hash.NewDigest(a.bank, b)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// begin finds out the form of the log from its first event.
func (r *replay) begin(kind uint32, data []byte) error {
	rest, isSpec := bytes.CutPrefix(data, []byte(specID))
	if kind != noAction || !isSpec {
		r.reset(hash.SHA1)
		return nil
	}
	const fixed = 8
	if len(rest) < fixed+4 {
		return errors.New("the list of its algorithms is cut")
	}
	count := binary.LittleEndian.Uint32(rest[fixed:])
	rest = rest[fixed+4:]
	if count == 0 || count > maxAlgorithms || int64(len(rest)) < 4*int64(count)+1 {
		return fmt.Errorf("%d algorithms, which its %d bytes cannot have", count, len(rest))
	}
	r.algorithms = make(map[uint16]algorithm)
	for i := range int(count) {
		id, size := binary.LittleEndian.Uint16(rest[4*i:]), int(binary.LittleEndian.Uint16(rest[4*i+2:]))
		bank, ok := pcr.Bank(id)
		if ok && bank.Size() != size || size == 0 || size > hash.MaxSize {
			return fmt.Errorf("digests of algorithm %#x with %d bytes", id, size)
		}
		r.algorithms[id] = algorithm{bank, size}
		if ok {
			r.reset(bank)
		}
	}
	return nil
}

// reset sets the PCRs of a bank to what they are after a reset.
func (r *replay) reset(bank hash.Algorithm) {
	for i := range zeroed {
		r.values.Set(i, pcr.Zero(bank))
	}
}

// noAction looks for the locality of the start-up.
func (r *replay) noAction(data []byte) error {
	locality, ok := bytes.CutPrefix(data, []byte(startupLocality))
	if !ok {
		return nil
	}
	if len(locality) != 1 || r.extended {
		return errors.New("a StartupLocality that is no byte, or is behind what was extended")
	}
	for _, bank := range r.values.Banks() {
		start := make([]byte, bank.Size())
		start[len(start)-1] = locality[0]
		d, err := hash.NewDigest(bank, start)
		if err != nil {
			return err
		}
		r.values.Set(0, d)
	}
	return nil
}

func (r *replay) extend(index uint32, digests []hash.Digest) error {
	if index > pcr.Max {
		return fmt.Errorf("PCR index %d, and the highest is %d", index, pcr.Max)
	}
	r.extended = r.extended || index == 0
	for _, d := range digests {
		old, ok := r.values.Value(d.Algorithm(), int(index))
		if !ok {
			continue // one that software resets to something else
		}
		value, err := pcr.Extend(old, d)
		if err != nil {
			return err
		}
		r.values.Set(int(index), value)
	}
	return nil
}
