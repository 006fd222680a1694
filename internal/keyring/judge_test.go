package keyring

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/host"
	"imaseal/internal/policy"
	"imaseal/internal/vectors"
	"imaseal/keys"
	"imaseal/keys/cert"
	"imaseal/keys/evmkey"
	"imaseal/keys/kernelcert"
	"imaseal/keys/kernelkey"
	"imaseal/keys/keyfile"
	"imaseal/sign"
)

// The kernel that runs the tests judges here what the other packages make.

// kernelVerifies asks the kernel to verify a raw signature with a key.
func kernelVerifies(id ID, scheme sign.Scheme, d hash.Digest, sig []byte) error {
	encoding := "pkcs1"
	if scheme == sign.ECDSA {
		encoding = "x962"
	}
	info, err := unix.BytePtrFromString("enc=" + encoding + " hash=" + d.Algorithm().String())
	if err != nil {
		return err
	}
	sum := d.Bytes()
	params := struct { // struct keyctl_pkey_params
		key               int32
		length, sigLength uint32
		spare             [7]uint32
	}{key: int32(id), length: uint32(len(sum)), sigLength: uint32(len(sig))}
	_, _, errno := unix.Syscall6(unix.SYS_KEYCTL, unix.KEYCTL_PKEY_VERIFY, uintptr(unsafe.Pointer(&params)),
		uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&sum[0])), uintptr(unsafe.Pointer(&sig[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func TestKernelVerifiesSignatures(t *testing.T) {
	ring := private(t)
	for _, name := range []string{"rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521"} {
		t.Run(name, func(t *testing.T) {
			id := mustImport(t, ring, vectors.Read(t, "keys/"+name+".cert.der")).ID
			k, err := keys.Open(t.Context(), vectors.Path(t, "keys/"+name+".key.pem"), nil, keys.Options{Certificate: vectors.Path(t, "keys/"+name+".cert.der")})
			if err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			judged := 0
			for _, a := range k.Scheme().Digests() {
				d, err := hash.Sum(a, []byte("hello, ima\n"))
				if err != nil {
					t.Fatal(err)
				}
				sig, err := k.SignDigest(t.Context(), d)
				if err != nil {
					t.Fatal(err)
				}
				err = possessing(func() error { return kernelVerifies(id, k.Scheme(), d, sig) })
				if cannot(err) {
					t.Logf("%s: this kernel cannot: %v", a, err)
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", a, err)
				}
				judged++
				sig[len(sig)-1] ^= 1
				if err := possessing(func() error { return kernelVerifies(id, k.Scheme(), d, sig) }); err == nil {
					t.Errorf("%s: the kernel takes a changed signature", a)
				}
			}
			if judged == 0 {
				t.Skip("this kernel verifies none of the signatures")
			}
		})
	}
}

func profile(name string) cert.Profile {
	return cert.Profile{Name: pkix.Name{CommonName: name}, NotBefore: time.Now(), NotAfter: time.Now().AddDate(30, 0, 0)}
}

func generate(t *testing.T, kind string) crypto.Signer {
	t.Helper()
	k, err := cert.Generate(kind)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A keyring restricted to what a CA has signed takes our certificates by that
// CA, and no others.
func TestKernelTakesCertificates(t *testing.T) {
	for _, caKind := range []string{"rsa2048", "p256"} {
		t.Run(caKind, func(t *testing.T) {
			caKey := generate(t, caKind)
			caDER, err := cert.NewCA(caKey, profile("CA"))
			if err != nil {
				t.Fatal(err)
			}
			ca, err := x509.ParseCertificate(caDER)
			if err != nil {
				t.Fatal(err)
			}
			trusted := private(t)
			mustImport(t, trusted, caDER)
			for _, kind := range []string{"rsa3072", "p256", "p384", "p521"} {
				t.Run(kind, func(t *testing.T) { kernelTakesCertificate(t, trusted, ca, caKey, kind) })
			}
		})
	}
}

func kernelTakesCertificate(t *testing.T, trusted ID, ca *x509.Certificate, caKey crypto.Signer, kind string) {
	ring := private(t)
	if err := possessing(func() error {
		return unix.KeyctlRestrictKeyring(int(ring), "asymmetric", "key_or_keyring:"+trusted.String())
	}); err != nil {
		t.Skipf("restricting a keyring: %v", err)
	}
	key := generate(t, kind)
	der, err := cert.Issue(ca, caKey, key.Public(), profile(kind))
	if err != nil {
		t.Fatal(err)
	}
	id, err := keys.SubjectKeyID(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := mustImport(t, ring, der).KeyID(); got.String() != hex.EncodeToString(id[16:]) {
		t.Errorf("the kernel calls it %s, not %x", got, id)
	}
	self, err := cert.SelfSigned(key, profile("self"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Import(ring, self); cannot(err) {
		t.Skip(err)
	} else if !errors.Is(err, unix.ENOKEY) {
		t.Errorf("signed by itself: %v", err)
	}
	mustImport(t, trusted, self) // an unrestricted keyring takes it
}

// What package kernelcert says of this kernel is so, and is warned of.
func TestKernelRefusesWhatCheckRefuses(t *testing.T) {
	version, err := policy.ParseKernel(host.Host{}.Release())
	if err != nil {
		t.Fatal(err)
	}
	k := kernelcert.Kernel{Kernel: kernelkey.Kernel{Major: version.Major, Minor: version.Minor}}
	ring := private(t)
	key := generate(t, "rsa2048")
	id, err := keys.SubjectKeyID(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, SubjectKeyId: id,
		NotBefore: time.Now(), NotAfter: time.Now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	for _, value := range []string{"\x30\x00", "\x30\x03\x01\x01\xff", "\x30\x03\x01\x01\x00", "\x30\x03\x02\x01\x00"} {
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte(value)}}
		der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := keyfile.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		loadable := true
		for _, w := range keys.CheckCertificate(c, time.Now(), k) {
			loadable = loadable && w.Kind != keys.NotLoadable
		}
		want := k.Judge(der).Verdict
		_, err = Import(ring, der)
		if cannot(err) {
			t.Skip(err)
		}
		if want != kernelcert.Undecided && ((err == nil) != (want == kernelcert.Loaded) || loadable != (want == kernelcert.Loaded)) {
			t.Errorf("basic constraints %x: the kernel says %v, the package %s, the check %v", value, err, want, loadable)
		}
	}
}

// Blobs of evmkey load into the kernel and come out again as they were.
func TestKernelLoadsBlobs(t *testing.T) {
	ring := private(t)
	master := vectors.ReadHex(t, "evm-key/kmk-user.hex")
	key, err := evmkey.New(45)
	if err != nil {
		t.Fatal(err)
	}
	blobs := map[string]string{}
	for _, format := range []string{evmkey.FormatDefault, evmkey.FormatNone} {
		b, err := evmkey.NewBlob(format, describe(ring).Description, master, key)
		if err != nil {
			t.Fatal(err)
		}
		blobs["format "+format] = b.String()
	}
	b, err := evmkey.NewBlob(evmkey.FormatEnc32, describe(ring).Description, master, key[:32])
	if err != nil {
		t.Fatal(err)
	}
	blobs["format enc32"] = b.String()
	for name, text := range blobs {
		var got string
		err := possessing(func() error {
			if _, err := unix.AddKey("user", describe(ring).Description, master, int(ring)); err != nil {
				return err
			}
			id, err := unix.AddKey("encrypted", "key for "+name, []byte("load "+text), int(ring))
			if err != nil {
				return err
			}
			buf := make([]byte, 4096)
			n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, buf, 0)
			got = string(buf[:min(max(n, 0), len(buf))])
			return err
		})
		if errors.Is(err, unix.ENODEV) {
			t.Skipf("no encrypted keys: %v", err)
		}
		// What had no format comes back as default, with another MAC.
		if name == "format " {
			text = "default " + text[:len(text)-64]
			got = got[:max(0, len(got)-64)]
		}
		if err != nil || got != text {
			t.Errorf("%s: %v, comes out as\n%s, went in as\n%s", name, err, got, text)
		}
	}
}
