package cli

import (
	"context"
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/policy"
	"imaseal/internal/report"
	"imaseal/internal/stream"
	"imaseal/internal/target"
)

// kernelOptions say which kernel is meant, where it is not the running one.
type kernelOptions struct{ version, config, arch, secureBoot string }

// flags are those that most commands about a target have.
func (o *kernelOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "kernel-version", Destination: &o.version, Category: kernelCategory, DefaultText: "that of --kernel-config if it tells, or the running kernel's", Usage: "`VERSION` of the target's kernel, such as 6.12"},
		o.configFlag(),
	}
}

func (o *kernelOptions) configFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "kernel-config", Destination: &o.config, Category: kernelCategory, Usage: "configuration `FILE` of the target's kernel"}
}

// archFlag is for commands about what EVM covers.
func (o *kernelOptions) archFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "target-arch", Destination: &o.arch, Category: kernelCategory, DefaultText: "that of --kernel-config if it tells, or the running kernel's", Usage: "architecture of the target (`ARCH`), such as arm or s390x: its word size and byte order count for EVM"}
}

// secureBootFlag is for commands about policies.
func (o *kernelOptions) secureBootFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "secure-boot", Destination: &o.secureBoot, Category: kernelCategory, Usage: "UEFI secure boot is on or off; without the option, as it is here if the running kernel is meant, else not known"}
}

func (o *kernelOptions) plan() (target.Options, error) {
	t := target.Options{Version: o.version, ConfigFile: o.config, Arch: o.arch}
	if o.secureBoot != "" {
		if err := checkWord("secure-boot", o.secureBoot); err != nil {
			return t, err
		}
		t.SecureBoot = policy.Of(o.secureBoot == "on")
	}
	return t, nil
}

func (o *kernelOptions) givenArch() given   { return given{"target-arch", o.arch != ""} }
func (o *kernelOptions) givenConfig() given { return given{"kernel-config", o.config != ""} }

// openTarget finds out which kernel is meant, and prints what users should know
// of it. Where no rules are asked, byRules is false, and it does not matter
// whether those of the running kernel are known.
func (p Program) openTarget(ctx context.Context, o target.Options, byRules bool) (*target.Target, error) {
	t, err := stream.Await(ctx, func() (*target.Target, error) { return target.Open(o, p.Host) })
	if err != nil {
		return nil, err
	}
	if byRules || !t.Running {
		for _, w := range t.Warnings {
			p.warn(w.Code, "%s", w.Words)
		}
	}
	return t, nil
}

// tellEVM says what labels that depend on the target's EVM are made or checked
// for.
func (p Program) tellEVM(o outputOptions, e target.EVM) {
	if !o.silent() {
		fmt.Fprintf(p.Stderr, "imaseal: EVM as %s\n", printableText(e.String()))
	}
}

// describe says in words which kernel is meant.
func describe(t *target.Target) string {
	text := fmt.Sprintf("kernel %s", t.Kernel)
	if t.Running {
		text = "the running kernel " + t.Kernel.String()
	}
	if t.ConfigFile != "" {
		text += " as " + report.Quote(t.ConfigFile) + " configures it"
	}
	return text
}
