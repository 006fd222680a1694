package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"imaseal/internal/cmdline"
	"imaseal/internal/host"
	"imaseal/internal/inode"
	"imaseal/internal/keyring"
	"imaseal/internal/plan"
	"imaseal/internal/relabel"
	"imaseal/internal/report"
	"imaseal/internal/target"
	"imaseal/internal/undo"
	"imaseal/keys"
	"imaseal/keys/evmkey"
	"imaseal/keys/keyfile"
	"imaseal/walk"
)

// An advisedError carries its own advice, which may be none: what a general
// hint would say of its cause is beside the point.
type advisedError struct {
	err    error
	advice string
}

func (e *advisedError) Error() string { return e.err.Error() }
func (e *advisedError) Unwrap() error { return e.err }

// hint returns what the user can do about an error, or nothing.
func hint(err error) string {
	var usage *cmdline.UsageError
	var advised *advisedError
	var privilege *host.PrivilegeError
	var demand *relabel.DemandError
	switch {
	case errors.As(err, &usage):
		return usage.Advice
	case errors.As(err, &advised):
		return advised.advice
	case errors.As(err, &demand):
		return demand.Advice
	case is[*relabel.ImmutableError](err):
		return "--immutable lift lifts the flag, writes the label and puts the flag back"
	case errors.As(err, &privilege) && privilege.Namespaced:
		return "run as root outside containers and user namespaces, or label the image from there; --namespace user is for tests"
	case errors.As(err, &privilege):
		return "run as root; --namespace user is for tests without privilege"
	case is[*walk.ChangedTypeError](err), errors.Is(err, walk.ErrMoved):
		return "somebody is changing the tree; run the same command again"
	case errors.Is(err, relabel.ErrChanging):
		return "stop what writes to the file, and run the same command again"
	case errors.Is(err, relabel.ErrUnknownLabel):
		return "look at it with imaseal show; --force replaces it"
	case errors.Is(err, relabel.ErrBrokenSignature):
		return "look at it with imaseal show; --replace-signatures replaces it by a hash"
	case errors.Is(err, relabel.ErrForeignSigFile):
		return "move that file away, or replace it with --force"
	case is[*relabel.SpaceError](err):
		return "free some space, make the file system larger, or sign fewer files with --rules"
	case is[*relabel.ReportError](err):
		return "" // what helps files does not help the report
	case is[*undo.LineError](err):
		return "the log was changed or damaged; what its other lines tell is undone"
	case is[*relabel.BlockError](err):
		return "a P-256 or RSA-2048 key makes shorter signatures; or make the file system with larger blocks (mkfs.ext4 -b 4096)"
	case errors.Is(err, errReadOnly), errors.Is(err, unix.EROFS):
		return "mount it read-write (mount -o remount,rw), or use --dry-run"
	case errors.Is(err, errNoXattr), errors.Is(err, unix.EOPNOTSUPP):
		return "ext4, xfs, btrfs and f2fs hold security.* attributes; vfat and iso9660 do not"
	}
	if advice, ok := keyHint(err); ok {
		return advice
	}
	if advice, ok := evmHint(err); ok {
		return advice
	}
	if advice, ok := policyHint(err); ok {
		return advice
	}
	return errnoHint(err)
}

// keyHint is hint for errors about keys, certificates and keyrings.
func keyHint(err error) (string, bool) {
	var passphrase *keyfile.PassphraseError
	var kernel *keyring.Error
	switch {
	case is[*existsError](err):
		return "name another file, or overwrite with --force", true
	case errors.Is(err, errNoPassphrase), errors.As(err, &passphrase) && !passphrase.Wrong:
		return "--passphrase-file FILE, IMASEAL_KEY_PASSPHRASE in the environment, or a terminal to ask on", true
	case errors.As(err, &passphrase):
		return "the first line of --passphrase-file counts, else IMASEAL_KEY_PASSPHRASE, else EVMCTL_KEY_PASSWORD, else what is typed", true
	case is[*keyfile.UnsupportedError](err):
		return "imaseal keys generate makes a key that kernels take", true
	case is[*keys.MismatchError](err):
		return "imaseal keys id tells which certificate belongs to which key; imaseal keys cert makes one for a key", true
	case errors.As(err, &kernel) && kernel.Adding && errors.Is(err, unix.ENOKEY):
		return "imaseal keys cert --ca CA --ca-key KEY issues a certificate; its CA must be in a keyring that the kernel trusts", true
	case errors.As(err, &kernel) && os.Geteuid() != 0:
		return "run as root", true
	case errors.As(err, &kernel):
		return "", true // says itself what the error number means
	}
	return "", false
}

// evmHint is hint for errors about EVM labels, their keys and their target.
func evmHint(err error) (string, bool) {
	var trusted *evmkey.TrustedMasterError
	switch {
	case errors.Is(err, errHMACRefused):
		return "before the EVM key is loaded, echo 4 >/sys/kernel/security/evm allows it; or label the file system from a kernel without EVM, or let this one make them (evm=fix)", true
	case errors.Is(err, inode.ErrNoUUID):
		return "--evm-uuid UUID tells the UUID that the file system has on the target; --evm portable needs none", true
	case errors.Is(err, unix.ENOTTY):
		return "HMACs and inode-bound signatures need a file system that numbers the generations of its inodes, as ext4, xfs, btrfs and f2fs do; --evm portable does not", true
	case errors.Is(err, evmkey.ErrMaster):
		return "give the file that was loaded as master key, byte by byte", true
	case errors.As(err, &trusted):
		return "keep the plain key, and load it on that machine: keyctl add encrypted evm-key \"new " + trusted.Master + " 32 HEX\" @u", true
	case errors.Is(err, target.ErrNoEVM), errors.Is(err, host.ErrNoConfig):
		return "distributions have it as /boot/config-RELEASE, a running kernel perhaps as /proc/config.gz", true
	case is[*plan.RuleError](err):
		return "a line is sign, hash or skip, and a pattern or one of @executable, @module, @firmware and @any", true
	}
	return "", false
}

// policyHint is hint for errors about the policy of the running kernel.
func policyHint(err error) (string, bool) {
	switch {
	case errors.Is(err, host.ErrPolicyNotRoot):
		return "run as root", true
	case errors.Is(err, host.ErrPolicyHidden):
		return "it needs CONFIG_IMA_READ_POLICY; name the file that was loaded (/etc/ima/ima-policy), or what ima_policy= has on the kernel's command line", true
	case errors.Is(err, host.ErrNoIMA):
		return "mount -t securityfs securityfs /sys/kernel/security, if the kernel has IMA", true
	}
	return "", false
}

func errnoHint(err error) string {
	root := os.Geteuid() == 0
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "free some space, then run the same command again; if there is some: ext4 holds all attributes of a file in one block"
	case errors.Is(err, unix.EMFILE):
		return "raise the limit of open files (ulimit -n), or name the files in a list: --files-from"
	case errors.Is(err, walk.ErrNotListed):
		return "make the list anew, or leave the name out"
	case errors.Is(err, unix.EACCES) && root:
		return "under enforcement the kernel refuses to open files whose labels are wrong: boot with ima_appraise=fix or log, or label the file system from another host"
	case errors.Is(err, unix.EPERM) && root:
		return "EVM or a security module may refuse it, see the kernel log"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return "run as root"
	}
	return ""
}

// printable prints an error in one line, its path quoted where it has to be.
func printable(err error) string {
	if p, ok := err.(*fs.PathError); ok {
		return fmt.Sprintf("%s: %v", report.Quote(p.Path), p.Err)
	}
	return printableText(err.Error())
}

// printableText makes one line of a text that may hold what users typed.
func printableText(s string) string {
	var b strings.Builder
	for _, r := range strings.ReplaceAll(s, "\n", "; ") {
		if !unicode.IsPrint(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// pathless drops from an error the name of a file that is not the user's
// matter, such as /dev/stdout.
func pathless(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
