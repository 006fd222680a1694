//go:build amd64

package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/internal/kernellab/wire"
)

const (
	policyFile = "/sys/kernel/security/ima/policy"
	evmFile    = "/sys/kernel/security/evm"
	busybox    = "/bin/busybox"
)

// mountSystem mounts what every guest needs. The directories are in the
// initramfs already.
func mountSystem() error {
	for _, m := range [][2]string{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"},
		{"securityfs", "/sys/kernel/security"},
	} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil && err != unix.EBUSY {
			return fmt.Errorf("mounting %s: %w", m[1], err)
		}
	}
	return os.Setenv("PATH", "/bin")
}

// loadModules loads modules in order. One that has no device or is there
// already is no reason to stop: a missing disk says so later.
func loadModules(paths []string) error {
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			return fmt.Errorf("opening module: %w", err)
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && err != unix.EEXIST && err != unix.ENODEV {
			return fmt.Errorf("loading %s: %w", p, err)
		}
	}
	return nil
}

// prepare brings keys, setup script, policy, EVM and root filesystem up, in
// this order. After EVM nothing is created in the initramfs any more.
func prepare(job wire.Job) error {
	if err := addKeys(job.Keys); err != nil {
		return err
	}
	if job.Setup != "" {
		cmd := exec.Command(busybox, "sh", "-e", "-c", job.Setup)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("setup script: %w: %s", err, out)
		}
	}
	if err := writeEach(policyFile, job.Policy); err != nil {
		return err
	}
	for _, v := range job.EVM {
		if err := writeEach(evmFile, []string{v}); err != nil {
			return err
		}
	}
	if job.FS == "" {
		return nil
	}
	if err := mountRoot(job); err != nil {
		return err
	}
	return mountMore(job.More)
}

func addKeys(keys []wire.Key) error {
	rings := map[string]int{"": unix.KEY_SPEC_USER_KEYRING}
	for _, k := range keys {
		ring, ok := rings[k.Ring]
		if !ok {
			var err error
			ring, err = unix.AddKey("keyring", k.Ring, nil, unix.KEY_SPEC_USER_KEYRING)
			if err != nil {
				return fmt.Errorf("making keyring %s: %w", k.Ring, err)
			}
			rings[k.Ring] = ring
		}
		if _, err := unix.AddKey(k.Type, k.Desc, k.Payload, ring); err != nil {
			return fmt.Errorf("adding %s key %q to keyring %q: %w", k.Type, k.Desc, k.Ring, err)
		}
	}
	return nil
}

// writeEach opens a securityfs file once and makes one write per value: the
// kernel takes the end of the first open as the end of the policy.
func writeEach(path string, values []string) error {
	if len(values) == 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	for _, v := range values {
		if _, err := f.WriteString(strings.TrimSpace(v) + "\n"); err != nil {
			f.Close()
			return fmt.Errorf("writing %q to %s: %w", v, path, err)
		}
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", path, err)
	}
	return nil
}

// offerRule asks whether the kernel takes a line as a rule. A second line that it
// does not take keeps it from loading the first.
func offerRule(line string) wire.Verdict {
	f, err := os.OpenFile(policyFile, os.O_WRONLY, 0)
	if err != nil {
		return outcome("open", err)
	}
	defer f.Close()
	_, err = f.WriteString(line + "\n")
	if _, bad := f.WriteString("no rule\n"); bad == nil {
		return wire.Verdict{Errno: "taken", Step: "spoil"}
	}
	return outcome("write", err)
}

// systemDirs are the kernel's own filesystems, which a root filesystem shares.
var systemDirs = []string{"/proc", "/sys", "/dev"}

// mountRoot mounts the root filesystem, and for the programs in it the kernel's
// own filesystems, unless an init takes them along.
func mountRoot(job wire.Job) error {
	if err := waitFor(wire.RootDisk); err != nil {
		return err
	}
	if err := unix.Mount(wire.RootDisk, wire.Root, job.FS, 0, job.MountOptions); err != nil {
		return fmt.Errorf("mounting the root filesystem: %w", err)
	}
	if job.Init != "" {
		return nil
	}
	for _, dir := range systemDirs {
		err := unix.Mount(dir, wire.Root+dir, "", unix.MS_BIND|unix.MS_REC, "")
		if err != nil && err != unix.ENOENT { // a small tree does without
			return fmt.Errorf("binding %s: %w", dir, err)
		}
	}
	return nil
}

// mountMore mounts the other filesystems.
func mountMore(types []string) error {
	for i, fs := range types {
		disk := wire.MoreDisk(i + 1)
		if err := waitFor(disk); err != nil {
			return err
		}
		if err := unix.Mount(disk, wire.ImageRoot(i+1), fs, unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("mounting %s, %s: %w", disk, fs, err)
		}
	}
	return nil
}

// unmountRoot leaves the root filesystem clean.
func unmountRoot(job wire.Job) error {
	if job.FS == "" {
		return nil
	}
	for _, dir := range systemDirs {
		err := unix.Unmount(wire.Root+dir, unix.MNT_DETACH)
		if err != nil && err != unix.ENOENT && err != unix.EINVAL {
			return fmt.Errorf("unbinding %s: %w", dir, err)
		}
	}
	if err := unix.Unmount(wire.Root, 0); err != nil {
		return fmt.Errorf("unmounting the root filesystem: %w", err)
	}
	return nil
}

// handOver makes the root filesystem the root and executes its init.
func handOver(init string) error {
	for _, dir := range systemDirs {
		if err := unix.Mount(dir, wire.Root+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("moving %s: %w", dir, err)
		}
	}
	if err := os.Chdir(wire.Root); err != nil {
		return fmt.Errorf("entering the root filesystem: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving the root filesystem: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("changing root: %w", err)
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb"}
	return fmt.Errorf("executing %s: %w", init, unix.Exec(init, []string{init}, env))
}

// offerShell gives whoever sits at the console a look around, if asked for.
func offerShell() {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil || !slices.Contains(strings.Fields(string(line)), wire.ShellOption) {
		return
	}
	fmt.Fprintln(os.Stderr, "probe: the root is at /newroot; exit to go on with the probes")
	cmd := exec.Command(busybox, "sh")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "probe: shell: %v\n", err)
	}
}
