package kernellab

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// reportUnit runs when the system is up, without delaying that.
const reportUnit = `[Unit]
DefaultDependencies=no
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh /lab/report
`

// reportScript also tries a file that must be denied: a journal without this
// one denial would prove nothing.
const reportScript = `{
	echo "multi-user: $(systemctl is-active multi-user.target)"
	systemctl --failed --plain --no-legend | sed 's/^/failed unit: /'
	echo new >/lab/new && echo "new file: $(cat /lab/new)"
	getfattr --absolute-names -n security.ima -e hex /lab/new
	cat /lab/changed
	sleep 1
	echo "host: $(/lab/imaseal check --host --json 2>&1)"
	echo "user: $(setpriv --reuid=65534 --regid=65534 --clear-groups /lab/imaseal check --host --json 2>&1)"
	echo "end of user"
	journalctl --sync
	journalctl --boot --no-pager --output=short-monotonic
	echo end of journal
} >/dev/vdc 2>&1
sync
systemctl poweroff --force --force
`

// copyTo copies a file.
func copyTo(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	b, err := os.ReadFile(from)
	check(t, err)
	check(t, os.WriteFile(to, b, mode))
}

var denial = regexp.MustCompile(`(?m)^.*(?:type=1800|INTEGRITY_DATA).*res=0.*$`)

// TestSystemdBoot boots the labelled tree as a system: its hundreds of programs
// and the files they rewrite must all be allowed.
func TestSystemdBoot(t *testing.T) {
	l := Open(t)
	k := l.Kernel(t, "6.12")
	img := l.TreeImage(t, Ext4)
	dir := img.Mount(t)
	place(t, dir, map[string]string{
		"lab/changed": "before", "lab/report": reportScript,
		"etc/systemd/system/lab-report.service":           reportUnit,
		"etc/systemd/system/multi-user.target.d/lab.conf": "[Unit]\nWants=lab-report.service\n",
	})
	copyTo(t, l.Imaseal(t), filepath.Join(dir, "lab/imaseal"), 0o755)
	copyTo(t, k.Config(), filepath.Join(dir, "boot/config-"+k.Version), 0o644)
	label(t, l.Imaseal(t), k, "sha256", dir)
	place(t, dir, map[string]string{"lab/changed": "after!"})
	img.Unmount(t)
	res := l.Boot(t, Case{
		Kernel: k, Image: img, Init: "/sbin/init", Timeout: 8 * time.Minute,
		// The tree has no udev: a login on the console would wait 90 s for its device.
		Append: EnforceTCB + " systemd.unit=multi-user.target systemd.mask=serial-getty@ttyS0.service",
	})
	journal := string(res.Journal)
	_, user, _ := strings.Cut(journal, "\nuser: ")
	user, _, _ = strings.Cut(user, "\nend of user\n")
	for _, want := range []string{
		`"check":"active policy","why":"the 15 rules of appraise_tcb on the command line: no other was loaded"`, `"check":"EVM state","why":"it cannot be read","do":"run as root"`,
		`"check":"denials","why":"not known`, `"check":"open files","why":"what other processes have open cannot be seen"`,
	} {
		if !strings.Contains(user, want) {
			t.Errorf("an ordinary user is not told %q: %s", want, user)
		}
	}
	for _, want := range []string{
		"multi-user: active\n",
		"new file: new\n",
		"security.ima=0x0404",
		"/lab/changed: Permission denied",
		"end of journal\n",
		`"check":"active policy","why":"the 15 rules of appraise_tcb on the command line: no other was loaded"`,
		`"check":"mode","why":"enforce: files that fail are refused"`, `"why":"EVM is not active: security.ima alone counts"`,
		`"denied":1,`, `"data":{"files":["/lab/changed"],`, `"check":"boot files","why":"`,
	} {
		if !strings.Contains(journal, want) {
			t.Errorf("the report does not contain %q", want)
		}
	}
	control := 0
	for _, line := range denial.FindAllString(journal, -1) {
		if strings.Contains(line, `name="/lab/changed"`) && strings.Contains(line, "invalid-hash") {
			control++
			continue
		}
		t.Errorf("denied: %s", line)
	}
	if control == 0 {
		t.Error("the journal does not show the denial of a changed file")
	}
	if t.Failed() {
		t.Logf("the report ends:\n%s\nthe console ends:\n%s", tail(journal, 8000), tail(res.Console, 3000))
	}
}
