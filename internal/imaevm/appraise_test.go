package imaevm_test

import (
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

func TestLabelAlgorithm(t *testing.T) {
	const def = hash.WP512 // what no row names otherwise
	old, new := imaevm.Target{}, imaevm.Target{SignatureV3: true}
	for _, tt := range []struct {
		name   string
		label  string
		on6_12 hash.Algorithm
		on7_2  hash.Algorithm
	}{
		{"absent", "", def, def},
		{"one byte of a hash", "04", def, def},
		{"one byte of a legacy hash", "01", def, def},
		{"one byte of a signature", "03", def, def},

		{"hash, number alone", "04 04", hash.SHA256, hash.SHA256},
		{"hash, number 0", "04 00", hash.MD4, hash.MD4},
		{"hash, last number", "04 16", hash.SHA3_512, hash.SHA3_512},
		{"hash, beyond the last", "04 17" + ones(64), def, def},
		{"hash, highest", "04 ff" + ones(64), def, def},
		{"hash, longer than its digest", "04 04" + ones(40), hash.SHA256, hash.SHA256},

		{"version 0", "03 00 04 00000001 0001 aa", def, def},
		{"version 1", "03 01 04 00000001 0001 aa", def, def},
		{"version 2", "03 02 04 00000001 0001 aa", hash.SHA256, hash.SHA256},
		{"version 3", "03 03 04 00000001 0001 aa", def, hash.SHA256},
		{"version 4", "03 04 04 00000001 0001 aa", def, def},
		{"version 2, header alone", "03 02 04 00000001 0000", def, def},
		{"version 3, header alone", "03 03 04 00000001 0000", def, def},
		{"version 2, wrong length", "03 02 04 00000001 ffff aa", hash.SHA256, hash.SHA256},
		{"version 2, last number", "03 02 16 00000001 0001 aa", hash.SHA3_512, hash.SHA3_512},
		{"version 2, beyond the last", "03 02 17 00000001 0001 aa", def, def},
		{"version 3, beyond the last", "03 03 17 00000001 0001 aa", def, def},

		{"verity version 1", "06 01 06 00000001 0001 aa", def, def},
		{"verity version 2", "06 02 06 00000001 0001 aa", def, def},
		{"verity version 3", "06 03 06 00000001 0001 aa", hash.SHA512, hash.SHA512},
		{"verity version 4", "06 04 06 00000001 0001 aa", def, def},
		{"verity, header alone", "06 03 06 00000001 0000", def, def},
		{"verity, beyond the last", "06 03 17 00000001 0001 aa", def, def},

		{"legacy, 16 bytes", "01" + ones(15), def, def},
		{"legacy, 17 bytes", "01" + ones(16), hash.MD5, hash.MD5},
		{"legacy, 18 bytes", "01" + ones(17), def, def},
		{"legacy, 20 bytes", "01" + ones(19), def, def},
		{"legacy, 21 bytes", "01" + ones(20), hash.SHA1, hash.SHA1},
		{"legacy, 21 bytes, three zeros", "01" + ones(17) + zeros(3), hash.SHA1, hash.SHA1},
		{"legacy, 21 bytes, four zeros", "01" + ones(16) + zeros(4), hash.MD5, hash.MD5},
		{"legacy, 22 bytes", "01" + ones(21), def, def},

		{"HMAC", "02" + ones(20), def, def},
		{"portable", "05 02 04 00000001 0001 aa", def, def},
		{"portable version 3", "05 03 04 00000001 0001 aa", def, def},
		{"unknown type", "07 04" + ones(32), def, def},
		{"type zero", "00 04" + ones(32), def, def},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := imaevm.LabelAlgorithm(bin(tt.label), def, old); got != tt.on6_12 {
				t.Errorf("on 6.12 %v, want %v", got, tt.on6_12)
			}
			if got := imaevm.LabelAlgorithm(bin(tt.label), def, new); got != tt.on7_2 {
				t.Errorf("on 7.2 %v, want %v", got, tt.on7_2)
			}
		})
	}
}

func TestHashMatches(t *testing.T) {
	sha256, sha1, md5 := newDigest(t, hash.SHA256, ones(32)), newDigest(t, hash.SHA1, ones(20)), newDigest(t, hash.MD5, ones(16))
	for _, tt := range []struct {
		name   string
		label  string
		digest hash.Digest
		want   bool
	}{
		{"empty", "", sha256, false},
		{"type alone", "04", sha256, false},
		{"no digest", "04 04", sha256, false},
		{"one byte short", "04 04" + ones(31), sha256, false},
		{"exact", "04 04" + ones(32), sha256, true},
		{"one byte more", "04 04" + ones(32) + "22", sha256, true},
		{"much more", "04 04" + ones(32) + zeros(1000), sha256, true},
		{"first byte differs", "04 04 10" + ones(31), sha256, false},
		{"last byte differs", "04 04" + ones(31) + "10", sha256, false},
		// The digest is the default algorithm's here, and the kernel does not look back.
		{"unknown algorithm", "04 ff" + ones(32), sha256, true},
		{"another algorithm of the same size", "04 11" + ones(32), sha256, true},
		{"shorter digest", "04 04" + ones(32), sha1, true},

		{"legacy type alone", "01", sha1, false},
		{"legacy, one byte short", "01" + ones(19), sha1, false},
		{"legacy", "01" + ones(20), sha1, true},
		{"legacy, one byte more", "01" + ones(21), sha1, true},
		{"legacy md5", "01" + ones(16), md5, true},
		{"legacy md5, padded", "01" + ones(16) + zeros(4), md5, true},
		{"legacy, the default's digest", "01" + ones(32), sha256, true},

		{"no label, no digest", "", hash.Digest{}, false},
		{"no digest of the file", "04 04" + ones(32), hash.Digest{}, false},
		{"HMAC", "02" + ones(20), sha1, false},
		{"signature", "03 02" + ones(32), sha256, false},
		{"portable", "05 04" + ones(32), sha256, false},
		{"verity", "06 04" + ones(32), sha256, false},
		{"type zero", "00 04" + ones(32), sha256, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := imaevm.HashMatches(bin(tt.label), tt.digest); got != tt.want {
				t.Errorf("HashMatches = %v, want %v", got, tt.want)
			}
		})
	}
}
