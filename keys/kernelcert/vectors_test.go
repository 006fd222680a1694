package kernelcert_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"filippo.io/mldsa"
	"golang.org/x/sys/unix"

	"imaseal/internal/vectors"
	"imaseal/keys/certtest"
	"imaseal/keys/kernelcert"
	"imaseal/keys/kernelkey"
)

// guests are the kernels of testdata/vectors/certificates.txt: what they have of
// algorithms built in, and what as modules.
var guests = map[string]struct{ builtIn, modules string }{
	"6.1":  {"RSA SHA1 SHA256", "SHA512 SHA3 MD4 STREEBOG"},
	"6.12": {"RSA SHA1 SHA256 SHA512 SHA3 ECDSA", "MD4 STREEBOG"},
	"7.x":  {"RSA SHA1 SHA256 SHA512 ECDSA", "SHA3 MD4 STREEBOG"},
}

// guest returns the kernel of a boot, such as 6.12/fips. Modules are loaded in
// all but those named built-in.
func guest(t *testing.T, boot string) kernelcert.Kernel {
	t.Helper()
	series, kind, _ := strings.Cut(boot, "/")
	g, ok := guests[series]
	if !ok {
		t.Fatalf("unknown kernel %q", boot)
	}
	k := kernelcert.Known[map[string]int{"6.1": 0, "6.12": 1, "7.x": 2}[series]]
	k.FIPS = kind == "fips"
	has := strings.Fields(g.builtIn)
	if kind != "built-in" {
		has = append(has, strings.Fields(g.modules)...)
	}
	k.Option = func(name string) string {
		for _, a := range has {
			if name == "CONFIG_CRYPTO_"+a {
				return "y"
			}
		}
		if name == "CONFIG_X509_CERTIFICATE_PARSER" {
			return "y"
		}
		return ""
	}
	return k
}

// TestVectors: what kernels said is what the package says.
func TestVectors(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(string(vectors.Read(t, "certificates.txt"))), "\n")
	boots := strings.Fields(strings.TrimPrefix(lines[1], "#"))
	count := make(map[string]int)
	for _, line := range lines[3:] {
		fields := strings.Fields(line)
		if len(fields) != len(boots)+2 {
			t.Fatalf("%d fields, want %d: %.100s", len(fields), len(boots)+2, line)
		}
		der, err := hex.DecodeString(fields[len(boots)+1])
		if err != nil {
			t.Fatal(err)
		}
		for i, boot := range boots {
			said := "ok"
			j := guest(t, boot).Judge(der)
			if j.Verdict != kernelcert.Loaded {
				said = unix.ErrnoName(j.Reason.Errno)
			}
			count[said]++
			if said != fields[i] || j.Verdict == kernelcert.Undecided {
				t.Errorf("%s: %s %s (%v), the kernel said %s: %s", boot, j.Verdict, said, j.Reason, fields[i], fields[len(boots)+1])
			}
		}
		description := fields[len(boots)]
		if description == "-" {
			continue
		}
		if c, err := kernelcert.Parse(der); err != nil || hex.EncodeToString([]byte(c.Description())) != description {
			t.Errorf("described as %q, the kernel said %s", c.Description(), description)
		}
	}
	for _, said := range []string{"ok", "EBADMSG", "ENOPKG", "EINVAL", "EKEYREJECTED", "ENOENT"} {
		if count[said] < 10 {
			t.Errorf("only %d of %s", count[said], said)
		}
	}
}

// TestMLDSA: certificates for kernels of 7.0 and later that have the algorithm.
func TestMLDSA(t *testing.T) {
	with, without := guest(t, "7.x/modules"), guest(t, "7.x/modules")
	with.Option = func(string) string { return "y" }
	issued := vectors.Read(t, "keys/mldsa65.cert.der") // by an RSA key
	good := selfSignedMLDSA(t)
	wrong := bytes.Clone(good)
	wrong[len(wrong)-1] ^= 1
	for _, test := range []struct {
		k    kernelcert.Kernel
		der  []byte
		want kernelcert.Code
	}{
		{with, good, ""}, {with, wrong, kernelcert.SelfSignature}, {without, good, kernelcert.NoAlgorithm}, {guest(t, "6.12/modules"), good, kernelcert.SignatureAlgorithm},
		{with, issued, ""}, {without, issued, ""}, {guest(t, "6.12/modules"), issued, kernelcert.KeyAlgorithm},
	} {
		if a, ok := parse(t, test.der).Algorithm(); !ok || a != kernelkey.MLDSA65 {
			t.Errorf("algorithm %s", a)
		}
		j := test.k.Judge(test.der)
		if (j.Verdict == kernelcert.Loaded) != (test.want == "") || j.Reason != nil && (j.Reason.Code != test.want || j.Verdict != kernelcert.Refused) {
			t.Errorf("kernel %s: %s, %v, want %q", test.k, j.Verdict, j.Reason, test.want)
		}
	}
}

func selfSignedMLDSA(t *testing.T) []byte {
	t.Helper()
	key, err := mldsa.NewPrivateKey(mldsa.MLDSA65(), make([]byte, mldsa.PrivateKeySize))
	if err != nil {
		t.Fatal(err)
	}
	tlv := certtest.TLV
	algorithm := tlv(0x30, certtest.OID("2.16.840.1.101.3.4.3.18").TLV())
	name := tlv(0x30, tlv(0x31, tlv(0x30, certtest.OID("2.5.4.3").TLV(), tlv(0x0c, []byte("x")))))
	day := tlv(0x17, []byte("200101000000Z"))
	tbs := tlv(0x30, tlv(2, []byte{1}), algorithm, name, tlv(0x30, day, day), name, tlv(0x30, algorithm, tlv(3, []byte{0}, key.PublicKey().Bytes())))
	sig, err := key.Sign(nil, tbs, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tlv(0x30, tbs, algorithm, tlv(3, []byte{0}, sig))
}

// TestVectorKeys: the certificates of testdata/vectors/keys have the ids that their
// labels name.
func TestVectorKeys(t *testing.T) {
	for name, want := range map[string]struct {
		id        uint32
		algorithm kernelkey.Algorithm
	}{
		"rsa2048": {0xdd65a4eb, kernelkey.RSA}, "p256": {0x6bca908e, kernelkey.P256}, "rsa2048-customskid": {0xc0ffee01, kernelkey.RSA},
	} {
		c, err := kernelcert.Parse(vectors.Read(t, "keys/"+name+".cert.der"))
		if err != nil {
			t.Fatal(err)
		}
		if a, ok := c.Algorithm(); !ok || a != want.algorithm || c.KeyIDs()[0] != want.id {
			t.Errorf("%s: %s, ids %08x", name, a, c.KeyIDs())
		}
		for _, k := range kernelcert.Known[1:] {
			if j := k.Judge(c.Raw); j.Verdict == kernelcert.Refused {
				t.Errorf("%s: %s refuses it: %v", name, k, j.Reason)
			}
		}
	}
}
