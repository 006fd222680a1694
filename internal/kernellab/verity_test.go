package kernellab

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// withProgram adds a program of this machine to the files of a guest, and the
// libraries that it needs.
func withProgram(t *testing.T, files map[string][]byte, name string) {
	t.Helper()
	path := lookPath(name)
	out, err := exec.Command("ldd", path).Output()
	check(t, err)
	to := map[string]string{path: "/bin/" + name}
	for _, library := range regexp.MustCompile(`/\S+`).FindAllString(string(out), -1) {
		to[library] = library
	}
	for from, name := range to {
		b, err := os.ReadFile(from)
		check(t, err)
		files[name] = b
	}
}

// TestVerity has imaseal label files of which the policy compares fs-verity digests,
// by what its own advice says, and the kernel judge them.
func TestVerity(t *testing.T) {
	l := Open(t)
	key := generate(t, l, "rsa2048")
	rules := append(unjudged, "appraise func=FILE_CHECK fowner=0 digest_type=verity appraise_type=sigv3")
	for _, series := range Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			img := l.NewImage(t, Ext4, 600<<20, "") // so large that its blocks are as large as fsverity's
			dir := img.Mount(t)
			for _, name := range []string{"good", "long", "ordinary", "plain"} {
				place(t, dir, map[string]string{name: "content of " + name})
			}
			img.Unmount(t)
			if out, err := exec.Command(lookPath("tune2fs"), "-O", "verity", img.Path).CombinedOutput(); err != nil {
				t.Fatalf("tune2fs: %v: %s", err, out)
			}
			files := guestFiles(t, l, map[string]string{"/k.key": key.private, "/k.der": key.cert})
			files["/policy"] = []byte(strings.Join(rules, "\n") + "\n")
			withProgram(t, files, "fsverity")
			const judged = "--policy /policy --target-fs ext4 "
			const signed = judged + "--key /k.key --cert /k.der /newroot/"
			load := "while read -r rule; do echo \"$rule\"; done </policy >/sys/kernel/security/ima/policy"
			res := l.Boot(t, Case{
				Kernel: l.Kernel(t, series), Image: img, Append: "ima_appraise=enforce", Keys: []Key{IMAKey(key.der(t))}, Files: files,
				Probes: []Probe{
					{Name: "refused", Op: Sh, Script: "imaseal relabel " + signed + "good"},
					{Name: "enabled", Op: Sh, Script: "cd /newroot && fsverity enable good && fsverity enable ordinary && fsverity enable --hash-alg=sha512 long"},
					{Name: "labelled", Op: Sh, Script: "imaseal relabel " + signed + "good /newroot/long"},
					{Name: "again", Op: Sh, Script: "imaseal relabel " + signed + "good /newroot/long"},
					{Name: "verified", Op: Sh, Script: "imaseal verify --key /k.der /newroot/good /newroot/long"},
					{Name: "signed", Op: Sh, Script: "imaseal sign --key /k.key --cert /k.der /newroot/ordinary /newroot/plain"},
					{Name: "foreseen", Op: Sh, Script: "imaseal check " + judged + "--key /k.der /newroot"},
					{Name: "load", Op: Sh, Script: load},
					{Name: "good", Op: Read, Path: "good"},
					{Name: "long", Op: Read, Path: "long"},
					{Name: "ordinary", Op: Read, Path: "ordinary"},
					{Name: "plain", Op: Read, Path: "plain"},
				},
			})
			expectOutput(t, res, "refused", "exit 3", "the policy compares the fs-verity digest, and the file has none", "hint: fsverity enable FILE, for each, and run the same command again")
			expectAllowed(t, res, "enabled")
			expectOutput(t, res, "labelled", "", "2 labelled")
			expectOutput(t, res, "again", "", "0 labelled", "2 unchanged")
			expectOutput(t, res, "verified", "", "2 valid")
			expectAllowed(t, res, "signed")
			expectOutput(t, res, "foreseen", "exit 4", "denied: verity-signature-required", "denied: no-verity-digest", "2 allowed, 2 denied",
				"they have none: fsverity enable FILE, for each, and then", "imaseal relabel --policy /policy --target-fs ext4 --key KEY --cert CERT /newroot/ordinary")
			expectAllowed(t, res, "load")
			expectAllowed(t, res, "good")
			expectAllowed(t, res, "long")
			expectDenied(t, res, "ordinary", "EACCES", "verity-signature-required")
			expectDenied(t, res, "plain", "EACCES", "no-verity-digest")
		})
	}
}
