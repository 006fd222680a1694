package cli

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/attr"
	"imaseal/internal/cmdline"
	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/inode"
	"imaseal/internal/plan"
	"imaseal/internal/relabel"
	"imaseal/internal/report"
	"imaseal/keys/evmkey"
)

const evmCategory = "EVM"

// viewFlags describe the target's EVM, to commands that write and that check.
func viewFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "evm-key", Category: evmCategory, Usage: "`FILE` with the HMAC key"},
		&urfave.StringFlag{Name: "evm-uuid", Category: evmCategory, Usage: "`UUID` of the target's file system, if it is not this one's"},
		&urfave.BoolFlag{Name: "evm-no-uuid", Category: evmCategory, Usage: "the target's kernel leaves the UUID out (no CONFIG_EVM_ATTR_FSUUID)"},
		&urfave.StringSliceFlag{Name: "evm-xattr", Category: evmCategory, Usage: "attribute `NAME` that the target protects too (evm_xattrs)"},
		&urfave.StringFlag{Name: "kernel-config", Category: evmCategory, Usage: "configuration `FILE` of the target's kernel"},
	}
}

func evmFlags() []urfave.Flag {
	return append([]urfave.Flag{
		&urfave.StringFlag{Name: "evm", Category: evmCategory, Value: "none", Usage: "write security.evm too, of this `KIND`: portable, signature (bound to the inode), hmac, or a kind for signed files and hmac for the rest: portable,hmac or signature,hmac"},
	}, viewFlags()...)
}

// evmWords are the kinds of EVM labels by what --evm calls them.
var evmWords = map[string]imaevm.Type{
	"portable":  imaevm.TypePortable,
	"signature": imaevm.TypeSignature,
	"hmac":      imaevm.TypeHMAC,
}

// evmKinds says which class of files gets which kind of EVM label, nil for
// none. Signatures go to files of class sign, HMACs to the others, or to all if
// there are no signatures; where there is one class only, that gets what is
// asked for.
func evmKinds(value string, rules plan.Rules) (map[plan.Class]imaevm.Type, error) {
	if value == "none" {
		return nil, nil
	}
	var signature, hmac imaevm.Type
	for word := range strings.SplitSeq(value, ",") {
		kind, ok := evmWords[word]
		switch {
		case !ok:
			return nil, &cmdline.UsageError{
				Err:    fmt.Errorf("--evm %q is not none, portable, signature or hmac", word),
				Advice: cmdline.DidYouMean(cmdline.Nearest(word, []string{"none", "portable", "signature", "hmac"}), ""),
			}
		case kind == imaevm.TypeHMAC && hmac != 0, kind != imaevm.TypeHMAC && signature != 0:
			return nil, conflict("--evm "+value+": a file has one EVM label", "portable or signature, and hmac for files that are hashed")
		case kind == imaevm.TypeHMAC:
			hmac = kind
		default:
			signature = kind
		}
	}
	kinds := map[plan.Class]imaevm.Type{plan.Sign: cmp.Or(signature, hmac)}
	if hmac != 0 {
		kinds[plan.Hash] = hmac
	}
	switch {
	case signature != 0 && hmac != 0 && !(rules.Uses(plan.Sign) && rules.Uses(plan.Hash)):
		return nil, conflict("--evm "+value+" is by class, and all files are of the same", "name one kind, or give imaseal sign --rules")
	case !rules.Uses(plan.Sign):
		kinds[plan.Hash] = cmp.Or(signature, hmac)
	}
	return kinds, nil
}

// evmUsage refuses options that the kinds of labels do not need.
func evmUsage(c *urfave.Context, kinds map[plan.Class]imaevm.Type) error {
	switch {
	case kinds == nil:
		return refuseUnused(c, "--evm", "evm-key", "evm-uuid", "evm-no-uuid", "evm-xattr", "kernel-config")
	case !usesKind(kinds, imaevm.TypeHMAC, imaevm.TypeSignature):
		for _, name := range []string{"evm-uuid", "evm-no-uuid"} {
			if c.IsSet(name) {
				return conflict("--"+name+" is of no use: a portable signature holds on every file system", "leave it out, or add --evm signature or hmac")
			}
		}
	}
	if !usesKind(kinds, imaevm.TypeHMAC) {
		return refuseUnused(c, "--evm hmac", "evm-key")
	}
	if c.String("evm-key") == "" {
		return conflict("HMACs need a key", "--evm-key FILE; imaseal keys evm-key makes one")
	}
	return nil
}

// usesKind reports whether some class gets a label of the kind.
func usesKind(kinds map[plan.Class]imaevm.Type, want ...imaevm.Type) bool {
	for _, kind := range kinds {
		if slices.Contains(want, kind) {
			return true
		}
	}
	return false
}

// evmLabels makes ready what the kinds of labels need, but the private key.
func (p Program) evmLabels(c *urfave.Context, store attr.Store, kinds map[plan.Class]imaevm.Type, rules plan.Rules) (*relabel.EVMLabels, error) {
	m := &relabel.EVMLabels{Kinds: kinds}
	var err error
	if usesKind(kinds, imaevm.TypeHMAC) {
		if m.HMAC, err = p.openHMAC(c); err != nil {
			return nil, err
		}
		if p.Host.HMACRefused() && !c.Bool("dry-run") && c.String("namespace") == "security" {
			return nil, errHMACRefused
		}
	}
	if rules.Uses(plan.Hash) && kinds[plan.Hash] == 0 {
		p.warn("files of class hash get no EVM label with --evm %s: a kernel with EVM active will deny them (--evm %[1]s,hmac labels them too)", c.String("evm"))
	}
	view, source, err := p.evmView(c)
	if err != nil {
		return nil, err
	}
	if usesKind(kinds, imaevm.TypeSignature, imaevm.TypeHMAC) {
		p.tellEVM(c, view, source)
	}
	view.Store = store
	m.View = view
	return m, nil
}

// openHMAC reads the HMAC key.
func (p Program) openHMAC(c *urfave.Context) (*imaevm.HMACKey, error) {
	key, err := p.readSecret(c.String("evm-key"), evmkey.Read)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return imaevm.NewHMACKey(key)
}

// evmView returns what the target's EVM covers: as its configuration says, if it
// is named, else as the running kernel does, if that has EVM, else as the
// kernels of distributions do. source says in words which. The caller sets the
// Store.
func (p Program) evmView(c *urfave.Context) (v *relabel.EVMView, source string, err error) {
	v = &relabel.EVMView{NoUUID: c.Bool("evm-no-uuid")}
	if v.NoUUID && c.String("evm-uuid") != "" {
		return nil, "", conflict("--evm-uuid and --evm-no-uuid contradict each other", "leave out one of them")
	}
	if v.UUID, err = evmUUID(c); err != nil {
		return nil, "", err
	}
	config, source, err := p.kernelConfig(c)
	if err != nil {
		return nil, "", err
	}
	known := make(map[string]bool)
	for _, a := range imaevm.Protected() {
		known[a.Name] = true
		if config == nil && !slices.Contains(rare, a.Option) || config.Enabled(a.Option) || a.Option == "" {
			v.Counted = append(v.Counted, a.Name)
		}
	}
	if config != nil && !config.Enabled("CONFIG_EVM_ATTR_FSUUID") {
		if v.UUID != nil {
			return nil, "", conflict("--evm-uuid is given, and EVM leaves the UUID out "+source+" (no CONFIG_EVM_ATTR_FSUUID)",
				"leave it out, or name the target's configuration with --kernel-config")
		}
		v.NoUUID = true
	}
	added := c.StringSlice("evm-xattr")
	if c.String("kernel-config") == "" {
		names, _ := p.Host.EVMXattrs()
		added = slices.Concat(names, added)
	}
	for _, name := range added {
		switch {
		case name == imaevm.AttrEVM:
			return nil, "", &cmdline.UsageError{Err: fmt.Errorf("--evm-xattr %q: a label of EVM does not cover itself", name)}
		case !strings.HasPrefix(name, "security."):
			return nil, "", &cmdline.UsageError{Err: fmt.Errorf("--evm-xattr %q is not one of security.*, which are those that EVM protects", name)}
		}
		if !known[name] {
			known[name], v.Added = true, append(v.Added, name)
		}
	}
	return v, source, nil
}

// evmUUID returns the UUID of --evm-uuid, nil if there is none.
func evmUUID(c *urfave.Context) (*[16]byte, error) {
	text := c.String("evm-uuid")
	if text == "" {
		return nil, nil
	}
	uuid, err := inode.ParseUUID(text)
	if err != nil {
		return nil, &cmdline.UsageError{Err: fmt.Errorf("--evm-uuid: %w", err)}
	}
	return &uuid, nil
}

// tellEVM says what labels that depend on the target's EVM are made or checked
// for.
func (p Program) tellEVM(c *urfave.Context, v *relabel.EVMView, source string) {
	if c.Bool("quiet") || c.Bool("json") {
		return
	}
	uuid := "with"
	if v.NoUUID {
		uuid = "without"
	}
	fmt.Fprintf(p.Stderr, "imaseal: EVM as %s: %s, %s file system UUID\n", source, short(slices.Concat(v.Counted, v.Added)), uuid)
}

// rare are options that are off in the kernels of most distributions: Debian,
// Fedora and those made from them have no Smack.
var rare = []string{"CONFIG_SECURITY_SMACK", "CONFIG_EVM_EXTRA_SMACK_XATTRS"}

// kernelConfig returns the configuration of the target's kernel and in words
// whose it is; nil stands for what distributions have.
func (p Program) kernelConfig(c *urfave.Context) (host.Config, string, error) {
	if file := c.String("kernel-config"); file != "" {
		config, err := p.openConfig(file)
		if err == nil && !config.Enabled("CONFIG_EVM") {
			err = &fs.PathError{Op: "read", Path: file, Err: errNoEVM}
		}
		return config, "in the kernel of " + report.Quote(file), err
	}
	if config, _, err := p.Host.Config(); err == nil && config.Enabled("CONFIG_EVM") {
		return config, "in the running kernel " + p.Host.Release(), nil
	}
	return nil, "in kernels of distributions (--kernel-config names another)", nil
}

// short drops what the names of attributes have in common.
func short(names []string) string {
	var s []string
	for _, name := range names {
		s = append(s, strings.TrimPrefix(name, "security."))
	}
	return strings.Join(s, " ")
}
