package cli

import (
	"context"
	"errors"
	"os"
	"slices"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"imaseal/internal/apply"
	"imaseal/internal/cmdline"
	"imaseal/internal/host"
	"imaseal/internal/label"
	"imaseal/internal/labelfile"
	"imaseal/internal/plan"
	"imaseal/internal/run"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
)

// applyOptions are the options of imaseal apply.
type applyOptions struct {
	files       selectionOptions
	keys, trust []string
	partial     bool
	rewrite     rewriteOptions
	writers     bool
	writing     writingOptions
	output      outputOptions
}

func (o *applyOptions) flags() []urfave.Flag {
	own := []urfave.Flag{
		&urfave.StringSliceFlag{Name: "key", Action: into(&o.keys), Category: labels, Usage: "certificates or public keys that each signature in LABELS must be verified by: a `FILE`, or a directory of them"},
		trustFlag(&o.trust),
		&urfave.BoolFlag{Name: "partial", Destination: &o.partial, Category: labels, Usage: "LABELS may be a part of what was written, and of more files than there are"},
	}
	return slices.Concat(o.files.flags(), own, o.rewrite.flags("that LABELS has, and those that --trust verifies"), []urfave.Flag{writersFlag(&o.writers)}, o.writing.flags(), o.output.flags())
}

// An applyRequest is what apply is asked for.
type applyRequest struct {
	plan.Plan
	labels       string // the file, "-" for standard input
	system       string // whose RPM database has the labels, by its root; "" for a file
	keys, trust  []string
	partial      bool
	allowWriters bool
	output       outputOptions
}

func (o *applyOptions) plan(args []string) (applyRequest, error) {
	r := applyRequest{keys: o.keys, trust: o.trust, partial: o.partial, allowWriters: o.writers, output: o.output}
	if len(args) == 0 || args[0] == "" {
		return r, &cmdline.UsageError{Err: errors.New("apply takes LABELS and PATHs"), Advice: "LABELS is the file that --labels-to wrote, - is standard input, rpmdb:DIR the RPM database of the system in DIR"}
	}
	r.labels = args[0]
	w, err := o.writing.plan()
	if err := firstError(err, o.output.check()); err != nil {
		return r, err
	}
	w.Force = o.rewrite.force
	r.Plan, err = plan.Plan{
		Command: "apply", Selection: o.files.plan(args[1:], nil), Writing: w, ReplaceSignatures: o.rewrite.signatures, Jobs: o.output.jobs,
	}.Validate()
	if err != nil {
		return r, err
	}
	return r, firstError(
		r.fromRPM(), readStdinOnce(append(archivesReading(r.Paths), reading("files-from", r.FilesFrom), given{"LABELS", r.labels == "-"})...),
		refuseForArchive(r.Selection, given{"allow-writers", o.writers}), checkArchiveOutput(r.Plan, o.output))
}

// isNarrowed reports whether the request leaves out files that there may be labels
// for.
func (r *applyRequest) isNarrowed() bool {
	return r.partial || len(r.Include) > 0 || len(r.Exclude) > 0 || r.FilesFrom != "" || r.Shard.Divides()
}

func (p Program) applyCommand() *urfave.Command {
	o := &applyOptions{files: p.files()}
	return &urfave.Command{
		Name:      "apply",
		Usage:     "write labels from a file of labels",
		ArgsUsage: "LABELS PATH...",
		Description: `Writes the labels in LABELS to the files below each PATH that they were made
for: of the same path, with the same content and, where there is an EVM label,
the same owner, mode and attributes. Needs no private key. A file that is another
by now fails, and so does a label without a file.

Labels that somebody made who may not write them:
   imaseal sign --key signing.key --evm portable --as 0:0 \
      --labels-to tree.labels tree
   imaseal apply tree.labels /mnt/root

Only those by a key that is known; what would be done:
   imaseal apply -nv --key signing.der tree.labels /mnt/root

The signatures of vendors that an RPM database has, for files that are still as
they were installed; then labels for the rest:
   imaseal apply rpmdb:/mnt/root --trust vendor.der /mnt/root
   imaseal relabel --trust vendor.der /mnt/root

Into an archive, and the files of one package:
   imaseal apply tree.labels tar:root.tar --output labelled.tar
   rpm -ql coreutils | imaseal apply tree.labels --files-from - \
      --root /mnt/root`,
		Flags:  o.flags(),
		Action: action(o.plan, p.apply),
	}
}

func (p Program) apply(ctx context.Context, r applyRequest) error {
	a := &apply.Applier{Force: r.Force, ReplaceSignatures: r.ReplaceSignatures, Stale: p.staleEVM(r.Plan)}
	if len(r.keys) > 0 {
		known, err := p.openVerifiers(ctx, r.keys)
		if err != nil {
			return err
		}
		a.Keys = known
	}
	if len(r.trust) > 0 {
		known, err := p.openVerifiers(ctx, r.trust)
		if err != nil {
			return err
		}
		a.Trust = known
	}
	file, err := p.openLabels(ctx, r, a)
	if err != nil {
		return err
	}
	defer file.Close()
	if a.Index, err = labelfile.NewIndex(ctx, file, r.partial); err != nil {
		return &labelsError{name: r.labels, err: err}
	}
	if _, ok := r.Carrier(); !ok && a.Index.HasHMAC && p.Host.HMACRefused() && r.Writes() && r.Namespace == "security" {
		return errHMACRefused
	}
	return p.runApplier(ctx, r, a)
}

func (p Program) runApplier(ctx context.Context, r applyRequest, a *apply.Applier) error {
	o := sessionOptions{output: r.output, leave: a.Leave, packages: packageOptions{payloads: true}}
	if r.allowWriters {
		o.writers = run.Allow
	}
	s, err := p.prepare(ctx, r.Plan, o)
	if err != nil {
		return err
	}
	defer s.close()
	if a.Index.Len() > 0 {
		largest := tree.Labels{IMA: a.Index.LargestIMA, EVM: a.Index.LargestEVM}
		if err := s.checkSpace(ctx, largest, a.Sizes); err != nil {
			return err
		}
	}
	if !r.isNarrowed() {
		s.source = a.Missing(s.source)
	}
	return s.do(ctx, a)
}

// staleEVM says what becomes of files that have an EVM label and get no new one.
func (p Program) staleEVM(r plan.Plan) label.Stale {
	if _, ok := r.Carrier(); ok || r.Exports() {
		return label.RefuseStale
	}
	state, _ := p.Host.EVM()
	if state&host.EVMHMAC != 0 && r.Namespace == "security" {
		return label.RenewedByKernel
	}
	return label.RefuseStale
}

// openAgain opens what is read more than once: a file, or a copy of what comes
// through a pipe.
func (p Program) openAgain(ctx context.Context, name, tempDir string) (*os.File, error) {
	in := p.Stdin
	if name != "-" {
		// O_NONBLOCK, so that one can wait for the writer of a fifo and still be
		// interrupted.
		f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err != nil || info.Mode().IsRegular() {
			return f, err
		}
		defer f.Close()
		in = f
	}
	if f, ok := in.(*os.File); ok {
		in = stream.NewReader(ctx, f)
	}
	copied, err := stream.Spool(in, tempDir)
	if err != nil && !is[*stream.SpoolError](err) && ctx.Err() == nil {
		err = &labelsError{name: name, err: pathless(err)}
	}
	return copied, err
}

// A labelsError says what is wrong with a file of labels or requests.
type labelsError struct {
	name string
	err  error
}

func (e *labelsError) Error() string {
	if e.name == "-" {
		return "standard input: " + e.err.Error()
	}
	return e.name + ": " + e.err.Error()
}
func (e *labelsError) Unwrap() error { return e.err }
