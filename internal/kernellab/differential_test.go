package kernellab

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"imaseal/hash"
	"imaseal/internal/host"
	"imaseal/internal/policy"
	"imaseal/internal/vectors"
)

var (
	firstSeed = flag.Uint64("seed", 1, "first seed of TestDifferential")
	worlds    = flag.Int("worlds", 5, "how many seeds it takes")
)

// enough is how many judgements of each kernel a world must bring at least, so
// that the default number of them brings 5000.
const enough = 1000

// TestDifferential has kernels and imaseal check judge trees and policies that
// are made from seeds. A disagreement names the seed; with
//
//	make differential SEED=S WORLDS=1
//
// it happens again.
func TestDifferential(t *testing.T) {
	l := Open(t)
	if (host.Host{}).HMACRefused() {
		t.Skip("this machine's kernel has EVM and takes no HMACs from user space")
	}
	count := tally{judged: make(map[string]int)}
	t.Cleanup(func() {
		t.Logf("%d undecided, judged: %v", count.undecided, count.judged)
		for series, n := range count.judged {
			if n < enough**worlds {
				t.Errorf("%d judgements of %s are too few", n, series)
			}
		}
	})
	for seed := *firstSeed; seed < *firstSeed+uint64(*worlds); seed++ {
		fs := Filesystems[seed%uint64(len(Filesystems))]
		t.Run(fmt.Sprintf("%d-%s", seed, fs), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, l, seed, fs)
			w.img.Unmount(t)
			for i, series := range Series {
				t.Run(series, func(t *testing.T) {
					d := newDuel(t, l, w, series, rand.New(rand.NewPCG(seed, uint64(i+1))))
					judged, undecided := d.fight(t)
					count.add(series, judged, undecided)
				})
			}
		})
	}
}

// A tally counts over parallel tests.
type tally struct {
	mu        sync.Mutex
	judged    map[string]int // by series; on both sides, that is
	undecided int
}

func (c *tally) add(series string, judged, undecided int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.judged[series] += judged
	c.undecided += undecided
}

// A duel is a world before one kernel, under one policy.
type duel struct {
	lab    *Lab
	world  *world
	kernel Kernel
	random *rand.Rand

	boot   Case
	policy string   // of imaseal check
	args   []string // likewise, the rest
}

// evmValues are what is written to securityfs evm, more since 7.2.
var (
	evmValues = []string{"", "", "2", "1", "3"}
	v3Values  = []string{"10", "11"}
)

func newDuel(t *testing.T, l *Lab, w *world, series string, random *rand.Rand) *duel {
	t.Helper()
	d := openDuel(t, l, w, series)
	d.random = random
	if random.IntN(6) == 0 {
		d.policy = []string{"appraise_tcb", "tcb|appraise_tcb"}[random.IntN(2)]
		d.boot.Append += " ima_policy=" + d.policy
	} else {
		rules := ruleMaker{random: random, kernel: policyKernel(t, d.kernel), fs: w.img.FS}
		d.boot.Policy = rules.policy()
		d.policy = filepath.Join(t.TempDir(), "policy")
		check(t, os.WriteFile(d.policy, []byte(strings.Join(d.boot.Policy, "\n")+"\n"), 0o600))
	}
	user := userKeys(t, w)
	for i, name := range knownKeys {
		if strings.HasPrefix(name, "p") && !hasECDSA(series) || i > 0 && random.IntN(4) == 0 {
			continue
		}
		cert := "keys/" + name + ".cert.der"
		d.boot.Keys = append(d.boot.Keys, IMAKey(vectors.Read(t, cert)), EVMKey(vectors.Read(t, cert)))
		d.args = append(d.args, "--key", vectors.Path(t, cert))
		if k, ok := user[name]; ok && random.IntN(3) > 0 {
			d.boot.Keys = append(d.boot.Keys, k.in("_ima"), k.in("_evm"))
			d.args = append(d.args, "--key", k.public)
		}
	}
	if hasECDSA(series) && random.IntN(4) > 0 {
		d.boot.Keys = append(d.boot.Keys, IMAKey(vectors.Read(t, "keys/p192.cert.der")))
		d.args = append(d.args, "--key", vectors.Path(t, "keys/p192.cert.der"))
	}
	values := evmValues
	if series == "7.x" {
		values = slices.Concat(values, v3Values)
	}
	d.evm(t, values[random.IntN(len(values))])
	return d
}

// openDuel names the kernel to both sides.
func openDuel(t *testing.T, l *Lab, w *world, series string) *duel {
	t.Helper()
	k := l.Kernel(t, series)
	return &duel{lab: l, world: w, kernel: k, boot: Case{Kernel: k, Append: "ima_appraise=enforce"}, args: slices.Concat(target(k), loads(t, k))}
}

// loads are the options of imaseal check that name the digests whose modules the
// guest has loaded.
func loads(t *testing.T, k Kernel) []string {
	t.Helper()
	config, err := host.OpenConfig(k.Config())
	check(t, err)
	var args []string
	for _, name := range hash.Names() {
		a, err := hash.Parse(name)
		check(t, err)
		if config.Digest(a) == policy.Module {
			args = append(args, "--initramfs-loads", name)
		}
	}
	return args
}

// target are the options that describe a kernel to imaseal.
func target(k Kernel) []string {
	return []string{"--kernel-version", k.Version, "--kernel-config", k.Config(), "--secure-boot", "off"}
}

// evm chooses the state of EVM.
func (d *duel) evm(t *testing.T, value string) {
	t.Helper()
	if value == "" {
		d.args = append(d.args, "--evm-state", "none")
		return
	}
	d.boot.EVM = []string{value}
	state := evmStates[value]
	d.args = append(d.args, "--evm-state", state)
	if !strings.Contains(state, "hmac") {
		return
	}
	d.args = append(d.args, "--evm-key", d.hmacFile(t))
	blob := strings.TrimSpace(string(vectors.Read(t, "evm-key/evm-key.default.blob")))
	d.boot.Keys = append(d.boot.Keys, HMACKeys(vectors.ReadHex(t, "evm-key/kmk-user.hex"), blob)...)
}

// hmacFile makes a file with the EVM HMAC key.
func (d *duel) hmacFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "evm.key")
	check(t, os.WriteFile(name, vectors.ReadHex(t, "evm-key/evm-key.hex"), 0o600))
	return name
}

// A use is something that is done with a file, in the words of both sides. Of
// several probes, each with an inode that the kernel does not know yet, the first
// that is denied counts.
type use struct {
	operation string
	ops       []Op
	user      uint32
	can       func(*duel, *leaf) bool
}

// someUser is another user than root. Debian has it as daemon, and the guest
// needs not know it.
const someUser = 1

func anyLeaf(*duel, *leaf) bool        { return true }
func hasContent(_ *duel, f *leaf) bool { return len(f.content) > 0 } // the kernel does not load nothing

// isKept: under hash rules the kernel labels anew what was opened for writing.
func isKept(d *duel, _ *leaf) bool {
	return !slices.ContainsFunc(d.boot.Policy, func(rule string) bool { return strings.HasPrefix(rule, "hash") })
}

func is(wanted form) func(*duel, *leaf) bool {
	return func(_ *duel, f *leaf) bool { return f.form == wanted }
}

// uses are what each file is tried for, all files for one after the other.
var uses = []use{
	{"read", []Op{Read}, 0, anyLeaf},
	{"read", []Op{Read}, someUser, anyLeaf},
	{"direct-read", []Op{Direct}, 0, anyLeaf},
	{"mmap", []Op{MapExec}, 0, anyLeaf},
	{"exec", []Op{Exec}, 0, is(program)},
	{"exec", []Op{Exec}, someUser, is(program)},
	{"script", []Op{Exec}, 0, is(script)},
	{"module", []Op{Module}, 0, hasContent},
	{"kexec-kernel", []Op{Kexec}, 0, hasContent},
	{"write", []Op{Write, Update, Append, Extend}, 0, isKept},
}

// A trialOf is a use of one file, with the numbers of its probes.
type trialOf struct {
	use    use
	leaf   *leaf
	probes []int
}

// schedule makes the probes of the boot: the kernel forgets all inodes before
// each round over the files.
func (d *duel) schedule() []trialOf {
	var trials []trialOf
	for _, u := range uses {
		first := len(trials)
		for i := range d.world.files {
			if f := &d.world.files[i]; u.can(d, f) {
				trials = append(trials, trialOf{use: u, leaf: f})
			}
		}
		for _, op := range u.ops {
			d.boot.Probes = append(d.boot.Probes, Probe{Name: "remount", Op: Remount})
			for i := range trials[first:] {
				t := &trials[first+i]
				t.probes = append(t.probes, len(d.boot.Probes))
				names := t.leaf.names()
				d.boot.Probes = append(d.boot.Probes, Probe{Op: op, Path: names[d.random.IntN(len(names))], User: u.user})
			}
		}
	}
	return trials
}

// verdict is the first denial, if there is one.
func (t trialOf) verdict(res Result) Verdict {
	for _, i := range t.probes {
		if v := res.Verdicts[i]; !v.Allowed() {
			return v
		}
	}
	return res.Verdicts[t.probes[0]]
}

// fight compares the two sides on all files, and counts.
func (d *duel) fight(t *testing.T) (judged, undecided int) {
	t.Helper()
	img := d.lab.Copy(t, d.world.img)
	predicted, guessed := d.predict(t, img)
	d.boot.Image = img
	trials := d.schedule()
	res := d.lab.Boot(t, d.boot)
	for i, p := range d.boot.Probes {
		if v := res.Verdicts[i]; p.Op == Remount && !v.Allowed() {
			t.Fatalf("remounting: %+v", v)
		}
	}
	wrong, shown := 0, make(map[*leaf]bool)
	for _, try := range trials {
		p := d.expect(predicted, try.leaf, try.use)
		if p.Verdict == "undecided" {
			if undecided++; undecided <= 3 {
				t.Logf("%s, %s by %d is undecided: %s (%s)", try.leaf.name, try.use.operation, try.use.user, p.Reason, try.leaf.story)
			}
		} else {
			judged++
		}
		for _, p := range []prediction{p, d.expect(guessed, try.leaf, try.use)} {
			if v := try.verdict(res); !p.agrees(v) {
				if wrong++; len(shown) < 10 && !shown[try.leaf] {
					d.disagree(t, try.leaf, try.use, v, p)
					shown[try.leaf] = true
				}
			}
		}
	}
	if wrong > 0 {
		t.Errorf("seed %d: %d disagreements of %d under the policy, with EVM %q and %d keys:\n%s\nargs: %q", d.world.seed, wrong, judged,
			d.boot.EVM, len(d.boot.Keys), strings.Join(append(slices.Clone(d.boot.Policy), d.boot.Append), "\n"), d.args)
	}
	return judged, undecided
}

func (d *duel) disagree(t *testing.T, f *leaf, u use, v Verdict, p prediction) {
	t.Helper()
	t.Errorf("%s, %s by %d: the kernel says %q at %q, cause %q; imaseal check %s, causes %q%q (%s), at %q by rule %q\n%s, %d bytes, mode %o, owner %d:%d: %s\nima %x\nevm %x\n%s",
		f.name, u.operation, u.user, v.Errno, v.Step, v.Cause, p.Verdict, p.Cause, p.Causes, p.Reason, p.Access, p.Rule,
		f.form, len(f.content), f.mode, f.uid, f.gid, f.story, f.ima, f.evm, strings.Join(v.Records, "\n"))
}
