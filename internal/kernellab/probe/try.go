//go:build amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"imaseal/internal/kernellab/wire"
)

// try makes one probe of the job.
func try(job wire.Job, p wire.Probe) wire.Verdict {
	switch p.Op {
	case wire.Read:
		if p.User != 0 {
			return asUser(p.User, func() wire.Verdict { return opened(p, unix.O_RDONLY, nil) })
		}
		return opened(p, unix.O_RDONLY, nil)
	case wire.Direct:
		return opened(p, unix.O_RDONLY|unix.O_DIRECT, nil)
	case wire.Write:
		return opened(p, unix.O_WRONLY, nil)
	case wire.Append:
		return opened(p, unix.O_WRONLY|unix.O_APPEND, nil)
	case wire.Update:
		return opened(p, unix.O_RDWR, nil)
	case wire.Extend:
		return opened(p, unix.O_RDWR|unix.O_APPEND, nil)
	case wire.Create:
		return opened(p, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, func(fd int) wire.Verdict {
			_, err := unix.Write(fd, []byte(p.Script))
			return outcome("write", err)
		})
	case wire.MapExec:
		return opened(p, unix.O_RDONLY, mapExec)
	case wire.Protect:
		return opened(p, unix.O_RDONLY, protect)
	case wire.Written:
		return opened(p, unix.O_RDWR, mapWritten)
	case wire.Exec:
		if p.User != 0 {
			return asUser(p.User, func() wire.Verdict { return execute(p) })
		}
		return execute(p)
	case wire.Module:
		return opened(p, unix.O_RDONLY, loadModule)
	case wire.Kexec:
		return opened(p, unix.O_RDONLY, loadKernel)
	case wire.Rule:
		return offerRule(p.Script)
	case wire.Remount:
		return remount(job)
	case wire.AddKey:
		return addKey(p.Offer)
	case wire.Sh:
		return script(exec.Command(busybox, "sh", "-c", p.Script))
	case wire.Tree:
		cmd := exec.Command("/bin/sh", "-c", p.Script)
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: wire.ImageRoot(p.Image)}
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}
		cmd.Dir = "/"
		return script(cmd)
	}
	return wire.Verdict{Errno: "EINVAL", Step: fmt.Sprintf("unknown operation %q", p.Op)}
}

// opened opens a path inside its filesystem, absolute links included, and does then
// with the descriptor.
func opened(p wire.Probe, flags uint64, then func(fd int) wire.Verdict) wire.Verdict {
	root, err := unix.Open(wire.ImageRoot(p.Image), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return outcome("open root", err)
	}
	defer unix.Close(root)
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_IN_ROOT,
	}
	if flags&unix.O_CREAT != 0 {
		how.Mode = 0o644
	}
	fd, err := unix.Openat2(root, p.Path, &how)
	if err != nil {
		return outcome("open", err)
	}
	defer unix.Close(fd)
	if then == nil {
		return wire.Verdict{}
	}
	return then(fd)
}

// loadModule: files that are no modules are refused behind appraisal.
func loadModule(fd int) wire.Verdict {
	err := unix.FinitModule(fd, "", 0)
	if err == unix.ENOEXEC {
		err = nil
	}
	return outcome("finit_module", err)
}

// kexecNoInitramfs is KEXEC_FILE_NO_INITRAMFS of include/uapi/linux/kexec.h.
const kexecNoInitramfs = 4

// loadKernel: files that are no kernels are refused behind appraisal.
func loadKernel(fd int) wire.Verdict {
	err := unix.KexecFileLoad(fd, -1, "", kexecNoInitramfs)
	if err == unix.ENOEXEC {
		err = nil
	}
	return outcome("kexec_file_load", err)
}

// remount makes the kernel forget the files of the root filesystem.
func remount(job wire.Job) wire.Verdict {
	if err := unmountRoot(job); err != nil {
		return wire.Verdict{Errno: err.Error(), Step: "umount"}
	}
	if err := mountRoot(job); err != nil {
		return wire.Verdict{Errno: err.Error(), Step: "mount"}
	}
	return wire.Verdict{}
}

// asUser does something as another user, on a thread that ends with it: system
// calls that do not go through package syscall change only the thread.
func asUser(uid uint32, do func() wire.Verdict) wire.Verdict {
	verdict := make(chan wire.Verdict)
	go func() {
		runtime.LockOSThread() // for ever
		if err := becomeUser(uid); err != nil {
			verdict <- outcome("changing user", err)
			return
		}
		verdict <- do()
	}()
	return <-verdict
}

// becomeUser keeps root's keys in reach: the kernel looks for the keyrings of
// appraisal among those of the task that needs them first.
func becomeUser(uid uint32) error {
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil {
		return err
	}
	if _, err := unix.KeyctlInt(unix.KEYCTL_LINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_SESSION_KEYRING, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return err
	}
	id := uintptr(uid)
	for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
		if _, _, errno := unix.RawSyscall(call, id, id, id); errno != 0 {
			return errno
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	// Who traces needs a capability, lest set-id bits do not count for the traced.
	const own = 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_KILL
	data := [2]unix.CapUserData{{Effective: own, Permitted: own}}
	return unix.Capset(&header, &data[0])
}

func mapExec(fd int) wire.Verdict {
	mem, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err == nil {
		err = unix.Munmap(mem)
	}
	return outcome("mmap", err)
}

func protect(fd int) wire.Verdict {
	mem, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return outcome("mmap", err)
	}
	defer unix.Munmap(mem)
	return outcome("mprotect", unix.Mprotect(mem, unix.PROT_READ|unix.PROT_EXEC))
}

func mapWritten(fd int) wire.Verdict {
	mem, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return outcome("mmap", err)
	}
	defer unix.Munmap(mem)
	return mapExec(fd)
}

// execute starts a program traced: the kernel stops it after execve, when all
// appraisal is over and no instruction of it has run, and there it is killed.
func execute(p wire.Probe) wire.Verdict {
	runtime.LockOSThread() // ptrace knows the thread, not the process
	defer runtime.UnlockOSThread()
	pid, err := syscall.ForkExec(p.Path, []string{p.Path}, &syscall.ProcAttr{
		Dir: "/",
		Sys: &syscall.SysProcAttr{Chroot: wire.ImageRoot(p.Image), Ptrace: true},
	})
	if err != nil {
		return outcome("exec", err)
	}
	var status syscall.WaitStatus
	var failed wire.Verdict
	for range 2 { // stopped, then killed
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
			return outcome("wait", err)
		}
		if !status.Stopped() {
			break
		}
		// What is denied so late that the old program is gone already ends so.
		if s := status.StopSignal(); s != syscall.SIGTRAP {
			failed = wire.Verdict{Errno: unix.SignalName(s), Step: "exec"}
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return outcome("kill", err)
		}
	}
	if failed.Allowed() && (!status.Signaled() || status.Signal() != syscall.SIGKILL) {
		failed = wire.Verdict{Errno: fmt.Sprintf("status %#x", int(status)), Step: "exec"}
	}
	return failed
}

func script(cmd *exec.Cmd) wire.Verdict {
	out, err := cmd.CombinedOutput()
	v := wire.Verdict{Output: string(out)}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		v.Errno = fmt.Sprintf("exit %d", exit.ExitCode())
	case err != nil:
		v = outcome("exec", err)
	}
	return v
}

// outcome names the error of a system call.
func outcome(step string, err error) wire.Verdict {
	if err == nil {
		return wire.Verdict{}
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return wire.Verdict{Errno: err.Error(), Step: step}
	}
	return wire.Verdict{Errno: unix.ErrnoName(errno), Step: step}
}
