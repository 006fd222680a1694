package tpm

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"imaseal/internal/pcr"
	"imaseal/keys/keytest"
)

// TestReadPCRs compares all values with those that tpm2_pcrread writes, after some were
// extended.
func TestReadPCRs(t *testing.T) {
	m := keytest.NewTPM(t)
	for _, extend := range []string{"0:sha1=" + strings.Repeat("ab", 20), "10:sha256=" + strings.Repeat("cd", 32), "23:sha256=" + strings.Repeat("ef", 32)} {
		m.Tool("tpm2_pcrextend", extend)
	}
	banks, err := ReadPCRs(t.Context(), Options{Device: m.TCTI})
	if err != nil {
		t.Fatal(err)
	}
	names := map[uint16]string{4: "sha1", 11: "sha256", 12: "sha384", 13: "sha512"}
	for _, b := range banks {
		file := filepath.Join(t.TempDir(), "pcrs")
		if out, err := exec.Command("tpm2_pcrread", names[b.Algorithm]+":all", "-Q", "-o", file).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var have []byte
		for i := range 24 {
			have = append(have, b.Values[i]...)
		}
		if len(b.Values) != 24 || !reflect.DeepEqual(have, want) {
			t.Errorf("bank %x: %d values\n%s\n%s", b.Algorithm, len(b.Values), hex.EncodeToString(have), hex.EncodeToString(want))
		}
	}
	if len(banks) < 2 {
		t.Errorf("%d banks", len(banks))
	}
	if _, err := ReadPCRs(t.Context(), Options{Device: "swtpm:path=/none"}); err == nil {
		t.Error("a TPM that is not there")
	}
}

func TestSelection(t *testing.T) {
	for _, want := range [][]int{nil, {0}, {7, 8}, {0, 10, 23}, {3, 31}} {
		if have := pcr.Selected(selection(want)); !reflect.DeepEqual(have, want) {
			t.Errorf("%v: %v", want, have)
		}
	}
	if b := selection([]int{10}); !reflect.DeepEqual(b, []byte{0, 4, 0}) {
		t.Errorf("%v", b)
	}
}
