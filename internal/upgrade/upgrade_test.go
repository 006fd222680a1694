package upgrade

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/host"
	"imaseal/internal/policy"
)

// debian is one of Debian's cloud kernels, of which testdata has the options that count
// here, with options changed: A turns one on, -A off, and A=B sets it.
func debian(t *testing.T, version, change string) Build {
	t.Helper()
	c, err := host.OpenConfig(filepath.Join("testdata", "config-"+version))
	if err != nil {
		t.Fatal(err)
	}
	c = maps.Clone(c)
	for word := range strings.FieldsSeq(change) {
		name, value, set := strings.Cut(word, "=")
		if name, off := strings.CutPrefix(name, "-"); off {
			c["CONFIG_"+name] = "n"
		} else if set {
			c["CONFIG_"+name] = value
		} else {
			c["CONFIG_"+name] = "y"
		}
	}
	b, err := NewBuild(version+".0-test", "/boot/config-"+version+".0-test", c, policy.False)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var tcb = Use{Words: []string{"appraise_tcb"}, Filesystems: []string{"ext4", "ext4", "squashfs", "unheard-of"}, HMAC: true, X509: true}

// TestDebian: between Debian's kernels little changes.
func TestDebian(t *testing.T) {
	for _, c := range []struct{ now, next, want string }{
		{"6.1", "6.12", ""}, {"6.12", "7.2", ""}, {"6.12", "6.12", ""},
		{"6.12", "6.1", "no-signatures it has no ECDSA built in (CONFIG_CRYPTO_ECDSA): signed files are denied\n"},
	} {
		if got := told(Compare(debian(t, c.now, ""), debian(t, c.next, ""), tcb)); c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s instead of %s:\n%s\nwant %q", c.next, c.now, got, c.want)
		}
	}
}

func told(changes []Change) string {
	var b strings.Builder
	for _, c := range changes {
		b.WriteString(string(c.Code) + " " + c.Why + "\n")
	}
	return b.String()
}

// TestChanges: each option that matters is told of, in the direction that matters.
func TestChanges(t *testing.T) {
	own := Use{Loaded: []string{"appraise fowner=0 appraise_type=imasig", "measure func=CRITICAL_DATA label=x"}, Signs: true}
	verity := Use{Loaded: []string{"appraise fowner=0 digest_type=verity appraise_type=sigv3"}, Signs: true}
	for _, c := range []struct {
		name, now, next string
		use             Use
		code            Code
		words, back     string // back is the code of the other direction, "" for none
	}{
		{"no IMA", "", "-IMA", tcb, NoAppraisal, "it appraises nothing", ""},
		{"no appraisal", "", "-IMA_APPRAISE", tcb, NoAppraisal, "it appraises nothing", ""},
		{"signed init", "", "IMA_APPRAISE_SIGNED_INIT", tcb, Rules, "it has rules besides: appraise fowner=0 appraise_type=imasig", "rules"},
		{"policies", "", "IMA_WRITE_POLICY", tcb, Rules, "it has rules besides: appraise func=POLICY_CHECK appraise_type=imasig", "rules"},
		{"modules", "", "IMA_APPRAISE_BUILD_POLICY IMA_APPRAISE_REQUIRE_MODULE_SIGS", own, Rules, "it has rules besides: appraise func=MODULE_CHECK appraise_type=imasig", "rules"},
		{"refused", "IMA_LSM_RULES", "-IMA_LSM_RULES", Use{Loaded: []string{"appraise obj_type=etc_t"}}, Refused, "it refuses the rules that are loaded", ""},
		{"default digest", "", `IMA_DEFAULT_HASH="sha512"`, tcb, Digest, "the labels that it writes are of sha512, not of sha256", "digest"},
		{"lost digest", "", "CRYPTO_SHA256=m", tcb, LostDigest, "it does not have sha256 built in", ""},
		{"keys", "", "-INTEGRITY_ASYMMETRIC_KEYS", own, LostKeys, "it verifies no signatures (CONFIG_INTEGRITY_ASYMMETRIC_KEYS): signed files are denied", ""},
		{"RSA", "", "CRYPTO_RSA=m", tcb, LostKeys, "it has no RSA built in", ""},
		{"trusted", "", "INTEGRITY_TRUSTED_KEYRING", tcb, Keyrings, "it looks for keys in .ima and .evm, which take only", "keyrings"},
		{"secondary", "INTEGRITY_TRUSTED_KEYRING IMA_KEYRINGS_PERMIT_SIGNED_BY_BUILTIN_OR_SECONDARY", "INTEGRITY_TRUSTED_KEYRING", tcb, Certificates, "its .ima takes no certificate", ""},
		{"certificate", `IMA_LOAD_X509 IMA_X509_PATH="/a"`, `IMA_LOAD_X509 IMA_X509_PATH="/b"`, tcb, Certificates, `it loads "/b" by itself, and this kernel "/a"`, "certificates"},
		{"no certificate", `EVM_LOAD_X509 EVM_X509_PATH="/a"`, "", tcb, Certificates, `it does not load "/a" by itself`, ""},
		{"no EVM", "", "-EVM", tcb, NoEVM, "it has no EVM", ""},
		{"UUID", "", "-EVM_ATTR_FSUUID", tcb, UUID, "its EVM does not cover the UUID", "evm-uuid"},
		{"attributes", "", "SECURITY_SMACK", tcb, Attributes, "do not cover the same attributes (security.SMACK64): of files that have these", "evm-attributes"},
		{"width", "", "-64BIT", tcb, Width, "inode numbers have another width", "evm-inode"},
		{"ext4", "", "-EXT4_FS_SECURITY", tcb, NoLabels, "it was built without CONFIG_EXT4_FS_SECURITY and denies every file of root on ext4", ""},
		{"verity", "", "-FS_VERITY", verity, NoVerity, "CONFIG_FS_VERITY", ""},
		{"mode", "", "-IMA_APPRAISE_BOOTPARAM", tcb, NoMode, "it ignores ima_appraise=, and enforces at once: there is no log mode to go back to", ""},
		{"audit", "", "-AUDIT", tcb, NoAudit, "its denials are silent", ""},
		{"reading", "IMA_READ_POLICY", "", tcb, Reading, "it does not show which rules are loaded", ""},
		{"once", "IMA_WRITE_POLICY", "", own, Reading, "it takes rules only once", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			now, next := debian(t, "6.12", c.now), debian(t, "6.12", c.next)
			got := told(Compare(now, next, c.use))
			if !strings.Contains(got, string(c.code)+" "+c.words) && !(strings.Contains(got, string(c.code)+" ") && strings.Contains(got, c.words)) {
				t.Errorf("got\n%s", got)
			}
			if c.code == NoAppraisal && strings.Count(got, "\n") != 1 {
				t.Errorf("got\n%s", got)
			}
			back := told(Compare(next, now, c.use))
			if c.back == "" && c.code != NoAppraisal && back != "" && c.code != Refused || c.back != "" && !strings.HasPrefix(back, c.back+" ") {
				t.Errorf("the other way\n%s", back)
			}
			if got := told(Compare(now, now, c.use)); got != "" {
				t.Errorf("a kernel is not as itself:\n%s", got)
			}
		})
	}
}

// TestVersions: rules that a version has otherwise, and names that are none.
func TestVersions(t *testing.T) {
	use := Use{Words: []string{"secure_boot"}}
	got := told(Compare(debian(t, "6.12", "IMA_APPRAISE_MODSIG"), debian(t, "7.2", "IMA_APPRAISE_MODSIG"), use))
	if !strings.Contains(got, "rules it has rules besides: appraise func=MODULE_CHECK appraise_type=imasig|modsig\n") ||
		!strings.Contains(got, "rules it does not have the rules: appraise func=MODULE_CHECK appraise_type=imasig\n") {
		t.Errorf("got\n%s", got)
	}
	if _, err := NewBuild("old", "", nil, policy.Unknown); err == nil {
		t.Error("old is a version")
	}
	for _, c := range Compare(debian(t, "6.12", ""), debian(t, "6.12", "IMA_APPRAISE_SIGNED_INIT"), tcb) {
		if !strings.Contains(c.Do, " --kernel-version 6.12.0-test --kernel-config /boot/config-6.12.0-test ") {
			t.Errorf("%+v", c)
		}
	}
}
