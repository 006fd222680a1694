// Package target is the kernel that will judge the files: its version and
// configuration, secure boot, digests, keys, policy, and what its EVM takes and
// covers. A label is made for a target and a verdict is that of a target, so
// commands that write and commands that check ask the same Target.
//
// Options say which kernel is meant. Without any it is the running one, and the
// Host is asked; what is known of the running kernel does not count for another.
// What nobody says stays unknown, and each method says what it answers then.
//
// The package prints nothing: what users should know of is in Target.Warnings.
package target

import (
	"errors"
	"fmt"
	"strings"

	"imaseal/hash"
	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/reason"
	"imaseal/keys/kernelcert"
	"imaseal/sign"
)

// The kernels whose rules are known: see policy.Kernel.
const (
	earliestMajor, earliestMinor = 6, 1
	latestMajor, latestMinor     = 7, 2
)

// Options say which kernel is meant, and what is not the same there as here. The
// zero value means the running kernel.
type Options struct {
	// Version of the kernel, such as "6.12"; "" for that of the configuration,
	// and else of the running kernel.
	Version string
	// ConfigFile names a file with the kernel's configuration; "" for none.
	ConfigFile string
	// Arch is the kernel's architecture, one of Arches; "" for that of the
	// configuration, and else of the running kernel if that is meant.
	Arch string
	// SecureBoot says whether UEFI secure boot is on there.
	SecureBoot policy.Truth

	// EVM is the state of EVM there, nil if nobody says.
	EVM *State
	// HasHMACKey says that somebody has EVM's HMAC key, so that EVM, if nobody
	// says anything else, has it too.
	HasHMACKey bool
	// UUID is that of the target's file system, nil for that of the file.
	UUID *[16]byte
	// NoUUID says that the kernel leaves the UUID out of what EVM covers.
	NoUUID bool
	// Attrs are attributes that EVM covers besides those it was built for.
	Attrs []string
	// Instead is what EVM covers in place of what files have here.
	Instead Instead

	// Keys returns the keys that a kernel will have in its keyrings: those of the
	// named ones whose certificates it loads. Nil if nobody names any.
	Keys func(kernelcert.Kernel) sign.Verifiers
}

// An OptionError says that an option has no meaning, or contradicts another
// one or the configuration.
type OptionError struct{ What, Advice string }

func (e *OptionError) Error() string { return e.What }

// Check returns an *OptionError if the options are wrong whatever the kernel's
// configuration and the host say. It opens nothing.
func (o Options) Check() error {
	if o.Version != "" {
		k, err := parseVersion(o.Version)
		if err != nil {
			return err
		}
		if err := o.checkState(k); err != nil {
			return err
		}
	}
	if o.Arch != "" && findArch(o.Arch) == nil {
		return &OptionError{
			fmt.Sprintf("--target-arch %q: no such architecture is known", o.Arch), "there are " + strings.Join(Arches(), ", "),
		}
	}
	if o.UUID != nil && o.NoUUID {
		return &OptionError{"--evm-uuid and --evm-no-uuid contradict each other", "leave out one of them"}
	}
	if err := o.checkAttrs(); err != nil {
		return err
	}
	return o.checkActive()
}

func parseVersion(version string) (policy.Kernel, error) {
	k, err := policy.ParseKernel(version)
	if err != nil {
		return k, &OptionError{err.Error(), "--kernel-version 6.12, or what uname -r prints"}
	}
	return k, nil
}

// A Target is the kernel that will judge. It is not changed any more, and safe
// for concurrent use.
type Target struct {
	// Kernel is its version and what policies depend on of it.
	policy.Kernel
	// Configuration is that of its build, nil if it is not known. ConfigFile
	// is the file that was named, "" if none was.
	Configuration host.Config
	ConfigFile    string
	// Running says that it is the kernel that runs here.
	Running bool
	// Word32 and BigEndian are those of its architecture, by which EVM lays
	// out what labels cover. Where nothing tells, it is a 64-bit kernel of
	// little endian order, as most are.
	Word32, BigEndian bool

	// Warnings are what users should know.
	Warnings reason.List

	options Options
	host    host.Host
	// built is the configuration if that says what the kernel has of IMA.
	built host.Config
}

// Open finds out what the options mean: it reads the configuration, once, and
// asks the host. The error is an *OptionError, or names the file that could not
// be read.
func Open(o Options, h host.Host) (*Target, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	t := &Target{ConfigFile: o.ConfigFile, options: o, host: h}
	t.Running = o.Version == "" && o.ConfigFile == "" && (o.Arch == "" || isArch(o.Arch, h.Machine()))
	if err := t.readConfig(); err != nil {
		return nil, err
	}
	version := o.Version
	if version == "" && !t.Running {
		version, _ = host.ConfigVersion(o.ConfigFile)
	}
	if version == "" {
		version = h.Release()
	}
	var err error
	if t.Kernel, err = parseVersion(version); err != nil {
		return nil, err
	}
	if err := o.checkState(t.Kernel); err != nil {
		return nil, err
	}
	t.warnVersion()
	if t.built != nil {
		t.Kernel = t.built.Build(t.Kernel)
	}
	if t.Running {
		t.askHost()
	}
	if o.SecureBoot != policy.Unknown {
		t.SecureBoot = o.SecureBoot
	}
	return t, t.setArch()
}

// readConfig reads the configuration that is named, or the running kernel's.
// One without IMA that happens to run says nothing of the digests and rules of
// kernels that labels are for.
func (t *Target) readConfig() error {
	switch {
	case t.ConfigFile != "":
		config, err := host.OpenConfig(t.ConfigFile)
		if err != nil {
			return err
		}
		t.Configuration, t.built = config, config
	case t.Running:
		config, _, err := t.host.Config()
		if err != nil {
			return nil // it is nowhere, and nobody asked for it
		}
		t.Configuration = config
		if config.Enabled("CONFIG_IMA") {
			t.built = config
		}
	}
	return nil
}

func (t *Target) warnVersion() {
	switch {
	case !t.AtLeast(earliestMajor, earliestMinor):
		t.warn(reason.OldKernel, "kernel %s is taken for %d.%d, the earliest whose rules are known here", t.Kernel, earliestMajor, earliestMinor)
	case t.AtLeast(latestMajor, latestMinor+1):
		t.warn(reason.NewKernel, "kernel %s is taken for %d.%d, the latest whose rules are known here", t.Kernel, latestMajor, latestMinor)
	}
}

func (t *Target) warn(code reason.Code, format string, args ...any) {
	t.Warnings = append(t.Warnings, reason.New(code, format, args...))
}

// askHost adds what is to be seen of the running kernel.
func (t *Target) askHost() {
	if on, known := t.host.SecureBoot(); known {
		t.SecureBoot = policy.Of(on)
	}
	if name, ok := t.host.Option("ima_hash"); ok {
		if a, err := hash.Parse(name); err == nil {
			t.DefaultHash = a
		}
	}
	t.TemplateFormat, _ = t.host.Option("ima_template_fmt")
}

// ErrNoEVM says that a configuration is that of a kernel without EVM.
var ErrNoEVM = errors.New("a kernel without EVM: CONFIG_EVM is not set")

// Layout is how the target's EVM lays out what its labels cover.
func (t *Target) Layout() imaevm.Target {
	return imaevm.Target{Word32: t.Word32, BigEndian: t.BigEndian, SignatureV3: t.IsSigV3(), NoSHA3: !t.HasSHA3()}
}
