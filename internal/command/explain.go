package command

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"imaseal/internal/cmdline"
	"imaseal/internal/policy"
	"imaseal/internal/policy/inspect"
	"imaseal/internal/policy/match"
	"imaseal/internal/report"
)

// policyFlags are the options about a policy and the files it is asked about.
func policyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "policy", Category: policyCategory, Value: string(policy.SetAppraiseTCB), Usage: "`POLICY`: built-in ones by name, a file, or running"},
		&cli.StringFlag{Name: "target-fs", Category: policyCategory, Usage: "`TYPE` of file system that the files will be on, such as ext4, if it is another than now"},
	}
}

const policyCategory = "Policy"

func operationFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "operation", Category: policyCategory, Usage: "what is done with the files (`OPERATION`): " + strings.Join(operationNames(), ", ") + "; without the option, what each file seems to be for"}
}

func operationNames() []string {
	var names []string
	for _, o := range match.Operations() {
		names = append(names, string(o))
	}
	return names
}

// operations returns the operations that the options name.
func operations(c *cli.Context) ([]match.Operation, error) {
	var found []match.Operation
	for _, name := range c.StringSlice("operation") {
		if err := oneOf("operation", name, operationNames()); err != nil {
			return nil, err
		}
		found = append(found, match.Operation(name))
	}
	return found, nil
}

func (p Program) policyExplainCommand() *cli.Command {
	own := []cli.Flag{
		operationFlag(),
		&cli.StringFlag{Name: "user", Category: policyCategory, Value: "0", Usage: "who does it: the `USER` by number or name, or any"},
		&cli.StringFlag{Name: "evm-uuid", Category: policyCategory, Usage: "`UUID` that the file system will have, if it is another than now"},
		kernelConfigFlag(),
	}
	return &cli.Command{
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
	policy     namedPolicy
	kernel     policy.Kernel
	files      *inspect.Inspector
	operations []match.Operation
	subject    match.Subject
}

func (p Program) policyExplain(c *cli.Context) error {
	if c.Args().Len() == 0 {
		return conflict("no FILE is given", "name one or more files")
	}
	var e explainer
	var err error
	if e.operations, err = operations(c); err != nil {
		return err
	}
	if e.subject, err = parseSubject(c.String("user")); err != nil {
		return err
	}
	if e.files, err = inspector(c); err != nil {
		return err
	}
	t, err := p.target(c)
	if err != nil {
		return err
	}
	e.kernel = t.Kernel
	if e.policy, err = p.openPolicy(c.String("policy"), t); err != nil {
		return err
	}
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

// parseSubject returns who does something with a file.
func parseSubject(name string) (match.Subject, error) {
	uid, err := parseOwner(name)
	if err != nil {
		return match.Subject{}, &cmdline.UsageError{Err: fmt.Errorf("--user %q: no such user", name), Advice: "give the number of the user, its name on this machine, or any"}
	}
	switch {
	case uid == nil:
		return match.Subject{}, nil
	case *uid == 0:
		return rootSubject(), nil
	}
	s := match.User(*uid, 0)
	s.GID, s.EGID, s.SGID = match.Maybe[uint32]{}, match.Maybe[uint32]{}, match.Maybe[uint32]{}
	if u, err := user.LookupId(strconv.FormatUint(uint64(*uid), 10)); err == nil {
		if gid, err := strconv.ParseUint(u.Gid, 10, 32); err == nil {
			s = match.User(*uid, uint32(gid))
		}
	}
	return s, nil
}

// rootSubject is root as it logs in, in its own group.
func rootSubject() match.Subject {
	s := match.Root()
	s.GID, s.EGID, s.SGID = match.Is[uint32](0), match.Is[uint32](0), match.Is[uint32](0)
	return s
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
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", report.Quote(name), describeFile(facts))
	for _, o := range uses {
		e.operation(&b, o, facts, st.Mode)
	}
	return b.String(), nil
}

var errNotRegular = errors.New("not a regular file, and of others nothing is appraised")

func describeFile(f match.File) string {
	text := "a file system of unknown type"
	if f.FSName.Known {
		text = f.FSName.Value
		if f.Subtype.Value != "" {
			text += "." + f.Subtype.Value
		}
	}
	if f.Magic.Known {
		text += fmt.Sprintf(" (0x%x)", f.Magic.Value)
	}
	if f.UUID.Known {
		text += " " + f.UUID.Value.String()
	}
	return fmt.Sprintf("on %s, owner %d, group %d", text, f.Owner.Value, f.Group.Value)
}

// operation explains what one operation asks. Questions with the same answers
// are one.
func (e *explainer) operation(b *strings.Builder, o match.Operation, f match.File, mode uint32) {
	accesses := o.Accesses(e.kernel)
	answers := func(a match.Access) []string {
		return e.answers(match.Query{Access: a, File: f, Subject: o.Task(e.kernel, a, e.subject, f, mode)})
	}
	for len(accesses) > 0 {
		first := answers(accesses[0])
		same := 1
		for same < len(accesses) && reflect.DeepEqual(answers(accesses[same]), first) {
			same++
		}
		var names []string
		for _, a := range accesses[:same] {
			names = append(names, a.String())
		}
		fmt.Fprintf(b, "  %s, asked as %s:\n", o, strings.Join(names, ", "))
		for _, line := range first {
			b.WriteString("    " + line + "\n")
		}
		accesses = accesses[same:]
	}
}

// answers says what each rule answers, and what comes of it.
func (e *explainer) answers(q match.Query) []string {
	var lines []string
	for _, action := range []policy.Action{policy.Measure, policy.Appraise, policy.Audit, policy.Hash} {
		if !slices.ContainsFunc(e.policy.Rules, func(r policy.Rule) bool { return r.Action == action }) {
			continue
		}
		steps := match.Explain(e.policy.Policy, q, action)
		lines = append(lines, e.verdict(steps, action))
		for len(steps) > 0 {
			n := alike(steps)
			lines = append(lines, "  "+e.step(steps[:n]))
			steps = steps[n:]
		}
	}
	if len(lines) == 0 {
		lines = []string{"the policy has no rule that does anything"}
	}
	return lines
}

var done = map[policy.Action]string{
	policy.Measure: "measured", policy.Appraise: "appraised", policy.Audit: "audited", policy.Hash: "hashed",
}

// verdict says what comes of the rules of an action's pair.
func (e *explainer) verdict(steps []match.Step, a policy.Action) string {
	for _, s := range steps {
		switch {
		case s.Takes == policy.Unknown:
			return "it depends on what is not known here whether it is " + done[a]
		case s.Takes == policy.True && e.policy.Rules[s.Rule].Action == a:
			return done[a] + " by " + e.number(s.Rule)
		case s.Takes == policy.True:
			return "not " + done[a] + ", by " + e.number(s.Rule)
		}
	}
	return "not " + done[a] + ": no rule takes it"
}

// alike returns the number of steps at the beginning that differ only in what
// one condition is compared with, or that are not asked any more.
func alike(steps []match.Step) int {
	const few = 3 // are told one by one
	n := 1
	for n < len(steps) && sameReason(steps[0], steps[n]) {
		n++
	}
	if n < few {
		return 1
	}
	return n
}

func sameReason(a, b match.Step) bool {
	if a.Closed || b.Closed {
		return a.Closed && b.Closed
	}
	return a.Takes == policy.False && b.Takes == policy.False && len(a.Unknown)+len(b.Unknown) == 0 &&
		len(a.Failed) == 1 && len(b.Failed) == 1 && a.Failed[0].Have == b.Failed[0].Have &&
		field(a.Failed[0]) == field(b.Failed[0])
}

// field is the condition without what it is compared with.
func field(c match.Condition) string { return c.Item[:strings.IndexAny(c.Item, "=<>")] }

// step says what rules that are alike answer.
func (e *explainer) step(steps []match.Step) string {
	first := steps[0]
	r := e.policy.Rules[first.Rule]
	if len(steps) == 1 && r.Func == policy.SetxattrCheck {
		return fmt.Sprintf("%s, %s: no, it is about setting security.ima", e.number(first.Rule), r)
	}
	if len(steps) == 1 {
		return fmt.Sprintf("%s, %s: %s", e.number(first.Rule), r, why(first))
	}
	last := steps[len(steps)-1]
	text := fmt.Sprintf("%s to %s: ", e.number(first.Rule), strings.TrimLeft(e.number(last.Rule), "rulein "))
	if first.Closed {
		return text + why(first)
	}
	var items []string
	for _, s := range steps {
		items = append(items, s.Failed[0].Item)
	}
	return fmt.Sprintf("%sno, %s is %s: %s", text, field(first.Failed[0]), first.Failed[0].Have, strings.Join(items, " "))
}

// number names a rule: by its line, if it has one.
func (e *explainer) number(i int) string {
	if line := e.policy.Rules[i].Line; line > 0 {
		return fmt.Sprintf("line %d", line)
	}
	return fmt.Sprintf("rule %d", i+1)
}

// why says why a rule takes a file or does not.
func why(s match.Step) string {
	var failed, unknown []string
	for _, c := range s.Failed {
		failed = append(failed, c.Item+" but it is "+c.Have)
	}
	for _, c := range s.Unknown {
		unknown = append(unknown, c.Item)
	}
	switch {
	case s.Closed:
		return "not asked any more"
	case s.Takes == policy.True:
		return "takes it"
	case s.Takes == policy.Unknown:
		return "takes it if " + strings.Join(unknown, " and ") + ", which is not known here"
	case len(s.Failed) == 0:
		return "is not about files"
	}
	return "no, " + strings.Join(failed, ", ")
}
