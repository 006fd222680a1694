package kernellab

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A prediction is what imaseal check says of one use of a file.
type prediction struct {
	Operation, Access, Verdict, Cause, Reason, Code, Rule string

	Causes []string // several, or of what is undecided
}

// agrees reports whether a kernel's verdict is the predicted one, or one of those
// that are possible where not everything is known. What is allowed may be recorded
// too: a measurement that failed is.
func (p prediction) agrees(v Verdict) bool {
	causes := p.Causes
	if causes == nil {
		causes = []string{p.Cause}
	}
	switch {
	case p.Verdict == "undecided" && v.Allowed():
		return true
	case v.Allowed() || p.Verdict == "allowed":
		return v.Allowed() && p.Verdict == "allowed"
	}
	return slices.Contains(causes, v.Cause)
}

// A predictions is what imaseal check says, by user, name and operation.
type predictions map[uint32]map[string]map[string]prediction

// predict runs imaseal check on the image, and again with less said of the kernel:
// no configuration, no keys. That must not be wrong either.
func (d *duel) predict(t *testing.T, img Image) (known, guessed predictions) {
	t.Helper()
	dir := img.Mount(t)
	defer img.Unmount(t)
	state := slices.Index(d.args, "--evm-state")
	less := []string{"--kernel-version", d.kernel.Version, "--evm-state", d.args[state+1]}
	return d.ask(t, dir, d.args), d.ask(t, dir, less)
}

// ask runs imaseal check on a mounted image.
func (d *duel) ask(t *testing.T, dir string, options []string) predictions {
	t.Helper()
	all := make(predictions)
	for _, user := range []uint32{0, someUser} {
		args := append([]string{"check", "--policy", d.policy, "--user", fmt.Sprint(user)}, options...)
		for _, u := range uses {
			if u.user == user {
				args = append(args, "--operation", u.operation)
			}
		}
		all[user] = make(map[string]map[string]prediction)
		for _, r := range d.lab.json(t, append(args, dir)...) {
			if r.Outcome == "failed" {
				t.Errorf("imaseal check failed on %s: %s", r.Path, r.Reason)
			}
			of := make(map[string]prediction)
			for _, p := range r.Judgements {
				of[p.Operation] = p
			}
			all[user][strings.TrimPrefix(r.Path, dir+"/")] = of
		}
	}
	return all
}

// expect returns the prediction for a use. A script needs its interpreter too,
// which the scripts of a round share: the kernel keeps that its label is right, and
// only the first script is denied for the algorithm of that.
func (d *duel) expect(all predictions, f *leaf, u use) prediction {
	p := all.of(f, u)
	if u.operation != "script" || p.Verdict == "denied" {
		return p
	}
	u.operation = "exec"
	next := all.of(&d.world.files[0], u)
	if next.Cause == "denied-hash-algorithm" {
		next.Causes, next.Cause = []string{next.Cause}, ""
	}
	if slices.Contains(next.Causes, "denied-hash-algorithm") {
		next.Verdict, next.Reason = "undecided", "the algorithm of the interpreter's label counts once"
	}
	switch {
	case p.Verdict == "allowed":
		return next
	case next.Verdict == "allowed":
		return p
	}
	// What is not decided of the script may deny it by a cause of its own.
	if next.Causes == nil {
		next.Causes = []string{next.Cause}
	}
	next.Causes, next.Cause = slices.Concat(p.Causes, next.Causes), ""
	return next
}

// of returns the prediction by the name that has one: the other names of a file
// are reported as hard links. Without any, no rule takes the file.
func (all predictions) of(f *leaf, u use) prediction {
	for _, name := range f.names() {
		if p, ok := all[u.user][name][u.operation]; ok {
			return p
		}
	}
	return prediction{Verdict: "allowed", Reason: "not appraised"}
}
