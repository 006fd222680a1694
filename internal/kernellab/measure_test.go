package kernellab

import (
	"bytes"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/measure"
	"imaseal/internal/vectors"
	"imaseal/keys/keytest"
)

var keepLists = flag.String("keep-lists", "", "a directory for measurement lists of kernels, as package measure's tests have them, and for event logs")

// measuring are rules with templates of all kinds, and two PCRs.
var measuring = []string{
	"measure func=KEY_CHECK",
	"measure func=BPRM_CHECK template=ima-sig",
	"measure func=FILE_CHECK mask=MAY_READ fowner=1 template=evm-sig",
	"measure func=FILE_CHECK mask=MAY_READ fowner=2 template=ima pcr=11",
	"measure func=FILE_CHECK mask=MAY_READ fowner=3 template=ima-sigv2",
	"measure func=FILE_CHECK mask=MAY_READ fowner=4 template=ima-modsig",
	"measure func=FILE_CHECK mask=MAY_READ fowner=5",
}

// makeFiles makes files that the rules take, before they are loaded: signing reads.
const makeFiles = `
mkdir /tmp/m
for n in 1 2 3 4 5; do
	echo $n >/tmp/m/file$n
	echo blank >"/tmp/m/with blank $n"
	echo newline >"/tmp/m/new
line$n"
done
chown 1:1 /tmp/m/*1; chown 2:2 /tmp/m/*2; chown 3:3 /tmp/m/*3; chown 4:4 /tmp/m/*4; chown 5:5 /tmp/m/*5
imaseal sign -q --owner any --key /tmp/key --cert /tmp/cert --evm portable /tmp/m
`

// useFiles reads them, and violates what was measured.
const useFiles = `
cat /tmp/m/* >/dev/null
echo written >/tmp/m/violated
chown 5 /tmp/m/violated
exec 3>>/tmp/m/violated
cat /tmp/m/violated >/dev/null
exec 3>&-
exec 4</tmp/m/file5
echo more >>/tmp/m/file5
exec 4>&-
`

// kernelsList is the list of the bank of SHA-1.
const kernelsList = "/sys/kernel/security/ima/binary_runtime_measurements"

// TestMeasurements has kernels measure into a TPM, and imaseal verify that on the same
// machine, in each bank.
func TestMeasurements(t *testing.T) {
	l := Open(t)
	program, err := os.ReadFile(l.Imaseal(t))
	check(t, err)
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			tpm := keytest.NewTPM(t)
			const verify = "imaseal measurements verify --key /tmp/cert"
			c := Case{
				Kernel: l.Kernel(t, series), TPM: tpm.Restart(), Setup: makeFiles, Policy: measuring, Append: "ima_policy=critical_data",
				Keys:  []Key{IMAKey(vectors.Read(t, "keys/rsa2048.cert.der"))},
				Files: map[string][]byte{"bin/imaseal": program, "tmp/key": vectors.Read(t, "keys/rsa2048.key.pem"), "tmp/cert": vectors.Read(t, "keys/rsa2048.cert.der")},
				Probes: []Probe{
					{Name: "use", Op: Sh, Script: useFiles},
					{Name: "sha1", Op: Sh, Script: verify + " --bank sha1"},
					{Name: "sha256", Op: Sh, Script: verify + " --bank sha256"},
					{Name: "best", Op: Sh, Script: verify},
					{Name: "ascii", Op: Sh, Script: verify + " --pcrs /sys/class/tpm/tpm0 /sys/kernel/security/ima/ascii_runtime_measurements"},
					{Name: "boot", Op: Sh, Script: "imaseal boot-aggregate"},
					{Name: "boot-sha1", Op: Sh, Script: "imaseal boot-aggregate --bank sha1"},
					{Name: "show", Op: Sh, Script: "imaseal measurements show"},
					{Name: "changed", Op: Sh, Script: `cat /sys/kernel/security/ima/binary_runtime_measurements >/tmp/list
						printf X | dd of=/tmp/list bs=1 seek=70 conv=notrunc 2>/dev/null
						imaseal measurements verify --pcrs running /tmp/list`},
					{Name: "short", Op: Sh, Script: `head -n 5 /sys/kernel/security/ima/ascii_runtime_measurements >/tmp/short
						imaseal measurements verify --pcrs running /tmp/short`},
					{Name: "evmctl", Op: Sh, Script: "imaseal evmctl -v ima_measurement --ignore-violations " + kernelsList},
					{Name: "evmctl-sysfs", Op: Sh, Script: "TPM2TOOLS_TCTI=/nonexistent imaseal evmctl ima_measurement --ignore-violations --hwtpm " + kernelsList},
					{Name: "evmctl-violations", Op: Sh, Script: "imaseal evmctl ima_measurement " + kernelsList},
					{Name: "evmctl-boot", Op: Sh, Script: `imaseal evmctl ima_boot_aggregate; imaseal evmctl ima_boot_aggregate /sys/kernel/security/tpm0/binary_bios_measurements
						set -- $(head -n 1 /sys/kernel/security/ima/ascii_runtime_measurements)
						imaseal evmctl ima_boot_aggregate | grep -qx "$4"`},
				},
			}
			for _, name := range []string{"ima/binary_runtime_measurements", "ima/ascii_runtime_measurements", "ima/binary_runtime_measurements_sha256", "ima/ascii_runtime_measurements_sha256", "tpm0/binary_bios_measurements"} {
				c.Probes = append(c.Probes, Probe{Name: name, Op: Sh, Script: "base64 /sys/kernel/security/" + name})
			}
			c.Probes = append(c.Probes, Probe{Name: "pcrs", Op: Sh, Script: "for b in sha1 sha256; do echo $b:; for i in 0 1 2 3 4 5 6 7 8 9 10 11; do echo $i: $(cat /sys/class/tpm/tpm0/pcr-$b/$i); done; done"})
			if series == "7.x" {
				c.Probes = append(c.Probes, Probe{Name: "removed", Op: Sh, Script: "echo 2 >/sys/kernel/security/ima/binary_runtime_measurements && " + verify})
			}
			res := l.Boot(t, c)
			checkMeasured(t, series, res)
			keepMeasured(t, series, res)
		})
	}
}

func checkMeasured(t *testing.T, series string, res Result) {
	for _, name := range []string{"use", "sha1", "best", "ascii", "show", "boot", "boot-sha1", "evmctl", "evmctl-sysfs", "evmctl-boot"} {
		if v := res.Verdict(t, name); !v.Allowed() {
			t.Errorf("%s: %+v", name, v)
		}
	}
	for name, want := range map[string]string{
		"evmctl":            "PCRAgg  10: [0-9a-f]{64}\\n(.*\\n)*Matched per TPM bank calculated digest\\(s\\)\\.\\n$",
		"evmctl-sysfs":      "Matched per TPM bank calculated digest\\(s\\)\\.\\n$",
		"evmctl-violations": "Failed to match per TPM bank or SHA1 padded TPM digest\\(s\\)\\.\\n$",
		"evmctl-boot":       "(?s)^sha1:([0-9a-f]{40})\\nsha256:([0-9a-f]{64})\\nsha1:",
	} {
		if v := res.Verdict(t, name); !regexp.MustCompile(want).MatchString(v.Output) {
			t.Errorf("%s does not print %s: %+v", name, want, v)
		}
	}
	banks := []string{"sha1", "sha256", "sha384", "sha512"}
	for _, bank := range banks {
		for _, pcr := range []int{10, 11} {
			want := fmt.Sprintf("imaseal: PCR %d of bank %s is that of the list", pcr, bank)
			if series == "6.1" && (bank == "sha384" || bank == "sha512") { // modules there
				want += ", by SHA-1: the kernel could not compute digests of this bank"
			}
			if v := res.Verdict(t, "best"); !strings.Contains(v.Output, want+"\n") {
				t.Errorf("%s does not say %q: %s", "best", want, v.Output)
			}
		}
	}
	if v := res.Verdict(t, "best"); !strings.Contains(v.Output, "boot_aggregate is that of the PCRs; the list is of one boot") || !strings.Contains(v.Output, "2 violations") {
		t.Error(v.Output)
	}
	for _, want := range []string{
		`  kernel_version  "?[67]\.`, `  \.?_ima  key dd65a4eb was loaded into it: CN=rsa2048,`, `  ima-sig    violation  /tmp/m/violated\n`,
		`  evm-sig    sha256:[0-9a-f]{64}  "/tmp/m/new\\nline1"  EVM signed by dd65a4eb \(sha256, version 2\)  of 1:1, mode 0644\n`,
		`  ima-sigv2  sha256:[0-9a-f]{64}  /tmp/m/with_blank_3  signed by dd65a4eb `,
	} {
		if v := res.Verdict(t, "show"); !regexp.MustCompile(want).MatchString(v.Output) {
			t.Errorf("show does not print %s: %s", want, v.Output)
		}
	}
	for name, want := range map[string]string{
		"boot":    "is that of bank sha256",
		"changed": "the template digest is",
		"short":   "PCR 10 of bank sha256 differs",
	} {
		if v := res.Verdict(t, name); !strings.Contains(v.Output, want) || v.Allowed() != (name == "boot") {
			t.Errorf("%s: %+v, want %s", name, v, want)
		}
	}
	if series == "7.x" {
		if v := res.Verdict(t, "removed"); v.Errno != "exit 4" || !strings.Contains(v.Output, "the list does not begin with boot_aggregate") {
			t.Errorf("records removed: %+v", v)
		}
	}
	if v := res.Verdict(t, "sha256"); v.Allowed() == (series == "6.1") || !v.Allowed() && !strings.Contains(v.Output, "the kernel has no measurement list of this bank") {
		t.Errorf("the list of bank sha256: %+v", v) // there since 6.10
	}
	templates := make(map[string]bool)
	r, err := measure.Open(bytes.NewReader(decoded(t, res, "ima/binary_runtime_measurements")), measure.Layout{})
	check(t, err)
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		check(t, err)
		templates[rec.Template] = true
	}
	for _, template := range []string{"ima-sig", "evm-sig", "ima", "ima-sigv2", "ima-modsig", "ima-buf"} {
		if !templates[template] {
			t.Errorf("no record of template %s", template)
		}
	}
	if bank := r.Layout().Bank; bank != hash.SHA1 {
		t.Errorf("the list without a name is of bank %s", bank)
	}
}

func decoded(t *testing.T, res Result, name string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(res.Verdict(t, name).Output, "\n", ""))
	check(t, err)
	return b
}

// keepMeasured keeps what tests of other packages read.
func keepMeasured(t *testing.T, series string, res Result) {
	if *keepLists == "" {
		return
	}
	bank, suffix := "sha1", ""
	if series != "6.1" {
		bank, suffix = "sha256", "_sha256"
	}
	for name, probe := range map[string]string{
		"." + bank + ".bin":   "ima/binary_runtime_measurements" + suffix,
		"." + bank + ".ascii": "ima/ascii_runtime_measurements" + suffix,
		".events":             "tpm0/binary_bios_measurements",
	} {
		check(t, os.WriteFile(filepath.Join(*keepLists, "linux-"+series+name), decoded(t, res, probe), 0o644))
	}
	check(t, os.WriteFile(filepath.Join(*keepLists, "linux-"+series+".pcrs"), []byte(res.Verdict(t, "pcrs").Output), 0o644))
}
