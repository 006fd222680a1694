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
		MalformedSignature: "malformed-signature", CrashesKernel: "crashes-kernel", ShortLabel: "short-label", UnknownAlgorithm: "unknown-digest", WrongModSig: "wrong-modsig", NoSignatures: "no-signature-support",
		NoDigest: "unavailable-digest", NoDefaultHash: "unknown-default-hash", NoKeys: "no-keys", UnknownDigest: "unknown-digest-support",
		UnloadedDigest: "unloaded-digest", NoEVMKeys: "no-evm-keys",
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

func TestThen(t *testing.T) {
	unsure := maybe(missing(because(NoKeys)), InvalidSignature)
	for _, c := range []struct{ v, w, want Verdict }{
		{allowed(), allowed(), allowed()},
		{allowed(), denied(MissingHash), denied(MissingHash)},
		{denied(MissingHash), denied(InvalidHash), denied(MissingHash)},
		{allowed(), unsure, unsure},
		{unsure, allowed(), unsure},
		{denied(MissingHash), unsure, denied(MissingHash)},
		{unsure, denied(DeniedAlgorithm), Verdict{Denied, []Cause{InvalidSignature, DeniedAlgorithm}, missing(because(NoKeys))}},
		{unsure, denied(InvalidSignature), Verdict{Denied, []Cause{InvalidSignature}, missing(because(NoKeys))}},
		{unsure, maybe(missing(because(NoDefaultHash)), DeniedAlgorithm),
			maybe(reason.List{because(NoKeys), because(NoDefaultHash)}, InvalidSignature, DeniedAlgorithm)},
	} {
		if got := c.v.then(c.w); !same(got, c.want) {
			t.Errorf("%+v, then %+v: %+v", c.v, c.w, got)
		}
	}
}

func TestOneOf(t *testing.T) {
	why, unsure := missing(because(NotBound)), maybe(missing(because(NoKeys)), InvalidSignature)
	for _, c := range []struct {
		of   []Verdict
		want Verdict
	}{
		{[]Verdict{allowed()}, allowed()},
		{[]Verdict{allowed(), allowed()}, allowed()},
		{[]Verdict{denied(InvalidSignature, because(WrongSignature)), denied(InvalidSignature)}, denied(InvalidSignature, because(WrongSignature))},
		{[]Verdict{unsure, unsure}, unsure},
		{[]Verdict{allowed(), denied(InvalidHMAC)}, maybe(why, InvalidHMAC)},
		{[]Verdict{denied(InvalidHMAC), denied(InvalidHash, because(ShortLabel))}, Verdict{Denied, []Cause{InvalidHMAC, InvalidHash}, why}},
		{[]Verdict{denied(InvalidHMAC), unsure}, maybe(why.With(because(NoKeys)), InvalidHMAC, InvalidSignature)},
		{[]Verdict{unsure, denied("")}, maybe(why.With(because(NoKeys)), InvalidSignature, "")},
	} {
		if got := oneOf(why, c.of...); !same(got, c.want) {
			t.Errorf("one of %+v: %+v, want %+v", c.of, got, c.want)
		}
	}
}
