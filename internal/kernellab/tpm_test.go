package kernellab

import (
	"os"
	"strings"
	"testing"

	"imaseal/keys/keytest"
)

// TestTPMDevice signs in the machine with a key of its TPM, through the kernel's
// resource manager and through the raw device.
func TestTPMDevice(t *testing.T) {
	l := Open(t)
	tpm := keytest.NewTPM(t)
	tpm.Make("0x81000010", "-G", "ecc256:ecdsa", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign")
	primary := tpm.Primary()
	tpm.Tool("tpm2_create", "-C", primary, "-G", "rsa2048", "-u", tpm.Files+"/rsa.pub", "-r", tpm.Files+"/rsa.priv",
		"-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|decrypt")
	tpm.Tool("tpm2_encodeobject", "-C", primary, "-u", tpm.Files+"/rsa.pub", "-r", tpm.Files+"/rsa.priv", "-o", tpm.Files+"/rsa.pem")
	file, err := os.ReadFile(tpm.Files + "/rsa.pem")
	check(t, err)
	program, err := os.ReadFile(l.Imaseal(t))
	check(t, err)
	sign := func(key string) string {
		return "imaseal keys cert --force --out /tmp/made --key " + key
	}
	res := l.Boot(t, Case{
		Kernel: l.Kernel(t, "6.12"), TPM: tpm.Restart(),
		Files: map[string][]byte{"bin/imaseal": program, "tmp/rsa.pem": file},
		Probes: []Probe{
			{Name: "persistent", Op: Sh, Script: sign("tpm:0x81000010")},
			{Name: "file", Op: Sh, Script: sign("/tmp/rsa.pem")},
			{Name: "raw", Op: Sh, Script: sign("/tmp/rsa.pem --tpm /dev/tpm0") + " && " + sign("tpm:0x81000010 --tpm device:/dev/tpm0")},
			{Name: "busy", Op: Sh, Script: "exec 3<>/dev/tpm0; " + sign("tpm:0x81000010 --tpm /dev/tpm0")},
			{Name: "none", Op: Sh, Script: sign("tpm:0x81000077")},
		},
	})
	for _, name := range []string{"persistent", "file", "raw"} {
		if v := res.Verdict(t, name); !v.Allowed() {
			t.Errorf("%s: %+v\n%s", name, v, res.Console)
		}
	}
	for name, want := range map[string]string{
		"busy": "/dev/tpm0: device or resource busy: another program has it open; /dev/tpmrm0 can be shared",
		"none": "the TPM has no persistent key 0x81000077",
	} {
		if v := res.Verdict(t, name); v.Allowed() || !strings.Contains(v.Output, want) {
			t.Errorf("%s: %+v, want %s", name, v, want)
		}
	}
}
