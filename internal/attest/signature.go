package attest

import (
	"encoding/binary"
	"errors"
	"fmt"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/measure"
	"imaseal/internal/reason"
	"imaseal/sign"
)

// signatures checks those that a record has, and returns how many are right.
func (c *Checker) signatures(r measure.Record) (right int64, err error) {
	ima, evm := labelsOf(r)
	if ima == nil && evm == nil {
		return 0, nil
	}
	c.count.Signed++
	if c.options.Keys == nil {
		return 0, nil
	}
	if ima != nil {
		if err := verifyIMA(r, ima, c.options.Keys); err != nil {
			return 0, fmt.Errorf("signature of %s: %w", imaevm.AttrIMA, err)
		}
		right++
	}
	if _, has := r.Field("evmsig"); evm != nil && !has {
		c.count.Uncovered++
	} else if evm != nil {
		if err := verifyEVM(r, evm, c.options.Keys); err != nil {
			return right, fmt.Errorf("signature of %s: %w", imaevm.AttrEVM, err)
		}
		right++
	}
	return right, nil
}

// An UncheckableError says that a record does not have what a signature covers.
type UncheckableError struct{ Why string }

func (e *UncheckableError) Error() string { return e.Why }

// verifyIMA checks a signature over the digest of the record.
func verifyIMA(r measure.Record, value []byte, keys sign.Verifiers) error {
	label, err := imaevm.Parse(value)
	if err != nil {
		return err
	}
	d, ok := r.FileDigest()
	if !ok {
		return &UncheckableError{"the record has no digest that it could cover"}
	}
	alg := d.Digest.Algorithm()
	switch label := label.(type) {
	case imaevm.Signature:
		alg = label.Alg
		if isVerity := label.Kind == imaevm.TypeVerity; isVerity != (d.Kind == measure.KindVerity) {
			return &UncheckableError{fmt.Sprintf("it is a %s, and the record has a digest of another kind", label.Kind)}
		}
	case imaevm.SignatureV1:
		if a, ok := label.ContentAlgorithm(); ok {
			alg = a
		}
	}
	if alg != d.Digest.Algorithm() {
		return &UncheckableError{fmt.Sprintf("it covers a digest of %s, and the record has one of %s", alg, d.Digest.Algorithm())}
	}
	return sign.Verify(label, d.Digest, keys)
}

// verifyEVM checks a portable signature over what a record of the template evm-sig has of
// the file.
func verifyEVM(r measure.Record, value []byte, keys sign.Verifiers) error {
	label, err := imaevm.ParseSignature(value)
	if err != nil {
		return err
	}
	found, err := r.Xattrs()
	if err != nil {
		return err
	}
	var attrs []imaevm.Attr
	for _, x := range found {
		attrs = append(attrs, imaevm.Attr{Name: x.Name, Value: x.Value})
	}
	var m imaevm.Meta
	for id, to := range map[string]*uint32{"iuid": &m.UID, "igid": &m.GID, "imode": &m.Mode} {
		var ok bool
		if *to, ok = r.Uint(id); !ok {
			return &UncheckableError{"the record has no " + id + ", which it covers"}
		}
	}
	covered, err := imaevm.Input(label.Kind, attrs, m, imaevm.Target{BigEndian: r.Layout.Order == binary.BigEndian})
	if err != nil {
		return &UncheckableError{"the record does not have what it covers: " + err.Error()}
	}
	d, err := hash.Sum(label.Alg, covered)
	if err != nil {
		return err
	}
	if err := sign.Verify(label, d, keys); err != nil {
		return err
	}
	for _, a := range attrs {
		if a.Name == imaevm.AttrIMA {
			return verifyCovered(r, a.Value, keys)
		}
	}
	return nil
}

// An OtherContentError says that a signature of EVM covers the label of another content.
type OtherContentError struct{ Covered, Measured hash.Digest }

func (e *OtherContentError) Error() string {
	return fmt.Sprintf("it is right, and covers %s as %s, where %s was measured", e.Covered, imaevm.AttrIMA, e.Measured)
}

// verifyCovered says whether security.ima, as a signature of EVM covers it, is that of the
// content that was measured: a kernel that does not enforce measures any.
func verifyCovered(r measure.Record, value []byte, keys sign.Verifiers) error {
	label, err := imaevm.Parse(value)
	if err != nil {
		return err
	}
	covered, ok := label.(imaevm.HashLabel)
	if !ok {
		return verifyIMA(r, value, keys)
	}
	d, ok := r.FileDigest()
	switch {
	case !ok || d.Kind != measure.KindIMA || d.Digest.Algorithm() != covered.Digest.Algorithm():
		return &UncheckableError{fmt.Sprintf("it covers %s, which the record has no digest of", covered.Digest)}
	case d.Digest != covered.Digest:
		return &OtherContentError{covered.Digest, d.Digest}
	}
	return nil
}

// codeOf returns the code of what is wrong with a signature.
func codeOf(err error) reason.Code {
	switch {
	case is[*sign.BadSignatureError](err):
		return reason.BadSignature
	case is[*sign.UnknownKeyError](err):
		return reason.UnknownKey
	case is[*sign.AmbiguousKeyError](err):
		return reason.AmbiguousKey
	case is[*OtherContentError](err):
		return reason.OtherMeasured
	case is[*sign.UnsupportedError](err), is[*sign.DigestError](err), is[*UncheckableError](err):
		return reason.Unsupported
	case errors.Is(err, imaevm.ErrEmpty), errors.Is(err, imaevm.ErrShort), errors.Is(err, imaevm.ErrLong), errors.Is(err, imaevm.ErrType),
		errors.Is(err, imaevm.ErrVersion), errors.Is(err, imaevm.ErrHash), errors.Is(err, imaevm.ErrLength):
		return reason.Malformed
	case is[*hash.NotComputableError](err):
		return reason.NotComputable
	}
	return reason.Malformed
}
