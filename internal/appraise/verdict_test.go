package appraise

import (
	"os"
	"slices"
	"strings"
	"testing"

	"imaseal/internal/reason"
)

// TestCodes: programs know the codes, which therefore stay what they are and stand
// in the manual. The words that go with them alone fit behind a colon.
func TestCodes(t *testing.T) {
	codes := map[reason.Code]string{
		NoXattrs: "no-xattrs", NotWritable: "signed-not-writable", UnknownKey: "unknown-key", UnknownV1Key: "unknown-v1-key", NoV1Keys: "no-v1-keys", WrongSignature: "wrong-signature",
		MalformedSignature: "malformed-signature", WrongModSig: "wrong-modsig", NoSignatures: "no-signature-support",
		NoDigest: "unavailable-digest", NoDefaultHash: "unknown-default-hash", NoKeys: "no-keys", NoEVMKeys: "no-evm-keys",
		NoHMACKey: "no-hmac-key", NoHMACAttrs: "unknown-hmac-attributes", NoSignatureAttrs: "unknown-signature-attributes",
		NotBound: "not-bound", Unchecked: "unchecked-signature", UncheckedEVM: "unchecked-evm-signature",
		UncheckedModSig: "unchecked-modsig", NoContent: "unreadable-content", NoVerity: "unreadable-verity-digest",
		NoInput: "unknown-evm-input", NoEVMDigest: "uncomputable-evm-digest", UnknownMount: "unknown-mount",
		Conditional: "unknown-conditions",
	}
	manual, err := os.ReadFile("../../doc/imaseal.8")
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for code, want := range codes {
		if !strings.Contains(string(manual), " "+strings.ReplaceAll(want, "-", `\-`)+" ") {
			t.Errorf("the manual lacks the code %s", want)
		}
		if string(code) != want || slices.Contains(seen, want) {
			t.Errorf("code %q, want %q, once", code, want)
		}
		seen = append(seen, want)
	}
	for code, text := range words {
		if codes[code] == "" || text == "" || strings.HasSuffix(text, ".") {
			t.Errorf("%q: %q", code, text)
		}
	}
}

func TestCause(t *testing.T) {
	for _, c := range []struct {
		verdict Verdict
		want    Cause
		text    string
	}{
		{allowed(), "", "allowed"},
		{denied(MissingHash), MissingHash, "denied (missing-hash)"},
		{denied("", because(NoXattrs)), "", "denied (the file system has no extended attributes)"},
		{Verdict{Status: Denied, Causes: []Cause{InvalidHash, InvalidHMAC}}, "", "denied (invalid-hash or invalid-HMAC)"},
		{Verdict{Causes: []Cause{InvalidHash}, Reasons: reason.List{because(NoKeys)}}, "", "undecided"},
	} {
		if c.verdict.Cause() != c.want || c.verdict.text() != c.text {
			t.Errorf("%+v: cause %q, text %q", c.verdict, c.verdict.Cause(), c.verdict.text())
		}
	}
}
