package command

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"imaseal/internal/host"
	"imaseal/internal/relabel"
	"imaseal/internal/report"
	"imaseal/walk"
)

// unixStat is what os.FileInfo.Sys holds.
type unixStat = syscall.Stat_t

// hint returns what the user can do about an error, or nothing.
func hint(err error) string {
	var usage *usageError
	var immutable *relabel.ImmutableError
	var privilege *host.PrivilegeError
	var changed *walk.ChangedTypeError
	switch {
	case errors.As(err, &usage):
		return usage.advice
	case errors.As(err, &immutable):
		return "--immutable lift lifts the flag, writes the label and puts the flag back"
	case errors.As(err, &privilege) && privilege.Namespaced:
		return "run as root outside containers and user namespaces, or label the image from there; --namespace user is for tests"
	case errors.As(err, &privilege):
		return "run as root; --namespace user is for tests without privilege"
	case errors.As(err, &changed):
		return "somebody is changing the tree; run the same command again"
	case errors.Is(err, relabel.ErrChanging):
		return "stop what writes to the file, and run the same command again"
	case errors.Is(err, relabel.ErrUnknownLabel):
		return "look at it with imaseal show; --force replaces it"
	case errors.Is(err, relabel.ErrBrokenSignature):
		return "look at it with imaseal show; --replace-signatures replaces it by a hash"
	case errors.Is(err, errHMACRefused):
		return "before the EVM key is loaded, echo 4 >/sys/kernel/security/evm allows it; or label the file system from a kernel without EVM, or let this one make them (evm=fix)"
	case errors.Is(err, errReadOnly), errors.Is(err, unix.EROFS):
		return "mount it read-write (mount -o remount,rw), or use --dry-run"
	case errors.Is(err, errNoXattr), errors.Is(err, unix.EOPNOTSUPP):
		return "ext4, xfs, btrfs and f2fs hold security.* attributes; vfat and iso9660 do not"
	}
	return errnoHint(err)
}

func errnoHint(err error) string {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "free some space, then run the same command again"
	case errors.Is(err, walk.ErrNotListed):
		return "make the list anew, or leave the name out"
	case errors.Is(err, fs.ErrExist):
		return "an undo log is never overwritten: name another file, or move that one away"
	case errors.Is(err, unix.EACCES):
		return "run as root; under enforcement the kernel itself refuses to open files whose labels are wrong"
	case errors.Is(err, unix.EPERM):
		return "run as root; EVM or a security module may refuse it too, see the kernel log"
	}
	return ""
}

// printable prints an error with the path in it, if any, quoted where it has
// to be.
func printable(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) && err == error(p) {
		return fmt.Sprintf("%s: %v", report.Quote(p.Path), p.Err)
	}
	return strings.ReplaceAll(err.Error(), "\n", ": ")
}
