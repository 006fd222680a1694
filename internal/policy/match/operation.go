package match

import (
	"slices"

	"imaseal/internal/policy"
)

// An Operation is something that is done with a file.
type Operation string

// The operations, as reports name them. Reading is what an open with O_RDONLY
// allows, directly with O_DIRECT; writing stands for opens with O_WRONLY and
// O_RDWR, with O_APPEND or not.
const (
	Read            Operation = "read"
	DirectRead      Operation = "direct-read" // past the page cache, as databases and dd iflag=direct do
	Write           Operation = "write"
	Exec            Operation = "exec"
	Script          Operation = "script"      // run by its interpreter
	Interpreter     Operation = "interpreter" // the dynamic loader of a program
	Map             Operation = "mmap"        // a shared library
	Module          Operation = "module"
	Firmware        Operation = "firmware"
	KexecKernel     Operation = "kexec-kernel"
	KexecInitramfs  Operation = "kexec-initramfs"
	LoadPolicy      Operation = "policy"
	LoadCertificate Operation = "certificate" // x509_ima.der and x509_evm.der at boot
)

// Operations returns all of them.
func Operations() []Operation {
	return []Operation{Read, DirectRead, Write, Exec, Script, Interpreter, Map, Module, Firmware,
		KexecKernel, KexecInitramfs, LoadPolicy, LoadCertificate}
}

// Accesses returns what the kernel asks its policy for the operation, in
// order. The operation is denied if one of them is; of Write they are
// different ways to open, each of which may be denied.
//
// Files that the kernel opens itself pass FILE_CHECK as all opens do
// (do_open(), fs/namei.c), with the credentials of a kernel task or of the
// caller.
func (o Operation) Accesses(k policy.Kernel) []Access {
	open := Access{policy.FileCheck, policy.MayRead}
	exec := Access{policy.FileCheck, policy.MayExec}
	bprm := Access{policy.BprmCheck, policy.MayExec}
	creds := Access{policy.CredsCheck, policy.MayExec}
	mmap := []Access{{policy.MmapCheckReqprot, policy.MayExec}, {policy.MmapCheck, policy.MayExec}}
	if !k.AtLeast(6, 12) {
		mmap = mmap[1:] // there MMAP_CHECK looks at what was requested
	}
	switch o {
	case Read, DirectRead, LoadCertificate:
		return []Access{open}
	case Write:
		const w, r, a = policy.MayWrite, policy.MayRead, policy.MayAppend
		return []Access{{policy.FileCheck, w}, {policy.FileCheck, r | w}, {policy.FileCheck, w | a}, {policy.FileCheck, r | w | a}}
	case Exec:
		return slices.Concat([]Access{exec, bprm, creds}, mmap)
	case Script:
		if k.AtLeast(7, 2) {
			return []Access{exec, bprm}
		}
		return []Access{exec, bprm, creds}
	case Interpreter:
		return slices.Concat([]Access{exec}, mmap)
	case Map:
		return slices.Concat([]Access{open}, mmap)
	case Module:
		return []Access{open, {policy.ModuleCheck, policy.MayRead}}
	case Firmware:
		return []Access{open, {policy.FirmwareCheck, policy.MayRead}}
	case KexecKernel:
		return []Access{open, {policy.KexecKernelCheck, policy.MayRead}}
	case KexecInitramfs:
		return []Access{open, {policy.KexecInitramfsCheck, policy.MayRead}}
	case LoadPolicy:
		return []Access{open, {policy.PolicyCheck, policy.MayRead}}
	}
	return nil
}

// Task returns the task that the kernel asks about at an access, if s does the
// operation with a file of the given mode. Set-id bits count when a program's
// segments are mapped, and since 7.2 at CREDS_CHECK; before, that is asked
// before they are looked at. CREDS_CHECK then has the new ids, and still the
// capabilities of who executes. Kernel: bprm_fill_uid() and begin_new_exec(),
// fs/exec.c; cap_bprm_creds_from_file(), security/commoncap.c; ima_creds_check()
// and ima_match_rules(), which asks for the capabilities of current,
// security/integrity/ima. That the mount may have nosuid is not considered.
func (o Operation) Task(k policy.Kernel, a Access, s Subject, f File, mode uint32) Subject {
	const setuid, setgid, groupExec = 0o4000, 0o2000, 0o010
	isMapped := a.Hook == policy.MmapCheck || a.Hook == policy.MmapCheckReqprot
	if o != Exec || !isMapped && !(a.Hook == policy.CredsCheck && k.AtLeast(7, 2)) {
		return s
	}
	if mode&setgid != 0 && mode&groupExec != 0 {
		s.EGID = f.Group
	}
	if mode&setuid != 0 {
		s.EUID = f.Owner
	}
	s.SUID, s.SGID = s.EUID, s.EGID
	if mode&setuid == 0 || !isMapped {
		return s
	}
	// Root that becomes another user loses its capabilities, others gain them
	// by becoming root; those in security.capability are not considered.
	capable := policy.Unknown
	if f.Owner.Known {
		capable = policy.Of(f.Owner.Value == 0)
	}
	s.SetUID, s.SetGID = capable, capable
	return s
}
