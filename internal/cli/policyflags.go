package cli

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
)

// policyFlags are the options about a policy and the files it is asked about.
func policyFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "policy", Category: policyCategory, Value: string(policy.SetAppraiseTCB), Usage: "`POLICY`: built-in ones by name, a file, or running"},
		&urfave.StringFlag{Name: "target-fs", Category: policyCategory, Usage: "`TYPE` of file system that the files will be on, such as ext4, if it is another than now"},
	}
}

const policyCategory = "Policy"

func operationFlag() urfave.Flag {
	return &urfave.StringSliceFlag{Name: "operation", Category: policyCategory, Usage: "what is done with the files (`OPERATION`): " + strings.Join(operationNames(), ", ") + "; without the option, what each file seems to be for"}
}

func operationNames() []string {
	var names []string
	for _, o := range match.Operations() {
		names = append(names, string(o))
	}
	return names
}

// operations returns the operations that the options name.
func operations(c *urfave.Context) ([]match.Operation, error) {
	var found []match.Operation
	for _, name := range c.StringSlice("operation") {
		if err := oneOf("operation", name, operationNames()); err != nil {
			return nil, err
		}
		found = append(found, match.Operation(name))
	}
	return found, nil
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
