package target

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"imaseal/internal/policy"
	"imaseal/internal/policy/builtin"
)

// RunningPolicy is the name of the policy that is in force.
const RunningPolicy = "running"

// maxPolicy bounds the text of a policy in bytes; published ones have some
// kilobytes.
const maxPolicy = 4 << 20

var errLongPolicy = errors.New("more than 4.0 MiB: this is no policy")

// A Policy is a policy as the target will have it, and where it came from.
type Policy struct {
	policy.Policy
	Name string // that was given
	// IsFile says that it was read from a file, which has the rules Own; the
	// kernel may have others in front.
	IsFile bool
	Own    policy.Policy
}

// PolicyNames returns the names that are not those of files.
func PolicyNames() []string { return append(builtin.Words(), RunningPolicy) }

// IsPolicyFile reports whether OpenPolicy takes a name for that of a file.
func IsPolicyFile(name string) bool { return name != RunningPolicy && policyWords(name) == nil }

// policyWords returns the built-in policies that a name consists of, nil if it
// is the name of a file. One of separators alone consists of none.
func policyWords(name string) []string {
	parts := policy.SplitSets(name)
	if len(parts) == 0 {
		return nil
	}
	for _, part := range parts {
		if !builtin.IsWord(part) {
			return nil
		}
	}
	return parts
}

// OpenPolicy returns the policy of a name: built-in ones, RunningPolicy, or a
// file. The error names the file and wraps what is wrong with it, such as a
// policy.SyntaxError or fs.ErrNotExist; about the running policy it wraps one of
// package host's.
func (t *Target) OpenPolicy(name string) (Policy, error) {
	p := Policy{Name: name}
	var err error
	if name == RunningPolicy {
		p.Policy, err = t.runningPolicy()
		return p, err
	}
	if words := policyWords(name); words != nil {
		p.Policy, err = builtin.Policy(t.Kernel, words...)
		return p, err
	}
	p.IsFile = true
	text, err := ReadPolicy(name)
	if err != nil {
		return p, err
	}
	if p.Own, err = policy.Parse(text, t.Kernel); err != nil {
		return p, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	p.Policy = builtin.Custom(t.Kernel, p.Own)
	return p, nil
}

// ReadPolicy reads the text of a policy, which may come from a pipe.
func ReadPolicy(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPolicy+1))
	if err == nil && len(b) > maxPolicy {
		err = &fs.PathError{Op: "read", Path: name, Err: errLongPolicy}
	}
	return string(b), err
}

// runningPolicy returns the policy that is in force.
func (t *Target) runningPolicy() (policy.Policy, error) {
	text, err := t.host.Policy()
	if err != nil {
		return policy.Policy{}, fmt.Errorf("the policy of the running kernel: %w", err)
	}
	p, err := policy.ParseShown(text, t.Kernel)
	if err != nil {
		return policy.Policy{}, fmt.Errorf("the policy of the running kernel: %w", err)
	}
	p.FailSecurely = slices.Contains(t.host.PolicyWords(), "fail_securely")
	return p, nil
}
