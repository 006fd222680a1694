package target

import (
	"imaseal/keys/kernelcert"
	"imaseal/keys/kernelkey"
)

// Certificates is the target as the one that loads certificates into its keyrings.
// What is not known of it stays so: without a whole configuration, its algorithms;
// unless it is the running kernel, FIPS mode, which is taken to be off.
func (t *Target) Certificates() kernelcert.Kernel {
	k := kernelcert.Kernel{Kernel: kernelkey.Kernel{Major: t.Major, Minor: t.Minor, Is32Bit: t.Word32, FIPS: t.Running && t.host.FIPS()}}
	// Every kernel with IMA has this one: see Digest.
	if config := t.Configuration; config.Enabled("CONFIG_CRYPTO_HASH_INFO") {
		k.Option = func(name string) string { return config[name] }
	}
	return k
}
