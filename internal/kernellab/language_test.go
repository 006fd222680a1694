package kernellab

import (
	"math/rand/v2"
	"strings"
	"testing"

	"imaseal/internal/policy"
)

// lines is how many rules TestRuleLanguage offers to each kernel.
const lines = 3000

// words are items of rules, right, odd and wrong ones.
var words = []string{
	"measure", "dont_measure", "appraise", "appraise", "appraise", "dont_appraise", "audit", "dont_audit", "hash", "dont_hash", "Appraise", "appraise=",
	"func=FILE_CHECK", "func=FILE_CHECK", "func=PATH_CHECK", "func=MMAP_CHECK", "func=FILE_MMAP", "func=MMAP_CHECK_REQPROT", "func=BPRM_CHECK",
	"func=CREDS_CHECK", "func=MODULE_CHECK", "func=MODULE_CHECK", "func=FIRMWARE_CHECK", "func=KEXEC_KERNEL_CHECK", "func=KEXEC_INITRAMFS_CHECK",
	"func=POLICY_CHECK", "func=KEXEC_CMDLINE", "func=KEY_CHECK", "func=CRITICAL_DATA", "func=SETXATTR_CHECK", "func=POST_SETATTR", "func=", "func=file_check",
	"mask=MAY_READ", "mask=^MAY_READ", "mask=MAY_EXEC", "mask=MAY_APPEND", "mask=^^MAY_READ", "mask=MAY_READ|MAY_EXEC", "mask=",
	"fsmagic=0xef53", "fsmagic=ef53", "fsmagic=0XEF53", "fsmagic=+0xef53", "fsmagic=-1", "fsmagic=0x", "fsmagic=0", "fsmagic=11111111111111111", "fsmagic=0xg",
	"fsname=ext4", "fsname=", "fsname==", "fs_subtype=sshfs", "fs_subtype=",
	"fsuuid=01234567-89ab-cdef-0123-456789abcdef", "fsuuid=01234567-89AB-CDEF-0123-456789abcdef", "fsuuid=0123456789abcdef0123456789abcdef",
	"fsuuid=01234567-89ab-cdef-0123-456789abcdef0", "fsuuid=", "fsuuid=00000000-0000-0000-0000-000000000000",
	"uid=0", "uid>0", "uid<5", "uid>=0", "uid==0", "uid=", "uid=-1", "uid=+7", "uid=007", "uid=0x7", "uid=4294967295", "uid=4294967294", "uid=4294967296",
	"euid=0", "euid>1", "euid<1", "gid=0", "gid>0", "gid<4294967295", "egid=0", "egid>4294967294", "fowner=0", "fowner>0", "fowner<1", "fowner=root",
	"fgroup=0", "fgroup>0", "fgroup<1", "fgroup!=0", "auid=0",
	"appraise_type=imasig", "appraise_type=imasig", "appraise_type=sigv3", "appraise_type=imasig|modsig", "appraise_type=modsig", "appraise_type=",
	"digest_type=verity", "digest_type=verity", "digest_type=ima", "appraise_flag=check_blacklist", "appraise_flag=x", "appraise_flag=",
	"appraise_algos=sha256", "appraise_algos=sha256,sha512", "appraise_algos=sha1,", "appraise_algos=", "appraise_algos=md5", "appraise_algos=sha3-256",
	"appraise_algos=rmd160", "appraise_algos=rmd128", "appraise_algos=sm3", "appraise_algos=wp512", "appraise_algos=SHA256", "appraise_algos=sha-256",
	"permit_directio", "permit_directio=1", "pcr=10", "pcr=0", "pcr=63", "pcr=64", "pcr=-1", "pcr=+3", "pcr=x", "pcr=",
	"template=ima-ng", "template=ima-sig", "template=d-ng|n-ng", "template=nonsense", "template=", "keyrings=.ima", "keyrings=.ima|_evm", "keyrings=|", "keyrings=",
	"label=selinux", "label=a|b", "label=", "#", "#x", "x", "=", "fowner", "^",
}

// TestRuleLanguage offers rules to kernels, made of words at random, and compares
// what they say with the parser of imaseal. Rules with labels of security modules
// are left out: the answer depends on the module.
func TestRuleLanguage(t *testing.T) {
	l := Open(t)
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			k := l.Kernel(t, series)
			random := rand.New(rand.NewPCG(*firstSeed, 0))
			maker := ruleMaker{random: random, kernel: policyKernel(t, k), fs: Ext4}
			c := Case{Kernel: k}
			for len(c.Probes) < lines {
				line := maker.words()
				if random.IntN(4) > 0 {
					line = someWords(random)
				}
				if line != "" && line[0] != '#' { // which would be no rule
					c.Probes = append(c.Probes, Probe{Op: Rule, Script: line})
				}
			}
			res := l.Boot(t, c)
			taken := 0
			for i, p := range c.Probes {
				_, err := policy.Parse(p.Script, maker.kernel)
				v := res.Verdicts[i]
				if v.Allowed() != (err == nil) || !v.Allowed() && v.Errno != "EINVAL" && v.Errno != "ERANGE" {
					t.Errorf("%q: the kernel says %q at %q; imaseal says %v", p.Script, v.Errno, v.Step, err)
				}
				if v.Allowed() {
					taken++
				}
			}
			if taken < lines/10 || taken > lines*9/10 {
				t.Errorf("%d of %d rules are taken", taken, lines)
			}
		})
	}
}

// someWords makes a line of some words, most often an action first.
func someWords(random *rand.Rand) string {
	var line []string
	if random.IntN(8) > 0 {
		line = append(line, words[random.IntN(8)])
	}
	for range random.IntN(4) {
		line = append(line, words[random.IntN(len(words))])
	}
	return strings.Join(line, []string{" ", " ", " ", "\t", "  "}[random.IntN(5)])
}
