package evmctl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/measure"
	"imaseal/internal/pcr"
	"imaseal/sign"
)

// noKeys knows no key.
type noKeys struct{}

func (noKeys) Verifier(id imaevm.KeyID) (sign.Verifier, error) {
	return nil, &sign.UnknownKeyError{KeyID: id}
}

func sum(t *testing.T, a hash.Algorithm, b []byte) []byte {
	t.Helper()
	d, err := hash.Sum(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return d.Bytes()
}

// entry makes a record of the template ima-sig, whose template digest is wrong if it is
// damaged, and zero if it is one of a violation.
func entry(t *testing.T, index uint32, name, kind string, sig []byte) []byte {
	t.Helper()
	var data []byte
	for _, field := range [][]byte{append([]byte("sha256:\x00"), make([]byte, 32)...), []byte(name + "\x00"), sig} {
		data = append(binary.LittleEndian.AppendUint32(data, uint32(len(field))), field...)
	}
	digest := sum(t, hash.SHA1, data)
	switch kind {
	case "damaged":
		digest[0] ^= 1
	case "violation":
		clear(digest)
	}
	b := append(binary.LittleEndian.AppendUint32(nil, index), digest...)
	b = append(binary.LittleEndian.AppendUint32(b, 7), "ima-sig"...)
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(data))), data...)
}

// values are what PCR 10 of both banks has after a list: as kernels extend it, and as
// those before Linux 5.8 did.
func values(t *testing.T, list []byte) (now, before pcr.Values) {
	t.Helper()
	r, err := measure.Open(bytes.NewReader(list), measure.Layout{Form: measure.Binary, Bank: hash.SHA1})
	if err != nil {
		t.Fatal(err)
	}
	now, before = make(pcr.Values), make(pcr.Values)
	for {
		rec, err := r.Next()
		if err != nil {
			return now, before
		}
		short, err := rec.Extended(hash.SHA1)
		if err != nil {
			t.Fatal(err)
		}
		for _, bank := range []hash.Algorithm{hash.SHA1, hash.SHA256} {
			with, err := rec.Extended(bank)
			if err != nil {
				t.Fatal(err)
			}
			padded := append(short.Bytes(), make([]byte, 32)...)[:bank.Size()]
			if err := errors.Join(extend(now, bank, rec.PCR, with.Bytes()), extend(before, bank, rec.PCR, padded)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func only(v pcr.Values, bank hash.Algorithm) pcr.Values { return pcr.Values{bank: v[bank]} }

func TestChecker(t *testing.T) {
	first := entry(t, 10, "boot_aggregate", "", nil)
	good := append(bytes.Clone(first), entry(t, 10, "/bin/a", "", nil)...)
	violated := append(bytes.Clone(good), entry(t, 10, "/bin/b", "violation", nil)...)
	damaged := append(bytes.Clone(good), entry(t, 10, "/bin/c", "damaged", nil)...)
	signature, err := imaevm.Signature{Kind: imaevm.TypeSignature, Version: 2, Alg: hash.SHA256, KeyID: 0xabc, Raw: []byte{1}}.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	signed := append(bytes.Clone(good), entry(t, 10, "/bin/d", "", signature)...)
	signed = append(signed, entry(t, 10, "/bin/e", "", signature)...)
	signed = append(signed, entry(t, 10, "/bin/f", "", []byte{5, 2, 4, 0, 0, 0, 1, 0, 1, 9})...)
	longer := append(bytes.Clone(good), entry(t, 10, "/bin/later", "", nil)...)
	now, before := values(t, good)
	nowViolated, beforeViolated := values(t, violated)
	nowSigned, _ := values(t, signed)
	const (
		matched = "Matched per TPM bank calculated digest(s).\n"
		padded  = "Matched SHA1 padded TPM digest(s).\n"
		failed  = "Failed to match per TPM bank or SHA1 padded TPM digest(s).\n"
		none    = "Failed to read any TPM PCRs\n"
		broken  = "Failed to verify template data digest.\n"
	)
	for _, tt := range []struct {
		name   string
		args   string
		list   []byte
		pcrs   pcr.Values
		status int
		err    string
	}{
		{"no TPM", "", good, nil, 0, none},
		{"both banks", "", good, now, 0, matched},
		{"one bank", "", good, only(now, hash.SHA256), 0, matched},
		{"more records than the PCRs have", "", longer, now, 0, matched},
		{"before Linux 5.8", "", good, before, 0, padded},
		{"fewer records", "", first, nowSigned, 1, failed},
		{"no record", "", nil, now, 125, failed},
		{"violation", "", violated, nowViolated, 1, failed},
		{"violation, ignored", "--ignore-violations", violated, nowViolated, 0, matched},
		{"violation, ignored, before Linux 5.8", "--ignore-violations", violated, beforeViolated, 0, padded},
		{"damaged", "", damaged, nil, 1, none + broken},
		{"damaged behind what the PCRs have", "", damaged, now, 0, matched},
		{"other bank", "--verify-bank=sha384", good, now, 1, ""},
		{"PCR that no TPM has", "", entry(t, 24, "/bin/x", "", nil), now, 1, "Invalid PCR 24.\n"},
		{"cut", "", good[:len(good)-1], now, 125, ""},
		{"signatures", "--verify-sig", signed, nowSigned, 0, "key 1: 00000abc (unknown keyid)\n/bin/f: xattr ima has no signature\n" + matched},
		{"signatures of files here", "", signed, nowSigned, 0, "Failed to read: /bin/d\nFailed to read: /bin/e\n/bin/f: xattr ima has no signature\n" + matched},
	} {
		r, err := Parse(append(strings.Fields(tt.args), Measurement, "list"))
		if err != nil {
			t.Fatal(err)
		}
		list, err := measure.Open(bytes.NewReader(tt.list), measure.Layout{Form: measure.Binary, Bank: hash.SHA1})
		if err != nil {
			t.Fatal(tt.name, err)
		}
		var errs bytes.Buffer
		c := Checker{Request: r, PCRs: tt.pcrs, Keys: noKeys{}, Err: &errs, Content: func(string, hash.Algorithm) (hash.Digest, error) {
			return hash.Digest{}, errors.New("made up")
		}}
		status, err := c.Check(list)
		if status != tt.status || errs.String() != tt.err || (err != nil) != (tt.err == "") {
			t.Errorf("%s: %d, %v\n%s", tt.name, status, err, &errs)
		}
	}
}

// The lines of -v and -vv, which scripts take apart.
func TestCheckerLines(t *testing.T) {
	first := entry(t, 10, "boot_aggregate", "", nil)
	list := append(bytes.Clone(first), entry(t, 10, "/bin/a", "damaged", nil)...)
	list = append(list, entry(t, 10, "/bin/b", "", nil)...)
	now, _ := values(t, first)
	now = only(now, hash.SHA256)
	want, _ := now.Value(hash.SHA256, 10)
	other := pcr.Values{}
	other.Set(10, pcr.Zero(hash.SHA256))
	for _, tt := range []struct {
		level string
		pcrs  pcr.Values
		want  []string
		not   string
	}{
		{"-v", now, []string{
			"ima-sig sha256:" + strings.Repeat("00", 32) + " boot_aggregate\n",
			"sha256: PCRAgg  10: " + fmt.Sprintf("%x", want.Bytes()) + "\nsha256: TPM PCR-10: " + fmt.Sprintf("%x", want.Bytes()) + "\nsha256 PCR-10: succeed at entry 1\nMatched",
		}, "/bin/a"},
		{"-v", other, []string{"Failed to verify template data digest(line 2).\n", " /bin/b\n"}, "PCRAgg"},
		{"-vv", other, []string{
			"sha256: PCRAgg  10: " + fmt.Sprintf("%x", want.Bytes()) + "\nsha256: TPM PCR-10: " + strings.Repeat("00", 32) + "\nsha256: PCRAgg 10 does not match TPM PCR-10\n",
		}, "succeed"},
	} {
		r, err := Parse([]string{tt.level, Measurement, "list"})
		if err != nil {
			t.Fatal(err)
		}
		reader, err := measure.Open(bytes.NewReader(list), measure.Layout{Form: measure.Binary, Bank: hash.SHA1})
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		c := Checker{Request: r, PCRs: tt.pcrs, Keys: noKeys{}, Err: &errs}
		if _, err := c.Check(reader); err != nil {
			t.Fatal(err)
		}
		for _, line := range tt.want {
			if !strings.Contains(errs.String(), line) {
				t.Errorf("%s: no %q in\n%s", tt.level, line, &errs)
			}
		}
		if strings.Contains(errs.String(), tt.not) {
			t.Errorf("%s: %s in\n%s", tt.level, tt.not, &errs)
		}
	}
}

func TestPCRFiles(t *testing.T) {
	for args, want := range map[string]string{
		"--pcrs p":                      "[{sha1 p}]",
		"--pcrs sha256,p --pcrs sha1,q": "[{sha256 p} {sha1 q}]",
		"--pcrs md5,p":                  "unknown algorithm 'md5'",
		"--pcrs foo,p":                  "unknown algorithm 'foo'",
		"":                              "[]",
	} {
		r, err := Parse(append(strings.Fields(args), Measurement, "list"))
		if err != nil {
			t.Fatal(err)
		}
		files, err := r.PCRFiles()
		have := fmt.Sprint(files)
		if err != nil {
			have = err.Error()
		}
		if have != want {
			t.Errorf("%s: %s, want %s", args, have, want)
		}
	}
}

func TestTPMDevice(t *testing.T) {
	for env, want := range map[string]string{
		"": "", "TPM2TOOLS_TCTI=swtpm:path=x": "swtpm:path=x", "TPM_INTERFACE_TYPE=dev TPM_DEVICE=/dev/tpm1": "/dev/tpm1",
		"TPM_INTERFACE_TYPE=socsim TPM_SERVER_TYPE=raw":                                                    "swtpm:host=localhost,port=2321",
		"TPM_INTERFACE_TYPE=socsim TPM_SERVER_TYPE=raw TPM_SERVER_NAME=h TPM_COMMAND_PORT=1 TPM2TOOLS_TC=": "swtpm:host=h,port=1",
		"TPM_INTERFACE_TYPE=socsim TPM_SERVER_TYPE=mssim":                                                  "TPM_SERVER_TYPE=mssim: a TPM behind a socket is reached if it is raw, which swtpm is",
		"TPM_INTERFACE_TYPE=other":                                                                         "TPM_INTERFACE_TYPE=other is neither dev nor socsim",
	} {
		have, err := TPMDevice(func(name string) string {
			for _, v := range strings.Fields(env) {
				if value, ok := strings.CutPrefix(v, name+"="); ok {
					return value
				}
			}
			return ""
		})
		if err != nil {
			have = err.Error()
		}
		if have != want {
			t.Errorf("%s: %s", env, have)
		}
	}
}
