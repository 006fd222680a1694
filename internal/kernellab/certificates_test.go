package kernellab

import (
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/host"
	"imaseal/internal/policy"
	"imaseal/keys/certtest"
	"imaseal/keys/kernelcert"
	"imaseal/keys/kernelkey"
)

var (
	certificates = flag.Uint64("certificates", 300, "how many certificates of -seed each kernel is offered")
	record       = flag.String("record", "", "write what the kernels say of some certificates to this file, testdata/vectors/certificates.txt")
)

// cryptoModules are the digests that some kernel has as a module, and the
// options that say so.
var cryptoModules = map[string]string{
	"sha512_generic": "CONFIG_CRYPTO_SHA512", "sha3_generic": "CONFIG_CRYPTO_SHA3", "sha3": "CONFIG_CRYPTO_SHA3",
	"md4": "CONFIG_CRYPTO_MD4", "streebog_generic": "CONFIG_CRYPTO_STREEBOG",
}

// TestCertificates offers certificates, most of them odd, to the keyrings of each
// kernel, which must take those that package kernelcert says it takes, with the
// ids and the description that it says, and verify signatures with their keys as
// package kernelkey does. Modules of digests are loaded in one boot, and missing in
// another; a third is in FIPS mode, where a kernel has it.
func TestCertificates(t *testing.T) {
	l := Open(t)
	var said recorder
	if *record != "" {
		t.Cleanup(func() { said.write(t, *record) })
	}
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			k := l.Kernel(t, series)
			config, err := host.OpenConfig(k.Config())
			check(t, err)
			for _, boot := range []struct {
				name       string
				hasModules bool
				isFIPS     bool
			}{{"modules", true, false}, {"built-in", false, false}, {"fips", true, true}} {
				if boot.isFIPS && !config.Enabled("CONFIG_CRYPTO_FIPS") {
					continue
				}
				t.Run(boot.name, func(t *testing.T) {
					t.Parallel()
					c := Case{Kernel: k}
					if !boot.hasModules {
						for name := range cryptoModules {
							c.Without = append(c.Without, name)
						}
					}
					if boot.isFIPS {
						c.Append = "fips=1"
					}
					said.add(series+"/"+boot.name, offer(t, l, c, certificateKernel(t, k, config, boot.hasModules, boot.isFIPS)))
				})
			}
		})
	}
}

// certificateKernel is a guest as package kernelcert sees it: of the modules of its
// configuration it has those that are loaded.
func certificateKernel(t *testing.T, k Kernel, config host.Config, hasModules, isFIPS bool) kernelcert.Kernel {
	t.Helper()
	version, err := policy.ParseKernel(k.Version)
	check(t, err)
	return kernelcert.Kernel{
		Kernel: kernelkey.Kernel{Major: version.Major, Minor: version.Minor, FIPS: isFIPS},
		Option: func(name string) string {
			if config[name] != "m" {
				return config[name]
			}
			for _, option := range cryptoModules {
				if option == name && hasModules {
					return "y"
				}
			}
			return ""
		},
	}
}

// offer boots once and compares. It returns what the kernel says.
func offer(t *testing.T, l *Lab, c Case, k kernelcert.Kernel) []Verdict {
	t.Helper()
	var made []certtest.Certificate
	for n := range *certificates {
		one := certtest.Make(*firstSeed, n)
		if one.Issuer != nil && k.Judge(one.Issuer).Verdict != kernelcert.Loaded {
			one.Issuer = nil // there is no such keyring
		}
		made = append(made, one)
		c.Probes = append(c.Probes, Probe{Name: fmt.Sprint(n), Op: AddKey, Offer: offerOf(one, n)})
	}
	res := l.Boot(t, c)
	count := make(map[kernelcert.Verdict]int)
	for n, one := range made {
		j := judge(k, one)
		count[j.Verdict]++
		if why := disagreement(k, j, c.Probes[n].Offer, one, res.Verdicts[n]); why != "" {
			t.Errorf("seed %d, certificate %d (%s): %s\n%s", *firstSeed, n, one.Name, why, base64.StdEncoding.EncodeToString(one.DER))
		}
	}
	t.Logf("%v", count)
	if total := int(*certificates); count[kernelcert.Loaded] < total/10 || count[kernelcert.Refused] < total/10 || count[kernelcert.Undecided] > total/20 {
		t.Errorf("too few certificates on one side: %v", count)
	}
	return res.Verdicts
}

// A recorder keeps what kernels say of the certificates, by boot.
type recorder struct {
	mu    sync.Mutex
	boots []string
	said  map[string][]Verdict
}

func (r *recorder) add(boot string, verdicts []Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said == nil {
		r.said = make(map[string][]Verdict)
	}
	r.boots = append(r.boots, boot)
	r.said[boot] = verdicts
}

// recorded are how many certificates of one kind are written, and how great.
const (
	recorded     = 1
	recordedSize = 700
)

// write writes a line a certificate: what each boot said, the description of the
// key, and the certificate. Those that differ in what is said of them are of
// different kinds, and those of which it is said for other reasons.
func (r *recorder) write(t *testing.T, path string) {
	slices.Sort(r.boots)
	var b strings.Builder
	fmt.Fprintf(&b, "# What kernels say of certificates: add_key(2)'s error or ok, in the boots\n# %s\n# Then the description of the key, in hex, or -, and the certificate. Made by TestCertificates, see its -record.\n", strings.Join(r.boots, " "))
	kinds := make(map[string]int)
	for n := range *certificates {
		one := certtest.Make(*firstSeed, n)
		if one.Issuer != nil || len(one.DER) > recordedSize {
			continue
		}
		var line []string
		description := "-"
		for _, boot := range r.boots {
			switch v := r.said[boot][n]; {
			case v.Allowed():
				line, description = append(line, "ok"), hex.EncodeToString(v.Added.Description)
			default:
				line = append(line, v.Errno)
			}
		}
		kind := strings.Join(line, " ")
		for _, k := range kernelcert.Known {
			if j := k.Judge(one.DER); j.Reason != nil {
				kind += " " + string(j.Reason.Code)
			}
		}
		if kinds[kind]++; kinds[kind] <= recorded {
			fmt.Fprintf(&b, "%s %s %x\n", strings.Join(line, " "), description, one.DER)
		}
	}
	check(t, os.WriteFile(path, []byte(b.String()), 0o644))
}

// judge says what the kernel will do with the certificate, in a keyring that is
// restricted if there is an issuer.
func judge(k kernelcert.Kernel, one certtest.Certificate) kernelcert.Judgement {
	j := k.Judge(one.DER)
	if one.Issuer == nil || j.Verdict != kernelcert.Loaded {
		return j
	}
	issuer, err := kernelcert.Parse(one.Issuer)
	if err != nil {
		return kernelcert.Judgement{}
	}
	c, err := kernelcert.Parse(one.DER)
	if err != nil {
		return kernelcert.Judgement{}
	}
	return k.Vouch(c, []*kernelcert.Certificate{issuer})
}

// signedText is what signatures are over that keys are asked to verify.
var signedText = []byte("certtest")

// offerOf asks also for the ids of the key, for one that is not its own, and for a
// signature.
func offerOf(one certtest.Certificate, n uint64) *Offer {
	o := &Offer{Certificate: one.DER, Issuer: one.Issuer, Find: []string{"id:00c0ffee"}}
	if c, err := kernelcert.Parse(one.DER); err == nil {
		for _, id := range c.KeyIDs() {
			o.Find = append(o.Find, fmt.Sprintf("id:%08x", id))
		}
	}
	if !one.Key.CanSign() {
		return o
	}
	r := rand.New(rand.NewPCG(n, 3))
	encoding := "x962"
	if one.Key.IsRSA() {
		encoding = "pkcs1"
	}
	o.Signature = &Signature{Info: "enc=" + encoding + " hash=sha256", Digest: sumOf(signedText), Raw: one.Key.Sign(r, "sha256", signedText)}
	if n%4 == 0 {
		o.Signature.Raw[r.IntN(len(o.Signature.Raw))] ^= 1
	}
	return o
}

func sumOf(text []byte) []byte {
	d, err := hash.Sum(hash.SHA256, text)
	if err != nil {
		panic(err)
	}
	return d.Bytes()
}

// disagreement says where kernel and package differ, or nothing.
func disagreement(k kernelcert.Kernel, j kernelcert.Judgement, o *Offer, one certtest.Certificate, v Verdict) string {
	if j.Verdict == kernelcert.Undecided {
		return ""
	}
	if v.Allowed() != (j.Verdict == kernelcert.Loaded) {
		return fmt.Sprintf("the kernel says %q in %q, the package %s: %v", v.Errno, v.Step, j.Verdict, j.Reason)
	}
	if !v.Allowed() {
		if want := unix.ErrnoName(j.Reason.Errno); v.Errno != want {
			return fmt.Sprintf("the kernel refuses it with %s, the package with %s: %v", v.Errno, want, j.Reason)
		}
		return ""
	}
	c, err := kernelcert.Parse(one.DER)
	if err != nil {
		return fmt.Sprintf("the kernel takes it, and parsing it: %v", err)
	}
	if got := string(v.Added.Description); got != c.Description() {
		return fmt.Sprintf("the kernel describes it as %q, the package as %q", got, c.Description())
	}
	for i, what := range o.Find {
		if v.Added.Found[i] != (i > 0) {
			return fmt.Sprintf("the kernel's search for %s is %v", what, v.Added.Found[i])
		}
	}
	return keyDisagreement(k, c, o, v)
}

// keyDisagreement compares what the loaded key says of a signature.
func keyDisagreement(k kernelcert.Kernel, c *kernelcert.Certificate, o *Offer, v Verdict) string {
	a, ok := c.Algorithm()
	if o.Signature == nil || !ok || !a.IsChecked() || strings.Contains(o.Signature.Info, "pkcs1") != (a == kernelkey.RSA) {
		return ""
	}
	isRight := false
	if k.HasKey(a, "sha256") == kernelcert.BuiltIn {
		if key, err := k.Parse(a, c.KeyBits); err == nil {
			isRight = key.Verify("sha256", o.Signature.Digest, o.Signature.Raw) == nil
		}
	}
	if (v.Added.Verify == "") != isRight {
		return fmt.Sprintf("a signature by the key is right for the package: %v; the kernel says %q", isRight, v.Added.Verify)
	}
	return ""
}
