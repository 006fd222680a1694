package kernelcert_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"imaseal/keys/certtest"
	"imaseal/keys/kernelcert"
	"imaseal/keys/kernelkey"
)

var v6_1, v6_12, v7_2 = kernelcert.Known[0], kernelcert.Known[1], kernelcert.Known[2]

// newKey makes a P-256 key.
func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// created makes a certificate with the standard library, signed by issuer or, if
// that is nil, by itself.
func created(t *testing.T, key, issuerKey *ecdsa.PrivateKey, issuer *x509.Certificate, change func(*x509.Certificate)) []byte {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: pkix.Name{Organization: []string{"Org"}, CommonName: "name"},
		NotBefore: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC), NotAfter: time.Date(2060, 1, 2, 3, 4, 5, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, SubjectKeyId: []byte("identifier of a key!"),
	}
	if change != nil {
		change(c)
	}
	if issuer == nil {
		issuer = c
	}
	der, err := x509.CreateCertificate(nil, c, issuer, key.Public(), issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func parse(t *testing.T, der []byte) *kernelcert.Certificate {
	t.Helper()
	c, err := kernelcert.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestParse: what the standard library writes is what is read.
func TestParse(t *testing.T) {
	key := newKey(t)
	der := created(t, key, key, nil, nil)
	c := parse(t, append(bytes.Clone(der), "and more"...))
	want, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	from, to, ok := c.Validity()
	switch public, err := c.PublicKey(); {
	case err != nil || !key.PublicKey.Equal(public):
		t.Errorf("key %v, %v", public, err)
	case !bytes.Equal(c.Raw, der) || !bytes.Equal(c.TBS, want.RawTBSCertificate) || !bytes.Equal(c.Signature, want.Signature):
		t.Error("raw, what is signed or the signature")
	case !bytes.Equal(c.Serial, []byte{77}) || !bytes.HasSuffix(want.RawSubject, c.Subject) || !bytes.Equal(c.Issuer, c.Subject):
		t.Error("serial, issuer or subject")
	case !ok || !from.Equal(want.NotBefore) || !to.Equal(want.NotAfter):
		t.Errorf("valid from %s to %s, %v", from, to, ok)
	case len(c.Extensions) != len(want.Extensions) || c.Extensions[0].ID.String() != want.Extensions[0].Id.String():
		t.Errorf("extensions %v", c.Extensions)
	case c.SignatureAlgorithm.String() != "1.2.840.10045.4.3.2" || c.KeyAlgorithm.String() != "1.2.840.10045.2.1":
		t.Errorf("algorithms %s, %s", c.SignatureAlgorithm, c.KeyAlgorithm)
	case c.Description() != "Org: name: 6964656e746966696572206f662061206b657921":
		t.Errorf("described as %q", c.Description())
	case !slices.Equal(c.KeyIDs(), []uint32{0x6b657921, 0x6e616d65}): // "key!" and "name", the end of the issuer
		t.Errorf("ids %08x", c.KeyIDs())
	}
}

func TestOID(t *testing.T) {
	for in, want := range map[kernelcert.OID]string{"\x55\x1d\x0e": "2.5.29.14", "\x2a\x03": "1.2.3", "\x88\x37\x03": "2.999.3", "\x2a\x86": "0x2a86", "": "0x"} {
		if got := in.String(); got != want {
			t.Errorf("%x: %s, want %s", string(in), got, want)
		}
	}
}

// TestReasons are certificates that somebody has made, and what becomes of them.
func TestReasons(t *testing.T) {
	key := newKey(t)
	extension := func(id asn1.ObjectIdentifier, value ...byte) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.BasicConstraintsValid, c.SubjectKeyId, c.KeyUsage = false, nil, 0
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Value: value})
		}
	}
	constraints, usage, identifier := asn1.ObjectIdentifier{2, 5, 29, 19}, asn1.ObjectIdentifier{2, 5, 29, 15}, asn1.ObjectIdentifier{2, 5, 29, 14}
	const loaded = ""
	for name, test := range map[string]struct {
		change func(*x509.Certificate)
		codes  [3]kernelcert.Code // of 6.1, 6.12, 7.2, whose ECDSA is built in
	}{
		"usual":              {nil, [3]kernelcert.Code{}},
		"empty subject":      {func(c *x509.Certificate) { c.Subject = pkix.Name{} }, [3]kernelcert.Code{"malformed", "malformed", "malformed"}},
		"explicit CA:FALSE":  {extension(constraints, 0x30, 3, 1, 1, 0), [3]kernelcert.Code{loaded, "basic-constraints", "basic-constraints"}},
		"only pathlen":       {extension(constraints, 0x30, 3, 2, 1, 0), [3]kernelcert.Code{loaded, "basic-constraints", "basic-constraints"}},
		"no constraints":     {extension(constraints), [3]kernelcert.Code{loaded, "basic-constraints", "basic-constraints"}},
		"empty usage":        {extension(usage, 3, 1, 0), [3]kernelcert.Code{loaded, "key-usage", "key-usage"}},
		"empty identifier":   {extension(identifier, 4, 0), [3]kernelcert.Code{"subject-key-identifier", "subject-key-identifier", "subject-key-identifier"}},
		"expired":            {func(c *x509.Certificate) { c.NotAfter = c.NotBefore.AddDate(0, 0, -1) }, [3]kernelcert.Code{}},
		"before 1970":        {func(c *x509.Certificate) { c.NotBefore = time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC) }, [3]kernelcert.Code{"time", "time", "time"}},
		"another identifier": {func(c *x509.Certificate) { c.AuthorityKeyId = []byte("other") }, [3]kernelcert.Code{}},
	} {
		der := created(t, key, key, nil, test.change)
		for i, k := range kernelcert.Known {
			k.Option = func(string) string { return "y" }
			j := k.Judge(der)
			code := kernelcert.Code(loaded)
			if j.Verdict != kernelcert.Loaded {
				code = j.Reason.Code
			}
			if code != test.codes[i] || j.Verdict == kernelcert.Undecided {
				t.Errorf("%s, %s: %s, %v", name, k, j.Verdict, j.Reason)
			}
		}
	}
}

// option makes a configuration of one option, and of what every kernel has.
func option(name, value string) func(string) string {
	return func(n string) string {
		switch n {
		case name:
			return value
		case "CONFIG_X509_CERTIFICATE_PARSER", "CONFIG_CRYPTO_RSA", "CONFIG_CRYPTO_SHA1", "CONFIG_CRYPTO_SHA256":
			return "y"
		}
		return ""
	}
}

// TestUndecided: what hangs on an algorithm is said so, and with the algorithm it
// is decided.
func TestUndecided(t *testing.T) {
	key := newKey(t)
	good := created(t, key, key, nil, nil)
	wrong := bytes.Clone(good)
	wrong[len(wrong)-3] ^= 1
	issued := created(t, key, key, &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}}, nil)
	const ecdsaOption = "CONFIG_CRYPTO_ECDSA"
	for name, test := range map[string]struct {
		der    []byte
		option func(string) string
		want   kernelcert.Verdict
		code   kernelcert.Code
	}{
		"ECDSA":                    {good, option(ecdsaOption, "y"), kernelcert.Loaded, ""},
		"no ECDSA":                 {good, option(ecdsaOption, ""), kernelcert.Refused, kernelcert.NoAlgorithm},
		"ECDSA as a module":        {good, option(ecdsaOption, "m"), kernelcert.Undecided, kernelcert.NoAlgorithm},
		"no configuration":         {good, nil, kernelcert.Undecided, kernelcert.NoAlgorithm},
		"wrong":                    {wrong, option(ecdsaOption, "y"), kernelcert.Refused, kernelcert.SelfSignature},
		"wrong, as a module":       {wrong, option(ecdsaOption, "m"), kernelcert.Refused, kernelcert.SelfSignature},
		"wrong, no configuration":  {wrong, nil, kernelcert.Refused, kernelcert.SelfSignature},
		"issued, no ECDSA":         {issued, option(ecdsaOption, ""), kernelcert.Loaded, ""},
		"no parser":                {good, func(string) string { return "" }, kernelcert.Refused, kernelcert.NoParser},
		"nothing":                  {nil, nil, kernelcert.Refused, kernelcert.Empty},
		"too long":                 {make([]byte, 1<<16), nil, kernelcert.Refused, kernelcert.TooLong},
		"bytes behind it, no more": {append(bytes.Clone(good), make([]byte, 1<<16-len(good))...), nil, kernelcert.Refused, kernelcert.TooLong},
	} {
		k := v6_12
		k.Option = test.option
		j := k.Judge(test.der)
		if j.Verdict != test.want || (j.Reason == nil) != (test.code == "") || j.Reason != nil && (j.Reason.Code != test.code || j.Reason.Error() == "" || j.Reason.Errno == 0) {
			t.Errorf("%s: %s, %+v", name, j.Verdict, j.Reason)
		}
	}
}

// TestModularHash: a digest that may be missing leaves a wrong signature undecided.
func TestModularHash(t *testing.T) {
	key := newKey(t)
	der := created(t, key, key, nil, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA512 })
	for _, isWrong := range []bool{false, true} {
		if isWrong {
			der[len(der)-3] ^= 1
		}
		for value, want := range map[string]kernelcert.Verdict{"y": kernelcert.Refused, "m": kernelcert.Undecided, "": kernelcert.Loaded} {
			k := v6_12
			k.Option = func(name string) string {
				if name == "CONFIG_CRYPTO_SHA512" {
					return value
				}
				return "y"
			}
			if !isWrong {
				want = kernelcert.Loaded
			}
			if j := k.Judge(der); j.Verdict != want {
				t.Errorf("SHA512=%q, wrong %v: %s", value, isWrong, j.Verdict)
			}
		}
	}
}

// TestPatchLevel: kernels between the rules differ among themselves.
func TestPatchLevel(t *testing.T) {
	key := newKey(t)
	der := created(t, key, key, nil, func(c *x509.Certificate) {
		c.BasicConstraintsValid = false
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: []byte{0x30, 3, 1, 1, 0}}}
	})
	for version, want := range map[[2]int]kernelcert.Verdict{
		{6, 3}: kernelcert.Loaded, {6, 4}: kernelcert.Undecided, {6, 6}: kernelcert.Undecided, {6, 12}: kernelcert.Refused, {6, 17}: kernelcert.Undecided, {6, 18}: kernelcert.Refused,
	} {
		k := kernelcert.Kernel{Kernel: kernelkey.Kernel{Major: version[0], Minor: version[1]}, Option: func(string) string { return "y" }}
		if j := k.Judge(der); j.Verdict != want {
			t.Errorf("%s: %s", k, j.Verdict)
		}
	}
}

// TestUsage are the flags that .ima and .evm look at, since 6.5.
func TestUsage(t *testing.T) {
	key := newKey(t)
	for name, test := range map[string]struct {
		change func(*x509.Certificate)
		codes  string
	}{
		"usual":     {nil, ""},
		"no usage":  {func(c *x509.Certificate) { c.KeyUsage = 0 }, "no-digital-signature"},
		"CA":        {func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }, "no-digital-signature ca signs-certificates"},
		"all bits":  {func(c *x509.Certificate) { c.KeyUsage = 0x1ff }, "signs-certificates"},
		"only CRLs": {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, ""},
	} {
		c := parse(t, created(t, key, key, nil, test.change))
		for _, k := range kernelcert.Known {
			var codes []string
			for _, r := range k.Usage(c) {
				codes = append(codes, string(r.Code))
			}
			want := test.codes
			if !k.AtLeast(6, 5) {
				want = ""
			}
			if got := strings.Join(codes, " "); got != want {
				t.Errorf("%s, %s: %q, want %q", name, k, got, want)
			}
		}
	}
}

// TestVouch: a restricted keyring takes what a trusted certificate signed.
func TestVouch(t *testing.T) {
	caKey, key := newKey(t), newKey(t)
	self := func(name, id string, k *ecdsa.PrivateKey) []byte {
		return created(t, k, k, nil, func(c *x509.Certificate) {
			c.Subject, c.SubjectKeyId = pkix.Name{CommonName: name}, []byte(id)
		})
	}
	issue := func(ca []byte, by *ecdsa.PrivateKey, authority string) *kernelcert.Certificate {
		parent, err := x509.ParseCertificate(ca)
		if err != nil {
			t.Fatal(err)
		}
		parent.SubjectKeyId = nil // so that the authority key identifier is that of the template
		parent.PublicKey = by.Public()
		return parse(t, created(t, key, by, parent, func(c *x509.Certificate) {
			if authority != "" {
				c.AuthorityKeyId = []byte(authority)
			}
		}))
	}
	ca := self("CA", "identifier of the CA", caKey)
	namesake := self("CA", "another identifier", key)
	trusted := []*kernelcert.Certificate{parse(t, ca)}
	byName, byID := issue(ca, caKey, ""), issue(ca, caKey, "identifier of the CA")
	for name, test := range map[string]struct {
		c       *kernelcert.Certificate
		trusted []*kernelcert.Certificate
		option  func(string) string
		want    kernelcert.Verdict
		code    kernelcert.Code
	}{
		"by name":            {byName, trusted, nil, kernelcert.Loaded, ""},
		"by identifier":      {byID, trusted, nil, kernelcert.Loaded, ""},
		"other identifier":   {issue(ca, caKey, "no identifier"), trusted, nil, kernelcert.Refused, kernelcert.UnknownIssuer},
		"nobody is trusted":  {byID, nil, nil, kernelcert.Refused, kernelcert.UnknownIssuer},
		"signed by another":  {issue(ca, key, "identifier of the CA"), trusted, nil, kernelcert.Refused, kernelcert.IssuerSignature},
		"itself":             {trusted[0], trusted, nil, kernelcert.Loaded, ""},
		"two of the name":    {byName, append(slices.Clone(trusted), parse(t, namesake)), nil, kernelcert.Undecided, kernelcert.IssuerSignature},
		"two, by identifier": {byID, append(slices.Clone(trusted), parse(t, namesake)), nil, kernelcert.Loaded, ""},
		"no ECDSA":           {byID, trusted, option("", ""), kernelcert.Refused, kernelcert.NoAlgorithm},
		"no digest": {byID, trusted, func(n string) string {
			return map[string]string{"CONFIG_CRYPTO_ECDSA": "y", "CONFIG_X509_CERTIFICATE_PARSER": "y"}[n]
		}, kernelcert.Refused, kernelcert.UncheckedSignature},
	} {
		k := v7_2
		if k.Option = test.option; k.Option == nil {
			k.Option = func(string) string { return "y" }
		}
		j := k.Vouch(test.c, test.trusted)
		if j.Verdict != test.want || (j.Reason == nil) != (test.code == "") || j.Reason != nil && j.Reason.Code != test.code {
			t.Errorf("%s: %s, %+v", name, j.Verdict, j.Reason)
		}
	}
}

// TestHasKey are the algorithms that are not there, whatever is configured.
func TestHasKey(t *testing.T) {
	for _, test := range []struct {
		k    kernelcert.Kernel
		a    kernelkey.Algorithm
		hash string
		want kernelcert.Presence
	}{
		{v6_1, kernelkey.P256, "sha256", kernelcert.BuiltIn},
		{v6_1, kernelkey.RSA, "md4", kernelcert.Absent},
		{v7_2, kernelkey.MLDSA65, "none", kernelcert.BuiltIn},
		{v6_1, kernelkey.SM2, "sm3", kernelcert.BuiltIn},
		{fips(v6_1), kernelkey.P256, "sha256", kernelcert.Absent},
		{fips(v6_12), kernelkey.P256, "sha256", kernelcert.BuiltIn},
		{fips(v6_12), kernelkey.P192, "sha256", kernelcert.Absent},
		{fips(v6_12), kernelkey.RSA, "sha1", kernelcert.BuiltIn},
		{fips(v7_2), kernelkey.RSA, "sha1", kernelcert.Absent},
		{fips(v7_2), kernelkey.ECRDSA, "streebog256", kernelcert.Absent},
		{v7_2, "unknown", "sha256", kernelcert.Absent},
	} {
		test.k.Option = func(string) string { return "y" }
		if got := test.k.HasKey(test.a, test.hash); got != test.want {
			t.Errorf("%s, FIPS %v, %s and %s: %d", test.k, test.k.FIPS, test.a, test.hash, got)
		}
	}
}

func fips(k kernelcert.Kernel) kernelcert.Kernel {
	k.FIPS = true
	return k
}

// TestUncomputed: the kernel decides by signatures that are not checked here.
func TestUncomputed(t *testing.T) {
	seen := 0
	for n := range uint64(400) {
		one := certtest.Make(11, n)
		if !strings.HasPrefix(one.Key.Name, "GOST-") {
			continue
		}
		k := v7_2
		k.Option = func(string) string { return "y" }
		j := k.Judge(one.DER)
		if j.Reason != nil && j.Reason.Code == kernelcert.Uncomputed {
			seen++
			if j.Verdict != kernelcert.Undecided {
				t.Errorf("%s: %s", one.Name, j.Verdict)
			}
		}
	}
	if seen == 0 {
		t.Error("no such certificate")
	}
}

// TestOddities: of certificates that the standard library refuses and kernels take,
// and the other way round, there are many; what both take is the same to them.
func TestOddities(t *testing.T) {
	both, onlyKernel, onlyGo := 0, 0, 0
	for n := range uint64(600) {
		one := certtest.Make(12, n)
		c, kernelErr := kernelcert.Parse(one.DER)
		g, goErr := x509.ParseCertificate(one.DER)
		switch {
		case kernelErr == nil && goErr == nil:
			both++
			id := c.SubjectKeyID()
			isCommon := id != nil && g.SubjectKeyId != nil && len(g.SubjectKeyId) < 128 // then the length has two bytes
			if !bytes.Equal(c.Raw, g.Raw) || !bytes.Equal(c.TBS, g.RawTBSCertificate) || isCommon && !bytes.Equal(id, g.SubjectKeyId) {
				t.Errorf("certificate %d (%s) differs", n, one.Name)
			}
		case kernelErr == nil:
			onlyKernel++
		case goErr == nil:
			onlyGo++
		}
		if kernelErr != nil && c != nil {
			t.Errorf("certificate %d (%s): %v, and a certificate", n, one.Name, kernelErr)
		}
	}
	if both < 100 || onlyKernel < 80 || onlyGo < 2 {
		t.Errorf("%d are taken by both, %d by kernels, %d by the standard library", both, onlyKernel, onlyGo)
	}
}

// FuzzJudge: nothing panics, no kernel loads what does not parse, and what parses
// is the same without what follows it.
func FuzzJudge(f *testing.F) {
	for n := range uint64(200) {
		f.Add(certtest.Make(13, n).DER)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := kernelcert.Parse(der)
		if (c == nil) != (err != nil) {
			t.Fatalf("%v, %v", c, err)
		}
		for _, k := range append(slices.Clone(kernelcert.Known), fips(v6_1), fips(v7_2)) {
			j := k.Judge(der)
			if (j.Reason == nil) != (j.Verdict == kernelcert.Loaded) || j.Reason != nil && (j.Reason.Code == "" || j.Reason.Errno == syscall.Errno(0)) {
				t.Fatalf("%s: %s, %+v", k, j.Verdict, j.Reason)
			}
			if c == nil {
				if j.Verdict != kernelcert.Refused {
					t.Fatalf("%s: %s, and parsing: %v", k, j.Verdict, err)
				}
				continue
			}
			if again := k.Judge(c.Raw); again.Verdict != j.Verdict {
				t.Fatalf("%s: %s, and without what follows %s", k, j.Verdict, again.Verdict)
			}
			k.Usage(c)
			if v := k.Vouch(c, []*kernelcert.Certificate{c}); v.Verdict == kernelcert.Loaded && j.Verdict != kernelcert.Loaded {
				t.Fatalf("%s: %s, and vouched for", k, j.Verdict)
			}
		}
		if c != nil {
			c.KeyIDs()
			c.Description()
			c.Validity()
			c.PublicKey()
		}
	})
}
