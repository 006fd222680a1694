package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/reason"
	"imaseal/internal/target"
)

// checkDigest refuses labels that the target's kernel cannot check, or not from
// the first file on. Of the running kernel it is not said that it is the target:
// where nothing tells that it is, there is only a warning.
func (p Program) checkDigest(ctx context.Context, r labelRequest, t *target.Target) error {
	has := t.Digest(r.Algo)
	if has != policy.Absent && has != policy.Module {
		return nil
	}
	isRoot := p.isRoot(ctx, r.Selection)
	isMeant := !t.Running || isRoot
	switch {
	case has == policy.Absent && (isMeant || r.policy != nil):
		return &advisedError{
			err:    fmt.Errorf("%s has no %s, and would deny every file with such a label", describe(t), r.Algo),
			advice: "--algo names another digest, --kernel-version or --kernel-config another kernel",
		}
	case has == policy.Module && isRoot && !r.Force:
		return &advisedError{
			err:    fmt.Errorf("%s is a module in %s: the files that are used before it is loaded, the programs that load it among them, would be denied", r.Algo, describe(t)),
			advice: "--algo names another digest; or have the initramfs load the module, and add --force",
		}
	case has == policy.Absent && r.Namespace == "security":
		p.warn(reason.AbsentDigest, "%s has no %s: it denies files with such labels (--kernel-version or --kernel-config names the kernel that the tree is for)", describe(t), r.Algo)
	case has == policy.Module && (isMeant || r.Namespace == "security"):
		p.warn(reason.ModularDigest, "%s is a module in %s: files that are used before it is loaded are denied", r.Algo, describe(t))
	}
	return nil
}

// rootNames are what a kernel starts when it has mounted its root file system.
// Kernel: kernel_init(), init/main.c.
var rootNames = []string{"sbin/init", "etc/init", "bin/init", "bin/sh"}

// isRoot reports whether a tree holds what a kernel starts, or may hold it: an
// archive that can be read only once does not tell beforehand.
func (p Program) isRoot(ctx context.Context, s plan.Selection) bool {
	named, ok := s.Carrier()
	if ok && named.Kind == plan.RPM {
		return false
	}
	if !ok {
		return slices.ContainsFunc(s.Trees(), isRootTree)
	}
	isImage := named.Kind == plan.OCIArchive || named.Kind == plan.DockerArchive
	if info, err := os.Stat(named.Name); isImage || !named.IsStd() && err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return true // to open and close a fifo would end who writes to it, and an archive of images may have to be unpacked
	}
	c, err := p.openCarrier(ctx, named, carrierConfig{})
	if err != nil {
		return false // the run will report it
	}
	defer c.Close()
	return !c.Countable() || c.Holds(ctx, rootNames)
}

func isRootTree(path string) bool {
	return slices.ContainsFunc(rootNames, func(name string) bool {
		_, err := os.Lstat(filepath.Join(path, name))
		return err == nil
	})
}
