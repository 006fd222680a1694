package inspect

import (
	"fmt"

	"imaseal/hash"
	"imaseal/internal/tree"
)

// KnownDigest returns the digest that is known of a file without its content, and
// false if none is.
func KnownDigest(f tree.File) (hash.Digest, bool, error) {
	known, ok := tree.As[tree.Digested](f)
	if !ok {
		return hash.Digest{}, false, nil
	}
	number, sum := known.KnownDigest()
	a, _ := hash.ByNumber(number)
	d, err := hash.NewDigest(a, sum)
	if err != nil {
		return hash.Digest{}, false, fmt.Errorf("asking for the digest: %w", err)
	}
	return d, true, nil
}
