package kernellab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/vectors"
)

// TestLiveDenials runs imaseal denials on hosts that enforce, and in log mode: it says
// of each file what the kernel does about it now, and asks the kernel for no more
// denials.
func TestLiveDenials(t *testing.T) {
	l := Open(t)
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			modes := []string{"enforce"}
			if series == Series[len(Series)-1] {
				modes = append(modes, "log")
			}
			for _, mode := range modes {
				k := l.Kernel(t, series)
				files := guestFiles(t, l, otherConfigs(t, l, k))
				files[ownPolicy] = []byte(strings.Join(appraise(""), "\n") + "\n")
				res := l.Boot(t, Case{
					Kernel: k, Image: deniedImage(t, l), Append: "ima_appraise=" + mode, Policy: appraise(""),
					Keys: []Key{IMAKey(vectors.Read(t, "keys/rsa2048.cert.der"))}, Files: files,
					Probes: []Probe{
						// The kernel prints ten messages in five seconds.
						{Name: "use", Op: Sh, Script: "sleep 6; for f in bare changed good; do cat /newroot/$f >/dev/null; done; true"},
						{Name: "report", Op: Sh, Script: "imaseal denials dmesg"},
						{Name: "json", Op: Sh, Script: "imaseal denials --json --boot dmesg; echo records $(dmesg | grep -c type=1800)"},
						{Name: "host", Op: Sh, Script: "imaseal check --host --json"},
						{Name: "follow", Op: Sh, Script: followScript},
						{Name: "mend", Op: Sh, Script: "imaseal relabel /newroot/bare; rm /newroot/bare /newroot/changed; echo new >/newroot/bare"},
						{Name: "mended", Op: Sh, Script: "imaseal denials dmesg"},
					},
				})
				expectDenials(t, res, mode)
				expectHost(t, res, series, mode)
			}
		})
	}
}

// ownPolicy is where a host has its policy.
const ownPolicy = "/etc/ima/ima-policy"

// otherConfigs has the configurations of all kernels as a host has them on which k runs.
func otherConfigs(t *testing.T, l *Lab, k Kernel) map[string]string {
	t.Helper()
	files := map[string]string{"/boot/config-" + k.Version: k.Config()}
	for _, series := range Series {
		other := l.Kernel(t, series)
		files["/boot/config-"+other.Version] = other.Config()
	}
	return files
}

// expectHost wants check --host to say what the test has made of the host.
func expectHost(t *testing.T, res Result, series, mode string) {
	t.Helper()
	count := `"denied":2,"let_pass":0,`
	if mode == "log" {
		count = `"denied":0,"let_pass":2,`
	}
	words := []string{
		// Without auditd the kernel does not print the records of all rules.
		`"check":"active policy","why":"most likely the 11 rules of /etc/ima/ima-policy: the kernel does not show it (no CONFIG_IMA_READ_POLICY)"`,
		`"check":"mode","why":"` + mode + `: `, `"data":{"mode":"` + mode + `"}`,
		`"check":"labels kept","why":"an appraise rule is active`,
		`"check":"EVM state","why":"EVM is not active: security.ima alone counts","data":{"state":0,"hmac":false,"x509":false,`,
		`{"status":"pass","check":"keyring _ima","why":"has 1 key: dd65a4eb`,
		`"check":"denials","why":"in this boot: 2 `, count, `"open_files":2,`,
		`{"status":"fail","check":"stale labels",`, `"data":{"files":["/newroot/bare","/newroot/changed"],"looked_at":2}`,
	}
	if hasECDSA(series) {
		words = append(words, `: it has no ECDSA built in (CONFIG_CRYPTO_ECDSA): files that are signed all the same are denied"`, `"change":"no-signatures"}`)
	}
	expectOutput(t, res, "host", "exit 4", words...)
}

// followScript has a denial printed while imaseal goes on waiting for others, and then
// interrupts it.
const followScript = `imaseal denials --follow dmesg >/follow 2>&1 &
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
	cat /newroot/bare 2>/dev/null >&2
	sleep 1
	grep -q missing-hash /follow && break
done
kill -0 $! && echo "it runs"
kill -INT $!
wait $!
echo "status $?"
cat /follow
`

// deniedImage has a file without a label, one with another content than its label
// says, and one that is as it should be.
func deniedImage(t *testing.T, l *Lab) Image {
	t.Helper()
	img := smallImage(t, l, Ext4, "bare", "changed", "good")
	dir := img.Mount(t)
	imaseal(t, l, "hash", "-q", filepath.Join(dir, "changed"), filepath.Join(dir, "good"))
	f, err := os.OpenFile(filepath.Join(dir, "changed"), os.O_WRONLY, 0)
	check(t, err)
	_, err = f.WriteString("X")
	check(t, err)
	check(t, f.Close())
	img.Unmount(t)
	return img
}

func expectDenials(t *testing.T, res Result, mode string) {
	t.Helper()
	title, hint := "denied", "hint: under enforcement the kernel refuses to open files"
	if mode == "log" {
		title, hint = "let through, since the mode is log", "2 let through, since the mode is log"
	}
	expectOutput(t, res, "report", "exit 4", title+": missing-hash, cat, in /newroot: once", title+": invalid-hash, cat, in /newroot: once",
		"bare: would still be denied", "changed: would still be denied", "they have no label:\n", "/newroot/bare\n", "/newroot/changed\n",
		"2 would still be denied", hint)
	expectOutput(t, res, "json", "", `"mode":"`+mode+`"`, `"cause":"missing-hash"`, `"now":{"state":"same","outcome":"denied","causes":["invalid-hash"]`, "records 2\n")
	if out := res.Verdict(t, "report").Output; strings.Contains(out, "good") {
		t.Errorf("what was not denied is in the report:\n%s", out)
	}
	expectOutput(t, res, "follow", "", "it runs\nstatus 130\n", "imaseal: following the kernel's messages\n",
		"  "+title+": missing-hash, cat, /newroot/bare: would still be denied\n  they have no label:\n")
	expectOutput(t, res, "mended", "", "bare, replaced since: would be let through now", "changed: gone", "1 would be let through now")
}
