package verify

import (
	"fmt"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/sign"
)

// evm judges security.evm, as far as there is a key for what it holds.
func (j *verification) evm() error {
	if j.Keys == nil && j.HMAC == nil || j.res.EVM == nil {
		j.demand()
		return nil
	}
	o, c, why, err := j.evmVerdict()
	if err != nil {
		return fmt.Errorf("checking security.evm: %w", err)
	}
	if o != report.Valid {
		j.found(o, c, "security.evm: %s", why)
		return nil
	}
	j.demand()
	return nil
}

// onlyEVM judges security.evm alone.
func (j *verification) onlyEVM() error {
	if len(j.res.EVM) == 0 {
		j.found(report.Unlabelled, reason.NoEVM, "no %s", imaevm.AttrEVM)
		return nil
	}
	j.read = true // the owner and the mode, so that it counts if they change
	o, c, why, err := j.evmVerdict()
	j.res.Outcome, j.res.Code, j.res.Reason = o, c, why
	return err
}

// evmVerdict judges the label in security.evm.
func (j *verification) evmVerdict() (o report.Outcome, c reason.Code, why string, err error) {
	if j.HashInHeader {
		if old, err := imaevm.ParseSignatureV1(j.res.EVM); err == nil {
			alg, _ := old.ContentAlgorithm()
			return j.evmVerdictV1(old, alg)
		}
	} else if old, alg, err := imaevm.ParseEVMSignatureV1(j.res.EVM); err == nil {
		return j.evmVerdictV1(old, alg)
	}
	label, err := imaevm.Parse(j.res.EVM)
	if err != nil {
		return report.Invalid, reason.Malformed, err.Error(), nil
	}
	kind := label.Type()
	refused := "a label of type " + kind.String() + ", which the kernel refuses there"
	switch label.(type) {
	case imaevm.HMAC:
		if j.HMAC == nil {
			return report.Unverifiable, reason.NoHMACKey, "HMAC, and no HMAC key to check it with", nil
		}
	case imaevm.Signature:
		if kind == imaevm.TypeVerity {
			return report.Invalid, reason.WrongType, refused, nil
		}
		if j.Keys == nil {
			return report.Unverifiable, reason.NoKey, kind.String() + ", and no key to check it with", nil
		}
	default:
		return report.Invalid, reason.WrongType, refused, nil
	}
	input, err := j.Covers.Input(j.file, kind, j.res.IMA)
	if err != nil {
		return "", "", "", err
	}
	if mac, ok := label.(imaevm.HMAC); ok {
		if j.HMAC.Sum(input) != mac {
			return report.Invalid, reason.BadHMAC, "the HMAC does not match", nil
		}
		return report.Valid, "", "", nil
	}
	s := label.(imaevm.Signature)
	d, err := hash.Sum(s.Alg, input)
	if err != nil {
		return report.Unverifiable, reason.NotComputable, err.Error(), nil
	}
	if err := sign.Verify(s, d, j.Keys); err != nil {
		o, c = outcome(err)
		return o, c, err.Error(), nil
	}
	return report.Valid, "", "", nil
}

// evmVerdictV1 is evmVerdict for signatures of version 1.
func (j *verification) evmVerdictV1(label imaevm.SignatureV1, a hash.Algorithm) (o report.Outcome, c reason.Code, why string, err error) {
	kind := imaevm.Type(j.res.EVM[0])
	known, ok := j.Keys.(sign.VerifiersV1)
	if !ok {
		return report.Unverifiable, reason.NoKey, kind.String() + " of version 1, and no key to check it with", nil
	}
	input, err := j.Covers.Input(j.file, kind, j.res.IMA)
	if err != nil {
		return "", "", "", err
	}
	d, err := hash.Sum(a, input)
	if err != nil {
		return report.Unverifiable, reason.NotComputable, err.Error(), nil
	}
	if err := sign.VerifyV1(label, d, known); err != nil {
		o, c = outcome(err)
		return o, c, err.Error(), nil
	}
	return report.Valid, "", "", nil
}
