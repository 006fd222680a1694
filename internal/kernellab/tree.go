package kernellab

import (
	"fmt"
	"os"
	"path/filepath"
)

// treePackages make the tree a real system: systemd, daemons, scripts, hard
// links, empty files, some nine thousand files in all.
const treePackages = "systemd-sysv,attr,keyutils,procps,iproute2,openssh-server,kmod,python3-minimal"

// bootPackages make a system that boots by an initramfs of its own, which
// initramfs-tools or dracut makes.
const bootPackages = "systemd-sysv,attr,procps,kmod,udev,initramfs-tools,dracut-core,zstd"

// treeSize holds the tree with its labels and room to write.
const treeSize = 700 << 20

// treeDir is the cache entry of a tree of the host's release. Another list of
// packages must get another name.
func (l *Lab) treeDir(name string) (string, error) {
	suite, err := codename()
	if err != nil {
		return "", err
	}
	return filepath.Join(l.cache, "trees", suite+"-"+name), nil
}

// debianTree is the name of the Debian tree in the cache.
const debianTree = "1"

// Tree returns the path of a tar archive of the Debian tree.
func (l *Lab) tree() (string, error) { return l.treeOf(debianTree, treePackages) }

// bootTree returns the path of a tar archive of the system that boots by itself.
func (l *Lab) bootTree() (string, error) { return l.treeOf("boot-1", bootPackages) }

func (l *Lab) treeOf(name, packages string) (string, error) {
	dir, err := l.treeDir(name)
	if err != nil {
		return "", err
	}
	err = cached(dir, func(dir string) error {
		suite, err := codename()
		if err != nil {
			return err
		}
		line, err := sourceLine(suite)
		if err != nil {
			return err
		}
		list := filepath.Join(dir, "sources.list")
		if err := os.WriteFile(list, []byte(line), 0o644); err != nil {
			return fmt.Errorf("writing sources list: %w", err)
		}
		_, err = command(dir, "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase",
			"--include="+packages, suite, "tree.tar", list)
		return err
	})
	return filepath.Join(dir, "tree.tar"), err
}

// baseImage returns the path of an image with the unlabelled tree.
func (l *Lab) baseImage(fs FS) (string, error) {
	tar, err := l.tree()
	if err != nil {
		return "", err
	}
	treeDir, err := l.treeDir(debianTree)
	if err != nil {
		return "", err
	}
	dir := fmt.Sprintf("%s-%s-%dM", treeDir, fs, treeSize>>20)
	err = cached(dir, func(dir string) error {
		img := Image{FS: fs, Path: filepath.Join(dir, "image"), dir: filepath.Join(dir, "mnt")}
		if err := img.format(treeSize, ""); err != nil {
			return err
		}
		if err := img.mount(); err != nil {
			return err
		}
		_, err := command("", "tar", "-C", img.dir, "-xpf", tar, "--numeric-owner",
			"--xattrs", "--xattrs-include=*")
		if uerr := img.unmount(); err == nil {
			err = uerr
		}
		if err != nil {
			return err
		}
		return os.Remove(img.dir)
	})
	return filepath.Join(dir, "image"), err
}
