package advice

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/report"
)

// TestOfRecord: what kernels recorded, and no label mends, has advice; what appraisal
// refuses for a label has that of check.
func TestOfRecord(t *testing.T) {
	for _, c := range []struct{ op, cause, words string }{
		{"appraise_metadata", "no_label", "gives it one"}, {"appraise_metadata", "pass_immutable", "portable signature"}, {"appraise_metadata", "fail", "did not fit"},
		{"policy_update", "failed", "policy lint"}, {"policy_update", "signed policy required", "signed file"}, {"policy_rule", "action=measure x", "policy lint"},
		{"invalid_pcr", "ToMToU", "opened for writing"}, {"invalid_pcr", "open_writers", "is open for writing"}, {"collect_data", "failed(directio)", "O_DIRECT"},
		{"update_metadata", "no_xattrs", "gives it one"}, {"set_data", "unavailable-hash-algorithm", "does not have"}, {"set_data", "denied-hash-algorithm", "SETXATTR_CHECK"},
		{"mmap_file", "mmapped_writers", "mapped for writing"}, {"collect_data", "failed-mprotect", "MMAP_CHECK"}, {"appraise_data", "sigv3-hashing-error", "imaseal show"},
		{"collect_data", "denied-hash-algorithm", ""}, {"appraise_data", "unknown", ""}, {"appraise_data", "fail", ""}, {"", "", ""},
	} {
		if got := OfRecord(c.op, c.cause); !strings.Contains(got, c.words) || (got == "") != (c.words == "") {
			t.Errorf("%s, %s: %q", c.op, c.cause, got)
		}
	}
	logs, err := filepath.Glob("../audit/testdata/kernel-*.log")
	if err != nil || len(logs) < 3 {
		t.Fatalf("%q, %v", logs, err)
	}
	for _, name := range logs {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			_, rest, ok := strings.Cut(lines.Text(), " op=")
			op, rest, _ := strings.Cut(rest, " cause=")
			cause, _, _ := strings.Cut(rest, " ")
			if !ok || OfRecord(op, cause) != "" {
				continue
			}
			// What is left is for check's own advice.
			g := report.Group{Outcome: report.Denied, Why: report.Why{Causes: []string{cause}}, Places: []string{"/f"}}
			if lines := (Remedy{}).Lines(g); len(lines) == 0 {
				t.Errorf("%s: nothing is to be done about %s, %s", name, op, cause)
			}
		}
	}
}
