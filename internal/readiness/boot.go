package readiness

import (
	"debug/elf"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/internal/finding"
)

// firstProgram is what the kernel starts.
func (t *table) firstProgram() string {
	if name, ok := t.Host.Option("init"); ok && strings.HasPrefix(name, "/") {
		return name
	}
	return "/sbin/init"
}

// bootFiles looks at the files without which nobody can boot or log in: the
// first program with its interpreter and libraries, and a few that every
// system has.
func (t *table) bootFiles() {
	program := t.firstProgram()
	path := filepath.Join(t.Host.Root, program)
	var st unix.Stat_t
	if errors.Is(unix.Stat(path, &st), unix.ENOENT) {
		t.Add(finding.Warn, "init", "", "there is no %s here", program)
		return
	}
	good, bare := t.labelled(append([]string{program}, t.linked(program)...))
	switch {
	case bare != nil:
		t.Add(finding.Fail, "init", "imaseal relabel /", "no label: %s; the kernel would panic for want of a working init", finding.Some(bare))
	case good > 0:
		t.Add(finding.Pass, "init", "imaseal check / says whether the labels are right", "%s, its interpreter and its libraries have labels", program)
	}
	good, bare = t.labelled(needed)
	switch {
	case bare != nil:
		t.Add(finding.Fail, "boot files", "imaseal relabel /", "no label, and nobody could log in: %s", finding.Some(bare))
	case good > 0:
		t.Add(finding.Pass, "boot files", "", "%d more files that a boot and a login need have labels", good)
	}
}

// needed are files that every boot and login needs.
var needed = []string{
	"/bin/sh", "/bin/login", "/sbin/agetty", "/usr/sbin/sshd", "/bin/mount", "/bin/kmod", "/bin/udevadm", "/usr/lib/systemd/systemd-journald",
	"/etc/fstab", "/etc/passwd", "/etc/shadow", "/etc/group", "/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/pam.d/login", "/etc/ssh/sshd_config",
}

// labelled counts the files that are appraised and have a label, and names
// those that have none.
func (t *table) labelled(names []string) (good int, bare []string) {
	for _, name := range names {
		path := filepath.Join(t.Host.Root, name)
		if _, f, ok := t.fileAt(path); !ok || !t.appraised(f) {
			continue
		}
		_, err := unix.Getxattr(path, "security.ima", make([]byte, 1))
		if err == nil || errors.Is(err, unix.ERANGE) {
			good++
		} else {
			bare = append(bare, name)
		}
	}
	return good, bare
}

// libraryDirs are where dynamic loaders look, as distributions set them up.
var libraryDirs = []string{"/lib/*-linux-*", "/usr/lib/*-linux-*", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/lib/systemd", "/usr/lib/*-linux-*/systemd"}

// linked returns the interpreter and the libraries of a program, and theirs.
// What is not to be found is left out.
func (t *table) linked(program string) []string {
	var dirs []string
	for _, pattern := range libraryDirs {
		found, _ := filepath.Glob(filepath.Join(t.Host.Root, pattern))
		dirs = append(dirs, found...)
	}
	var names []string
	for next := []string{program}; len(next) > 0; next = next[1:] {
		f, err := elf.Open(filepath.Join(t.Host.Root, next[0]))
		if err != nil {
			continue
		}
		libraries, _ := f.ImportedLibraries()
		candidates := []string{interpreter(f)}
		f.Close()
		for _, library := range libraries {
			for _, dir := range dirs {
				path := filepath.Join(dir, library)
				if unix.Access(path, unix.F_OK) == nil {
					candidates = append(candidates, strings.TrimPrefix(path, t.Host.Root))
					break
				}
			}
		}
		for _, c := range candidates {
			if c != "" && !slices.Contains(names, c) {
				names, next = append(names, c), append(next, c)
			}
		}
	}
	return names
}

// interpreter returns the path of the dynamic loader that a program asks for.
func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > unix.PathMax {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err == nil {
			return strings.TrimRight(string(b), "\x00")
		}
	}
	return ""
}

// rewritten are files of root that boots, or timers soon after them, write
// anew.
var rewritten = []string{
	"/etc/resolv.conf", "/etc/adjtime", "/etc/machine-id", "/etc/.updated", "/var/.updated", "/etc/ld.so.cache",
	"/var/lib/systemd/random-seed", "/var/lib/systemd/timesync/clock", "/var/lib/systemd/timers/stamp-*",
	"/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog", "/var/log/wtmp.db", "/var/log/journal/*/*.journal",
	"/var/log/syslog", "/var/log/messages", "/var/log/secure", "/var/log/kern.log", "/var/log/auth.log", "/var/log/audit/audit.log",
	"/var/lib/dhcp/*.leases", "/var/lib/NetworkManager/*", "/var/lib/logrotate/status", "/var/lib/logrotate/logrotate.status",
	"/var/spool/anacron/*", "/var/cache/man/index.db", "/var/cache/ldconfig/aux-cache", "/boot/grub/grubenv", "/boot/grub2/grubenv",
	"/var/lib/dpkg/status", "/var/lib/rpm/*", "/usr/lib/sysimage/rpm/*", "/var/lib/pacman/local/*/desc", "/etc/udev/hwdb.bin", "/usr/lib/udev/hwdb.bin",
}

// writtenAtBoot names what will be written between labelling and enforcing.
func (t *table) writtenAtBoot() {
	var names []string
	for _, pattern := range rewritten {
		paths, _ := filepath.Glob(filepath.Join(t.Host.Root, pattern))
		for _, path := range paths {
			if _, f, ok := t.fileAt(path); ok && t.appraised(f) {
				names = append(names, strings.TrimPrefix(path, t.Host.Root))
			}
		}
	}
	t.Written = names
	switch {
	case names == nil:
	case t.Active.Appraises:
		t.Add(finding.Pass, "boot's writes", "after a crash relabel them", "files of root that boots and timers write are labelled again: %s", finding.Some(names))
	default:
		t.Add(finding.Warn, "boot's writes", "label in log mode with the policy active, offline, or exclude them by the policy",
			"files of root that boots and timers write, whose labels will be stale: %s", finding.Some(names))
	}
}
