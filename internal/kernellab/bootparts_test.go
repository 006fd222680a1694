package kernellab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A system is a Debian system that boots by an initramfs of its own.
type system struct {
	lab    *Lab
	kernel Kernel
	img    Image
	dir    string // where it is mounted
}

// newSystem makes one, with a kernel's modules, mounted.
func newSystem(t *testing.T, l *Lab, k Kernel) *system {
	t.Helper()
	tree, err := l.bootTree()
	check(t, err)
	img := l.NewImage(t, Ext4, 900<<20, "")
	s := &system{l, k, img, img.Mount(t)}
	s.run(t, "tar", "-C", s.dir, "-xpf", tree, "--numeric-owner", "--xattrs", "--xattrs-include=*")
	modules := filepath.Join(s.dir, "usr/lib/modules", k.Version)
	check(t, os.MkdirAll(modules, 0o755))
	s.run(t, "cp", "-a", filepath.Join(k.dir, "modules"), filepath.Join(modules, "kernel"))
	s.run(t, "cp", k.Config(), filepath.Join(s.dir, "boot/config-"+k.Version))
	s.run(t, "cp", l.Imaseal(t), filepath.Join(s.dir, "usr/bin/imaseal"))
	place(t, s.dir, map[string]string{
		"etc/initramfs-tools/conf.d/lab": "MODULES=list\n", "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
	})
	s.chroot(t, "depmod", k.Version)
	return s
}

func (s *system) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := command("", name, args...)
	check(t, err)
	return out
}

// inSystem is a script that runs a program of the system in its first argument.
const inSystem = `mount -t proc proc "$0/proc" && exec chroot "$0" "$@"`

// chroot runs one of the system's own programs.
func (s *system) chroot(t *testing.T, args ...string) string {
	t.Helper()
	return s.run(t, "unshare", append([]string{"--mount", "sh", "-c", inSystem, s.dir}, args...)...)
}

// refuses expects a program of the system to fail, and to say why.
func (s *system) refuses(t *testing.T, why string, args ...string) {
	t.Helper()
	_, err := command("", "unshare", append([]string{"--mount", "sh", "-c", inSystem, s.dir}, args...)...)
	if err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("%q: %v, want %q", args, err, why)
	}
}

// integrate runs imaseal integrate on the system.
func (s *system) integrate(t *testing.T, args ...string) {
	t.Helper()
	imaseal(t, s.lab, append(append([]string{"integrate"}, args...), "--root", s.dir)...)
}

// initramfs makes one and returns a copy of it.
func (s *system) initramfs(t *testing.T, args ...string) string {
	t.Helper()
	name := "/boot/initrd.img-" + s.kernel.Version
	s.chroot(t, append(args, name, s.kernel.Version)...)
	to := filepath.Join(t.TempDir(), "initramfs")
	s.run(t, "cp", filepath.Join(s.dir, name), to)
	return to
}

func (s *system) boot(t *testing.T, initramfs, line string) (report string, res Result) {
	t.Helper()
	res = s.lab.Boot(t, Case{
		Kernel: s.kernel, Image: s.img, Initramfs: initramfs, Timeout: 8 * time.Minute,
		Append: "root=/dev/vda rw ima_appraise=enforce " + line,
	})
	return string(res.Journal), res
}

// expectReport wants lines in what a system wrote, and no others of some kinds.
func expectReport(t *testing.T, report string, res Result, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains("\n"+report, "\n"+want) {
			t.Errorf("the report has no line that begins with %q", want)
		}
	}
	for _, line := range denial.FindAllString(report, -1) {
		if !strings.Contains(line, `name="/lab/changed"`) {
			t.Errorf("denied: %s", line)
		}
	}
	if t.Failed() {
		t.Logf("the report:\n%s\nthe console ends:\n%s", tail(report, 30000), tail(res.Console, 4000))
	}
}

// state tells what has been loaded.
const state = `echo "evm: $(cat /sys/kernel/security/evm)"
[ -e /sys/kernel/security/ima/policy ] && echo 'policy: none' || echo 'policy: loaded'
imaseal keys list _ima || echo 'no _ima'
imaseal keys list _evm || echo 'no _evm'
cat /lab/changed
echo
`

// ending ends a report, and the system.
const ending = `} >/dev/vdc 2>&1
sync
systemctl poweroff --force --force
`

// partsReport is made by the system with everything installed. It tries a file that
// must be denied last.
const partsReport = `{
echo "multi-user: $(systemctl is-active multi-user.target)"
for unit in check denials verify; do
	systemctl start imaseal-$unit
	echo "$unit: $?"
done
systemctl is-active imaseal-verify.timer | sed 's/^/timer: /'
apt-get install -qq -y /lab/hello.deb
echo "apt: $?"
lab-hello
imaseal show /usr/bin/lab-hello
systemctl --failed --plain --no-legend | sed 's/^/failed: /'
` + state + `
systemctl start imaseal-denials
systemctl --failed --plain --no-legend | sed 's/^/failed then: /'
sleep 1
journalctl --sync
journalctl --boot --no-pager --output=short-monotonic
echo end of report
` + ending

// verifying is what imaseal-verify.service runs, but for the directories.
const verifying = "/usr/bin/imaseal verify --quiet --jobs 1 --label ima --config /etc/imaseal/config"

const bareReport = `{
echo "multi-user: $(systemctl is-active multi-user.target)"
` + state + `
echo end of report
` + ending

// shortReport is made by a system of which this is all that runs.
const shortReport = "#!/bin/sh\n{\n" + state + `
dmesg | grep -e imaseal: -e type=1800
echo end of report
` + ending

// withKeys gives the system keys and a policy of its own, and returns the arguments
// by which it is labelled.
func (s *system) withKeys(t *testing.T) []string {
	t.Helper()
	key, hmac := generate(t, s.lab, "rsa2048"), generateHMAC(t, s.lab)
	for name, file := range map[string]string{
		"ima/signing.der": key.cert, "evm/signing.der": key.cert, "kmk-user.blob": hmac.master, "evm-user.blob": hmac.blob, "private/signing.key": key.private,
	} {
		s.run(t, "install", "-D", "-m", "0600", file, filepath.Join(s.dir, "etc/keys", name))
	}
	// Not in /etc/ima, where systemd would find it.
	policy := "# of the lab's own\n" + strings.Join(append(unjudged,
		"dont_appraise fsmagic=0x64626720", "dont_appraise fsmagic=0x74726163", "dont_appraise fsmagic=0x1cd1", "dont_appraise fsmagic=0x6e736673",
		"dont_appraise fsmagic=0x42494e4d", "dont_appraise fsmagic=0x27e0eb", "dont_appraise fsmagic=0x63677270", "appraise fowner=0"), "\n") + "\n"
	place(t, s.dir, map[string]string{
		"etc/sysconfig/ima-policy": policy,
		"etc/imaseal/config": `policy = "/etc/sysconfig/ima-policy"
key = "/etc/keys/private/signing.key"
cert = "/etc/keys/ima/signing.der"
evm = "portable"
`,
	})
	return append(key.args(), "--policy", filepath.Join(s.dir, "etc/sysconfig/ima-policy"), "--kernel-version", s.kernel.Version,
		"--kernel-config", s.kernel.Config(), "--evm", "portable,hmac", "--evm-key", hmac.plain)
}

// hello makes a package with a program.
func hello(t *testing.T, file string) {
	t.Helper()
	dir := t.TempDir()
	place(t, dir, map[string]string{
		"DEBIAN/control":    "Package: lab-hello\nVersion: 1\nArchitecture: all\nMaintainer: lab <lab@example.org>\nDescription: says hello\n",
		"usr/bin/lab-hello": "#!/bin/sh\ncat /usr/share/lab-hello/text\n", "usr/share/lab-hello/text": "hello of the package\n",
	})
	check(t, os.Chmod(dir, 0o755))
	_, err := command("", "dpkg-deb", "--root-owner-group", "-b", dir, file)
	check(t, err)
}

// refusals has no initramfs made that would do nothing good.
func (s *system) refusals(t *testing.T) {
	t.Helper()
	s.refuses(t, "the module integrity does the same", "dracut", "--quiet", "--no-hostonly", "--add", "integrity", "/boot/none", s.kernel.Version)
	policy := filepath.Join(s.dir, "etc/sysconfig/ima-policy")
	good, err := os.ReadFile(policy)
	check(t, err)
	check(t, os.WriteFile(policy, []byte("appraise fowner=0\n"), 0o644))
	const unsound = "the host would not work under it"
	s.refuses(t, unsound, "dracut", "--quiet", "--no-hostonly", "/boot/none", s.kernel.Version)
	s.refuses(t, unsound, "update-initramfs", "-c", "-k", s.kernel.Version)
	check(t, os.WriteFile(policy, good, 0o644))
	left, err := filepath.Glob(filepath.Join(s.dir, "boot", "[^c]*"))
	if err != nil || left != nil {
		t.Errorf("there are %q, %v", left, err)
	}
}

// TestBootParts boots a Debian system whose initramfs loads keys, EVM's key and a
// policy, by what imaseal integrate installs, in enforce mode; installs a package
// there; and boots it again after the parts were removed.
func TestBootParts(t *testing.T) {
	l := Open(t)
	s := newSystem(t, l, l.Kernel(t, "6.12"))
	labelling := s.withKeys(t)
	place(t, s.dir, map[string]string{
		"lab/changed": "before", "lab/report": partsReport, "lab/short": shortReport,
		"etc/systemd/system/lab-report.service":           reportUnit,
		"etc/systemd/system/multi-user.target.d/lab.conf": "[Unit]\nWants=lab-report.service\n",
		// All of /usr takes half a minute there.
		"etc/systemd/system/imaseal-verify.service.d/lab.conf": "[Service]\nExecStart=\nExecStart=" + verifying + " /usr/sbin /etc\n",
	})
	hello(t, filepath.Join(s.dir, "lab/hello.deb"))
	s.integrate(t, "initramfs-tools", "dracut", "systemd", "apt", "--install")
	s.refusals(t)
	// One of the certificates is none for kernels: the rest is loaded all the same.
	odd := filepath.Join(s.dir, "etc/keys/ima/odd.pem")
	s.run(t, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=odd", "-sigopt", "rsa_padding_mode:pss", "-out", odd)
	drivers := "virtio_pci virtio_blk ext4"
	byDracut := s.initramfs(t, "dracut", "--quiet", "--force", "--no-hostonly", "--no-early-microcode", "--drivers", drivers, "--force-drivers", drivers,
		"--omit", "network crypt dm nvdimm resume qemu lunmask virtiofs terminfo overlay-root modsign")
	check(t, os.Remove(odd))
	byTools := s.initramfs(t, "mkinitramfs", "-o")
	imaseal(t, l, append(append([]string{"relabel", "--quiet"}, labelling...), s.dir)...)
	place(t, s.dir, map[string]string{"lab/changed": "after!"})
	s.img.Unmount(t)

	loaded := []string{"evm: 3\n", "policy: loaded\n", "_ima: 1 key\n", "_evm: 1 key\n", "cat: /lab/changed: Permission denied\n", "end of report\n"}
	t.Run("initramfs-tools", func(t *testing.T) {
		report, res := s.boot(t, byTools, "systemd.unit=multi-user.target")
		expectReport(t, report, res, append(loaded, "multi-user: active\n", "check: 0\n", "denials: 0\n", "verify: 0\n", "timer: active\n",
			"apt: 0\n", "hello of the package\n", "  security.ima  signature", "  security.evm  portable", "failed then: imaseal-denials.service")...)
		if strings.Contains(report, "\nfailed: ") {
			t.Error("a unit failed")
		}
	})
	t.Run("dracut", func(t *testing.T) {
		report, res := s.boot(t, byDracut, "rd.retry=60 rd.shell=0 rd.emergency=poweroff init=/lab/short")
		expectReport(t, report, res, loaded...)
		const wrong = "imaseal: error: not all keys and rules are loaded (status 3); the boot goes on"
		for where, text := range map[string]string{"console": res.Console, "kernel's log": report} {
			if !strings.Contains(text, wrong) || !strings.Contains(text, "odd.pem") {
				t.Errorf("the %s does not tell of a certificate that is not loaded:\n%s", where, tail(text, 3000))
			}
		}
	})
	t.Run("removed", func(t *testing.T) {
		s.img.Mount(t)
		place(t, s.dir, map[string]string{"lab/report": bareReport})
		s.integrate(t, "initramfs-tools", "dracut", "systemd", "apt", "--remove")
		bare := s.initramfs(t, "mkinitramfs", "-o")
		s.img.Unmount(t)
		report, res := s.boot(t, bare, "systemd.unit=multi-user.target")
		expectReport(t, report, res, "multi-user: active\n", "evm: 0\n", "policy: none\n", "no _ima\n", "no _evm\n", "after!\n", "end of report\n")
	})
}
