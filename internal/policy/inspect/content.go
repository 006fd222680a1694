package inspect

import (
	"fmt"

	"imaseal/hash"
	"imaseal/internal/tree"
)

// modSigMarker ends files with an appended signature, as modules and kernels
// may have. Kernel: MODULE_SIG_STRING, include/linux/module_signature.h.
const modSigMarker = "~Module signature appended~\n"

// HasModSig reports whether the file ends as those with an appended signature
// do.
func HasModSig(f tree.File) bool {
	b := make([]byte, len(modSigMarker))
	size := f.Meta().Size
	if size < int64(len(b)) {
		return false
	}
	n, err := f.ReadAt(b, size-int64(len(b)))
	return (err == nil || n == len(b)) && string(b[:n]) == modSigMarker
}

// verityAlgorithms are the numbers of fs-verity. Kernel: FS_VERITY_HASH_ALG_* in
// include/uapi/linux/fsverity.h.
var verityAlgorithms = map[uint16]hash.Algorithm{1: hash.SHA256, 2: hash.SHA512}

// VerityDigest returns the fs-verity digest of a file, and false if it has none.
func VerityDigest(f tree.File) (hash.Digest, bool, error) {
	v, ok := tree.As[tree.Verity](f)
	if !ok {
		return hash.Digest{}, false, nil
	}
	number, sum, err := v.VerityDigest()
	if err != nil {
		return hash.Digest{}, false, nil
	}
	d, err := hash.NewDigest(verityAlgorithms[number], sum)
	if err != nil {
		return hash.Digest{}, true, fmt.Errorf("asking for the fs-verity digest: %w", err)
	}
	return d, true, nil
}
