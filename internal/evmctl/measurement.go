package evmctl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/measure"
	"imaseal/internal/pcr"
	"imaseal/internal/report"
	"imaseal/sign"
)

// Levels of -v at which evmctl tells more: see Options.
const (
	details = 1 // each record, and PCRs that match
	all     = 2 // PCRs that do not
)

// A Checker compares a measurement list with PCRs, as ima_measurement does.
type Checker struct {
	Request Request
	// PCRs are the TPM's, or a file's; nil if there are none. Those that are not there
	// count as zeros.
	PCRs pcr.Values
	// Keys check signatures, NumKeys is how many there are.
	Keys    sign.Verifiers
	NumKeys int
	// Content returns the digest of a file here, whose signature is checked by that
	// without --verify-sig.
	Content func(path string, a hash.Algorithm) (hash.Digest, error)
	Err     io.Writer

	// own are the banks as kernels extend them now, padded as those before Linux 5.8
	// did: with the digest of SHA-1 and zeros behind it.
	own, padded bankSet
	unknown     map[string]bool
	damaged     bool // a template digest is wrong
}

// A bankSet is what banks of PCRs should have.
type bankSet struct {
	values pcr.Values
	open   []hash.Algorithm // that have not matched yet
}

// Check reads a list. The status is that of the command; the error says that the list
// could not be read to its end.
func (c *Checker) Check(list *measure.Reader) (int, error) {
	banks := c.banks()
	if len(banks) == 0 {
		return StatusFailed, fmt.Errorf("there are no PCRs of bank %s", c.Request.VerifyBank)
	}
	c.own = bankSet{make(pcr.Values), banks}
	c.padded = bankSet{make(pcr.Values), banks}
	for n := 1; len(c.own.open) > 0 && len(c.padded.open) > 0; n++ {
		r, err := list.Next()
		if err == io.EOF && n == 1 { // evmctl's own status is left as it was in the beginning
			c.conclude()
			return StatusError, nil
		}
		if err == io.EOF {
			break
		}
		if err != nil && r.Digest == nil {
			return StatusError, err
		}
		if err != nil {
			c.say("Template \"%s\" invalid template data: %v\n", r.Template, err)
		}
		if r.PCR > pcr.Max {
			c.say("Invalid PCR %d.\n", r.PCR)
			return StatusFailed, nil
		}
		if err := c.record(r, n); err != nil {
			return StatusError, err
		}
	}
	return c.conclude(), nil
}

// banks returns those that count.
func (c *Checker) banks() []hash.Algorithm {
	var banks []hash.Algorithm
	for _, b := range c.PCRs.Banks() {
		if c.Request.VerifyBank == "" || c.Request.VerifyBank == b.String() {
			banks = append(banks, b)
		}
	}
	if len(c.PCRs) == 0 { // the list is read all the same
		banks = []hash.Algorithm{hash.SHA1}
	}
	return banks
}

// record follows one record.
func (c *Checker) record(r measure.Record, n int) error {
	if err := c.extend(r); err != nil {
		return err
	}
	if _, wrong := errors.AsType[*measure.DigestError](r.Verify()); wrong {
		c.damaged = true
		if c.Request.Verbose >= details {
			c.say("Failed to verify template data digest(line %d).\n", n)
		}
	}
	c.show(r)
	c.signature(r)
	if len(c.PCRs) == 0 {
		return nil
	}
	c.compare(&c.own, n)
	if len(c.own.open) > 0 {
		c.compare(&c.padded, n)
	}
	return nil
}

// extend extends PCRs as kernels do. A violation, whose digest in the list is zero, was
// extended as ones: without --ignore-violations no list with one matches.
func (c *Checker) extend(r measure.Record) error {
	short, err := r.TemplateDigest(hash.SHA1)
	if err != nil {
		return err
	}
	sha1 := short.Bytes()
	if r.IsViolation() {
		fill := byte(0)
		if c.Request.IgnoreViolations {
			fill = 0xff
		}
		sha1 = bytes.Repeat([]byte{fill}, len(sha1))
	}
	for _, bank := range c.banks() {
		with := append(bytes.Clone(sha1), make([]byte, bank.Size())...)[:bank.Size()]
		if err := extend(c.padded.values, bank, r.PCR, with); err != nil {
			return err
		}
		switch {
		case r.IsViolation():
			with = bytes.Repeat(sha1[:1], bank.Size())
		default:
			d, err := r.TemplateDigest(bank)
			if err != nil {
				return err
			}
			with = d.Bytes()
		}
		if err := extend(c.own.values, bank, r.PCR, with); err != nil {
			return err
		}
	}
	return nil
}

func extend(values pcr.Values, bank hash.Algorithm, index int, with []byte) error {
	d, err := hash.NewDigest(bank, with)
	if err != nil {
		return err
	}
	old, ok := values.Value(bank, index)
	if !ok {
		old = pcr.Zero(bank)
	}
	if d, err = pcr.Extend(old, d); err == nil {
		values.Set(index, d)
	}
	return err
}

// compare takes the banks that are now what they should be from those that are open.
func (c *Checker) compare(s *bankSet, n int) {
	var open []hash.Algorithm
	for _, bank := range s.open {
		if !c.matches(s, bank, n) {
			open = append(open, bank)
		}
	}
	s.open = open
}

func (c *Checker) matches(s *bankSet, bank hash.Algorithm, n int) bool {
	ok := true
	for _, i := range s.values.Indexes(bank) {
		want, _ := s.values.Value(bank, i)
		have, there := c.PCRs.Value(bank, i)
		if !there {
			have = pcr.Zero(bank)
		}
		ok = ok && want == have
		if ok && c.Request.Verbose < details || !ok && c.Request.Verbose < all {
			continue
		}
		c.say("%s: PCRAgg  %d: %x\n", bank, i, want.Bytes())
		c.say("%s: TPM PCR-%d: %x\n", bank, i, have.Bytes())
		if ok {
			c.say("%s PCR-%d: succeed at entry %d\n", bank, i, n)
		} else {
			c.say("%s: PCRAgg %d does not match TPM PCR-%d\n", bank, i, i)
		}
	}
	return ok
}

// show prints a record as the kernel's list in text has it.
func (c *Checker) show(r measure.Record) {
	if c.Request.Verbose < details {
		return
	}
	text, err := r.AppendASCII(nil)
	if err != nil {
		text = fmt.Appendf(nil, "%d %x %s", r.PCR, r.Digest, r.Template)
	}
	c.say("%s\n", report.Quote(strings.TrimSpace(string(text))))
}

// signature checks the signature of a record, if it has one. What comes of it is said,
// and does not count in the status.
func (c *Checker) signature(r measure.Record) {
	value, ok := r.Field("sig")
	if !ok || len(value) == 0 {
		return
	}
	name := report.Quote(r.Name())
	digest, label, problem := c.signed(r, value)
	if problem != "" {
		c.say(problem, name)
		return
	}
	err := sign.Verify(label, digest, c.Keys)
	unknown, isUnknown := errors.AsType[*sign.UnknownKeyError](err)
	switch {
	case err == nil && c.Request.Verbose >= details:
		c.say("%s: verification is OK\n", name)
	case err == nil:
	case isUnknown:
		c.unknownKey(unknown.KeyID.String())
		if c.Request.Verbose >= details {
			c.say("%s: verification failed: unknown keyid %s\n", name, unknown.KeyID)
		}
	default:
		c.say("%s: verification failed: 0 (%v)\n", name, err)
	}
}

// signed returns a signature and the digest that it covers: the record's, or that of
// the file of its name here. What stands in the way is said in words, for one name.
func (c *Checker) signed(r measure.Record, value []byte) (d hash.Digest, label imaevm.Label, problem string) {
	label, err := imaevm.Parse(value)
	v2, isV2 := label.(imaevm.Signature)
	v1, isV1 := label.(imaevm.SignatureV1)
	alg := v2.Alg
	if isV1 {
		alg, isV1 = v1.ContentAlgorithm()
	}
	switch {
	case err != nil:
		return d, nil, "%s: Invalid signature\n"
	case !isV1 && (!isV2 || v2.Kind == imaevm.TypePortable):
		return d, nil, "%s: xattr ima has no signature\n"
	case c.Request.VerifySig:
		file, ok := r.FileDigest()
		if !ok {
			return d, nil, "%s: Invalid digest\n"
		}
		return file.Digest, label, ""
	case v2.Kind == imaevm.TypeVerity:
		return d, nil, "%s: calculating the fs-verity digest is not supported\n"
	}
	if d, err = c.Content(r.Name(), alg); err != nil {
		return d, nil, "Failed to read: %s\n"
	}
	return d, label, ""
}

// unknownKey says once of each key that it is not known.
func (c *Checker) unknownKey(id string) {
	if c.unknown[id] {
		return
	}
	if c.unknown == nil {
		c.unknown = make(map[string]bool)
	}
	c.unknown[id] = true
	c.say("key %d: %s (unknown keyid)\n", c.NumKeys+len(c.unknown), id)
}

// conclude says what came of it.
func (c *Checker) conclude() int {
	status := StatusOK
	switch {
	case len(c.PCRs) == 0:
		c.say("Failed to read any TPM PCRs\n")
	case len(c.own.open) == 0:
		c.say("Matched per TPM bank calculated digest(s).\n")
	case len(c.padded.open) == 0:
		c.say("Matched SHA1 padded TPM digest(s).\n")
	default:
		c.say("Failed to match per TPM bank or SHA1 padded TPM digest(s).\n")
		status = StatusFailed
	}
	if c.damaged {
		c.say("Failed to verify template data digest.\n")
		status = StatusFailed
	}
	return status
}

func (c *Checker) say(format string, args ...any) { fmt.Fprintf(c.Err, format, args...) }
