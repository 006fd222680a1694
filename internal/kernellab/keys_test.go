package kernellab

import (
	"os"
	"path/filepath"
	"testing"

	"imaseal/internal/vectors"
	"imaseal/keys/keytest"
)

// TestKeysElsewhere has a kernel judge labels by keys that are in no file: in a
// token, in a TPM, behind a program; each with a certificate that imaseal made with
// it.
func TestKeysElsewhere(t *testing.T) {
	l := Open(t)
	hsm, tpm := keytest.NewHSM(t, "signing"), keytest.NewTPM(t)
	examples, err := filepath.Abs("../../doc/examples")
	check(t, err)
	t.Setenv("PATH", examples+":"+os.Getenv("PATH"))
	t.Setenv("IMASEAL_PKCS11_PIN", keytest.PIN)
	hsm.Put("signing", "rsa2048", "rsa", "01")
	hsm.Put("signing", "p384", "ec", "02")
	elsewhere := map[string]string{
		"token-rsa":      hsm.URI("token=signing;object=rsa"),
		"token-ec":       hsm.URI("token=signing;object=ec"),
		"tpm-file":       tpm.Import(vectors.Path(t, "keys/p256.key.pem"), "0x81000010"),
		"tpm-persistent": "tpm:0x81000011",
		"program":        "openssl://" + vectors.Path(t, "keys/p521.key.pem"),
	}
	tpm.Make("0x81000011", "-G", "rsa2048", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|decrypt")
	tr := newTrial(t, l, "6.12", Ext4)
	c := Case{Policy: appraise("appraise_type=imasig"), EVM: []string{"2"}}
	var args []string
	for name, ref := range elsewhere {
		prefix := filepath.Join(t.TempDir(), name)
		imaseal(t, l, "keys", "cert", "--key", ref, "--out", prefix)
		key := signingKey{private: ref, cert: prefix + ".der"}
		tr.sign(t, name, signed, few(), key, "--evm", "portable")
		c.Keys = append(c.Keys, IMAKey(key.der(t)), EVMKey(key.der(t)))
		args = append(args, "--key", key.cert)
	}
	tr.spoil()
	tr.judge(t, c, []string{"--require", "imasig,evm"}, args)
}
