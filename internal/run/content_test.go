package run_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"imaseal/hash"
	"imaseal/internal/report"
	"imaseal/internal/runtest"
)

// readBuffer is that of a hash.Reader.
const readBuffer = 128 << 10

// A sparse file of many GiB is read as a whole, in one buffer.
func TestSparse(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 2 GiB")
	}
	root := runtest.Make(t, "file sparse size=2147483648")
	res := runtest.Run{Job: hashes()}.On(t, root)["sparse"]
	// head -c 2147483648 /dev/zero | sha256sum
	want, err := hash.ParseDigest("sha256:a7c744c13cc101ed66c29f672f92455547889cc586ce6d44fe76ae824958ea51")
	if err != nil || res.Outcome != report.Labelled || res.Digest != want || res.Bytes != 2<<30 {
		t.Errorf("%s %s, %d bytes, %v", res.Outcome, res.Digest, res.Bytes, err)
	}
}

// Sizes about the buffer's.
func TestSizes(t *testing.T) {
	root := runtest.Make(t, "")
	content := string(bytes.Repeat([]byte("imaseal "), readBuffer/8+1))
	sizes := []int{0, 1, 2, readBuffer - 1, readBuffer, readBuffer + 1}
	for _, n := range sizes {
		runtest.Write(t, fmt.Sprintf("%s/%d", root, n), content[:n])
	}
	results := runtest.Run{Job: hashes(), Jobs: 2}.On(t, root)
	for _, n := range sizes {
		if res := results[fmt.Sprint(n)]; res.Outcome != report.Labelled || res.Bytes != int64(n) || res.Size != int64(n) {
			t.Errorf("%d bytes: %+v", n, res)
		}
		runtest.WantLabel(t, fmt.Sprintf("%s/%d", root, n), runtest.Right(t, content[:n]))
	}
	if len(results) != len(slices.Compact(sizes)) {
		t.Errorf("%d results", len(results))
	}
}
