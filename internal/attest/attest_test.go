package attest

import (
	"bytes"
	"io"
	"os"
	"testing"

	"imaseal/hash"
	"imaseal/internal/measure"
	"imaseal/internal/pcr"
	"imaseal/internal/reason"
	"imaseal/keys"
	"imaseal/sign"
)

var _ sign.Verifiers = (*keys.Verifiers)(nil)

func openList(t *testing.T, name string) *measure.Reader {
	b, err := os.ReadFile("../measure/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := measure.Open(bytes.NewReader(b), measure.Layout{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func records(t *testing.T, name string) []measure.Record {
	var all []measure.Record
	for r := openList(t, name); ; {
		rec, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rec)
	}
}

func verifiers(t *testing.T, names ...string) *keys.Verifiers {
	for i, name := range names {
		names[i] = "../../testdata/vectors/keys/" + name
	}
	v, err := keys.OpenVerifiers(names...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// check checks records, and returns how many problems there are of each code.
func check(o Options, all ...measure.Record) (Result, map[reason.Code]int) {
	c := NewChecker(o)
	count := make(map[reason.Code]int)
	add := func(problems []Problem) {
		for _, p := range problems {
			count[p.Code]++
		}
	}
	for _, r := range all {
		add(c.Add(r, nil))
	}
	res := c.Finish()
	add(res.Problems)
	return res, count
}

func TestDescribe(t *testing.T) {
	count := make(map[Kind]int)
	for _, r := range records(t, "evm-sig.sha1.bin") {
		e := Describe(r)
		count[e.Kind]++
		if e.Kind == Key && (e.Certificate == nil || e.Name != "_ima" || len(e.Certificate.KeyIDs) == 0) {
			t.Errorf("record %d: %+v", r.Number, e)
		}
	}
	if count[Boot] != 1 || count[Key] == 0 || count[File] == 0 || count[Violation] != 2 {
		t.Error(count)
	}
}

// TestBuffers describes records of what is no file.
func TestBuffers(t *testing.T) {
	for _, c := range []struct {
		name, buffer string
		kind         Kind
		text         string
	}{
		{"kexec-cmdline", "root=/dev/vda1 ro quiet\x00", CommandLine, "root=/dev/vda1 ro quiet"},
		{"selinux-state", "initialized=1;enforcing=1;", Data, "initialized=1;enforcing=1;"},
		{"selinux-policy-hash", "\x01\x02\xff", Data, ""},
		{"dm_table_load", "line\nline", Data, "line\nline"},
		{".ima", "no certificate", Key, ""},
		{"ring", "", Data, ""},
	} {
		r := measure.Record{Template: "ima-buf", Digest: []byte{1}, Fields: []measure.Field{{ID: "n-ng", Value: []byte(c.name + "\x00")}, {ID: "buf", Value: []byte(c.buffer)}}}
		if e := Describe(r); e.Kind != c.kind || e.Text != c.text || e.Name != c.name || e.Certificate != nil {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
	if e := Describe(measure.Record{Template: "of-the-future", Digest: []byte{1}, Data: []byte("x")}); e.Kind != Unknown {
		t.Errorf("%+v", e)
	}
}

// TestSignatures checks those of a kernel's lists, and that no byte of them can be
// another.
func TestSignatures(t *testing.T) {
	known := verifiers(t, "rsa2048.cert.der", "rsa2048-customskid.cert.der", "rsa3072.cert.der", "rsa4096.cert.der", "p256.cert.der", "p384.cert.der", "p521.cert.der")
	for _, name := range []string{"evm-sig.sha1.bin", "ima-sigv2.sha1.bin"} {
		all := records(t, name)
		res, problems := check(Options{Bank: hash.SHA1, Keys: known}, all...)
		if len(problems) > 0 || res.Verified == 0 || res.Verified+res.Uncovered != res.Signed {
			t.Errorf("%s: %d of %d, %v", name, res.Verified, res.Signed, problems)
		}
		_, problems = check(Options{Bank: hash.SHA1, Keys: verifiers(t, "ca.cert.der")}, all...)
		if problems[reason.UnknownKey] != int(res.Signed-res.Uncovered) {
			t.Errorf("%s by another key: %v", name, problems)
		}
		for _, r := range all {
			for _, id := range []string{"sig", "evmsig", "d-ng", "d-ngv2", "iuid", "imode", "xattrvalues"} {
				v, ok := r.Field(id)
				ima, evm := labelsOf(r)
				covers := id != "sig" && id != "evmsig" && (ima != nil && id[0] == 'd' || evm != nil && id[0] != 'd') || id == "sig" && ima != nil || id == "evmsig" && evm != nil
				if !ok || len(v) == 0 || !covers {
					continue
				}
				for _, at := range []int{0, len(v) / 2, len(v) - 1} {
					v[at] ^= 1
					if res, problems := check(Options{Bank: hash.SHA1, Keys: known}, r); problems[WrongTemplate] != 1 || res.Verified > 0 {
						t.Errorf("%s: record %d: byte %d of %s: %v", name, r.Number, at, id, problems)
					}
					v[at] ^= 1
				}
			}
		}
	}
}

func TestPCRs(t *testing.T) {
	all := records(t, "ima-sigv2.sha1.bin")
	value := func(text string) hash.Digest {
		d, err := hash.ParseDigest(text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	values := make(pcr.Values)
	values.Set(10, value("sha1:6a5d32a64926d5a9d5e93e2a7071623cedafff24"))
	values.Set(10, value("sha256:74d56c35c09aa4d4a1a3f0a0adca6faf6b13a765e87c47fa511101f58b964a0e"))
	values.Set(11, value("sha1:6a5d32a64926d5a9d5e93e2a7071623cedafff24")) // not IMA's
	res, problems := check(Options{Bank: hash.SHA1, PCRs: values}, append(all, all[2], all[3])...)
	if len(problems) > 0 || len(res.PCRs) != 2 || res.PCRs[1].After != int64(len(all)) || res.PCRs[1].Later != 2 || res.Records != int64(len(all))+2 {
		t.Errorf("%v, %+v", problems, res)
	}
	for i, r := range all {
		r.Digest = bytes.Clone(r.Digest)
		r.Digest[7] ^= 0x10
		changed := append(append(append([]measure.Record(nil), all[:i]...), r), all[i+1:]...)
		if _, problems := check(Options{Bank: hash.SHA1, PCRs: values}, changed...); problems[WrongPCR] == 0 || !all[i].IsViolation() && problems[WrongTemplate] != 1 {
			t.Errorf("record %d changed: %v", i+1, problems)
		}
	}
	if _, problems := check(Options{Bank: hash.SHA1, PCRs: values}, all[:len(all)-1]...); problems[WrongPCR] != 2 {
		t.Errorf("the last record removed: %v", problems)
	}
	if _, problems := check(Options{Bank: hash.SHA1, PCRs: values}, all[1:]...); problems[BeginsLate] != 1 || len(problems) != 1 {
		t.Errorf("the first record removed: %v", problems)
	}
}

// TestTPMs replays lists of kernels, and compares PCRs and boot aggregates with those that
// their machines had.
func TestTPMs(t *testing.T) {
	for list, name := range map[string]string{"linux-6.1.sha1.bin": "linux-6.1.pcrs", "linux-6.12.sha256.bin": "linux-6.12.pcrs", "linux-7.x.sha256.ascii": "linux-7.x.pcrs"} {
		b, err := os.ReadFile("../measure/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		values, err := pcr.ParseText(b, 0)
		if err != nil {
			t.Fatal(err)
		}
		all := records(t, list)
		o := Options{Bank: all[0].Layout.Bank, PCRs: values, Quoted: true, Keys: verifiers(t, "rsa2048.cert.der")}
		res, problems := check(o, all...)
		if len(problems) > 0 || len(res.PCRs) != 4 || !res.BootAggregate || res.Violations != 2 || res.Verified < 10 || !res.HasMoment || res.Moment != res.Records {
			t.Errorf("%s: %v, %+v", list, problems, res)
		}
		// PCR 11 of an earlier moment.
		var last measure.Record
		for _, r := range all {
			if r.PCR == 11 {
				last = r
			}
		}
		p := measure.NewReplay(hash.SHA1)
		for _, r := range all[:last.Number-1] {
			p.Add(r)
		}
		old, _ := p.Value(hash.SHA1, 11)
		values.Set(11, old)
		if _, problems := check(o, all...); problems[WrongPCR] != 1 {
			t.Errorf("%s: values of two moments: %v", list, problems)
		}
		o.Quoted = false
		if _, problems := check(o, all...); len(problems) > 0 {
			t.Errorf("%s: values that were read one after the other: %v", list, problems)
		}
	}
}

// TestPadded has a bank that the kernel could not compute.
func TestPadded(t *testing.T) {
	all := records(t, "linux-6.1.sha1.bin")
	p := measure.NewPaddedReplay(hash.SHA1, hash.SHA384)
	for _, r := range all {
		p.Add(r)
	}
	if res, problems := check(Options{Bank: hash.SHA1, PCRs: p.Values()}, all...); len(problems) > 0 || len(res.PCRs) != 4 || res.PCRs[0].Padded || !res.PCRs[3].Padded {
		t.Errorf("%v, %+v", problems, res.PCRs)
	}
}

// TestMoment finds the record after which something was so.
func TestMoment(t *testing.T) {
	all := records(t, "ima.sha1.bin")
	n := 0
	res, _ := check(Options{Bank: hash.SHA1, Moment: func(*measure.Replay) bool { n++; return n == 6 }}, all...)
	if !res.HasMoment || res.Moment != 5 || n != len(all)+1 {
		t.Errorf("%+v, %d", res.Counts, n)
	}
}

// TestBootAggregate compares one with values of which it is not.
func TestBootAggregate(t *testing.T) {
	all := records(t, "ima-sigv2.sha1.bin")
	values := make(pcr.Values)
	for i := range 10 {
		values.Set(i, pcr.Zero(hash.SHA256))
	}
	if _, problems := check(Options{Bank: hash.SHA1, PCRs: values}, all...); problems[ZeroBootAggregate] != 1 {
		t.Error(problems)
	}
	for _, last := range []byte{0, 1} {
		r := all[0]
		d, err := pcr.BootAggregate(values, hash.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		field := r.Fields[0].Value
		copy(field[len(field)-32:], d.Bytes())
		field[len(field)-1] ^= last
		res, problems := check(Options{Bank: hash.SHA1, PCRs: values}, r)
		if !res.BootAggregate || problems[WrongBootAggregate] != int(last) {
			t.Errorf("%d: %v", last, problems)
		}
	}
}
