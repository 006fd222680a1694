package kernellab

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/vectors"
)

// A relabelling is a run of imaseal relabel under a policy.
type relabelling struct {
	name string
	// policy is built in; else published is a file of testdata/policies.
	policy, published string
	// loaded says that the kernel gets the text of the built-in policy: rules
	// that are there from the beginning would keep it from its modules.
	loaded bool
	signs  bool
	evm    string // of --evm
	state  string // of EVM, a value of securityfs evm
}

// relabellings are all built-in policies that appraise, and published ones.
var relabellings = []relabelling{
	{name: "appraise_tcb", policy: "appraise_tcb"},
	{name: "appraise_tcb with EVM", policy: "appraise_tcb", signs: true, evm: "portable,hmac", state: "3"},
	{name: "tcb", policy: "tcb|appraise_tcb", signs: true},
	{name: "secure_boot", policy: "secure_boot", loaded: true, signs: true},
	{name: "fail_securely", policy: "fail_securely|critical_data|appraise_tcb"},
	{name: "both", policy: "secure_boot|appraise_tcb", loaded: true, signs: true, evm: "portable,hmac", state: "3"},
	{name: "gentoo", published: "gentoo-selinux", signs: true},
	{name: "rhel", published: "rhel-executables", signs: true},
	{name: "suse", published: "suse-hashes", evm: "hmac", state: "1"},
	{name: "yocto all", published: "yocto-appraise-all"},
	{name: "yocto hashed", published: "yocto-hashed", signs: true, evm: "portable,hmac", state: "3"},
}

// TestRelabelled relabels a tree that has no labels: imaseal check then says
// nothing but of a file that came later, and kernels agree about every use that
// the files seem to be for.
func TestRelabelled(t *testing.T) {
	l := Open(t)
	if (host.Host{}).HMACRefused() {
		t.Skip("this machine's kernel has EVM and takes no HMACs from user space")
	}
	for i, r := range relabellings {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			w := bareWorld(t, l, uint64(i), Filesystems[i%len(Filesystems)])
			for _, series := range Series {
				t.Run(series, func(t *testing.T) { r.judge(t, l, w, series) })
			}
		})
	}
}

// late is the file that comes after relabelling.
const late = "late.ko"

// bareWorld makes a tree without labels, with files for all that the kernel
// itself reads.
func bareWorld(t *testing.T, l *Lab, seed uint64, fs FS) *world {
	t.Helper()
	w := newWorld(t, l, seed, fs)
	for _, f := range w.files {
		for _, name := range []string{imaevm.AttrIMA, imaevm.AttrEVM} {
			clearAttr(t, filepath.Join(w.dir, f.name), name)
		}
	}
	shared := tinyProgram()
	shared[16] = 3 // ET_DYN
	data := map[string]string{
		"usr/lib/modules/6.1/kernel/m.ko": "module", "usr/lib/modules/6.1/vmlinuz": "kernel", "boot/vmlinuz-6.1": "kernel",
		"boot/initrd.img-6.1": "initramfs", "usr/lib/firmware/f.bin": "firmware", "etc/ima/ima-policy": "appraise\n",
		"etc/keys/x509_ima.der": "certificate", "usr/lib/libx.so.1": string(shared), "etc/group200": "for yocto-hashed",
	}
	place(t, w.dir, data)
	for name := range data {
		check(t, os.Chmod(filepath.Join(w.dir, name), 0o644))
	}
	check(t, os.Chown(filepath.Join(w.dir, "etc/group200"), 0, 200))
	place(t, w.dir, map[string]string{"usr/lib/ld-linux.so.2": string(shared)})
	w.img.Unmount(t)
	return w
}

func (r relabelling) judge(t *testing.T, l *Lab, w *world, series string) {
	d := r.duel(t, l, w, series)
	img := l.Copy(t, w.img)
	dir := img.Mount(t)
	if n := denials(d.judgements(t, dir)); len(n) == 0 {
		t.Error("nothing is denied before")
	}
	r.relabel(t, d, dir)
	if n := denials(d.judgements(t, dir)); len(n) > 0 {
		t.Errorf("denied after relabelling: %q", n)
	}
	place(t, dir, map[string]string{late: "#!/" + interpreter + "\n"}) // whatever the policy appraises
	found := d.judgements(t, dir)
	if n := denials(found); !slices.Equal(n, []string{late}) {
		t.Errorf("denied: %q, want the late file", n)
	}
	img.Unmount(t)
	d.boot.Image = img
	var said []prediction
	for _, res := range found {
		for _, p := range res.Judgements {
			if op, ok := opOf[p.Operation]; ok && p.Verdict != "undecided" {
				d.boot.Probes = append(d.boot.Probes, Probe{Op: op, Path: res.Path})
				said = append(said, p)
			}
		}
	}
	res := l.Boot(t, d.boot)
	for i, p := range d.boot.Probes {
		if v := res.Verdicts[i]; v.Allowed() != (said[i].Verdict == "allowed") || !v.Allowed() && v.Cause != said[i].Cause {
			t.Errorf("%s, %s: the kernel says %q at %q, cause %q; imaseal check %s, cause %q (%s), by rule %q\n%s", p.Path, said[i].Operation,
				v.Errno, v.Step, v.Cause, said[i].Verdict, said[i].Cause, said[i].Reason, said[i].Rule, strings.Join(v.Records, "\n"))
		}
	}
}

// opOf are the probes for operations. The kernel reads the other files when it
// wants to.
var opOf = map[string]Op{
	"read": Read, "certificate": Read, "exec": Exec, "script": Exec, "mmap": MapExec, "interpreter": MapExec,
	"module": Module, "kexec-kernel": Kexec,
}

// duel prepares the kernel's side, and the options of imaseal check.
func (r relabelling) duel(t *testing.T, l *Lab, w *world, series string) *duel {
	t.Helper()
	d := openDuel(t, l, w, series)
	d.policy = r.policy
	switch {
	case r.published != "":
		d.policy = filepath.Join(filepath.Dir(vectors.Path(t, ".")), "policies", r.published+".policy")
		text, err := os.ReadFile(d.policy)
		check(t, err)
		d.boot.Policy = rulesIn(string(text))
	case r.loaded:
		out, err := exec.Command(l.Imaseal(t), slices.Concat([]string{"policy", "show"}, target(d.kernel), []string{r.policy})...).Output()
		check(t, err)
		d.boot.Policy = rulesIn(string(out))
	default:
		d.boot.Append += " ima_policy=" + r.policy
	}
	d.evm(t, r.state)
	if r.signs {
		cert := vectors.Read(t, "keys/rsa2048.cert.der")
		d.boot.Keys = append(d.boot.Keys, IMAKey(cert), EVMKey(cert))
		d.args = append(d.args, "--key", vectors.Path(t, "keys/rsa2048.cert.der"))
	}
	return d
}

// rulesIn returns the rules of a policy as the guest takes them: it has no
// SELinux, whose labels the rules with obj_type ask for, and appended signatures
// only in the rules that are built in.
func rulesIn(text string) []string {
	var rules []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !strings.Contains(line, "obj_type=") {
			rules = append(rules, strings.ReplaceAll(line, "imasig|modsig", "imasig"))
		}
	}
	return rules
}

// relabel runs imaseal relabel, which finds nothing to do the second time.
func (r relabelling) relabel(t *testing.T, d *duel, dir string) {
	t.Helper()
	args := append([]string{"relabel", "--policy", d.policy}, target(d.kernel)...)
	if r.signs {
		args = append(args, "--key", vectors.Path(t, "keys/rsa2048.key.pem"), "--cert", vectors.Path(t, "keys/rsa2048.cert.der"))
	}
	if r.evm != "" {
		args = append(args, "--evm", r.evm, "--evm-key", d.hmacFile(t))
	}
	args = append(args, dir)
	imaseal(t, d.lab, args...)
	for _, res := range d.lab.json(t, args...) {
		if res.Outcome != "unchanged" && res.Outcome != "skipped" {
			t.Errorf("second run: %s is %s", res.Path, res.Outcome)
		}
	}
}

// judgements are what imaseal check says of the tree.
func (d *duel) judgements(t *testing.T, dir string) []jsonResult {
	t.Helper()
	found := d.lab.json(t, slices.Concat([]string{"check", "--policy", d.policy}, d.args, []string{dir})...)
	for i := range found {
		found[i].Path = strings.TrimPrefix(found[i].Path, dir+"/")
	}
	return found
}

// denials are the files that are not allowed for certain: under rules on labels
// of SELinux what would be denied is undecided.
func denials(found []jsonResult) []string {
	var names []string
	for _, r := range found {
		if r.Outcome != "allowed" && r.Outcome != "skipped" {
			names = append(names, r.Path)
		}
	}
	return names
}
