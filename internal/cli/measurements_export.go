package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/keylime"
	"imaseal/internal/measured"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
)

// exportPolicyOptions are the options of imaseal measurements export.
type exportPolicyOptions struct {
	format, to, from, prefix, algo string
	lists, excluded, keys          []string
	list                           listOptions
	owner                          ownerOptions
	files                          selectionOptions
	archive                        archiveOptions
	output                         outputOptions
}

// keylimeFormat is the one that policies for attestation are written in.
const keylimeFormat = "keylime"

func (o *exportPolicyOptions) flags() []urfave.Flag {
	o.owner.owner = "any" // whose files a kernel measures hangs on who reads them
	own := []urfave.Flag{
		prefixFlag(&o.prefix),
		&urfave.StringFlag{Name: "owner", Destination: &o.owner.owner, Category: selecting, Value: "any", Usage: "files of this `USER`, by number or name; any for all"},
	}
	policy := []urfave.Flag{
		&urfave.StringFlag{Name: "format", Destination: &o.format, Category: policyCategory, Value: keylimeFormat, Usage: "`FORMAT` of the policy: keylime, a runtime policy of Keylime"},
		&urfave.StringFlag{Name: "from", Destination: &o.from, Category: policyCategory, Usage: "add to what the `POLICY` in a file accepts, as over an upgrade"},
		&urfave.StringFlag{Name: "algo", Destination: &o.algo, Category: policyCategory, Value: hash.SHA256.String(), Usage: "the target's digest `ALGORITHM` (ima_hash=), for files whose label names none"},
		&urfave.StringSliceFlag{Name: "policy-exclude", Action: into(&o.excluded), Category: policyCategory, Usage: "have paths accepted, whatever is there, that begin as the `REGEX` says"},
		&urfave.StringSliceFlag{Name: "key", Action: into(&o.keys), Category: policyCategory, Usage: "have files accepted with signatures by these certificates or public keys: a `FILE`, or a directory of them"},
	}
	to := []urfave.Flag{
		&urfave.StringFlag{Name: "output", Destination: &o.to, Category: writing, DefaultText: "standard output", Usage: "write the policy to `FILE`, which is there when all is written"},
		o.archive.tempDirFlag(),
	}
	lists := append([]urfave.Flag{
		&urfave.StringSliceFlag{Name: "list", Action: into(&o.lists), Category: listCategory, Usage: "add what the `LIST` has: a file, -, or running for the running kernel's"},
	}, o.list.flags()...)
	return slices.Concat(lists, policy, own, o.files.flags(), to, o.output.flags())
}

// An exportPolicyRequest is what measurements export is asked for.
type exportPolicyRequest struct {
	plan.Plan
	output   outputOptions
	lists    []listRequest
	to       string // "-" is standard output
	from     string // "" for none
	prefix   string // "" for what the trees say
	excluded []string
	keys     []string
}

func (o *exportPolicyOptions) plan(paths []string) (exportPolicyRequest, error) {
	r := exportPolicyRequest{output: o.output, to: "-", from: o.from, prefix: o.prefix, excluded: o.excluded, keys: o.keys}
	if o.to != "" {
		r.to = o.to
	}
	algo, algoErr := parseAlgo(o.algo)
	owner, ownerErr := o.owner.plan()
	readers := append(archivesReading(paths), reading("files-from", o.files.filesFrom))
	var listErr error
	r.lists, listErr = o.planLists()
	for _, name := range o.lists {
		readers = append(readers, reading("list", name))
	}
	if err := firstError(listErr, oneOf("format", o.format, []string{keylimeFormat}), o.output.check(), algoErr, ownerErr, readStdinOnce(readers...), checkExcluded(o.excluded), checkPrefix(o.prefix, paths, o.files.filesFrom)); err != nil {
		return r, err
	}
	switch {
	case algo.Size() < hash.SHA1.Size():
		return r, conflict("--algo "+o.algo+": a policy of Keylime has digests of 20 bytes and more", "the algorithm that the target measures with: that of ima_hash=, else its CONFIG_IMA_DEFAULT_HASH")
	case r.to == "-" && o.output.json:
		return r, conflict("--json and the policy both go to standard output", "--output FILE")
	case o.from == "-":
		return r, conflict("--from - is no file", "the name of a file; ./- is one of this name")
	}
	var err error
	r.Plan = plan.Plan{
		Command: "measurements export", ReadOnly: true, Selection: o.files.plan(paths, owner), Algo: algo,
		Writing: plan.Writing{Namespace: "security", Archiving: o.archive.Archiving}, Jobs: o.output.jobs,
	}
	if !r.hasTrees() && len(r.lists) > 0 {
		return r, nil
	}
	r.Plan, err = r.Plan.Validate()
	return r, firstError(err, refuseForPackages(r.Selection, given{"owner", owner != nil}))
}

// planLists returns the lists that are named.
func (o *exportPolicyOptions) planLists() (lists []listRequest, err error) {
	if _, err := o.list.plan(nil); err != nil {
		return nil, err
	}
	for _, name := range o.lists {
		l, err := o.list.named(name)
		if err != nil {
			return nil, err
		}
		lists = append(lists, l)
	}
	if lists == nil {
		return nil, refuseUnused("--list", given{"bank", o.list.bank != ""}, given{"byte-order", o.list.order != ""})
	}
	return lists, nil
}

// hasTrees reports whether files are digested, and not only lists read.
func (r *exportPolicyRequest) hasTrees() bool { return len(r.Paths) > 0 || r.FilesFrom != "" }

func (p Program) measurementsExportCommand() *urfave.Command {
	o := &exportPolicyOptions{files: p.files()}
	return &urfave.Command{
		Name:      "export",
		Usage:     "write the attestation policy of a tree",
		ArgsUsage: "[PATH...]",
		Description: `Digests every selected file below each PATH, as a kernel does that measures it,
and writes a runtime policy for Keylime, which then accepts these contents and no
others. A file of which the label names an algorithm has a digest of that. Under
--from, what the old policy accepts stays accepted.

The policy of a root file system that is mounted, and of an image:
   imaseal measurements export --output policy.json /mnt/root
   imaseal measurements export --output policy.json oci:image:1.2

Before an upgrade, for as long as it takes:
   imaseal measurements export --from policy.json --output both.json \
      rpm:updates

What this kernel has measured since it was booted, and of the boot itself:
   imaseal measurements export --list running --output policy.json

With the keys of a distribution, and paths that nobody can know:
   imaseal measurements export --key /etc/keys/ima --output policy.json \
      --policy-exclude '/var/lib/dkms/.*' /`,
		Flags:  o.flags(),
		Action: action(o.plan, p.exportPolicy),
	}
}

// exportPolicy makes a policy and writes it.
func (p Program) exportPolicy(ctx context.Context, r exportPolicyRequest) error {
	pol, err := p.basePolicy(ctx, r)
	if err != nil {
		return err
	}
	damaged, err := p.addLists(ctx, r.lists, pol)
	if err != nil {
		return err
	}
	if pol.Files.Of(keylime.BootAggregate) == nil {
		p.warn(reason.NoBootAggregate, "the policy has no %s: Keylime adds it if the agent sends the log of its boot, else --list or --from have to have it", keylime.BootAggregate)
	}
	out, err := p.openOutput(ctx, r.to)
	if err != nil {
		return err
	}
	defer out.Abort() // after Commit, nothing
	talking := p
	if r.to == "-" {
		talking.Stdout = p.Stderr
	}
	var failed error
	if damaged {
		failed = &verdictError{status: exitFiles}
	}
	if r.hasTrees() {
		if err := talking.addTrees(ctx, r, pol); err != nil {
			failed = err
		}
	}
	if failed != nil && !is[*verdictError](failed) {
		return failed
	}
	if err := encode(pol, out); err != nil {
		if r.to == "-" && errors.Is(err, unix.EPIPE) {
			return errUnread
		}
		return err
	}
	if !r.output.silent() {
		names, digests := pol.Files.Len()
		text := fmt.Sprintf("imaseal: the policy has %s with %s", plural(int64(names), "path"), plural(int64(digests), "digest"))
		if n := len(pol.Keys.All); n > 0 {
			text += ", and " + plural(int64(n), "verification key")
		}
		if r.to != "-" {
			text += "; it is in " + report.Quote(r.to)
		}
		if err := talking.print(text + "\n"); err != nil {
			return err
		}
	}
	return failed
}

// encode writes a policy to where it goes.
func encode(pol *keylime.Policy, out *stream.Out) error {
	if err := pol.Encode(out); err != nil {
		return err
	}
	return out.Commit()
}

// addTrees adds the files of the trees. The error is a *verdictError if some of them
// are not in the policy.
func (p Program) addTrees(ctx context.Context, r exportPolicyRequest, pol *keylime.Policy) error {
	places := placesOf(r.Selection, r.prefix)
	p.warnOfPlaces(r.Selection, r.prefix)
	var mu sync.Mutex
	add := func(name string, digest []byte) error {
		mu.Lock()
		defer mu.Unlock()
		return pol.Files.Add(measuredName(name), digest)
	}
	s, err := p.prepare(ctx, r.Plan, sessionOptions{
		output: r.output, bare: true, flat: true, everyName: true, writes: r.written(), packages: packageOptions{payloads: true},
		keep: func(f tree.File, res report.Result) error { return add(places.Of(f.Full()), res.Digest.Bytes()) },
	})
	if err != nil {
		return err
	}
	defer s.close()
	links := &measured.Linker{Like: tree.Like{Source: s.source}, Name: func(rel string) string { return places.Of(path.Join("/", rel)) }}
	s.source = links
	err = s.do(ctx, &measured.Digester{Default: r.Algo})
	if err != nil && !is[*verdictError](err) {
		return err
	}
	lost, linkErr := addLinks(pol, links.Links())
	switch {
	case linkErr != nil:
		return linkErr
	case lost > 0 && r.Owner == nil:
		p.warn(reason.LostLinks, "%s are not in the policy: what has their content is not there", plural(int64(lost), "hard link"))
		return &verdictError{status: exitFiles}
	}
	return err
}

// addLinks adds further names of files, and returns how many there are of which the
// file is not in the policy. A link may name another one.
func addLinks(pol *keylime.Policy, links []measured.Link) (lost int, err error) {
	for {
		type also struct {
			name   string
			digest []byte
		}
		var found []also
		links = slices.DeleteFunc(links, func(l measured.Link) bool {
			digests := pol.Files.Of(measuredName(l.Target))
			for _, d := range digests {
				found = append(found, also{measuredName(l.Name), d})
			}
			return digests != nil
		})
		if len(found) == 0 {
			return len(links), nil
		}
		for _, f := range found { // after the last look, which sorts
			if err := pol.Files.Add(f.name, f.digest); err != nil {
				return 0, fmt.Errorf("%s: %w", report.Quote(f.name), err)
			}
		}
	}
}

// measuredName is the name of a path in a measurement list. Kernel:
// ima_write_template_field_data(), security/integrity/ima/ima_template_lib.c.
func measuredName(path string) string { return strings.ReplaceAll(path, " ", "_") }

// written names the file that is written.
func (r *exportPolicyRequest) written() string {
	if r.to == "-" {
		return ""
	}
	return r.to
}

// readPolicy reads a policy of Keylime.
func readPolicy(ctx context.Context, name string) (*keylime.Policy, error) {
	f, err := stream.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	pol, err := keylime.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", report.Quote(name), pathless(err))
	}
	return pol, nil
}

// basePolicy is what is there without files.
func (p Program) basePolicy(ctx context.Context, r exportPolicyRequest) (*keylime.Policy, error) {
	pol := keylime.New()
	if r.from != "" {
		var err error
		if pol, err = readPolicy(ctx, r.from); err != nil {
			return nil, err
		}
	}
	fresh := keylime.New()
	fresh.Excludes = r.excluded
	if len(r.keys) > 0 {
		known, err := p.openVerifiers(ctx, r.keys)
		if err != nil {
			return nil, err
		}
		for _, k := range known.Keys() {
			der, err := x509.MarshalPKIXPublicKey(k.PublicKey())
			if err != nil || k.IsHashless() {
				p.warn(reason.Key, "%s: left out: Keylime verifies signatures by RSA and ECDSA keys", k)
				continue
			}
			fresh.Keys.Add(keylime.Key{ID: uint32(k.KeyID()), DER: der})
		}
	}
	pol.Join(fresh)
	return pol, nil
}

// placesOf say where files are on the target: below prefix, or, where that is empty,
// where they seem to be.
func placesOf(s plan.Selection, prefix string) measured.Places {
	if _, ok := s.Carrier(); ok {
		to := "/"
		if prefix != "" {
			to = prefix
		}
		return measured.Places{{Full: "/", To: to}}
	}
	var all measured.Places
	if s.Root != "" {
		if full, err := filepath.Abs(s.Root); err == nil {
			all = append(all, measured.Place{Full: full, To: "/"})
		}
	}
	for _, name := range s.Paths {
		full, err := filepath.Abs(name)
		if err != nil {
			continue
		}
		to := prefix
		switch {
		case to != "":
		case isRootTree(name):
			to = "/"
		default:
			if to, err = filepath.EvalSymlinks(full); err != nil {
				to = full
			}
		}
		all = append(all, measured.Place{Full: full, To: to})
	}
	return all
}
