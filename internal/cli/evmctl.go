package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/evmctl"
	"imaseal/internal/imaevm"
	"imaseal/internal/inode"
	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/run"
	"imaseal/internal/target"
	"imaseal/internal/tree"
)

// evmctlName is the name by which the program takes evmctl's command lines.
const evmctlName = "evmctl"

// evmctlCommand explains what p.evmctl does, which reads its arguments itself.
func (p Program) evmctlCommand() *urfave.Command {
	return &urfave.Command{
		Name:      evmctlName,
		Usage:     "take the command lines of evmctl",
		UsageText: "COMMAND [OPTIONS]",
		ArgsUsage: "FILE...",
		Description: `Takes the place of evmctl (ima-evm-utils) in scripts: the same commands and
options, labels in hexadecimal on standard output, the same exit statuses. A
link of the name evmctl to imaseal does the same:

   ln -s imaseal /usr/local/bin/evmctl
   evmctl ima_sign --key signing.key /usr/bin/program
   imaseal evmctl sign -r --imasig --portable --key signing.key /mnt/root

imaseal evmctl --help lists commands and options.`,
	}
}

// IsEvmctl reports whether a program of the name is asked for evmctl's command lines.
func IsEvmctl(name string) bool { return filepath.Base(name) == evmctlName }

// evmctl carries out a command line of evmctl, and returns the exit status.
func (p Program) evmctl(ctx context.Context, args []string) int {
	r, err := evmctl.Parse(args)
	p.mute = r.Verbose == 0
	status := evmctl.StatusOK
	if err == nil {
		status, err = p.evmctlDo(ctx, r)
	}
	return p.evmctlExit(status, err)
}

// evmctlExit says what went wrong, in a line that begins with the program's name.
func (p Program) evmctlExit(status int, err error) int {
	if err == nil {
		return status
	}
	switch {
	case is[*verdictError](err):
		return status
	case is[*InterruptedError](err):
		return exitInterrupted
	case errors.Is(err, errUnread):
		return exitUnread
	}
	if wrong, ok := errors.AsType[*evmctl.CommandError](err); ok {
		fmt.Fprint(p.Stderr, wrong.Message)
		p.print(wrong.Usage)
		return evmctl.StatusError
	}
	status = evmctl.StatusError
	if failed, ok := errors.AsType[*evmctl.FailedError](err); ok {
		status, err = evmctl.StatusFailed, failed.Err
	} else if is[*evmctl.UsageError](err) {
		status = evmctl.StatusFailed
	}
	fmt.Fprintf(p.Stderr, "%s: %s\n", evmctlName, printable(err))
	return status
}

// evmctlDo carries out a request. The error of a run that was finished is a
// *verdictError, and the status says what came of it.
func (p Program) evmctlDo(ctx context.Context, r evmctl.Request) (int, error) {
	switch {
	case r.Version && r.Verbose > 0:
		return 0, p.print(fmt.Sprintf("evmctl %s\nimaseal %s\n", evmctl.Version, versionText()))
	case r.Version: // one line, which scripts take apart
		return 0, p.print(fmt.Sprintf("evmctl %s\n", evmctl.Version))
	case r.Help, r.Command == "":
		return 0, p.print(evmctl.Usage())
	case r.Command == evmctl.Help:
		text, err := evmctl.HelpOn(r.Paths)
		if err != nil {
			return 0, err
		}
		return 0, p.print(text)
	}
	if err := p.checkPreload(); err != nil {
		return 0, err
	}
	switch r.Command {
	case evmctl.Import:
		return 0, p.evmctlImport(ctx, r)
	case evmctl.Fix:
		return p.evmctlFix(ctx, r)
	case evmctl.Measurement:
		return p.evmctlMeasurement(ctx, r)
	case evmctl.BootAggregate:
		return 0, p.evmctlBootAggregate(ctx, r)
	case evmctl.SignHash:
		return 0, p.evmctlSignHash(ctx, r)
	}
	job, key, err := p.evmctlJob(ctx, r)
	if err != nil {
		return 0, err
	}
	var made evmctlLabels
	o := sessionOptions{
		output: outputOptions{progress: "never"}, handler: &evmctl.Report{Request: r, Out: p.Stdout, Err: p.Stderr, Made: made.take}, writers: run.Allow,
		late: r.SigFile || !r.Recursive, bare: r.SigFile,
		decorate: func(s tree.Sink) tree.Sink { return evmctlSink{s, r.Print && r.SigFile, &made} },
	}
	if key != nil {
		defer key.Close()
		o.inFlight = key.Parallel()
	}
	if r.Command == evmctl.Clear {
		o.writers, o.bare = run.Ignore, true
	}
	s, err := p.prepare(ctx, evmctlPlan(r), o)
	if err != nil {
		return 0, err
	}
	defer s.close()
	err = s.do(ctx, job)
	return o.handler.(*evmctl.Report).Status(), err
}

// checkPreload refuses to run where a library pretends to programs that they are root
// and that files have owners and attributes which they have not: to a static program
// it does not. Labels would be those of other files, or get lost.
func (p Program) checkPreload() error {
	for _, name := range []string{"libpseudo", "libfakeroot"} {
		if strings.Contains(p.getenv("LD_PRELOAD"), name) {
			return fmt.Errorf("%s is preloaded, and imaseal does not see what it pretends: label the archive or image that is made there (doc/images.md)", name)
		}
	}
	return nil
}

// evmctlPlan returns the plan of a request: files of all owners, and of all kinds of
// labels, which are replaced.
func evmctlPlan(r evmctl.Request) plan.Plan {
	request := plan.Plan{
		Command:           r.Command,
		ReadOnly:          r.Command == evmctl.IMAVerify || r.Command == evmctl.Verify,
		Selection:         plan.Selection{CrossFilesystems: !r.SameFilesystem, Itself: !r.Recursive},
		Writing:           plan.Writing{DryRun: r.Print && !r.SigFile, Force: true, Namespace: "security", Lazy: !r.Recursive},
		Algo:              r.Digest,
		ReplaceSignatures: true,
		Jobs:              runtime.GOMAXPROCS(0),
	}
	if r.UserXattrs {
		request.Namespace = "user"
	}
	paths := r.Paths
	if r.Command == evmctl.SetXattr && r.SigFile {
		paths = paths[1:]
	}
	for _, path := range paths {
		request.Paths = append(request.Paths, noCarrier(path))
	}
	return request
}

// noCarrier spells a path so that it names a file, whatever it looks like.
func noCarrier(path string) string {
	s := plan.Selection{Paths: []string{path}}
	if _, ok := s.Carrier(); ok {
		return "./" + path
	}
	return path
}

// evmctlCovers is what EVM covers for evmctl: the attributes that it has in its
// table, whatever the target's kernel was built with, and of those of Smack but one
// only with --smack. Portable signatures cover these, too, as kernels demand.
func (p Program) evmctlCovers(r evmctl.Request) (target.EVM, error) {
	e := target.EVM{Source: "for " + evmctlName, Layout: target.LayoutOf(p.Host.Machine()), Bare: true, CountsUUID: policy.True}
	for _, a := range imaevm.Protected() {
		isExtra := a.Option == "CONFIG_EVM_EXTRA_SMACK_XATTRS"
		e.Attrs = append(e.Attrs, target.Attr{Name: a.Name, Counts: policy.Of(!isExtra || r.Smack)})
	}
	e.Layout.Word32 = r.Word32 || e.Layout.Word32 && !r.Word64
	if r.NoUUID {
		e.CountsUUID = policy.False
	}
	if r.UUID != "" {
		uuid, err := inode.ParseUUID(r.UUID)
		if err != nil {
			return e, err
		}
		e.UUID = &uuid
	}
	e.Instead = target.Instead{Inode: r.Inode, Values: r.Values}
	for _, n := range []struct {
		from *uint64
		to   **uint32
	}{{r.UID, &e.Instead.UID}, {r.GID, &e.Instead.GID}, {r.Mode, &e.Instead.Mode}, {r.Generation, &e.Instead.Generation}} {
		if n.from != nil {
			value := uint32(*n.from)
			*n.to = &value
		}
	}
	e.Adapt = func(f tree.File, kind imaevm.Type, i target.Instead) (target.Instead, error) {
		return evmctlAdapt(r, f, kind, i)
	}
	return e, nil
}

// evmctlAdapt returns what evmctl has labels cover of a file in place of what it has:
// no generation of what is no regular file, but in HMACs; and with --xattr-user the
// file's real security.ima, but in portable signatures.
func evmctlAdapt(r evmctl.Request, f tree.File, kind imaevm.Type, i target.Instead) (target.Instead, error) {
	if i.Generation == nil && kind != imaevm.TypeHMAC && !f.Meta().IsRegular() {
		i.Generation = new(uint32)
	}
	if _, isGiven := i.Values[imaevm.AttrIMA]; !r.UserXattrs || kind == imaevm.TypePortable || isGiven {
		return i, nil
	}
	real, err := tree.Value(innermost(f), imaevm.AttrIMA)
	if i.Values = maps.Clone(i.Values); i.Values == nil {
		i.Values = make(map[string][]byte)
	}
	i.Values[imaevm.AttrIMA] = real
	return i, err
}

// innermost returns the file that others are decorators of.
func innermost(f tree.File) tree.File {
	for {
		inner, ok := f.(interface{ Unwrap() tree.File })
		if !ok {
			return f
		}
		f = inner.Unwrap()
	}
}

// evmctlKeyFile returns the private key that the request names, or evmctl's own, and
// its passphrase or PIN, nil for none. The URI of a public key in a token stands for
// the private one, and may hold the PIN, as OpenSSL's engine has it.
func evmctlKeyFile(r evmctl.Request) (ref string, secret *string) {
	ref = cmp.Or(r.Key, "/etc/keys/privkey_evm.pem")
	if !strings.HasPrefix(ref, "pkcs11:") {
		return ref, r.Pass
	}
	path, query, _ := strings.Cut(ref, "?")
	ref, secret = strings.Replace(path, "type=public", "type=private", 1), r.Pass
	var rest []string
	for part := range strings.SplitSeq(query, "&") {
		pin, isPIN := strings.CutPrefix(part, "pin-value=")
		if plain, err := url.PathUnescape(pin); isPIN && err == nil {
			secret = &plain
		} else if part != "" {
			rest = append(rest, part)
		}
	}
	if rest != nil {
		ref += "?" + strings.Join(rest, "&")
	}
	return ref, secret
}

// evmctlKeyFiles returns what public keys the request names.
func evmctlKeyFiles(r evmctl.Request) []string {
	switch {
	case r.Key != "":
		return strings.FieldsFunc(r.Key, func(c rune) bool { return strings.ContainsRune(", \t", c) })
	case r.RSA:
		return []string{"/etc/keys/pubkey_evm.pem"}
	}
	return []string{"/etc/keys/x509_evm.der"}
}
