package kernellab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
				res := l.Boot(t, Case{
					Kernel: l.Kernel(t, series), Image: deniedImage(t, l), Append: "ima_appraise=" + mode, Policy: appraise(""),
					Files: guestFiles(t, l, map[string]string{}),
					Probes: []Probe{
						// The kernel prints ten messages in five seconds.
						{Name: "use", Op: Sh, Script: "sleep 6; for f in bare changed good; do cat /newroot/$f >/dev/null; done; true"},
						{Name: "report", Op: Sh, Script: "imaseal denials dmesg"},
						{Name: "json", Op: Sh, Script: "imaseal denials --json --boot dmesg; echo records $(dmesg | grep -c type=1800)"},
						{Name: "follow", Op: Sh, Script: followScript},
						{Name: "mend", Op: Sh, Script: "imaseal relabel /newroot/bare; rm /newroot/bare /newroot/changed; echo new >/newroot/bare"},
						{Name: "mended", Op: Sh, Script: "imaseal denials dmesg"},
					},
				})
				expectDenials(t, res, mode)
			}
		})
	}
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
