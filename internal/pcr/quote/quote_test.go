package quote

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"imaseal/hash"
	"imaseal/internal/pcr"
	"imaseal/keys/keytest"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var nonce = []byte{0xca, 0xfe, 0x00, 0x01}

// TestTPM checks quotes of a TPM, by keys of all kinds, over PCRs of two banks.
func TestTPM(t *testing.T) {
	tpm := keytest.NewTPM(t)
	tpm.Tool("tpm2_pcrextend", "10:sha1=1d8d532d463c9f8c205d0df7787669a85f93e260,sha256=1dc631c999cab4588e57c216e46cd10a8e6302520d7961deda605a3c87b2cba4")
	values, err := pcr.ParseText(keytest.Run(t, "tpm2_pcrread", "sha1:0,1,2,3,4,5,6,7,8,9,10+sha256:10"), 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ kind, scheme, alg string }{
		{"rsa2048", "rsassa", "sha256"}, {"rsa2048", "rsapss", "sha384"}, {"ecc256", "ecdsa", "sha256"}, {"ecc384", "ecdsa", "sha384"},
	} {
		t.Run(c.kind+" "+c.scheme, func(t *testing.T) {
			handle := "0x8100001" + string(rune('0'+i))
			tpm.Make(handle, "-G", c.kind+":"+c.scheme+"-"+c.alg+":null", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign")
			file := func(name string) string { return filepath.Join(tpm.Files, c.scheme+c.alg+name) }
			tpm.Tool("tpm2_readpublic", "-c", handle, "-f", "pem", "-o", file("pem"))
			tpm.Tool("tpm2_readpublic", "-c", handle, "-f", "tss", "-o", file("tss"))
			for _, form := range []string{"serialized", "values"} {
				tpm.Tool("tpm2_quote", "-c", handle, "-l", "sha1:0,1,2,3,4,5,6,7,8,9,10+sha256:10", "-q", hex.EncodeToString(nonce), "-g", c.alg,
					"-m", file("msg"), "-s", file("sig"), "-o", file(form), "-F", form, "--scheme", c.scheme)
				message, signature := read(t, file("msg")), read(t, file("sig"))
				for _, name := range []string{"pem", "tss"} {
					checkQuote(t, message, signature, read(t, file(name)), read(t, file(form)), values)
				}
				if form == "values" {
					flip(t, message, signature, read(t, file("pem")))
				}
			}
		})
	}
}

// TestUnrestricted has a key that signs whatever it is given.
func TestUnrestricted(t *testing.T) {
	tpm := keytest.NewTPM(t)
	tpm.Make("0x81000010", "-G", "ecc256:ecdsa-sha256:null", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign")
	tpm.Tool("tpm2_readpublic", "-c", "0x81000010", "-f", "tss", "-o", filepath.Join(tpm.Files, "tss"))
	if key, err := ParseKey(read(t, filepath.Join(tpm.Files, "tss"))); !errors.Is(err, ErrUnrestricted) || key != nil {
		t.Errorf("%v, %v", key, err)
	}
}

func checkQuote(t *testing.T, message, signature, key, pcrs []byte, want pcr.Values) {
	t.Helper()
	q, err := Parse(message)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Check(signature, public, nonce); err != nil {
		t.Error(err)
	}
	if err := q.Check(signature, public, []byte{1}); !errors.Is(err, ErrNonce) {
		t.Errorf("another nonce: %v", err)
	}
	if err := q.Check(signature, public, nil); err != nil {
		t.Errorf("no nonce: %v", err)
	}
	got, err := q.ParsePCRs(pcrs)
	if err != nil {
		t.Fatal(err)
	}
	for _, bank := range want.Banks() {
		for _, i := range want.Indexes(bank) {
			w, _ := want.Value(bank, i)
			if g, ok := got.Value(bank, i); !ok || g != w || !q.Has(bank, i) {
				t.Errorf("PCR %d of bank %s is %s, want %s", i, bank, g, w)
			}
		}
	}
	if is, err := q.Matches(got.Value); !is || err != nil {
		t.Errorf("its own PCRs do not match: %v", err)
	}
	got.Set(10, pcr.Zero(hash.SHA256))
	if is, _ := q.Matches(got.Value); is {
		t.Error("other PCRs match")
	}
	delete(got[hash.SHA1], 3)
	if is, err := q.Matches(got.Value); is || errors.As(err, new(*pcr.MissingError)) != true {
		t.Errorf("a missing PCR: %v", err)
	}
	for n := range pcrs {
		if n%97 == 0 {
			if v, err := q.ParsePCRs(pcrs[:n]); err == nil || v != nil {
				t.Errorf("PCRs cut at %d are read", n)
			}
		}
	}
}

// flip changes each byte of a quote and of its signature.
func flip(t *testing.T, message, signature, key []byte) {
	t.Helper()
	public, err := ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for i := range message {
		changed := bytes.Clone(message)
		changed[i] ^= 1
		if q, err := Parse(changed); err == nil && q.Check(signature, public, nonce) == nil {
			t.Errorf("byte %d of the message can be changed", i)
		}
	}
	q, err := Parse(message)
	if err != nil {
		t.Fatal(err)
	}
	for i := range signature {
		changed := bytes.Clone(signature)
		changed[i] ^= 1
		if err := q.Check(changed, public, nonce); !errors.Is(err, ErrSignature) {
			t.Errorf("byte %d of the signature can be changed: %v", i, err)
		}
	}
	for n := range message {
		if _, err := Parse(message[:n]); !errors.Is(err, ErrNoQuote) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	if _, err := Parse(append(bytes.Clone(message), 0)); !errors.Is(err, ErrNoQuote) {
		t.Errorf("a byte behind: %v", err)
	}
}

func TestKeys(t *testing.T) {
	for _, name := range []string{"ca.cert.pem", "p256.cert.der"} {
		if key, err := ParseKey(read(t, "../../../testdata/vectors/keys/"+name)); err != nil || key == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if key, err := ParseKey([]byte(text)); err == nil || key != nil {
			t.Errorf("%q is a key: %v", text, key)
		}
	}
}

func FuzzParse(f *testing.F) {
	quoted, err := hex.DecodeString("ff54434780180022000b" + "00000000000000000000000000000000000000000000000000000000000000000004cafe0001" +
		"0000000000000001000000000000000001" + "0000000000000001" + "00000001000b03000400" + "0020" + "1dc631c999cab4588e57c216e46cd10a8e6302520d7961deda605a3c87b2cba4")
	if err != nil {
		f.Fatal(err)
	}
	if _, err := Parse(quoted); err != nil {
		f.Fatal(err)
	}
	f.Add(quoted, []byte("\x00\x18\x00\x0b\x00\x01a\x00\x01b"), make([]byte, 32))
	f.Fuzz(func(t *testing.T, message, signature, pcrs []byte) {
		q, err := Parse(message)
		if err != nil {
			if q != nil {
				t.Fatal(err)
			}
			return
		}
		if v, err := q.ParsePCRs(pcrs); (err == nil) != (v != nil) {
			t.Fatalf("%v, %v", v, err)
		}
		key, err := ParseKey(signature)
		if err == nil && q.Check(signature, key, nil) == nil {
			t.Fatal("a signature out of nothing")
		}
	})
}
