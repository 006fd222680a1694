package host

import (
	"testing"

	"imaseal/hash"
	"imaseal/internal/policy"
)

func TestBuild(t *testing.T) {
	c := Config{
		"CONFIG_CRYPTO_HASH_INFO": "y", "CONFIG_IMA_WRITE_POLICY": "y", "CONFIG_IMA_DEFAULT_HASH": `"sha512"`,
		"CONFIG_CRYPTO_SHA256": "y", "CONFIG_CRYPTO_SHA512": "m", "CONFIG_CRYPTO_SM3": "y",
	}
	k := c.Build(policy.Kernel{Major: 6, Minor: 12})
	if k.Major != 6 || k.Minor != 12 || k.DefaultHash != hash.SHA512 {
		t.Errorf("kernel %s, default %s", k, k.DefaultHash)
	}
	if k.Config.WritePolicy != policy.True || k.Config.ModSig != policy.False {
		t.Errorf("%+v", k.Config)
	}
	for a, want := range map[hash.Algorithm]policy.Truth{
		hash.SHA256: policy.True, hash.SHA224: policy.True, hash.SHA384: policy.True, hash.SM3: policy.True,
		hash.SHA1: policy.False, hash.SHA3_256: policy.False, hash.TGR192: policy.False,
	} {
		if got := k.HasHash(a); got != want {
			t.Errorf("%s: %s", a, got)
		}
	}
	if k := (Config{"CONFIG_IMA_DEFAULT_HASH": `"x"`}).Build(policy.Kernel{}); k.DefaultHash != 0 {
		t.Errorf("default %s", k.DefaultHash)
	}
}

func TestDigest(t *testing.T) {
	c := Config{
		"CONFIG_CRYPTO_HASH_INFO": "y", "CONFIG_CRYPTO_SHA1": "y", "CONFIG_CRYPTO_SHA256": "n", "CONFIG_CRYPTO_SHA256_S390": "m",
		"CONFIG_CRYPTO_SHA512": "m", "CONFIG_CRYPTO_SHA512_ARM64": "y", "CONFIG_CRYPTO_SM3": "n",
	}
	for a, want := range map[hash.Algorithm]policy.Presence{
		hash.SHA1: policy.BuiltIn, hash.SHA224: policy.Module, hash.SHA256: policy.Module, hash.SHA384: policy.BuiltIn, hash.SHA512: policy.BuiltIn,
		hash.SM3: policy.Absent, hash.MD5: policy.Absent, hash.TGR192: policy.Absent,
	} {
		if got := c.Digest(a); got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
	part := Config{"CONFIG_IMA": "y", "CONFIG_CRYPTO_SHA512": "m"} // which does not speak of all
	if part.Digest(hash.SHA512) != policy.Module || part.Digest(hash.SHA256) != policy.UnknownPresence {
		t.Errorf("a part: %s, %s", part.Digest(hash.SHA512), part.Digest(hash.SHA256))
	}
}
