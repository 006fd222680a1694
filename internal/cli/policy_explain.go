package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"imaseal/internal/plan"
	"imaseal/internal/policy/explain"
	"imaseal/internal/policy/inspect"
	"imaseal/internal/policy/match"
	"imaseal/internal/report"
	"imaseal/internal/target"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
	"imaseal/walk"
)

// policyExplainOptions are the options of imaseal policy explain.
type policyExplainOptions struct {
	policy policyOptions
	use    useOptions
	view   viewOptions
	kernel kernelOptions
	json   bool
}

func (o *policyExplainOptions) flags() []urfave.Flag {
	uuid := o.view.uuidFlag(policyCategory, "`UUID` that the file system will have, if it is another than now")
	return slices.Concat(o.policy.flags(), o.use.flags("who does it:"), []urfave.Flag{uuid}, o.kernel.flags(), []urfave.Flag{o.kernel.secureBootFlag(),
		jsonFlag(&o.json, "print one JSON object per file, then a summary object")})
}

// A policyExplainRequest is what policy explain is asked for.
type policyExplainRequest struct {
	files  []string
	policy policyRequest
	use    use
	target target.Options
	json   bool
}

func (o *policyExplainOptions) plan(files []string) (policyExplainRequest, error) {
	r := policyExplainRequest{files: files, json: o.json, policy: policyRequest{name: o.policy.name(), targetFS: o.policy.targetFS}}
	if len(files) == 0 {
		return r, conflict("no FILE is given", "name one or more files")
	}
	err := readStdinOnce(archivesReading(files)...)
	if err != nil {
		return r, err
	}
	if r.use, err = o.use.plan(); err != nil {
		return r, err
	}
	if err := firstError(o.policy.check(), o.policy.checkUUID(o.view.uuid)); err != nil {
		return r, err
	}
	if err := refuseJudging(plan.Selection{Paths: r.files}); err != nil {
		return r, err
	}
	if r.target, err = o.kernel.plan(); err != nil {
		return r, err
	}
	return r, firstError(o.view.plan(&r.target), r.target.Check())
}

func (p Program) policyExplainCommand() *urfave.Command {
	o := new(policyExplainOptions)
	return &urfave.Command{
		Name:      "explain",
		Usage:     "say which rule takes a file, and why the earlier ones did not",
		ArgsUsage: "FILE...",
		Description: `Asks the policy what the kernel would ask it when something is done with each
FILE, and prints what each rule answers.

   imaseal policy explain /usr/bin/passwd
   imaseal policy explain --policy /etc/ima/ima-policy /mnt/root/etc/shadow
   imaseal policy explain --policy secure_boot --operation module e1000.ko
   imaseal policy explain --target-fs squashfs tar:root.tar`,
		Flags:  o.flags(),
		Action: action(o.plan, p.policyExplain),
	}
}

// An explainer is policy explain with everything opened.
type explainer struct {
	explain.Explainer
	files      *mounted.Tree
	place      inspect.Place
	operations []match.Operation // nil for those that each file seems to be for
}

func (p Program) policyExplain(ctx context.Context, r policyExplainRequest) error {
	t, err := p.openTarget(ctx, r.target, true)
	if err != nil {
		return err
	}
	pol, err := openPolicy(ctx, t, r.policy.name)
	if err != nil {
		return err
	}
	files, err := mounted.Open(nil, mounted.Config{})
	if err != nil {
		return err
	}
	e := explainer{files: files, place: placeOf(r.policy.targetFS, r.target), operations: r.use.operations}
	e.Policy, e.Kernel, e.Subject = pol.Policy, t.Kernel, r.use.subject
	err = p.each(ctx, r.files,
		func(name string) (string, error) {
			f, err := e.open(name)
			if err != nil {
				return "", fmt.Errorf("%s: %w", report.Quote(name), pathless(err))
			}
			defer f.Close()
			return p.explain(&e, name, f, r.json)
		},
		func(f tree.File) (string, error) { return p.explain(&e, f.Name(), f, r.json) })
	if r.json && (err == nil || is[*verdictError](err)) {
		err = cmp.Or(p.printSummary(shownSummary{Command: "policy explain"}), err)
	}
	return err
}

// explain explains what is done with a file.
func (p Program) explain(e *explainer, name string, f tree.File, asJSON bool) (string, error) {
	explained, err := e.file(name, f)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", report.Quote(name), pathless(err))
	case asJSON:
		return jsonLine(e.shown(explained))
	}
	return p.fit(e.text(explained)), nil
}

// open opens a file by its path.
func (e *explainer) open(name string) (tree.File, error) {
	f, err := e.files.OpenPath(name)
	if _, odd := errors.AsType[*walk.NotAFileError](err); odd || errors.Is(err, unix.EISDIR) {
		return nil, errNotRegular
	}
	return f, err
}

// An explained is a file, and what is done with it.
type explained struct {
	name  string
	facts match.File
	mode  uint32
	uses  []match.Operation
}

// file looks at a file.
func (e *explainer) file(name string, f tree.File) (explained, error) {
	x := explained{name: name, mode: f.Meta().Mode, uses: e.operations}
	var err error
	if x.facts, err = e.place.Facts(f); err == nil && x.uses == nil {
		x.uses, err = inspect.Uses(f)
	}
	return x, err
}

// text explains for people.
func (e *explainer) text(x explained) string {
	text := fmt.Sprintf("%s: %s\n", report.Quote(x.name), explain.File(x.facts))
	for _, o := range x.uses {
		text += e.Operation(o, x.facts, x.mode)
	}
	return text
}

var errNotRegular = &advisedError{err: errors.New("not a regular file, and of others nothing is appraised"), code: "not-regular", advice: "name files, or for a directory imaseal check DIR, which asks the policy for each file below it"}
