package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/keys/kernelcert"
	"imaseal/keys/keyfile"
	"imaseal/keys/keytest"
	"imaseal/sign"
)

// kernel is of a version, and has what is named built in, besides what every
// kernel has.
func kernel(major, minor int, has ...string) kernelcert.Kernel {
	k := kernelcert.Known[0]
	k.Major, k.Minor = major, minor
	has = append(has, "X509_CERTIFICATE_PARSER", "CRYPTO_RSA", "CRYPTO_SHA1", "CRYPTO_SHA256")
	k.Option = func(name string) string {
		if slices.Contains(has, strings.TrimPrefix(name, "CONFIG_")) {
			return "y"
		}
		return ""
	}
	return k
}

// TestFor: a key counts if the kernel loads its certificate and can verify with it.
func TestFor(t *testing.T) {
	noSubject := func(c *x509.Certificate) { c.Subject = pkix.Name{} }
	issued := func(c *x509.Certificate) { c.Issuer = pkix.Name{CommonName: "CA"} }
	ca := func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }
	digest := func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA384 }
	const trusted = "INTEGRITY_TRUSTED_KEYRING"
	for name, test := range map[string]struct {
		k      kernelcert.Kernel
		change func(*x509.Certificate)
		text   string // of the warning; none: it is left in without a word
		kind   WarningKind
	}{
		"usual":          {kernel(6, 12, "CRYPTO_ECDSA"), nil, "", 0},
		"no ECDSA":       {kernel(6, 12), nil, "kernel 6.12 does not load the certificate: it is self-signed with ecdsa and sha256, which the kernel lacks", NotLoadable},
		"issued":         {kernel(6, 12), issued, "kernel 6.12 loads the certificate, but cannot verify with its key: it lacks ecdsa-nist-p256", NotLoadable},
		"empty subject":  {kernel(6, 12, "CRYPTO_ECDSA"), noSubject, "kernel 6.12 does not load the certificate: it is no certificate as kernels parse them: an empty name at byte 29", NotLoadable},
		"CA":             {kernel(6, 12, "CRYPTO_ECDSA"), ca, "", 0},
		"CA, trusted":    {kernel(6, 12, "CRYPTO_ECDSA", trusted), ca, "kernel 6.12 does not load the certificate into .ima or .evm: its key usage lacks digitalSignature", NotLoadable},
		"digest, plain":  {kernel(6, 12, "CRYPTO_ECDSA"), digest, "", 0},
		"digest":         {kernel(6, 12, "CRYPTO_ECDSA", trusted), digest, "kernel 6.12 does not load the certificate into .ima or .evm: the kernel lacks sha384, of its signature", NotLoadable},
		"usual, trusted": {kernel(6, 12, "CRYPTO_ECDSA", trusted), nil, "", 0},
		"not known":      {kernelcert.Known[1], nil, "kernel 6.12 may not load the certificate: it is self-signed with ecdsa and sha256, for which the kernel needs CONFIG_CRYPTO_ECDSA", MayNotLoad},
	} {
		path := keytest.File(t, createdBy(t, newP256(t), test.change))
		set := openSet(t, path).For(test.k)
		if isLeft := test.kind == NotLoadable; (len(set.Keys()) == 0) != isLeft {
			t.Errorf("%s: keys %v", name, set.Keys())
		}
		if warnings := set.Warnings(); test.kind == 0 && len(warnings) != 0 || test.kind != 0 && (len(warnings) != 1 || warnings[0] != Warning{test.kind, path, test.text}) {
			t.Errorf("%s: %v", name, warnings)
		}
	}
}

// createdBy makes a certificate, signed by its own key whoever is its issuer.
func createdBy(t *testing.T, key *ecdsa.PrivateKey, change func(*x509.Certificate)) []byte {
	t.Helper()
	der := selfSigned(t, key, change)
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if change == nil {
		return der
	}
	wanted := &x509.Certificate{}
	if change(wanted); wanted.Issuer.CommonName == "" {
		return der
	}
	der, err = x509.CreateCertificate(nil, c, &x509.Certificate{Subject: wanted.Issuer}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestForOneOfTwo: of the certificates of a key one is enough, whichever was first;
// the bare key beside them is none.
func TestForOneOfTwo(t *testing.T) {
	key := newP256(t)
	id, err := SubjectKeyID(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	bad := keytest.File(t, selfSigned(t, key, func(c *x509.Certificate) { c.Subject = pkix.Name{} }))
	good := keytest.File(t, selfSigned(t, key, nil))
	private, err := keyfile.EncodePrivate(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	k := kernel(7, 2, "CRYPTO_ECDSA")
	set := openSet(t, bad, good)
	if len(set.Keys()) != 1 {
		t.Errorf("keys %v", set.Keys())
	}
	if _, err := set.For(k).Verifier(tail(id)); err != nil || len(set.For(k).Warnings()) != 1 {
		t.Errorf("%v, %v", err, set.For(k).Warnings())
	}
	set = openSet(t, bad, keytest.File(t, private)).For(k)
	if _, err := set.Verifier(tail(id)); err == nil {
		t.Error("the key without a certificate counts")
	}
}

// TestIssuerID: kernels find a certificate by the end of its issuer's name too, and
// one without subject key identifier only by that.
func TestIssuerID(t *testing.T) {
	key := newP256(t)
	without := func(c *x509.Certificate) { c.SubjectKeyId, c.Subject = nil, pkix.Name{CommonName: "the name"} }
	const nameID = 0x6e616d65 // name
	for name, change := range map[string]func(*x509.Certificate){
		"without": without,
		"with":    func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "the name"} },
	} {
		v := openSet(t, keytest.File(t, selfSigned(t, key, change)))
		found, err := v.Verifier(nameID)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if id := found.(*Public).KeyID(); (id == nameID) != (name == "without") {
			t.Errorf("%s: labels name it %s", name, id)
		}
	}
	// An id of the issuer is that of all certificates which it issued.
	other := keytest.File(t, selfSigned(t, newP256(t), without))
	_, err := openSet(t, other, keytest.File(t, selfSigned(t, key, without))).Verifier(nameID)
	if _, ok := errors.AsType[*sign.AmbiguousKeyError](err); !ok {
		t.Errorf("two of one issuer: %v", err)
	}
	w := openSet(t, other).Warnings()
	if len(w) != 1 || w[0].Kind != NoSubjectKeyID || !strings.HasSuffix(w[0].Detail, "by the end of its issuer's name, 6e616d65, as they do all certificates of that issuer") {
		t.Errorf("warnings %v", w)
	}
}

// TestLaxECDSA: what kernels take of a signature is verified.
func TestLaxECDSA(t *testing.T) {
	key := newP256(t)
	p, err := newPublic(key.Public(), "")
	if err != nil {
		t.Fatal(err)
	}
	d, err := hash.Sum(hash.SHA256, []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := ecdsa.SignASN1(nil, key, d.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{
		"zero bytes behind": append(bytes.Clone(sig), 0, 0),
		"long length":       slices.Concat([]byte{0x30, 0x81}, sig[1:]),
	} {
		if err := p.VerifyDigest(d, raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.VerifyDigest(d, sig[:len(sig)-1]); err != sign.ErrSignature {
		t.Errorf("cut short: %v", err)
	}
}
