package labelfile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// A Sum is the SHA-256 of a line.
type Sum [sha256.Size]byte

// MarshalText prints the sum in hexadecimal.
func (s Sum) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

// UnmarshalText parses what MarshalText prints.
func (s *Sum) UnmarshalText(text []byte) error {
	var sum Sum
	if n, err := hex.Decode(sum[:], text[:min(len(text), 2*len(sum))]); err != nil || n != len(sum) || len(text) != 2*n {
		return fmt.Errorf("%.80q is no sum", text)
	}
	*s = sum
	return nil
}

func sumOf(body []byte) Sum { return sha256.Sum256(body) }

// A sum is the last member of a line: its name, the value, and what follows.
const (
	sumName = `,"sum":"`
	sumEnd  = `"}`
	sumSize = len(sumName) + 2*sha256.Size + len(sumEnd)
)

// appendSum adds its sum to a line.
func appendSum(body []byte) ([]byte, Sum) {
	sum := sumOf(body)
	b := append(body[:len(body)-1], sumName...)
	b = hex.AppendEncode(b, sum[:])
	return append(b, sumEnd...), sum
}

// cutSum takes the sum from a line; body is the line without it.
func cutSum(b []byte) (body []byte, sum Sum, ok bool) {
	at := len(b) - sumSize
	if at < 1 || string(b[at:at+len(sumName)]) != sumName || string(b[len(b)-len(sumEnd):]) != sumEnd {
		return nil, sum, false
	}
	if sum.UnmarshalText(b[at+len(sumName):len(b)-len(sumEnd)]) != nil {
		return nil, sum, false
	}
	return append(b[:at:at], '}'), sum, true
}

// A Total is how many records there are, and the sum of their sums.
type Total struct {
	Files  uint64 `json:"files"`
	Digest Sum    `json:"digest"`
}

// Add adds a record.
func (t *Total) Add(s Sum) { t.Plus(Total{1, s}) }

// Plus adds the records of another total.
func (t *Total) Plus(other Total) {
	t.Files += other.Files
	var carry uint64
	for i := len(t.Digest) - 1; i >= 0; i-- {
		n := uint64(t.Digest[i]) + uint64(other.Digest[i]) + carry
		t.Digest[i], carry = byte(n), n>>8
	}
}

// lines is a count in words.
func lines(n uint64) string {
	if n == 1 {
		return "1 line"
	}
	return fmt.Sprintf("%d lines", n)
}

// A PartError says that records and ends do not belong together.
type PartError struct {
	Kind Kind
	// Have are the records that are there, Want those that the ends tell of.
	Have, Want Total
	// Answered says that it is about the requests that labels answer.
	Answered bool
}

func (e *PartError) Error() string {
	what := e.Kind.String()
	if e.Answered {
		what = "the requests that these labels answer"
	} else {
		what = "the " + what
	}
	if e.Want.Files != e.Have.Files {
		return fmt.Sprintf("%s are not whole: %s, and ends that tell of %d", what, lines(e.Have.Files), e.Want.Files)
	}
	return what + " are not those that were written: their digest does not match"
}
