package cli

import (
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/label"
	"imaseal/internal/labelfile"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/internal/tree"
	"imaseal/internal/tree/dump"
)

// requestOptions are the options of imaseal request.
type requestOptions struct {
	labelOptions
	owner   string
	policy  policyOptions
	algo    string
	version *int // of signatures
	to      string
}

// newRequestOptions returns options of which those are fixed that say how trees are
// written: none is.
func (p Program) newRequestOptions() *requestOptions {
	o := &requestOptions{labelOptions: labelOptions{files: p.files()}}
	o.writing.immutable, o.writing.namespace.name = "fail", "security"
	return o
}

func (o *requestOptions) flags() []urfave.Flag {
	own := []urfave.Flag{
		&urfave.StringFlag{Name: "owner", Destination: &o.owner, Category: selecting, DefaultText: "0, or any with --policy", Usage: "files of this `USER`, by number or name; any for all"},
	}
	labelling := []urfave.Flag{
		trustFlag(&o.trust),
		&urfave.StringFlag{Name: "algo", Destination: &o.algo, Category: labels, DefaultText: "sha256, or another that the policy allows", Usage: "digest `ALGORITHM`"},
		&urfave.IntFlag{Name: "sig-version", Action: noted(&o.version), Category: labels, DefaultText: "what the key makes", Usage: "`VERSION` of signatures: 2, or 3 for Linux 7.2 and later"},
		o.rulesFlag(),
	}
	to := []urfave.Flag{
		&urfave.StringFlag{Name: "output", Destination: &o.to, Category: writing, DefaultText: "standard output", Usage: "write requests to `FILE`, which is there when all is written"},
		o.export.as.flag(), o.writing.archive.tempDirFlag(),
	}
	return slices.Concat(o.policy.flags(), own, o.files.flags(), labelling, o.rewrite.flags("where the rules say hash, and those that --trust verifies"), []urfave.Flag{writersFlag(&o.writers)},
		o.context.flags(), []urfave.Flag{o.evm.kindFlag()}, o.view.flags(), o.kernelFlags(), []urfave.Flag{o.kernel.secureBootFlag()}, to, o.output.flags())
}

func (o *requestOptions) plan(paths []string) (labelRequest, error) {
	o.export.to = "-"
	if o.to != "" {
		o.export.to = o.to
	}
	version, err := o.signatureVersion()
	if err != nil {
		return labelRequest{}, err
	}
	isByPolicy := o.policy != policyOptions{}
	owner, algo, rules, err := o.choices(isByPolicy)
	if err != nil {
		return labelRequest{}, err
	}
	switch kinds, _ := (&evmOptions{kinds: o.evm.kinds, key: evmKeyOption{"-"}}).plan(); {
	case kinds.hmac != 0:
		return labelRequest{}, conflict("--evm "+o.evm.kinds+": an HMAC's key is the target's own, and is not used elsewhere", "imaseal hash --evm hmac --evm-key FILE PATH makes HMACs, where that key is")
	case o.export.to == "-" && o.output.json:
		return labelRequest{}, conflict("--json and the requests both go to standard output", "--output FILE")
	}
	o.elsewhere = &elsewhereRequest{version: version}
	r, err := o.labelOptions.plan("request", o.files.plan(paths, owner), algo, rules)
	if err != nil {
		return r, err
	}
	r.Format = string(dump.Requests)
	if isByPolicy {
		r.policy = &policyRequest{name: o.policy.name(), targetFS: o.policy.targetFS}
	}
	return r, firstError(o.policy.check(), o.checkView(r.evm, isByPolicy))
}

// choices are those that are as with relabel where there is a policy, and else as
// with sign.
func (o *requestOptions) choices(isByPolicy bool) (owner *uint32, algo hash.Algorithm, rules plan.Rules, err error) {
	if o.algo != "" || !isByPolicy {
		name := hash.SHA256.String()
		if o.algo != "" {
			name = o.algo
		}
		if algo, err = parseAlgo(name); err != nil {
			return nil, 0, nil, err
		}
	}
	switch {
	case isByPolicy && o.owner != "":
		return nil, 0, nil, conflict("--owner is of no use with --policy, which decides about files of all owners", "leave it out")
	case isByPolicy:
		return nil, algo, plan.DefaultRules(true), nil
	case o.owner == "":
		o.owner = "0"
	}
	owner, err = parseUser("owner", o.owner)
	return owner, algo, plan.Only(plan.Sign), err
}

// signatureVersion is zero if the key decides.
func (o *requestOptions) signatureVersion() (uint8, error) {
	if o.version == nil {
		return 0, nil
	}
	return parseVersion(*o.version, 2)
}

// An elsewhereRequest asks for signatures of a key that is not here.
type elsewhereRequest struct{ version uint8 } // 0 leaves it to the key

// key stands for the key.
func (r *elsewhereRequest) key() *label.Key {
	if r.version == 3 {
		return label.Elsewhere(3)
	}
	return label.Elsewhere(defaultVersion)
}

// record adds the version to requests.
func (r *elsewhereRequest) record(l *label.Labeller) func(tree.File, report.Result) (labelfile.Record, error) {
	return func(f tree.File, res report.Result) (labelfile.Record, error) {
		rec, err := l.Record(f, res)
		if rec.NeedsIMA() || rec.NeedsEVM() {
			rec.Version = r.version
		}
		return rec, err
	}
}

func (p Program) requestCommand() *urfave.Command {
	o := p.newRequestOptions()
	return &urfave.Command{
		Name:      "request",
		Usage:     "write requests for labels, to be signed elsewhere",
		ArgsUsage: "PATH...",
		Description: `Reads every selected file below each PATH and writes what the owner of a
key needs to make its labels: digest, and what EVM covers. Needs no key, and
no privilege. Which files, and whether they are signed or hashed, is decided as
sign does it, or as relabel does if --policy is given. What needs no key is made
already.

   imaseal request --evm portable /mnt/root >requests
   imaseal answer --key signing.key --cert signing.der requests >labels
   imaseal apply --key signing.der labels /mnt/root

What a policy wants signed of an archive, and of a directory as root will own it:
   imaseal request --policy ima-policy --target-fs squashfs tar:root.tar \
      --output requests
   imaseal request --evm portable --as 0:0 tree >requests`,
		Flags:  o.flags(),
		Action: action(o.plan, p.label),
	}
}
