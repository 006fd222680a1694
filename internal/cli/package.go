package cli

import (
	"context"

	"imaseal/internal/plan"
	"imaseal/internal/tree"
	"imaseal/internal/tree/rpms"
	"imaseal/internal/tree/tarball"
)

// packageOptions say how a command reads packages.
type packageOptions struct {
	payloads bool // are read
	// mend takes labels also where rpm ignores them, to remove them.
	mend bool
}

// refusePackages refuses what RPM packages have no place for.
func refusePackages(s plan.Selection, why, advice string, is bool) error {
	if _, ok := s.Packages(); ok && is {
		return conflict(why, advice)
	}
	return nil
}

// refuseJudging refuses packages to a command that asks a policy about files.
func refuseJudging(s plan.Selection) error {
	return refusePackages(s, "what a policy makes of a package's files, only the host tells where it is installed",
		"imaseal verify rpm:FILE checks the labels; check and policy explain are for files that are installed", true)
}

// refuseForPackages refuses options that packages have an answer to.
func refuseForPackages(s plan.Selection, o ...given) error {
	answers := map[string]string{
		"owner":         "a package has names of owners alone, and all its files are meant",
		"algo":          "a package has the digests that are signed, each of the algorithm that it was built with",
		"file-contexts": "a package holds no attributes but security.ima",
	}
	for _, g := range o {
		if err := refusePackages(s, "--"+g.name+" is of no use with an RPM package: "+answers[g.name], "leave it out", g.is); err != nil {
			return err
		}
	}
	return nil
}

// refuseHashes refuses hash labels of packages.
func refuseHashes(s plan.Selection, is bool) error {
	return refusePackages(s, "an RPM package carries signatures only: rpm would write no hash label",
		"imaseal sign --key KEY --in-place rpm:FILE signs all files, or those that --rules says; hash labels are for the files where they are installed", is)
}

// refusePackageEVM refuses EVM labels of packages.
func refusePackageEVM(s plan.Selection, is bool) error {
	return refusePackages(s, "an RPM package carries signatures for security.ima alone: it has no place for EVM labels, and rpm writes none",
		"label the files where they are installed: imaseal sign --key KEY --evm portable PATH keeps signatures that --trust verifies", is)
}

// openPackages opens RPM packages, and directories of them.
func openPackages(names []string, cfg tarball.Config, own rpms.Config) (*rpms.Packages, error) {
	own.Jobs, own.Include, own.Exclude, own.Leave, own.TempDir = cfg.Jobs, cfg.Include, cfg.Exclude, cfg.Leave, cfg.TempDir
	return rpms.Open(names, own)
}

// newPackages makes ready for the packages that are written.
func (s *session) newPackages(ctx context.Context, old *rpms.Packages) (tree.Sink, error) {
	o := rpms.Output{Path: s.plan.Output, InPlace: s.plan.InPlace}
	if o.Path == "-" {
		var err error
		if o.Stdout, err = s.stdout(); err != nil {
			return nil, err
		}
	}
	sink, err := old.NewSink(ctx, o)
	if err != nil {
		return nil, err
	}
	return sink, nil
}
