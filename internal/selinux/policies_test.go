package selinux

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"imaseal/internal/treetest"
)

// TestWholePolicies compares the answers of whole policies over the paths of this
// system, and others that the patterns are about. They are those of Debian's
// package, as it builds them for itself and for Red Hat's systems.
func TestWholePolicies(t *testing.T) {
	treetest.Root(t) // it takes a minute, and a download
	o := newOracle(t)
	source := policySource(t)
	system := systemPaths(t)
	for _, test := range []struct {
		name    string
		defines []string
		aliases string
	}{
		{"debian", []string{"distro_debian", "enable_mcs"}, ""},
		{"debian without levels", []string{"distro_debian"}, ""},
		{"debian with many levels", []string{"distro_debian", "enable_mls"}, ""},
		{"redhat", []string{"distro_redhat", "enable_mcs"}, redhatAliases},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := build(t, source, test.defines)
			if test.aliases != "" {
				if err := os.WriteFile(file+".subs_dist", []byte(test.aliases), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			c, err := Load(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.specs) < 5000 {
				t.Errorf("%d lines", len(c.specs))
			}
			r := rand.New(rand.NewPCG(uint64(len(test.name)), 1))
			o.compare(t, c, file, append(questionsFor(t, c, r, 3), system...))
		})
	}
}

// redhatAliases are such as Fedora has.
const redhatAliases = `# /alias /path
/var/run /run
/var/lock /run/lock
/run/systemd/generator.late /run/systemd/generator
/lib /usr/lib
/lib64 /usr/lib
/usr/lib64 /usr/lib
/usr/local/lib64 /usr/lib
/etc/systemd/system /usr/lib/systemd/system
/var/named/chroot/var  /var
/var/roothome        /root
/bin                 /usr/bin
/sbin                /usr/bin
/usr/sbin            /usr/bin
`

// policySource returns the directory of the policy's source, which is kept.
func policySource(t *testing.T) string {
	t.Helper()
	cache := os.Getenv("IMASEAL_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Skip(err)
		}
		cache = filepath.Join(user, "imaseal")
	}
	const name = "selinux-policy-src"
	source := filepath.Join(cache, name)
	if _, err := os.Stat(source); err == nil {
		return source
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp(cache, ".new-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	run(t, tmp, "apt-get", "download", "-o", "APT::Sandbox::User=root", name)
	run(t, tmp, "sh", "-c", "dpkg -x *.deb package && tar --zstd -xf package/usr/src/"+name+".tar.zst")
	if err := os.Rename(filepath.Join(tmp, name), source); err != nil {
		t.Fatal(err)
	}
	return source
}

func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(treetest.Tool(t, name), args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// build makes a file_contexts and its siblings as the policy's Makefile and
// genhomedircon do, and returns its path.
func build(t *testing.T, source string, defines []string) string {
	t.Helper()
	var args []string
	for _, define := range append(defines, "mls_num_sens=16", "mls_num_cats=1024", "mcs_num_cats=1024", "hide_broken_symptoms") {
		args = append(args, "-D", define)
	}
	for _, pattern := range []string{"support/divert.m4", "policy/support/*.spt", "support/undivert.m4", "policy/modules/*/*.fc"} {
		files, err := filepath.Glob(filepath.Join(source, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s in %s: %v", pattern, source, err)
		}
		args = append(args, files...)
	}
	text, err := exec.Command(treetest.Tool(t, "m4"), args...).Output()
	if err != nil {
		t.Fatalf("m4: %v", err)
	}
	aliases, err := os.ReadFile(filepath.Join(source, "config/file_contexts.subs_dist"))
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, map[string]string{".unsorted": string(text), ".subs_dist": string(aliases)})
	run(t, source, "python3", "support/fc_sort.py", file+".unsorted", file+".sorted")
	sorted, err := os.ReadFile(file + ".sorted")
	if err != nil {
		t.Fatal(err)
	}
	var texts [2]strings.Builder
	for line := range strings.Lines(string(sorted)) {
		if strings.Contains(line, "HOME_") {
			homes := strings.NewReplacer("HOME_ROOT", "/home", "HOME_DIR", "/home/[^/]+", "ROLE", "user", "USER", "user")
			texts[1].WriteString(homes.Replace(line))
		} else {
			texts[0].WriteString(line)
		}
	}
	for i, suffix := range []string{"", ".homedirs"} {
		if err := os.WriteFile(file+suffix, []byte(texts[i].String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// systemPaths returns what there is on this system, up to a limit.
func systemPaths(t *testing.T) []question {
	t.Helper()
	var all []question
	for _, dir := range []string{"/bin", "/boot", "/dev", "/etc", "/lib", "/opt", "/sbin", "/var", "/usr"} {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || len(all) >= 20000 {
				return fs.SkipAll
			}
			info, err := d.Info()
			if err != nil {
				return nil // vanished
			}
			all = append(all, question{info.Sys().(*syscall.Stat_t).Mode, path})
			return nil
		})
	}
	if len(all) < 1000 {
		t.Errorf("%d paths", len(all))
	}
	return all
}
