package cli

import (
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/cmdline"
	"imaseal/internal/host"
	"imaseal/internal/policy"
	"imaseal/internal/report"
)

const kernelCategory = "Kernel"

// targetFlags say which kernel is meant, where it is not the running one.
func targetFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "kernel-version", Category: kernelCategory, DefaultText: "that of --kernel-config if it tells, or the running kernel's", Usage: "`VERSION` of the kernel, such as 6.12"},
		&urfave.StringFlag{Name: "secure-boot", Category: kernelCategory, Usage: "UEFI secure boot is on or off; without the option, as it is here if the running kernel is meant, else not known"},
	}
}

func kernelConfigFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "kernel-config", Category: kernelCategory, Usage: "configuration `FILE` of the kernel"}
}

// A target is the kernel that is meant.
type target struct {
	policy.Kernel
	config  host.Config // nil if it is not known
	running bool        // it is the one that runs
}

// target returns the kernel that the options describe, and else the running
// one. What is known of the running one does not count for another.
func (p Program) target(c *urfave.Context) (target, error) {
	var t target
	version := c.String("kernel-version")
	t.running = version == "" && c.String("kernel-config") == ""
	if version == "" && !t.running {
		version, _ = host.ConfigVersion(c.String("kernel-config"))
	}
	if version == "" {
		version = p.Host.Release()
	}
	var err error
	if t.Kernel, err = policy.ParseKernel(version); err != nil {
		return t, &cmdline.UsageError{Err: err, Advice: "--kernel-version 6.12, or what uname -r prints"}
	}
	if !t.AtLeast(6, 1) {
		p.warn("kernel %s is taken for 6.1, the earliest whose rules are known here", t.Kernel)
	}
	switch {
	case c.String("kernel-config") != "":
		if t.config, err = p.openConfig(c.String("kernel-config")); err != nil {
			return t, err
		}
	case t.running:
		// One without IMA says nothing of the kernels that policies are for.
		if config, _, err := p.Host.Config(); err == nil && config.Enabled("CONFIG_IMA") {
			t.config = config
		}
	}
	if t.config != nil {
		t.Kernel = t.config.Build(t.Kernel)
	}
	if t.running {
		p.runningKernel(&t)
	}
	switch word := c.String("secure-boot"); word {
	case "":
	case "on", "off":
		t.SecureBoot = policy.Of(word == "on")
	default:
		return t, oneOf("secure-boot", word, []string{"on", "off"})
	}
	return t, nil
}

// runningKernel adds what is to be seen of the running kernel.
func (p Program) runningKernel(t *target) {
	if on, known := p.Host.SecureBoot(); known {
		t.SecureBoot = policy.Of(on)
	}
	if name, ok := p.Host.Option("ima_hash"); ok {
		if a, err := hash.Parse(name); err == nil {
			t.DefaultHash = a
		}
	}
	t.TemplateFormat, _ = p.Host.Option("ima_template_fmt")
}

// describe says in words which kernel is meant.
func (t *target) describe(c *urfave.Context) string {
	text := fmt.Sprintf("kernel %s", t.Kernel)
	if t.running {
		text = "the running kernel " + t.Kernel.String()
	}
	if file := c.String("kernel-config"); file != "" {
		text += " as " + report.Quote(file) + " configures it"
	}
	return text
}

// openConfig reads the configuration in a file, once.
func (p Program) openConfig(file string) (host.Config, error) {
	if config, ok := p.configs[file]; ok {
		return config, nil
	}
	config, err := host.OpenConfig(file)
	if err == nil && p.configs != nil {
		p.configs[file] = config
	}
	return config, err
}
