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

// try makes one probe.
func try(p wire.Probe) wire.Verdict {
	switch p.Op {
	case wire.Read:
		return opened(p.Path, unix.O_RDONLY, nil)
	case wire.Write:
		return opened(p.Path, unix.O_WRONLY, nil)
	case wire.Create:
		return opened(p.Path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, func(fd int) wire.Verdict {
			_, err := unix.Write(fd, []byte(p.Script))
			return outcome("write", err)
		})
	case wire.MapExec:
		return opened(p.Path, unix.O_RDONLY, mapExec)
	case wire.Exec:
		return execute(p.Path)
	case wire.Sh:
		return script(exec.Command(busybox, "sh", "-c", p.Script))
	case wire.Tree:
		cmd := exec.Command("/bin/sh", "-c", p.Script)
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: wire.Root}
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}
		cmd.Dir = "/"
		return script(cmd)
	}
	return wire.Verdict{Errno: "EINVAL", Step: fmt.Sprintf("unknown operation %q", p.Op)}
}

// opened opens a path inside the root filesystem, absolute links included, and
// does then with the descriptor.
func opened(path string, flags uint64, then func(fd int) wire.Verdict) wire.Verdict {
	root, err := unix.Open(wire.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
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
	fd, err := unix.Openat2(root, path, &how)
	if err != nil {
		return outcome("open", err)
	}
	defer unix.Close(fd)
	if then == nil {
		return wire.Verdict{}
	}
	return then(fd)
}

func mapExec(fd int) wire.Verdict {
	mem, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err == nil {
		err = unix.Munmap(mem)
	}
	return outcome("mmap", err)
}

// execute starts a program traced: the kernel stops it after execve, when all
// appraisal is over and no instruction of it has run, and there it is killed.
func execute(path string) wire.Verdict {
	runtime.LockOSThread() // ptrace knows the thread, not the process
	defer runtime.UnlockOSThread()
	pid, err := syscall.ForkExec(path, []string{path}, &syscall.ProcAttr{
		Dir: "/",
		Sys: &syscall.SysProcAttr{Chroot: wire.Root, Ptrace: true},
	})
	if err != nil {
		return outcome("exec", err)
	}
	var status syscall.WaitStatus
	for range 2 { // stopped, then killed
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
			return outcome("wait", err)
		}
		if !status.Stopped() {
			break
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return outcome("kill", err)
		}
	}
	if !status.Signaled() || status.Signal() != syscall.SIGKILL {
		return wire.Verdict{Errno: fmt.Sprintf("status %#x", int(status)), Step: "exec"}
	}
	return wire.Verdict{}
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
