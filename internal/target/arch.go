package target

import (
	"encoding/binary"
	"fmt"
	"slices"

	"imaseal/internal/host"
	"imaseal/internal/imaevm"
)

// An arch is an architecture of the kernel, and how EVM lays out there what
// labels cover: struct h_misc has the inode number in an unsigned long, and
// everything is in the machine's byte order.
type arch struct {
	name              string // as Go calls it, or else Linux
	option            string // that is set in its configurations
	word32, bigEndian bool
	also              []string // other names: of Debian, and what uname -m prints
}

// arches are those that can be named. Kernel: arch/*/Kconfig.
var arches = []arch{
	{"amd64", "CONFIG_X86_64", false, false, []string{"x86_64", "x86-64"}},
	{"386", "CONFIG_X86_32", true, false, []string{"i386", "i486", "i586", "i686", "x86"}},
	{"arm64", "CONFIG_ARM64", false, false, []string{"aarch64"}},
	{"arm64be", "CONFIG_ARM64", false, true, []string{"aarch64_be"}},
	{"arm", "CONFIG_ARM", true, false, []string{"armel", "armhf", "armv5tel", "armv5tejl", "armv6l", "armv7l", "armv8l"}},
	{"armbe", "CONFIG_ARM", true, true, []string{"armv5teb", "armv6b", "armv7b", "armv8b"}},
	{"riscv64", "CONFIG_RISCV", false, false, nil},
	{"riscv32", "CONFIG_RISCV", true, false, nil},
	{"s390x", "CONFIG_S390", false, true, nil},
	{"ppc64le", "CONFIG_PPC64", false, false, []string{"ppc64el", "powerpc64le"}},
	{"ppc64", "CONFIG_PPC64", false, true, []string{"powerpc64"}},
	{"ppc", "CONFIG_PPC32", true, true, []string{"powerpc"}},
	{"mips", "CONFIG_MIPS", true, true, nil},
	{"mipsle", "CONFIG_MIPS", true, false, []string{"mipsel"}},
	{"mips64", "CONFIG_MIPS", false, true, nil},
	{"mips64le", "CONFIG_MIPS", false, false, []string{"mips64el"}},
	{"loong64", "CONFIG_LOONGARCH", false, false, []string{"loongarch64"}},
	{"sparc64", "CONFIG_SPARC64", false, true, nil},
	{"parisc", "CONFIG_PARISC", true, true, []string{"hppa"}},
	{"parisc64", "CONFIG_PARISC", false, true, nil},
	{"m68k", "CONFIG_M68K", true, true, nil},
}

// Arches returns the names that Options.Arch takes; other usual ones stand for
// one of them.
func Arches() []string {
	var names []string
	for _, a := range arches {
		names = append(names, a.name)
	}
	return names
}

// findArch returns the architecture of a name, nil if there is none.
func findArch(name string) *arch {
	i := slices.IndexFunc(arches, func(a arch) bool { return a.name == name || slices.Contains(a.also, name) })
	if i < 0 {
		return nil
	}
	return &arches[i]
}

// isArch reports whether two names are those of the same architecture.
func isArch(a, b string) bool { return findArch(a) != nil && findArch(a) == findArch(b) }

// A layout is what is known of the architecture of a configuration.
type layout struct {
	arch                *arch // nil if the configuration names none
	word32, bigEndian   bool
	knowsWord, knowsEnd bool
}

// layoutOf finds out for which architecture a kernel is configured. A whole
// configuration always tells. A part of one, as people write it, may not:
// what tells that it is whole is an option that every one has.
func layoutOf(c host.Config) layout {
	const everyOneHas = "CONFIG_CC_VERSION_TEXT"
	_, whole := c[everyOneHas]
	l := layout{
		word32: !c.Enabled("CONFIG_64BIT"), knowsWord: whole || c["CONFIG_64BIT"] != "",
		bigEndian: c.Enabled("CONFIG_CPU_BIG_ENDIAN"), knowsEnd: whole || c["CONFIG_CPU_BIG_ENDIAN"] != "" || c.Enabled("CONFIG_CPU_LITTLE_ENDIAN"),
	}
	var may []*arch
	for i := range arches {
		a := &arches[i]
		if c.Enabled(a.option) && !(l.knowsWord && a.word32 != l.word32) && !(l.knowsEnd && a.bigEndian != l.bigEndian) {
			may = append(may, a)
		}
	}
	if len(may) == 0 {
		return l
	}
	if len(may) == 1 {
		l.arch = may[0]
	}
	same := func(of func(*arch) bool) bool {
		return !slices.ContainsFunc(may, func(a *arch) bool { return of(a) != of(may[0]) })
	}
	if same(func(a *arch) bool { return a.word32 }) {
		l.word32, l.knowsWord = may[0].word32, true
	}
	if same(func(a *arch) bool { return a.bigEndian }) {
		l.bigEndian, l.knowsEnd = may[0].bigEndian, true
	}
	return l
}

// setArch finds out word size and byte order: as the configuration has them, as
// the option says, as on this machine if the running kernel is meant, and else
// 64-bit and little endian.
func (t *Target) setArch() error {
	known := layoutOf(t.Configuration)
	named := findArch(t.options.Arch)
	if named != nil {
		if known.arch != nil && known.arch != named ||
			known.knowsWord && known.word32 != named.word32 || known.knowsEnd && known.bigEndian != named.bigEndian {
			return &OptionError{
				fmt.Sprintf("--target-arch %s, and %s is that of %s", named.name, t.configName(), known),
				"leave it out: the configuration says it",
			}
		}
		t.Word32, t.BigEndian = named.word32, named.bigEndian
		return nil
	}
	if t.Running {
		if a := findArch(t.host.Machine()); a != nil && !known.knowsWord {
			known.word32, known.knowsWord = a.word32, true
		}
		if !known.knowsEnd {
			known.bigEndian, known.knowsEnd = isBigEndian(), true
		}
	}
	t.Word32, t.BigEndian = known.knowsWord && known.word32, known.knowsEnd && known.bigEndian
	return nil
}

// LayoutOf is how the EVM of this machine's kernel lays out what labels cover, as far as
// the name of the machine tells (uname -m).
func LayoutOf(machine string) imaevm.Target {
	a := findArch(machine)
	return imaevm.Target{Word32: a != nil && a.word32, BigEndian: isBigEndian()}
}

func (t *Target) configName() string {
	if t.ConfigFile == "" {
		return "the running kernel's configuration"
	}
	return t.ConfigFile
}

// String says for messages what kernel is meant.
func (l layout) String() string {
	text := "a"
	switch {
	case l.arch != nil:
		return "a kernel for " + l.arch.name
	case l.knowsWord && l.word32:
		text += " 32-bit"
	case l.knowsWord:
		text += " 64-bit"
	}
	switch {
	case l.knowsEnd && l.bigEndian:
		text += " big endian"
	case l.knowsEnd:
		text += " little endian"
	}
	return text + " kernel"
}

// isBigEndian reports the byte order of this machine, and so of its kernel.
func isBigEndian() bool { return binary.NativeEndian.Uint16([]byte{0, 1}) == 1 }
