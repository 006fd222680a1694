package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"imaseal/internal/cmdline"
	"imaseal/internal/host"
	"imaseal/internal/policy"
	"imaseal/internal/policy/builtin"
	"imaseal/internal/report"
)

// running is the name of the policy that the running kernel has.
const running = "running"

// maxPolicy bounds the text of a policy; published ones have some kilobytes.
const maxPolicy = 4 << 20

var errLongPolicy = fmt.Errorf("more than %s: this is no policy", report.Size(maxPolicy))

// A namedPolicy is a policy and where it came from.
type namedPolicy struct {
	policy.Policy
	name string
	// text is that of a file, and own the rules in it: the kernel may have
	// others in front.
	text   string
	own    policy.Policy
	isFile bool
}

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

// openPolicy returns the policy of a name: built-in ones, "running", or a file.
func (p Program) openPolicy(name string, t target) (namedPolicy, error) {
	n := namedPolicy{name: name}
	var err error
	if name == running {
		n.Policy, err = p.runningPolicy(t)
		return n, err
	}
	if words := policyWords(name); words != nil {
		n.Policy, err = builtin.Policy(t.Kernel, words...)
		return n, err
	}
	n.isFile = true
	if n.text, err = readPolicy(name); err != nil {
		return n, err
	}
	if n.own, err = policy.Parse(n.text, t.Kernel); err != nil {
		return n, &policyError{name: name, err: err}
	}
	n.Policy = builtin.Custom(t.Kernel, n.own)
	return n, nil
}

// readPolicy reads the text of a policy, which may come from a pipe.
func readPolicy(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		if near := cmdline.Nearest(name, append(builtin.Words(), running)); near != "" && errors.Is(err, os.ErrNotExist) {
			return "", &advisedError{err: fmt.Errorf("%s: %w", report.Quote(name), pathless(err)), advice: cmdline.DidYouMean(near, "")}
		}
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPolicy+1))
	if err == nil && len(b) > maxPolicy {
		err = &os.PathError{Op: "read", Path: name, Err: errLongPolicy}
	}
	return string(b), err
}

// A policyError says what is wrong with a policy.
type policyError struct {
	name string
	err  error
}

func (e *policyError) Error() string { return report.Quote(e.name) + ": " + e.err.Error() }
func (e *policyError) Unwrap() error { return e.err }

// runningPolicy returns the policy that is in force.
func (p Program) runningPolicy(t target) (policy.Policy, error) {
	text, err := p.Host.Policy()
	if err != nil {
		return policy.Policy{}, &advisedError{err: fmt.Errorf("the policy of the running kernel: %w", err), advice: hiddenPolicy(err)}
	}
	pol, err := policy.ParseShown(text, t.Kernel)
	if err != nil {
		return policy.Policy{}, &policyError{name: "the policy of the running kernel", err: err}
	}
	pol.FailSecurely = slices.Contains(p.Host.PolicyWords(), "fail_securely")
	return pol, nil
}

func hiddenPolicy(err error) string {
	switch {
	case errors.Is(err, host.ErrPolicyNotRoot):
		return "run as root"
	case errors.Is(err, host.ErrPolicyHidden):
		return "it needs CONFIG_IMA_READ_POLICY; name the file that was loaded (/etc/ima/ima-policy), or what ima_policy= has on the kernel's command line"
	case errors.Is(err, host.ErrNoIMA):
		return "mount -t securityfs securityfs /sys/kernel/security, if the kernel has IMA"
	}
	return ""
}
