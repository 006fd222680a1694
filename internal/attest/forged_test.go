package attest

import (
	"bytes"
	"slices"
	"testing"

	"imaseal/hash"
	"imaseal/internal/measure"
	"imaseal/internal/pcr"
	"imaseal/internal/reason"
)

// pcrsOf are the values that records give.
func pcrsOf(all []measure.Record, indexes ...int) pcr.Values {
	p := measure.NewReplay(hash.SHA1)
	for _, r := range all {
		p.Add(r)
	}
	values := make(pcr.Values)
	for _, i := range indexes {
		value, _ := p.ValueOrZero(hash.SHA1, i)
		values.Set(i, value)
	}
	return values
}

// TestNothingCompared has values of PCRs that say nothing of a list, or of a part of it.
func TestNothingCompared(t *testing.T) {
	all := records(t, "linux-6.1.sha1.bin")
	n := int64(len(all))
	moment := func(values pcr.Values) Options {
		pcrs := map[hash.Algorithm][]int{hash.SHA1: values.Indexes(hash.SHA1)}
		return Options{Bank: hash.SHA1, MomentPCRs: pcrs, Moment: func(p *measure.Replay) bool {
			for _, i := range values.Indexes(hash.SHA1) {
				if v, _ := p.ValueOrZero(hash.SHA1, i); v != values[hash.SHA1][i] {
					return false
				}
			}
			return true
		}}
	}
	for _, c := range []struct {
		name   string
		values pcr.Values
		list   []measure.Record
		want   map[reason.Code]int
	}{
		{"all", pcrsOf(all, 10, 11), all, nil},
		{"also another", pcrsOf(all, 10, 11, 12), all, nil},
		{"PCR 11 later", pcrsOf(all[:1], 10, 11), all, nil},
		{"not 11", pcrsOf(all, 10), all, map[reason.Code]int{UncomparedPCR: 1}},
		{"another 10, not 11", pcrsOf(all[1:], 10), all, map[reason.Code]int{UncomparedPCR: 1, WrongPCR: 1}},
		{"neither", pcrsOf(all, 16), all, map[reason.Code]int{UncomparedPCR: 2}},
		{"zeros", pcrsOf(nil, 10, 11), all, map[reason.Code]int{WrongPCR: 1}},
		{"no list", pcrsOf(all, 10, 11), nil, map[reason.Code]int{WrongPCR: 1}},
	} {
		for form, o := range map[string]Options{"values": {Bank: hash.SHA1, PCRs: c.values}, "one moment": {Bank: hash.SHA1, PCRs: c.values, Quoted: true}, "quote": moment(c.values)} {
			_, problems := check(o, c.list...)
			if len(problems) != len(c.want) {
				t.Errorf("%s, %s: %v", c.name, form, problems)
			}
			for code, count := range c.want {
				if problems[code] != count {
					t.Errorf("%s, %s: %v", c.name, form, problems)
				}
			}
		}
	}
	// A record that was moved to a PCR that no TPM has.
	moved := slices.Clone(all)
	moved[n-1].PCR = 40
	if _, problems := check(Options{Bank: hash.SHA1, PCRs: pcrsOf(all[:n-1], 10, 11)}, moved...); problems[UncomparedPCR] != 1 {
		t.Errorf("PCR 40: %v", problems)
	}
}

// TestForgedViolation has a record with the template digest of a violation, and a digest of
// a file.
func TestForgedViolation(t *testing.T) {
	for _, r := range records(t, "ima-sigv2.sha1.bin") {
		was := r.IsViolation()
		r.Digest = make([]byte, len(r.Digest))
		if _, problems := check(Options{Bank: hash.SHA1}, r); (problems[WrongTemplate] == 0) != (was || r.Name() == measure.BootAggregateName) {
			t.Errorf("record %d: %v", r.Number, problems)
		}
	}
}

// TestCoveredContent has signatures of EVM that are right, over the label of another
// content than the one that was measured, and without what they cover.
func TestCoveredContent(t *testing.T) {
	known := verifiers(t, "rsa2048.cert.der", "p256.cert.der")
	verify := func(r measure.Record) error {
		_, evm := labelsOf(r)
		return verifyEVM(r, evm, known)
	}
	signed := 0
	for _, r := range records(t, "evm-sig.sha1.bin") {
		if v, _ := r.Field("evmsig"); len(v) == 0 {
			continue
		}
		signed++
		if err := verify(r); err != nil {
			t.Errorf("record %d: %v", r.Number, err)
		}
		for i, f := range r.Fields {
			changed := r
			changed.Fields = slices.Clone(r.Fields)
			want := reason.Unsupported
			switch f.ID {
			case "d-ng":
				changed.Fields[i].Value = bytes.Clone(f.Value)
				changed.Fields[i].Value[len(f.Value)-1] ^= 1
				want = reason.OtherMeasured
			case "iuid", "igid", "imode":
				changed.Fields[i].Value = nil
			default:
				continue
			}
			if err := verify(changed); err == nil || codeOf(err) != want && (f.ID != "d-ng" || codeOf(err) != reason.BadSignature) {
				t.Errorf("record %d: %s changed: %v", r.Number, f.ID, err)
			}
		}
	}
	if signed == 0 {
		t.Error("no record has a signature")
	}
}
