package kernellab

import (
	"testing"

	"imaseal/internal/vectors"
)

// TestKeyring has imaseal load, list and remove a key in the guest: the kernel
// takes its signatures as long as it is there, and those of another key all the
// time.
func TestKeyring(t *testing.T) {
	l := Open(t)
	own := signingKey{private: vectors.Path(t, "keys/rsa2048.key.pem"), cert: vectors.Path(t, "keys/rsa2048.cert.der")}
	other := generate(t, l, "rsa2048")
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			img := smallImage(t, l, Ext4, "before", "with", "after", "other")
			dir := img.Mount(t)
			imaseal(t, l, "sign", "--key", own.private, "--cert", own.cert, "--exclude", "other", dir)
			imaseal(t, l, "sign", "--key", other.private, "--cert", other.cert, "--include", "other", dir)
			img.Unmount(t)
			res := l.Boot(t, Case{
				Kernel: l.Kernel(t, series), Image: img, Append: "ima_appraise=enforce", Policy: appraise(""),
				Files: guestFiles(t, l, map[string]string{"/own.der": own.cert, "/other.der": other.cert}),
				Probes: []Probe{
					{Name: "before", Op: Read, Path: "before"},
					{Name: "import", Op: Sh, Script: "imaseal keys import /own.der /other.der"},
					{Name: "with", Op: Read, Path: "with"},
					{Name: "list", Op: Sh, Script: "imaseal keys list"},
					{Name: "remove", Op: Sh, Script: "imaseal keys remove dd65a4eb"},
					{Name: "again", Op: Read, Path: "with"},
					{Name: "after", Op: Read, Path: "after"},
					{Name: "other", Op: Read, Path: "other"},
					{Name: "left", Op: Sh, Script: "imaseal keys list ima"},
				},
			})
			expectDenied(t, res, "before", "EACCES", "invalid-signature")
			expectOutput(t, res, "import", "", "_ima: key ")
			expectAllowed(t, res, "with")
			expectOutput(t, res, "list", "", "_ima: 2 keys", "dd65a4eb", ".builtin_trusted_keys: ")
			expectOutput(t, res, "remove", "", "_ima: removed  dd65a4eb")
			expectAllowed(t, res, "again") // what was found right stays so
			expectDenied(t, res, "after", "EACCES", "invalid-signature")
			expectAllowed(t, res, "other")
			expectOutput(t, res, "left", "", "_ima: 1 key")
		})
	}
}
