package kernellab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"imaseal/internal/kernellab/wire"
)

// defaultTimeout is ten times what the longest case takes on a slow machine that
// has other things to do.
const defaultTimeout = 12 * time.Minute

// diskSize bounds a report and a journal; the files are sparse.
const diskSize = 64 << 20

// A machine is the files of one boot.
type machine struct {
	dir, initramfs, report, journal, console string
}

// boot runs the case and reads its report.
func (l *Lab) boot(ctx context.Context, c Case) (res Result, err error) {
	dir, err := os.MkdirTemp(l.run, "boot-*")
	if err != nil {
		return Result{}, fmt.Errorf("making boot directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m, err := l.assemble(dir, c)
	if err != nil {
		return Result{}, err
	}
	start := time.Now()
	runErr := m.run(ctx, c)
	res = Result{Took: time.Since(start), probes: c.Probes}
	if b, err := os.ReadFile(m.console); err == nil {
		res.Console = string(b)
	}
	if c.Initramfs == "" { // else nobody reports
		report, err := readDisk(m.report)
		if err != nil {
			return res, err
		}
		res.Verdicts, err = wire.ReadReports(bytes.NewReader(report), len(c.Probes))
		runErr = errors.Join(runErr, err)
	}
	if runErr != nil {
		return res, fmt.Errorf("%w; the console ends:\n%s", runErr, tail(res.Console, 3000))
	}
	if c.Init != "" || c.Initramfs != "" {
		res.Journal, err = readDisk(m.journal)
	}
	return res, err
}

// assemble writes the initramfs and the empty disks.
func (l *Lab) assemble(dir string, c Case) (machine, error) {
	m := machine{
		dir:       dir,
		initramfs: filepath.Join(dir, "initramfs"),
		report:    filepath.Join(dir, "report"),
		journal:   filepath.Join(dir, "journal"),
		console:   filepath.Join(dir, "console"),
	}
	for _, disk := range []string{m.report, m.journal} {
		if err := os.WriteFile(disk, nil, 0o600); err != nil {
			return m, fmt.Errorf("making disk: %w", err)
		}
		if err := os.Truncate(disk, diskSize); err != nil {
			return m, fmt.Errorf("sizing disk: %w", err)
		}
	}
	if c.Initramfs != "" {
		return m, copySparse(c.Initramfs, m.initramfs)
	}
	return m, l.writeInitramfs(m.initramfs, c)
}

// arguments are those of qemu. The order of the disks gives them their names.
func (m machine) arguments(c Case) []string {
	root := m.journal // a stand-in, so that the report keeps its name
	if c.Image.Path != "" {
		root = c.Image.Path
	}
	snapshot := "on"
	if c.Keep {
		snapshot = "off"
	}
	// Without no_timer_check a kernel whose timer comes late, since this machine has
	// other things to do, takes it for broken and panics.
	line := "console=ttyS0 panic=-1 quiet no_timer_check audit=1 audit_backlog_limit=8192 " + c.Append
	var tpm []string
	if c.TPM != "" {
		tpm = []string{"-chardev", "socket,id=swtpm,path=" + c.TPM, "-tpmdev", "emulator,id=tpm,chardev=swtpm", "-device", "tpm-tis,tpmdev=tpm"}
	}
	var more []string
	for _, img := range c.More {
		more = append(more, "-drive", "file="+img.Path+",if=virtio,format=raw,cache=unsafe,snapshot=on")
	}
	return slices.Concat(tpm, []string{
		// One processor: with two, a kernel that patches its own code early in a boot
		// now and then dies of "Oops: int3", since TCG runs the other one on old code.
		"-M", "pc", "-cpu", "max", "-accel", "tcg", "-smp", "1", "-m", "1024",
		"-display", "none", "-monitor", "none", "-no-reboot", "-net", "none",
		"-kernel", c.Kernel.Image(), "-initrd", m.initramfs, "-append", line,
		"-drive", "file=" + root + ",if=virtio,format=raw,cache=unsafe,snapshot=" + snapshot,
		"-drive", "file=" + m.report + ",if=virtio,format=raw,cache=unsafe",
		"-drive", "file=" + m.journal + ",if=virtio,format=raw,cache=unsafe,file.locking=off",
	}, more)
}

// run boots and waits for the machine to switch itself off.
func (m machine) run(ctx context.Context, c Case) error {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("still running after %v", timeout))
	defer cancel()
	// The death signal below comes when the thread ends, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, lookPath("qemu-system-x86_64"),
		append(m.arguments(c), "-serial", "file:"+m.console)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), "TMPDIR="+m.dir) // of the snapshot
	out, err := cmd.CombinedOutput()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		return fmt.Errorf("running qemu: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// readDisk reads a raw disk up to the first zero byte.
func readDisk(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading disk: %w", err)
	}
	text, _, _ := bytes.Cut(b, []byte{0})
	return text, nil
}

// tail is the end of a text, whole lines if there are several.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[len(s)-n:]
	if _, rest, ok := strings.Cut(s, "\n"); ok {
		s = rest
	}
	return "…\n" + s
}
