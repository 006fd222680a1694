// Package advice knows what users can do about errors, and the codes of errors.
// Errors are known by type and value, never by a piece of their text; codes are
// stable, and programs go by them.
package advice

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"imaseal/internal/host"
	"imaseal/internal/inode"
	"imaseal/internal/integrate"
	"imaseal/internal/keyring"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/run"
	"imaseal/internal/selinux"
	"imaseal/internal/target"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/undo"
	"imaseal/keys"
	"imaseal/keys/evmkey"
	"imaseal/keys/keyfile"
	"imaseal/keys/pkcs11"
	"imaseal/keys/program"
	"imaseal/walk"
)

// Of returns the code of an error, and what the user can do about it in a line.
// Either is empty if there is none.
func Of(err error) (reason.Code, string) {
	for _, find := range []func(error) (reason.Code, string){ofFile, ofTree, ofLabels, ofPackage, ofImage, ofArchive, ofExt4, ofKey, ofEVM, ofPolicy, ofMeasurements, ofKeylime, ofSystem} {
		if code, text := find(err); code != "" {
			return code, text
		}
	}
	return "", ""
}

// OfCode returns what the user can do about a verdict with the code, or nothing.
func OfCode(c reason.Code) string {
	switch c {
	case reason.NoKey:
		return "--key FILE, or a directory, names the certificates or public keys to check signatures with"
	case reason.UnknownKey:
		return "--key FILE names further certificates; imaseal keys id FILE tells which ids they have"
	case reason.OtherContent:
		return "what runs may still be the old content: restart what uses it; if it should not have changed, find out who changed it"
	case reason.MeasuredUnlabelled:
		return "imaseal relabel PATH labels what a policy appraises"
	case reason.OtherMeasured:
		return "imaseal verify FILE says whether the label fits the content; imaseal relabel PATH mends it"
	case reason.NoHMACKey:
		return "--evm-key FILE names the HMAC key"
	}
	return ""
}

// is reports whether err wraps an error of type E.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// ofFile is about files that cannot be labelled as they are.
func ofFile(err error) (reason.Code, string) {
	if demand, ok := errors.AsType[*label.DemandError](err); ok {
		return demand.Code, demand.Advice
	}
	switch {
	case is[*mounted.ImmutableError](err):
		return "immutable", "--immutable lift lifts the flag, writes the label and puts the flag back"
	case errors.Is(err, run.ErrWriter):
		return reason.OpenForWriting, "stop what has it open (fuser FILE names it) and run the same command again; or --allow-writers labels it as it is now"
	case errors.Is(err, run.ErrChanging):
		return "changing", "stop what writes to the file, and run the same command again"
	case errors.Is(err, label.ErrUnknownLabel):
		return "unknown-label", "look at it with imaseal show FILE; --force replaces it"
	case errors.Is(err, label.ErrBrokenSignature):
		return "broken-signature", "look at it with imaseal show FILE; --replace-signatures replaces it by a hash"
	case errors.Is(err, label.ErrForeignSigFile):
		return "foreign-signature-file", "move that file away, or replace it with --force"
	case errors.Is(err, label.ErrStaleEVM):
		return reason.StaleEVM, "--evm portable, or hmac, makes both labels; --evm none leaves the EVM label as it is, and imaseal clear --label evm FILE removes it"
	case errors.Is(err, target.ErrMapped):
		return "mapped-owners", "make EVM labels through a mount without X-mount.idmap or --map-users, where the files have the owners that they have on the disk"
	case is[*target.NotBoundError](err):
		return "not-bound", "--evm portable makes EVM labels that need no inode"
	}
	return "", ""
}

// ofTree is about trees, lists, logs and reports as a whole.
func ofTree(err error) (reason.Code, string) {
	list, isList := errors.AsType[*mounted.ListError](err)
	broken, isReport := errors.AsType[*run.ReportError](err)
	switch {
	case isReport && !broken.Last:
		return "report", "the run ended there: run the same command again, with -q if nobody reads the report"
	case isReport:
		return "report", "" // what helps files does not help the report
	case isList && list.NeedsNUL:
		return "bad-list", "add -0"
	case isList:
		return "bad-list", ""
	case is[*walk.ChangedTypeError](err), errors.Is(err, walk.ErrMoved):
		return "replaced", "somebody is changing the tree; run the same command again"
	case errors.Is(err, walk.ErrNotListed):
		return "not-listed", "make the list anew, or leave the name out"
	case errors.Is(err, mounted.ErrNoPath):
		return "no-such-path", ""
	case is[*integrate.ChangedError](err):
		return "changed-files", "move it away, or remove it; --print shows what it would be"
	case is[*undo.LineError](err):
		return "damaged-log", "the log was changed or damaged; what its other lines tell is undone"
	case is[*tree.SpaceError](err):
		return reason.NoSpace, "free some space, make the file system larger, or sign fewer files with --rules"
	case is[*tree.BlockError](err):
		return NoRoom, Shorter
	case is[*selinux.OutsideError](err):
		return "outside-root", "--contexts-root names a directory that every PATH lies in"
	case errors.Is(err, selinux.ErrCompiled):
		return "compiled-contexts", "name the file without .bin, which it was made of"
	case is[*selinux.LineError](err):
		return "bad-contexts", "" // says itself where, and what is wrong
	case is[*plan.RuleError](err):
		return "bad-rules", "a line is sign, hash or skip, and a pattern or one of @executable, @module, @firmware and @any"
	}
	return "", ""
}

// ofKey is about keys, certificates and keyrings.
func ofKey(err error) (reason.Code, string) {
	passphrase, isPassphrase := errors.AsType[*keyfile.PassphraseError](err)
	kernel, isKernel := errors.AsType[*keyring.Error](err)
	ring, isRing := errors.AsType[*host.KeyringError](err)
	switch {
	case isRing && ring.Namespaced:
		return reason.NotPermitted, "run as root outside containers and user namespaces"
	case isRing:
		return reason.NotPermitted, Root
	case isPassphrase && !passphrase.Wrong:
		return reason.NeedsPassphrase, Passphrase
	case isPassphrase:
		return "wrong-passphrase", "the first line of --passphrase-file counts, else IMASEAL_KEY_PASSPHRASE, else EVMCTL_KEY_PASSWORD, else what is typed"
	case is[*keyfile.UnsupportedError](err):
		return "unsupported-key", "imaseal keys generate --out PREFIX makes a key that kernels take"
	case is[*keyfile.FormError](err):
		return "damaged-key", "copy the file again, whole and as it is; imaseal keys id FILE shows which keys are in it"
	case is[*pkcs11.PINError](err):
		return "pin", "the first line of pin-source counts, else IMASEAL_PKCS11_PIN, else --passphrase-file, else what is typed"
	case is[*program.MissingError](err):
		return "no-key-program", "imaseal-key(7) says what such a program is; a file of that name is written ./NAME"
	case is[*keys.GivenUpError](err):
		return "key-given-up", "the files after that were not tried: run the same command again when the key works"
	case is[*keys.MismatchError](err):
		return "key-mismatch", "imaseal keys id FILE tells which certificate belongs to which key; imaseal keys cert --key KEY --out PREFIX makes one for a key"
	case isKernel && kernel.Adding && errors.Is(err, unix.ENOKEY):
		return "not-trusted", "imaseal keys cert --key KEY --out PREFIX --ca CA --ca-key CAKEY issues a certificate; its CA must be in a keyring that the kernel trusts"
	case isKernel && os.Geteuid() != 0:
		return "keyring", Root
	case isKernel:
		return "keyring", "" // says itself what the error number means
	}
	return "", ""
}

// Passphrase says where the passphrase of a private key may come from.
const Passphrase = "--passphrase-file FILE, IMASEAL_KEY_PASSPHRASE in the environment (for a token IMASEAL_PKCS11_PIN), or a terminal to ask on"

// ofEVM is about EVM labels, their keys and their target.
func ofEVM(err error) (reason.Code, string) {
	switch {
	case errors.Is(err, inode.ErrNoUUID):
		return "no-uuid", "--evm-uuid UUID tells the UUID that the file system has on the target; --evm portable needs none"
	case errors.Is(err, unix.ENOTTY):
		return "no-generation", "HMACs and inode-bound signatures need a file system that numbers the generations of its inodes, as ext4, xfs, btrfs and f2fs do; --evm portable does not"
	case errors.Is(err, evmkey.ErrMaster):
		return "wrong-master", "give the file that was loaded as master key, byte by byte"
	case is[*evmkey.TrustedMasterError](err):
		return "trusted-master", "a master key of type user needs no machine: --new-master FILE makes one"
	case errors.Is(err, target.ErrNoEVM), errors.Is(err, host.ErrNoConfig):
		return "no-config", "distributions have it as /boot/config-RELEASE, a running kernel perhaps as /proc/config.gz"
	}
	return "", ""
}

// ofPolicy is about the running kernel: its policy, and what it lets one do.
func ofPolicy(err error) (reason.Code, string) {
	privilege, isPrivilege := errors.AsType[*host.PrivilegeError](err)
	switch {
	case isPrivilege && privilege.Namespaced:
		return reason.NotPermitted, "run as root outside containers and user namespaces, or label the image from there; --namespace user is for tests"
	case isPrivilege:
		return reason.NotPermitted, "run as root; --namespace user is for tests without privilege"
	case errors.Is(err, host.ErrPolicyNotRoot):
		return reason.NotPermitted, Root
	case errors.Is(err, host.ErrPolicyHidden):
		return "hidden-policy", "it needs CONFIG_IMA_READ_POLICY; name the file that was loaded (/etc/ima/ima-policy), or what ima_policy= has on the kernel's command line"
	case is[*host.RuleError](err):
		return "refused-rule", "imaseal policy lint FILE says what is wrong with it"
	case errors.Is(err, host.ErrPolicyTaken):
		return "policy-taken", "it keeps the one that it has until the next boot"
	case errors.Is(err, host.ErrPolicySigned):
		return "unsigned-policy", "sign it, as /etc/ima/ima-policy: systemd loads that by its name"
	case errors.Is(err, host.ErrNoEVMFile):
		return "no-evm", "mount -t securityfs securityfs /sys/kernel/security, if the kernel has EVM"
	case errors.Is(err, host.ErrNoIMA):
		return "no-ima", "mount -t securityfs securityfs /sys/kernel/security, if the kernel has IMA; or name what another kernel has, by a file"
	}
	return "", ""
}

// Root is what helps where the kernel lets only root do something.
const Root = "run as root"

// Enforced is what helps where the kernel lets nobody do something.
const Enforced = "under enforcement the kernel refuses to open files whose labels are wrong: boot with ima_appraise=fix or log, or label the file system from another host"

// Words for file systems that cannot be written to, where a tree is or where a file
// would be made, or that hold no attributes.
const (
	ReadOnly     = "mount it read-write (mount -o remount,rw), or use --dry-run"
	ReadOnlyFile = "mount it read-write (mount -o remount,rw), or name a file elsewhere"
	NoAttributes = "ext4, xfs, btrfs and f2fs hold security.* attributes; vfat and iso9660 do not"
)

// ofSystem is about what the system refuses.
func ofSystem(err error) (reason.Code, string) {
	root := os.Geteuid() == 0
	switch {
	case errors.Is(err, unix.EROFS):
		return reason.ReadOnly, ReadOnly
	case errors.Is(err, errors.ErrUnsupported):
		return reason.NoAttributes, NoAttributes
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return reason.NoSpace, "free some space, then run the same command again; if there is some: ext4 holds all attributes of a file in one block"
	case errors.Is(err, unix.EMFILE):
		return "too-many-open-files", "raise the limit of open files (ulimit -n), or name the files in a list: --files-from"
	case errors.Is(err, unix.EACCES) && root:
		return reason.NotPermitted, Enforced
	case errors.Is(err, unix.EPERM) && root:
		return reason.NotPermitted, "EVM or a security module may refuse it, see the kernel log"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return reason.NotPermitted, Root
	case errors.Is(err, unix.EIO):
		return "io-error", ""
	case is[*tree.PartialError](err):
		return "half-done", ""
	}
	return "", ""
}
