package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"strconv"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/policy"
	"imaseal/internal/policy/inspect"
	"imaseal/internal/policy/match"
	"imaseal/internal/report"
	"imaseal/internal/target"
)

// policyOptions name a policy, and the file system that it is asked about.
type policyOptions struct{ policy, targetFS string }

func (o *policyOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "policy", Destination: &o.policy, Category: policyCategory, DefaultText: defaultPolicy, Usage: "`POLICY`: built-in ones by name, a file, or running"},
		&urfave.StringFlag{Name: "target-fs", Destination: &o.targetFS, Category: policyCategory, Usage: "`TYPE` of file system that the files will be on, such as ext4, if it is another than now"},
	}
}

const defaultPolicy = string(policy.SetAppraiseTCB)

// name is that of the policy.
func (o *policyOptions) name() string { return cmp.Or(o.policy, defaultPolicy) }

func (o *policyOptions) check() error {
	if _, ok := policy.MagicOf(o.targetFS); ok || o.targetFS == "" {
		return nil
	}
	var names []string
	for _, fs := range policy.Filesystems() {
		names = append(names, fs.Name)
	}
	return &cmdline.UsageError{
		Err:    fmt.Errorf("--target-fs %q: no file system of that name is known", o.targetFS),
		Advice: cmdline.DidYouMean(cmdline.Nearest(o.targetFS, names), "ext4, xfs, btrfs, f2fs, squashfs, erofs, overlay and others, as in /proc/filesystems"),
	}
}

// checkUUID refuses a UUID for a type of file system that has none.
func (o *policyOptions) checkUUID(uuid string) error {
	if fs, _ := policy.ByName(o.targetFS); !fs.NoUUID || uuid == "" {
		return nil
	}
	return &cmdline.UsageError{
		Err:    fmt.Errorf("--evm-uuid is given, and file systems of type %s have no UUID", o.targetFS),
		Advice: "leave it out: the kernel takes zeros for it",
	}
}

// placeOf returns the file system that files of the target will be on.
func placeOf(targetFS string, t target.Options) inspect.Place {
	return inspect.Place{Type: targetFS, UUID: t.UUID}
}

// openPolicy opens a policy, and knows what was meant where there is none.
func openPolicy(ctx context.Context, t *target.Target, name string) (target.Policy, error) {
	pol, err := awaitFile(ctx, name, t.OpenPolicy)
	return pol, policyError(name, err)
}

func policyError(name string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) || strings.Contains(name, "/") {
		return err
	}
	others := "a file, or one of " + strings.Join(target.PolicyNames(), ", ") + "; imaseal policy show NAME prints one"
	if near := cmdline.Nearest(name, target.PolicyNames()); near != "" {
		others = cmdline.DidYouMean(near, "")
	}
	return &advisedError{err: fmt.Errorf("%s: %w", report.Quote(name), pathless(err)), advice: others}
}

// useOptions say what is done with files, and by whom.
type useOptions struct {
	operations []string
	user       string
}

func (o *useOptions) flags(whose string) []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringSliceFlag{Name: "operation", Action: into(&o.operations), Category: policyCategory, Usage: "what is done with the files (`OPERATION`): " + strings.Join(operationNames(), ", ") + "; without the option, what each file seems to be for"},
		&urfave.StringFlag{Name: "user", Destination: &o.user, Category: policyCategory, Value: "0", Usage: whose + " the `USER` by number or name, or any"},
	}
}

func operationNames() []string {
	var names []string
	for _, o := range match.Operations() {
		names = append(names, string(o))
	}
	return names
}

// A use is what is done with files, and by whom.
type use struct {
	operations []match.Operation // nil for those that each file seems to be for
	subject    match.Subject
}

func (o *useOptions) plan() (use, error) {
	var u use
	for _, name := range o.operations {
		if err := checkWord("operation", name); err != nil {
			return u, err
		}
		u.operations = append(u.operations, match.Operation(name))
	}
	uid, err := parseUser("user", o.user)
	if err != nil {
		return u, err
	}
	u.subject = subjectOf(uid)
	return u, nil
}

// subjectOf returns a user, nil for any, as he logs in.
func subjectOf(uid *uint32) match.Subject {
	switch {
	case uid == nil:
		return match.Subject{}
	case *uid == 0:
		s := match.Root() // in its own group
		s.GID, s.EGID, s.SGID = match.Is[uint32](0), match.Is[uint32](0), match.Is[uint32](0)
		return s
	}
	if u, err := user.LookupId(strconv.FormatUint(uint64(*uid), 10)); err == nil {
		if gid, err := strconv.ParseUint(u.Gid, 10, 32); err == nil {
			return match.User(*uid, uint32(gid))
		}
	}
	s := match.User(*uid, 0)
	s.GID, s.EGID, s.SGID = match.Maybe[uint32]{}, match.Maybe[uint32]{}, match.Maybe[uint32]{}
	return s
}
