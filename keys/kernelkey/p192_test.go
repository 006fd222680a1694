package kernelkey_test

import (
	"crypto"
	"crypto/ecdsa"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"testing"

	"imaseal/keys/kernelkey"
)

// RFC 6979, appendix A.2.3, for the messages "sample" and "test".
func TestP192Vectors(t *testing.T) {
	number, _ := hex.DecodeString("6fab034934e4c0fc9ae67f5b5659a9d7d1fefd187ee09fd4")
	k, err := kernelkey.NewP192Key(number)
	if err != nil {
		t.Fatal(err)
	}
	public := k.Public().(*ecdsa.PublicKey)
	if got := fmt.Sprintf("%x", kernelkey.PointBytes(public)); got != "04ac2c77f529f91689fea0ea5efec7f210d8eea0b9e047ed563bc723e57670bd4887ebc732c523063d0a7c957bc97c1c43" {
		t.Errorf("public key %s", got)
	}
	for _, tt := range []struct {
		hash    crypto.Hash
		message string
		r, s    string
	}{
		{crypto.SHA1, "sample", "98c6bd12b23eaf5e2a2045132086be3eb8ebd62abf6698ff", "57a22b07dea9530f8de9471b1dc6624472e8e2844bc25b64"},
		{crypto.SHA224, "sample", "a1f00dad97aeec91c95585f36200c65f3c01812aa60378f5", "e07ec1304c7c6c9debbe980b9692668f81d4de7922a0f97a"},
		{crypto.SHA256, "sample", "4b0b8ce98a92866a2820e20aa6b75b56382e0f9bfd5ecb55", "ccdb006926ea9565cbadc840829d8c384e06de1f1e381b85"},
		{crypto.SHA384, "sample", "da63bf0b9abcf948fbb1e9167f136145f7a20426dcc287d5", "c3aa2c960972bd7a2003a57e1c4c77f0578f8ae95e31ec5e"},
		{crypto.SHA512, "sample", "4d60c5ab1996bd848343b31c00850205e2ea6922dac2e4b8", "3f6e837448f027a1bf4b34e796e32a811cbb4050908d8f67"},
		{crypto.SHA256, "test", "3a718bd8b4926c3b52ee6bbe67ef79b18cb6eb62b1ad97ae", "5662e6848a4a19b1f1ae2f72acd4b8bbe50f1eac65d9124f"},
	} {
		h := tt.hash.New()
		h.Write([]byte(tt.message))
		digest := h.Sum(nil)
		sig, err := k.Sign(nil, digest, tt.hash)
		if err != nil {
			t.Fatal(err)
		}
		var pair struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(sig, &pair); err != nil {
			t.Fatal(err)
		}
		if r, s := fmt.Sprintf("%048x", pair.R), fmt.Sprintf("%048x", pair.S); r != tt.r || s != tt.s {
			t.Errorf("%v %q: %s %s", tt.hash, tt.message, r, s)
		}
		if err := kernelkey.NewECDSAKey(public).Verify(digest, sig); err != nil {
			t.Errorf("%v %q: %v", tt.hash, tt.message, err)
		}
		digest[0] ^= 1
		if kernelkey.NewECDSAKey(public).Verify(digest, sig) == nil {
			t.Errorf("%v: another digest is verified", tt.hash)
		}
	}
}

func TestP192Numbers(t *testing.T) {
	order := "ffffffffffffffffffffffff99def836146bc9b1b4d22831"
	for _, tt := range []struct {
		number string
		ok     bool
	}{{"", false}, {"00", false}, {"01", true}, {order, false}, {order[:47] + "0", true}, {"01" + order, false}} {
		number, _ := hex.DecodeString(tt.number)
		if _, err := kernelkey.NewP192Key(number); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.number, err)
		}
	}
}
