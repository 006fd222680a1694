package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/bootset"
	"imaseal/internal/host"
	"imaseal/internal/keyring"
	"imaseal/internal/report"
	"imaseal/internal/target"
	"imaseal/keys/evmkey"
)

// loadOptions are the options of imaseal load.
type loadOptions struct {
	root, copyTo string
	policy       string
	dryRun       bool
	kernel       kernelOptions
}

func (o *loadOptions) flags() []urfave.Flag {
	o.root = "/"
	return append([]urfave.Flag{
		&urfave.StringFlag{Name: "root", Destination: &o.root, Value: "/", Usage: "look for the files below `DIR`"},
		&urfave.StringFlag{Name: "policy", Destination: &o.policy, Usage: "`FILE` of the policy, instead of those below; of a built-in one, which the kernel has by its command line, nothing is loaded"},
		&urfave.StringFlag{Name: "copy-to", Destination: &o.copyTo, Usage: "load nothing: check the files, and copy them below `DIR`, a new directory, for --root there"},
		&urfave.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Destination: &o.dryRun, Usage: "load nothing: check the files and print what would be loaded"},
	}, o.kernel.flags()...)
}

// A loadRequest is what load is asked for. Of the kernel it has what checks are made
// for.
type loadRequest struct {
	root, copyTo string
	policy       string // "" for that which is found
	dryRun       bool
	target       target.Options
}

func (o *loadOptions) plan(args []string) (loadRequest, error) {
	r := loadRequest{root: o.root, copyTo: o.copyTo, policy: o.policy, dryRun: o.dryRun}
	var err error
	r.target, err = o.kernel.plan()
	switch {
	case err != nil:
		return r, err
	case len(args) > 0:
		return r, conflict(fmt.Sprintf("%q is not an option, and there are no paths here", args[0]), "the files are found in the places that --help tells")
	case o.root == "":
		return r, conflict("--root is empty", "a variable of the shell may not be set")
	case o.copyTo != "" && o.dryRun:
		return r, conflict("--copy-to and --dry-run contradict each other", "give one of them")
	case o.copyTo == "" && !o.dryRun && (o.kernel.version != "" || o.kernel.config != ""):
		return r, conflict("the running kernel loads the files, and no other", "--kernel-version and --kernel-config go with --copy-to and --dry-run")
	}
	return r, r.target.Check()
}

func (p Program) loadCommand() *urfave.Command {
	o := new(loadOptions)
	return p.configured(&urfave.Command{
		Name:  "load",
		Usage: "load keys and a policy into the running kernel, and switch EVM on",
		Description: `Loads, in this order, the certificates for IMA and for EVM, EVM's HMAC key, and
the policy, and switches EVM on for what there is of the two kinds of keys: what a
host has to do at boot, before its root file system is used. The initramfs does
it after integrate initramfs-tools or integrate dracut. A step that fails is
told, the others are done, and the exit status is 3.

The files are, if they are there, below --root:
   /etc/keys/x509_ima.der, /etc/keys/ima/*            certificates for IMA
   /etc/keys/x509_evm.der, /etc/keys/evm/*            certificates for EVM
   /etc/keys/evm-trusted.blob, evm-user.blob          EVM's key, encrypted
   /etc/keys/kmk-trusted.blob, kmk-user.blob          the master key for that
   /etc/ima/ima-policy, /etc/sysconfig/ima-policy     the policy
or where /etc/sysconfig/ima, evm and masterkey say (IMAKEYSDIR, IMAPOLICY,
EVMKEY, EVMX509, EVMKEYSDIR, MASTERKEY), as for dracut's module integrity.

What would be loaded, and is it sound?
   imaseal load -n

Keys for it:
   imaseal keys evm-key --out evm.key \
      --new-master /etc/keys/kmk-user.blob --blob /etc/keys/evm-user.blob
   install -D -t /etc/keys/ima signing.der
   install -D -t /etc/keys/evm signing.der`,
		Flags:  o.flags(),
		Action: action(o.plan, p.load),
	}, map[string]configSource{"policy": {names: []string{"policy"}}}, nil)
}

func (p Program) load(ctx context.Context, r loadRequest) error {
	if _, err := os.Stat(r.root); err != nil {
		return err
	}
	set, errs := bootset.Find(r.root)
	switch {
	case r.policy == "":
	case target.IsPolicyFile(r.policy):
		set.Policy = r.policy
	default:
		set.Policy = ""
	}
	l := loader{Program: p, ctx: ctx, set: set, hinted: make(map[string]bool), told: &keeper{w: p.Stdout}}
	l.Stdout = l.told
	for _, err := range errs {
		l.failed(err)
	}
	if set.Empty() && len(errs) == 0 {
		p.warn("nothing-to-load", "nothing to load: no keys in %s, and no policy", report.Quote(filepath.Join(r.root, "etc/keys")))
	}
	t, err := p.openTarget(ctx, r.target, false)
	if err != nil {
		return err
	}
	l.target = t
	if r.copyTo != "" || r.dryRun {
		return l.check(r)
	}
	l.certificates("ima", set.IMA)
	hasEVM := l.certificates("evm", set.EVM)
	hasHMAC := l.try(set.Blob != "", l.evmKey)
	l.try(set.Policy != "", l.policy)
	wanted := evmFor(hasEVM, hasHMAC)
	l.try(wanted != 0, func() error { return l.enableEVM(wanted) })
	return l.outcome()
}

// evmFor is what EVM is switched on for, with a certificate and with the HMAC key.
func evmFor(certificate, hmac bool) (wanted host.EVMState) {
	if certificate {
		wanted |= host.EVMX509
	}
	if hmac {
		wanted |= host.EVMHMAC
	}
	return wanted
}

// A loader does the steps of load, and goes on after one that fails.
type loader struct {
	Program
	ctx    context.Context // that of the whole loading
	set    bootset.Set
	target *target.Target
	fails  int
	hinted map[string]bool
	told   *keeper
}

// A keeper keeps the first error of a writer, and then writes no more: what is
// loaded must not depend on whether anybody reads of it.
type keeper struct {
	w   io.Writer
	err error
}

// Write always succeeds.
func (k *keeper) Write(b []byte) (int, error) {
	if k.err == nil {
		_, k.err = k.w.Write(b)
	}
	return len(b), nil
}

// failed says what went wrong, unless that is an interruption, which is said once.
func (l *loader) failed(err error) {
	if l.ctx.Err() != nil {
		return
	}
	l.fails++
	l.complain(err, l.hinted)
}

// try does a step if it is asked for, and reports whether it was done.
func (l *loader) try(asked bool, step func() error) bool {
	if !asked || l.ctx.Err() != nil {
		return false
	}
	err := step()
	if err != nil {
		l.failed(err)
	}
	return err == nil
}

func (l *loader) outcome() error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	if l.fails > 0 {
		return &verdictError{status: exitFiles}
	}
	return unwritten(l.told.err)
}

// certificates adds those in files to a keyring, and reports whether one was added.
func (l *loader) certificates(ring string, files []string) bool {
	done := false
	for _, name := range files {
		if l.try(true, func() error { return l.importFile(ring, name) }) {
			done = true
		}
	}
	return done
}

func (l *loader) importFile(ring, name string) error {
	found, err := l.openCertificates(l.ctx, name, l.target)
	if err != nil {
		return err
	}
	if err := l.importInto(ring, found); err != nil {
		return fmt.Errorf("%s: %w", report.Quote(name), err)
	}
	return nil
}

// evmKeyName is what EVM calls its key. Kernel: EVMKEY,
// security/integrity/evm/evm_crypto.c.
const evmKeyName = "evm-key"

// evmKey loads the master key, and the key that it encrypts.
func (l *loader) evmKey() error {
	if state, _ := l.Host.EVM(); state&host.EVMHMAC != 0 {
		return l.print("EVM key: the kernel has one already\n")
	}
	if err := l.Host.MayLoadKeys(); err != nil {
		return err
	}
	if l.Host.HMACKeyCrashes(l.target.Kernel) {
		return l.crash()
	}
	blob, master, err := l.openBlob()
	if err != nil {
		return err
	}
	defer clear(master)
	kind, name, _ := strings.Cut(blob.Master, ":")
	if err := keyring.AddToUser(kind, name, master); err != nil {
		return fmt.Errorf("%s: %w", report.Quote(l.set.Master), err)
	}
	if err := keyring.AddToUser("encrypted", evmKeyName, []byte("load "+blob.String())); err != nil {
		return fmt.Errorf("%s: %w", report.Quote(l.set.Blob), err)
	}
	return l.print(fmt.Sprintf("EVM key: %s, by the master key %s\n", report.Quote(l.set.Blob), report.Quote(blob.Master)))
}

// crash says why the HMAC key is not for the running kernel.
func (l *loader) crash() error {
	return &advisedError{
		err:  fmt.Errorf("%s is not loaded: kernel %s dies with such a key when a file is made, if the LSM bpf is on and neither SELinux nor Smack", report.Quote(l.set.Blob), l.target.Kernel),
		code: "crashes-kernel", advice: "a list without bpf on the kernel's command line, such as lsm=landlock,lockdown,yama,integrity,apparmor, or a kernel from 6.6 on",
	}
}

// openBlob reads the blob of EVM's key and what the kernel is given as its master
// key, and tries one with the other where that can be done. The caller clears the
// master key.
func (l *loader) openBlob() (evmkey.Blob, []byte, error) {
	blob, err := awaitFile(l.ctx, l.set.Blob, evmkey.ReadBlob)
	if err != nil {
		return blob, nil, err
	}
	if l.set.Master == "" {
		return blob, nil, &advisedError{err: fmt.Errorf("%s: its master key %s is not there", report.Quote(l.set.Blob), report.Quote(blob.Master)), code: "no-master"}
	}
	if strings.HasPrefix(blob.Master, "trusted:") { // hexadecimal, for the kernel alone
		sealed, err := awaitFile(l.ctx, l.set.Master, readKey)
		return blob, append([]byte("load "), bytes.TrimSpace(sealed)...), err
	}
	master, err := l.readSecret(l.ctx, l.set.Master, evmkey.ReadSecret)
	if err != nil {
		return blob, nil, err
	}
	key, err := blob.Open(master)
	clear(key)
	if err != nil {
		return blob, nil, &fs.PathError{Op: "open", Path: l.set.Blob, Err: err}
	}
	return blob, master, nil
}

func (l *loader) policy() error {
	text, err := awaitFile(l.ctx, l.set.Policy, target.ReadPolicy)
	if err != nil {
		return err
	}
	rules, err := l.Host.LoadPolicy(text)
	if err != nil {
		return &fs.PathError{Op: "load", Path: l.set.Policy, Err: err}
	}
	return l.print(fmt.Sprintf("policy: %s, %d rules\n", report.Quote(l.set.Policy), rules))
}

func (l *loader) enableEVM(wanted host.EVMState) error {
	if err := keyring.WithUser(func() error { return l.Host.EnableEVM(wanted) }); err != nil {
		return fmt.Errorf("switching EVM on: %w", err)
	}
	return l.print(fmt.Sprintf("EVM: on, for %s\n", evmKinds(wanted)))
}

// evmKinds says what EVM is switched on for.
func evmKinds(wanted host.EVMState) string {
	var what []string
	if wanted&host.EVMHMAC != 0 {
		what = append(what, "HMACs")
	}
	if wanted&host.EVMX509 != 0 {
		what = append(what, "signatures")
	}
	return strings.Join(what, " and ")
}
