package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"imaseal/internal/policy/explain"
	"imaseal/internal/policy/inspect"
	"imaseal/internal/policy/match"
	"imaseal/internal/report"
)

func (p Program) policyExplainCommand() *urfave.Command {
	own := []urfave.Flag{
		operationFlag(),
		&urfave.StringFlag{Name: "user", Category: policyCategory, Value: "0", Usage: "who does it: the `USER` by number or name, or any"},
		&urfave.StringFlag{Name: "evm-uuid", Category: policyCategory, Usage: "`UUID` that the file system will have, if it is another than now"},
		kernelConfigFlag(),
	}
	return &urfave.Command{
		Name:      "explain",
		Usage:     "say which rule takes a file, and why the earlier ones did not",
		ArgsUsage: "FILE...",
		Description: `Asks the policy what the kernel would ask it when something is done with each
FILE, and prints what each rule answers.

   imaseal policy explain /usr/bin/passwd
   imaseal policy explain --policy /etc/ima/ima-policy /mnt/root/etc/shadow
   imaseal policy explain --policy secure_boot --operation module e1000.ko`,
		Flags:  slices.Concat(policyFlags(), own, targetFlags()),
		Action: p.policyExplain,
	}
}

// An explainer is policy explain with everything opened.
type explainer struct {
	explain.Explainer
	files      *inspect.Inspector
	operations []match.Operation // nil for those that each file seems to be for
}

func (p Program) policyExplain(c *urfave.Context) error {
	if c.Args().Len() == 0 {
		return conflict("no FILE is given", "name one or more files")
	}
	var e explainer
	var err error
	if e.operations, err = operations(c); err != nil {
		return err
	}
	if e.Subject, err = parseSubject(c.String("user")); err != nil {
		return err
	}
	if e.files, err = inspector(c); err != nil {
		return err
	}
	t, err := p.target(c)
	if err != nil {
		return err
	}
	n, err := p.openPolicy(c.String("policy"), t)
	if err != nil {
		return err
	}
	e.Policy, e.Kernel = n.Policy, t.Kernel
	failed, hinted := false, make(map[string]bool)
	for _, name := range c.Args().Slice() {
		text, err := e.file(name)
		if err != nil {
			failed = true
			p.complain(fmt.Errorf("%s: %w", report.Quote(name), pathless(err)), hinted)
			continue
		}
		if err := p.print(p.fit(text)); err != nil {
			return err
		}
	}
	if failed {
		return &verdictError{status: exitFiles}
	}
	return nil
}

// file explains what is done with a file.
func (e *explainer) file(name string) (string, error) {
	// O_NONBLOCK, since it may be a fifo.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return "", errNotRegular
	}
	facts, err := e.files.File(f, &st)
	if err != nil {
		return "", err
	}
	uses := e.operations
	if uses == nil {
		if uses, err = inspect.Uses(f, &st, absolute(name)); err != nil {
			return "", err
		}
	}
	text := fmt.Sprintf("%s: %s\n", report.Quote(name), explain.File(facts))
	for _, o := range uses {
		text += e.Operation(o, facts, st.Mode)
	}
	return text, nil
}

var errNotRegular = errors.New("not a regular file, and of others nothing is appraised")
