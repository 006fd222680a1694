package keys

import (
	"encoding/binary"
	"runtime"
	"sync"
	"testing"

	"imaseal/hash"
)

// TestRSAKeyInParallel signs with as many callers as the key says, and wants
// every signature to be over its own digest.
func TestRSAKeyInParallel(t *testing.T) {
	k := mustOpen(t, keyPath(t, "rsa2048"), nil, Options{})
	if k.Parallel() < runtime.GOMAXPROCS(0) {
		t.Errorf("%d signatures at once", k.Parallel())
	}
	var wait sync.WaitGroup
	for i := range k.Parallel() {
		wait.Go(func() {
			for j := range 4 {
				d, err := hash.Sum(hash.SHA256, binary.BigEndian.AppendUint32(nil, uint32(10*i+j)))
				if err != nil {
					t.Error(err)
					return
				}
				sig, err := k.SignDigest(t.Context(), d)
				if err == nil {
					err = k.VerifyDigest(d, sig)
				}
				if err != nil {
					t.Errorf("caller %d, signature %d: %v", i, j, err)
				}
			}
		})
	}
	wait.Wait()
}
