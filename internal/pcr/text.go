package pcr

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"imaseal/hash"
)

// A LineError says what is wrong in a text.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

func (e *LineError) Unwrap() error { return e.Err }

// ParseText parses the values that a tool has printed. The bank is that of values in
// front of which no line names one; zero is that which values of their size mostly
// have. What tpm2_checkquote prints around them is left out. The error is a
// *LineError, or says that there are no values.
func ParseText(text []byte, bank hash.Algorithm) (Values, error) {
	v := make(Values)
	current := bank
	number := 0
	for line := range bytes.Lines(text) {
		number++
		s := strings.TrimSpace(string(line))
		if s == "" {
			continue
		}
		name, value, ok := strings.Cut(s, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		var err error
		switch {
		case s == "pcrs:", name == "sig": // of tpm2_checkquote
		case !ok:
			err = errors.New("no colon: a line is ALG: or the number of a PCR, a colon, and its value")
		case value == "":
			current, err = parseBank(name)
		default:
			err = v.addLine(name, value, current)
		}
		if err != nil {
			return nil, &LineError{number, err}
		}
	}
	if len(v) == 0 {
		return nil, errors.New("there are no values of PCRs in it")
	}
	return v, nil
}

// parseBank parses the name of a bank as the kernel or tpm2-tools have it.
func parseBank(name string) (hash.Algorithm, error) {
	if name == "sm3_256" {
		return hash.SM3, nil
	}
	a, err := hash.Parse(strings.ReplaceAll(name, "_", "-"))
	if err != nil || !IsBank(a) {
		return 0, fmt.Errorf("%q names no bank of PCRs", name)
	}
	return a, nil
}

// addLine adds the value of one line.
func (v Values) addLine(name, value string, bank hash.Algorithm) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(name, "PCR-"), 10, 8)
	if err != nil || n > Max {
		return fmt.Errorf("%q is no PCR; they are 0 to %d", name, Max)
	}
	d, err := ParseValue(value, bank)
	if err != nil {
		return err
	}
	if old, ok := v.Value(d.Algorithm(), int(n)); ok && old != d {
		return fmt.Errorf("another value of PCR %d of bank %s", n, d.Algorithm())
	}
	v.Set(int(n), d)
	return nil
}

// ParseValue parses one value: hexadecimal digits, with blanks between them or without,
// and perhaps 0x in front. Bank zero is the one that values of that size mostly have.
func ParseValue(s string, bank hash.Algorithm) (hash.Digest, error) {
	digits := strings.Join(strings.Fields(s), "")
	if rest, ok := strings.CutPrefix(digits, "0x"); ok {
		digits = rest
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return hash.Digest{}, errors.New("a value is hexadecimal digits, two a byte")
	}
	if bank == 0 {
		for _, b2 := range Banks() {
			if b2.Size() == len(b) {
				return hash.NewDigest(b2, b)
			}
		}
		return hash.Digest{}, fmt.Errorf("a value of %d bytes, which no bank has", len(b))
	}
	if len(b) != bank.Size() {
		return hash.Digest{}, fmt.Errorf("a value of %d bytes, and those of bank %s have %d", len(b), bank, bank.Size())
	}
	return hash.NewDigest(bank, b)
}
