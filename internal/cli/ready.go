package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/internal/active"
	"imaseal/internal/finding"
	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/keyring"
	"imaseal/internal/policy"
	"imaseal/internal/readiness"
	"imaseal/internal/target"
	"imaseal/keys/kernelcert"
)

// askHost finds out whether the host is ready, and what is active on it. Its errors are
// those of ctx, and about options.
func (p Program) askHost(ctx context.Context, r checkRequest, t *target.Target, pol policy.Policy) ([]finding.Finding, error) {
	q := readiness.Question{
		Host: p.Host, Config: t.Configuration, Kernel: t.Kernel, Running: t.Running, Policy: pol, Assumed: r.assumed,
		Statfs: statfs, Keys: listKeys, Partial: os.Geteuid() != 0, Refuses: refusesLabels, Unloadable: unloadable(t, p.Host),
	}
	if !t.Running || !p.Host.HasIMA() {
		return readiness.Ask(q).Findings, nil
	}
	boot, err := p.readBoot(ctx, t)
	if err != nil {
		return nil, err
	}
	q.Mode, q.Loading = boot.mode.String(), boot.loading()
	table := readiness.Ask(q)
	switch active := &table.Active; {
	case r.policy.targetFS != "" || !active.Appraises && !active.Unseen:
		return table.Findings, nil
	case active.Unseen:
		active.Policy = pol
	}
	more, err := p.afterSwitch(ctx, r, t, table, boot)
	return append(table.Findings, more...), err
}

// tellHost prints the table of check --host, and reports whether the host is ready.
func (p Program) tellHost(o outputOptions, findings []finding.Finding) (bool, error) {
	count := make(map[finding.Level]int)
	for _, f := range findings {
		count[f.Level]++
		if o.quiet && f.Level == finding.Pass {
			continue
		}
		if err := p.printFinding(f, o.json); err != nil {
			return false, err
		}
	}
	ready := count[finding.Fail] == 0
	if o.silent() {
		return ready, nil
	}
	return ready, p.print(fmt.Sprintf("imaseal: host: %d pass, %d warn, %d fail\n", count[finding.Pass], count[finding.Warn], count[finding.Fail]))
}

func (p Program) printFinding(f finding.Finding, asJSON bool) error {
	if asJSON {
		return p.printJSON(struct {
			Host finding.Finding `json:"host"`
		}{f})
	}
	const indent = 21
	width := p.width() - indent
	text := fmt.Sprintf("%s  %-14s ", f.Level, f.Topic) + strings.Join(lines(printableText(f.Why), width), "\n"+strings.Repeat(" ", indent)) + "\n"
	if f.Do != "" {
		const arrow = "-> "
		text += strings.Repeat(" ", indent) + arrow +
			strings.Join(lines(printableText(f.Do), width-len(arrow)), "\n"+strings.Repeat(" ", indent+len(arrow))) + "\n"
	}
	return p.print(text)
}

func statfs(name string) (readiness.Space, error) {
	var st unix.Statfs_t
	err := unix.Statfs(name, &st)
	return readiness.Space{Free: st.Bavail * uint64(st.Bsize), BlockSize: uint64(st.Bsize), Inodes: st.Files - st.Ffree}, err
}

// listKeys returns the certificates in a keyring as the kernel names them.
func listKeys(name string) []active.Key {
	ring, err := keyring.Find(name)
	if err != nil {
		return nil
	}
	keys, err := keyring.List(ring)
	if err != nil {
		return nil
	}
	var all []active.Key
	for _, k := range keys {
		if id, ok := k.KeyID(); ok {
			all = append(all, active.Key{ID: id.String(), Description: k.Description})
		}
	}
	return all
}

// unloadable judges certificates as the target loads them from a file: all of the
// file, and not in PEM.
func unloadable(t *target.Target, h host.Host) func(path string) string {
	k := t.Certificates()
	return func(path string) string {
		der, err := os.ReadFile(filepath.Join(h.Root, path))
		if err != nil {
			return ""
		}
		if j := k.Judge(der); j.Verdict == kernelcert.Refused {
			return j.Reason.Error()
		}
		c, err := kernelcert.Parse(der)
		if err != nil {
			return err.Error()
		}
		if why := k.Usage(c); len(why) > 0 {
			return why[0].Error()
		}
		return ""
	}
}

// refusesLabels asks a file system by its top directory.
func refusesLabels(point string) bool {
	_, err := unix.Lgetxattr(point, imaevm.AttrIMA, nil)
	return errors.Is(err, unix.EOPNOTSUPP)
}
