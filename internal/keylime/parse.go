package keylime

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// A FormatError says what is wrong with a policy, and where: the member, or nothing
// where it is the text as a whole.
type FormatError struct {
	Member string
	Err    error
}

func (e *FormatError) Error() string {
	if e.Member == "" {
		return e.Err.Error()
	}
	return e.Member + ": " + e.Err.Error()
}

func (e *FormatError) Unwrap() error { return e.Err }

// Errors about policies as a whole.
var (
	// ErrSigned says that it is a policy in an envelope with a signature (DSSE),
	// which would not hold for what is made of it.
	ErrSigned = errors.New("a signed policy, in an envelope")
	// ErrAllowlist says that it is an allowlist, of Keylime before version 6.6.
	ErrAllowlist = errors.New("an allowlist of an old Keylime, and no runtime policy")
	errTwice     = errors.New("is there twice")
	errMissing   = errors.New("is missing")
	errNoEnd     = errors.New("something stands behind the end")
	errShort     = errors.New("the text ends early")
)

// logAlgorithms are those that the schema allows.
var logAlgorithms = []string{"sha1", "sha256", "sha384", "sha512"}

// maxGenerator is the last of RUNTIME_POLICY_GENERATOR, keylime/ima/ima.py.
const maxGenerator = 3

// Parse reads a policy that Keylime's schema takes, in its one version. What that takes
// and is of no use, or ambiguous, is refused: members that are there twice, digests with
// half a byte, keys that cannot be one, names that are not UTF-8. Digests of a name that
// is there twice are all taken. The error is a *FormatError, or that of reading.
func Parse(r io.Reader) (*Policy, error) {
	in := &source{Reader: r}
	p := &parser{d: json.NewDecoder(in), policy: new(Policy)}
	p.d.UseNumber()
	err := p.parse()
	switch {
	case in.err != nil:
		return nil, in.err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, &FormatError{"", errShort}
	case err != nil && !is[*FormatError](err):
		return nil, &FormatError{"", err}
	case err != nil:
		return nil, err
	}
	return p.policy, nil
}

type parser struct {
	d      *json.Decoder
	policy *Policy
}

// required are the members that a policy must have.
var required = []string{"meta", "release", "digests", "excludes", "keyrings", "ima", "ima-buf", "verification-keys"}

func (p *parser) parse() error {
	seen, err := eachOnce(p.d, func(name string) error {
		return within(name, p.member(name))
	})
	if err != nil {
		return err
	}
	if _, err := p.d.Token(); err != io.EOF {
		return errNoEnd
	}
	for _, name := range required {
		switch {
		case seen[name]:
		case seen["payload"]:
			return &FormatError{"", ErrSigned}
		case seen["hashes"]:
			return &FormatError{"", ErrAllowlist}
		default:
			return &FormatError{name, errMissing}
		}
	}
	return nil
}

// within adds the member to an error.
func within(name string, err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*FormatError](err); ok {
		return &FormatError{name + "." + f.Member, f.Err}
	}
	return &FormatError{name, err}
}

// A source keeps the error of reading, to tell it from those of the text.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// A typeError says that a value is of another type than the schema's.
type typeError struct{ want string }

func (e *typeError) Error() string { return "is not " + e.want }

// A wordError says that a value is not one of those that the schema allows.
type wordError struct{ text string }

func (e *wordError) Error() string { return e.text }

// eachMember calls f when the name of each member of an object was read.
func eachMember(d *json.Decoder, f func(name string) error) error {
	begin, err := d.Token()
	if err != nil {
		return err
	}
	if begin != json.Delim('{') {
		return &typeError{"an object"}
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		if err := f(name.(string)); err != nil { // a decoder takes nothing else there
			return err
		}
	}
	_, err = d.Token()
	return err
}

// eachOnce is eachMember for an object that has no member twice, and returns which it
// has.
func eachOnce(d *json.Decoder, f func(name string) error) (map[string]bool, error) {
	seen := make(map[string]bool)
	err := eachMember(d, func(name string) error {
		if seen[name] {
			return &FormatError{name, errTwice}
		}
		seen[name] = true
		return f(name)
	})
	return seen, err
}

func (p *parser) member(name string) error {
	policy := p.policy
	var err error
	switch name {
	case "meta":
		return p.meta()
	case "release":
		policy.Release, err = number(p.d, math.MaxInt64)
	case "digests":
		return digests(p.d, &policy.Files)
	case "excludes":
		policy.Excludes, err = texts(p.d)
	case "keyrings":
		return digests(p.d, &policy.Keyrings)
	case "ima":
		return p.ima()
	case "ima-buf":
		return digests(p.d, &policy.Buffers)
	case "verification-keys":
		return p.keys()
	default:
		policy.Others, err = other(p.d, policy.Others, name)
	}
	return err
}

func (p *parser) meta() error {
	policy, version, generator := p.policy, int64(-1), int64(-1)
	_, err := eachOnce(p.d, func(name string) (err error) {
		switch name {
		case "version":
			version, err = number(p.d, math.MaxInt64)
		case "generator":
			generator, err = number(p.d, maxGenerator)
		case "timestamp":
			policy.Timestamp, err = text(p.d)
		default:
			policy.OthersMeta, err = other(p.d, policy.OthersMeta, name)
		}
		return within(name, err)
	})
	switch {
	case err != nil:
		return err
	case version < 0:
		return &FormatError{"version", errMissing}
	case version != Version:
		return &FormatError{"version", &wordError{fmt.Sprintf("%d is unknown here, where version %d is known", version, Version)}}
	case generator < 0:
		return &FormatError{"generator", errMissing}
	}
	policy.Generator = int(generator)
	return nil
}

func (p *parser) ima() error {
	policy := p.policy
	seen, err := eachOnce(p.d, func(name string) (err error) {
		switch name {
		case "ignored_keyrings":
			policy.Ignored, err = texts(p.d)
		case "log_hash_alg":
			if policy.LogAlgorithm, err = text(p.d); err == nil && !slices.Contains(logAlgorithms, policy.LogAlgorithm) {
				err = &wordError{fmt.Sprintf("%q is none of %s", policy.LogAlgorithm, strings.Join(logAlgorithms, ", "))}
			}
		case "dm_policy":
			var value json.RawMessage
			if err = p.d.Decode(&value); err == nil && string(value) != "null" {
				err = &typeError{"null, as Keylime asks for"}
			}
		default:
			policy.OthersIMA, err = other(p.d, policy.OthersIMA, name)
		}
		return within(name, err)
	})
	if err != nil {
		return err
	}
	for _, name := range []string{"ignored_keyrings", "log_hash_alg", "dm_policy"} {
		if !seen[name] {
			return &FormatError{name, errMissing}
		}
	}
	return nil
}

// digests reads an object of lists of digests, none of which is empty.
func digests(d *json.Decoder, to *Digests) error {
	return eachMember(d, func(name string) error {
		begin, err := d.Token()
		if err != nil {
			return err
		}
		if begin != json.Delim('[') {
			return &FormatError{name, &typeError{"a list"}}
		}
		n := 0
		for ; d.More(); n++ {
			token, err := d.Token()
			if err != nil {
				return err
			}
			s, ok := token.(string)
			if !ok {
				return &FormatError{name, &typeError{"a list of digests"}}
			}
			digest, err := hex.DecodeString(s)
			if err != nil || strings.ToLower(s) != s {
				return &FormatError{name, &wordError{fmt.Sprintf("%q is no digest: an even number of hexadecimal digits in small letters", s)}}
			}
			if err := to.Add(name, digest); err != nil {
				return &FormatError{name, err}
			}
		}
		if n == 0 {
			return &FormatError{name, &typeError{"a list with a digest in it"}}
		}
		_, err = d.Token()
		return err
	})
}

func number(d *json.Decoder, most int64) (int64, error) {
	var n json.Number
	token, err := d.Token()
	if err != nil {
		return 0, err
	}
	n, ok := token.(json.Number)
	if !ok {
		return 0, &typeError{"a number"}
	}
	i, err := n.Int64()
	if err != nil || i < 0 || i > most {
		return 0, &wordError{fmt.Sprintf("%s is not a whole number from 0 to %d", n, most)}
	}
	return i, nil
}

func text(d *json.Decoder) (string, error) {
	token, err := d.Token()
	if err != nil {
		return "", err
	}
	s, ok := token.(string)
	if !ok || strings.ContainsRune(s, utf8.RuneError) {
		return "", &typeError{"a text"}
	}
	return s, nil
}

func texts(d *json.Decoder) ([]string, error) {
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return nil, err
	}
	var all []*string
	if err := json.Unmarshal(raw, &all); err != nil || all == nil {
		return nil, &typeError{"a list of texts"}
	}
	var list []string
	for _, s := range all {
		if s == nil || strings.ContainsRune(*s, utf8.RuneError) {
			return nil, &typeError{"a list of texts"}
		}
		list = union(list, []string{*s})
	}
	return list, nil
}

// other reads a member that nothing is known of.
func other(d *json.Decoder, to []Member, name string) ([]Member, error) {
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, err
	}
	return append(to, Member{name, b.Bytes()}), nil
}
