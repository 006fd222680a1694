package host

import (
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Config is a kernel's configuration: the value of every option, CONFIG_EVM and
// so on, that is set to y, m, or something else, and n of those that it says are
// not set. Of options that are not offered for an architecture it says nothing.
type Config map[string]string

// Enabled reports whether an option is built in.
func (c Config) Enabled(option string) bool { return c[option] == "y" }

// ErrNoConfig says that a file is no kernel configuration.
var ErrNoConfig = errors.New("not a kernel configuration: it has no line CONFIG_NAME=value")

// maxConfig bounds a configuration; they have some 300 KiB.
const maxConfig = 16 << 20

// readConfig reads a configuration as /boot/config-VERSION has it, or
// compressed as /proc/config.gz. The error is ErrNoConfig or the reader's.
func readConfig(r io.Reader) (Config, error) {
	in := bufio.NewReader(io.LimitReader(r, maxConfig))
	if magic, _ := in.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		in = bufio.NewReader(io.LimitReader(z, maxConfig))
	}
	c := make(Config)
	isSet := false
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		name, value, ok := strings.Cut(line, "=")
		if ok && strings.HasPrefix(name, "CONFIG_") {
			c[name], isSet = value, true
		} else if name, ok := notSet(line); ok {
			c[name] = "n"
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return nil, err
	}
	if !isSet {
		return nil, ErrNoConfig
	}
	return c, nil
}

// notSet returns the option that a line "# CONFIG_NAME is not set" is about.
// Kernel: print_symbol_for_dotconfig() and its kin, scripts/kconfig/confdata.c.
func notSet(line string) (string, bool) {
	name, ok := strings.CutSuffix(line, " is not set")
	name, comment := strings.CutPrefix(name, "# ")
	return name, ok && comment && strings.HasPrefix(name, "CONFIG_") && !strings.ContainsAny(name, " =")
}

// OpenConfig reads the configuration in a file. The error names it.
func OpenConfig(name string) (Config, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := readConfig(f)
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return c, nil
}

// ConfigVersion returns the version of the kernel that a configuration in a
// file is for, as its head says, such as 6.12.9-amd64, and false if it does
// not. Kernel: conf_write_heading(), scripts/kconfig/confdata.c.
func ConfigVersion(name string) (string, bool) {
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
		return "", false // a pipe is opened and read once
	}
	f, err := os.Open(name)
	if err != nil {
		return "", false
	}
	defer f.Close()
	head := make([]byte, 4096)
	n, _ := io.ReadFull(f, head)
	for line := range strings.Lines(string(head[:n])) {
		words, ok := strings.CutSuffix(strings.TrimSpace(line), " Kernel Configuration")
		if fields := strings.Fields(words); ok && len(fields) == 3 && fields[0] == "#" && strings.HasPrefix(fields[1], "Linux/") {
			return fields[2], true
		}
	}
	return "", false
}

// Config returns the running kernel's configuration and where it was found.
// The error wraps fs.ErrNotExist if it is nowhere.
func (h Host) Config() (Config, string, error) {
	const own = "/proc/config.gz"
	if c, err := OpenConfig(filepath.Join(h.Root, own)); err == nil {
		return c, own, nil
	}
	return h.ConfigOf(h.Release())
}

// ConfigOf returns the configuration of the kernel of a release, which may be another
// one that is installed, and where it was found. The error is as that of Config.
func (h Host) ConfigOf(release string) (Config, string, error) {
	var err error
	for _, name := range []string{"/boot/config-" + release, "/lib/modules/" + release + "/config"} {
		var c Config
		if c, err = OpenConfig(filepath.Join(h.Root, name)); err == nil {
			return c, name, nil
		}
	}
	return nil, "", err
}

// Kernels returns the releases of the kernels that are installed, in the order of
// their names: those of which there is a configuration or an image.
func (h Host) Kernels() []string {
	var releases []string
	add := func(pattern string, release func(path string) string) {
		names, _ := filepath.Glob(filepath.Join(h.Root, pattern))
		for _, name := range names {
			releases = append(releases, release(name))
		}
	}
	for _, prefix := range []string{"config-", "vmlinuz-", "vmlinux-"} {
		add("/boot/"+prefix+"[0-9]*", func(path string) string { return strings.TrimPrefix(filepath.Base(path), prefix) })
	}
	for _, name := range []string{"config", "vmlinuz"} {
		add("/lib/modules/[0-9]*/"+name, func(path string) string { return filepath.Base(filepath.Dir(path)) })
	}
	slices.Sort(releases)
	return slices.Compact(releases)
}

// Release returns the running kernel's release, as uname -r.
func (h Host) Release() string {
	if b, err := os.ReadFile(filepath.Join(h.Root, "/proc/sys/kernel/osrelease")); err == nil {
		return strings.TrimSpace(string(b))
	}
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Machine returns the hardware name of the running kernel, as uname -m, empty if
// it is not known.
func (h Host) Machine() string {
	if b, err := os.ReadFile(filepath.Join(h.Root, "/proc/sys/kernel/arch")); err == nil {
		return strings.TrimSpace(string(b))
	}
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Machine[:])
}

// EVMXattrs returns the attributes that the running kernel's EVM protects, in
// its order, and false where it does not show them. Kernel:
// evm_read_xattrs(), security/integrity/evm/evm_secfs.c, with
// CONFIG_EVM_ADD_XATTRS.
func (h Host) EVMXattrs() ([]string, bool) {
	b, err := os.ReadFile(filepath.Join(h.Root, "/sys/kernel/security/integrity/evm/evm_xattrs"))
	if err != nil {
		return nil, false
	}
	return strings.Fields(string(b)), true
}

// HMACRefused reports whether the running kernel refuses EVM HMACs from user
// space: every kernel with EVM does, unless metadata writes are allowed.
// Kernel: evm_inode_setxattr(), security/integrity/evm/evm_main.c.
func (h Host) HMACRefused() bool {
	state, ok := h.EVM()
	return ok && state&EVMMetadataWrites == 0
}
