package command

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/attr"
	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/inode"
	"imaseal/internal/plan"
	"imaseal/internal/relabel"
	"imaseal/keys/evmkey"
)

const evmCategory = "EVM"

// viewFlags describe the target's EVM, for who writes and who checks.
func viewFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "evm-key", Category: evmCategory, Usage: "`FILE` with the HMAC key"},
		&cli.StringFlag{Name: "evm-uuid", Category: evmCategory, Usage: "`UUID` of the target's file system, if it is not this one's"},
		&cli.BoolFlag{Name: "evm-no-uuid", Category: evmCategory, Usage: "the target's kernel leaves the UUID out (no CONFIG_EVM_ATTR_FSUUID)"},
		&cli.StringSliceFlag{Name: "evm-xattr", Category: evmCategory, Usage: "attribute `NAME` that the target protects too (evm_xattrs)"},
		&cli.StringFlag{Name: "kernel-config", Category: evmCategory, Usage: "configuration `FILE` of the target's kernel"},
	}
}

func evmFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "evm", Category: evmCategory, Value: "none", Usage: "write security.evm too, of this `KIND`: portable, signature (bound to the inode), hmac, or a kind for signed files and hmac for the rest: portable,hmac or signature,hmac"},
	}, viewFlags()...)
}

// evmWords are the kinds of EVM labels by what --evm calls them.
var evmWords = map[string]imaevm.Type{
	"portable":  imaevm.TypePortable,
	"signature": imaevm.TypeSignature,
	"hmac":      imaevm.TypeHMAC,
}

// evmKinds says which class of files gets which kind of EVM label. Signatures
// go to files of class sign, HMACs to the others, or to all if there are no
// signatures; where there is one class only, that gets what is asked for.
func evmKinds(value string, rules plan.Rules) (map[plan.Class]imaevm.Type, error) {
	given := words(value)
	if value == "none" {
		return nil, nil
	}
	kinds := make(map[plan.Class]imaevm.Type)
	for _, word := range given {
		kind, ok := evmWords[word]
		switch {
		case !ok:
			return nil, &usageError{err: fmt.Errorf("--evm %q is not none, portable, signature or hmac", word)}
		case kind == imaevm.TypeHMAC:
			kinds[plan.Hash] = kind
			if len(given) == 1 {
				kinds[plan.Sign] = kind
			}
		case kinds[plan.Sign] != 0:
			return nil, conflict("--evm "+value+": a file has one EVM label", "portable or signature, not both")
		default:
			kinds[plan.Sign] = kind
		}
	}
	if !rules.Uses(plan.Sign) {
		if len(given) > 1 {
			return nil, conflict("--evm "+value+" is by class, and all files are of class hash", "name one kind")
		}
		kinds[plan.Hash] = evmWords[given[0]]
	}
	return kinds, nil
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

// checkEVM refuses options of EVM labels that do not go together, before a key
// is opened and its passphrase asked for.
func checkEVM(c *cli.Context, rules plan.Rules) error {
	kinds, err := evmKinds(c.String("evm"), rules)
	if err != nil {
		return err
	}
	if kinds == nil {
		return refuseUnused(c, "--evm", "evm-key", "evm-uuid", "evm-no-uuid", "evm-xattr", "kernel-config")
	}
	if usesKind(kinds, imaevm.TypePortable, imaevm.TypeSignature) && c.String("key") == "" {
		return conflict("--evm "+c.String("evm")+" needs a private key", "--key FILE; imaseal keys generate makes one")
	}
	if !usesKind(kinds, imaevm.TypeHMAC) {
		return refuseUnused(c, "--evm hmac", "evm-key")
	}
	if c.String("evm-key") == "" {
		return conflict("HMACs need a key", "--evm-key FILE; imaseal keys evm-key makes one")
	}
	return nil
}

// evmLabels makes ready what --evm asks for, nil for nothing.
func (p Program) evmLabels(c *cli.Context, store attr.Store, rules plan.Rules, algo hash.Algorithm, key *relabel.SigningKey) (*relabel.EVMLabels, error) {
	kinds, err := evmKinds(c.String("evm"), rules)
	if err != nil || kinds == nil {
		return nil, err
	}
	m := &relabel.EVMLabels{Kinds: kinds, Algo: algo, Key: key}
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
	inodeBound := usesKind(kinds, imaevm.TypeSignature, imaevm.TypeHMAC)
	m.View, err = p.evmView(c, store, inodeBound)
	return m, err
}

// openHMAC reads the HMAC key.
func (p Program) openHMAC(c *cli.Context) (*imaevm.HMACKey, error) {
	key, err := p.readSecret(c.String("evm-key"), evmkey.Read)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return imaevm.NewHMACKey(key)
}

// evmView says what the target's EVM covers: as its configuration says, if it
// is named, else as the running kernel does, if that has EVM, else as the
// kernels of distributions do. It is said which, where it matters.
func (p Program) evmView(c *cli.Context, store attr.Store, matters bool) (*relabel.EVMView, error) {
	v := &relabel.EVMView{Store: store, NoUUID: c.Bool("evm-no-uuid")}
	if text := c.String("evm-uuid"); text != "" {
		if v.NoUUID {
			return nil, conflict("--evm-uuid and --evm-no-uuid contradict each other", "leave out one of them")
		}
		uuid, err := inode.ParseUUID(text)
		if err != nil {
			return nil, &usageError{err: fmt.Errorf("--evm-uuid: %w", err)}
		}
		v.UUID = &uuid
	}
	config, source, err := p.kernelConfig(c)
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool)
	for _, a := range imaevm.Protected() {
		known[a.Name] = true
		if config == nil && !slices.Contains(rare, a.Option) || config.Enabled(a.Option) || a.Option == "" {
			v.Counted = append(v.Counted, a.Name)
		}
	}
	if config != nil && !config.Enabled("CONFIG_EVM_ATTR_FSUUID") {
		v.NoUUID = true
	}
	added := c.StringSlice("evm-xattr")
	if c.String("kernel-config") == "" {
		names, _ := p.Host.EVMXattrs()
		added = slices.Concat(names, added)
	}
	for _, name := range added {
		if !strings.HasPrefix(name, "security.") || name == imaevm.AttrEVM {
			return nil, &usageError{err: fmt.Errorf("--evm-xattr %q is not one of security.*, which are those that EVM protects", name)}
		}
		if !known[name] {
			known[name], v.Added = true, append(v.Added, name)
		}
	}
	if matters && !c.Bool("quiet") && !c.Bool("json") {
		uuid := "with"
		if v.NoUUID {
			uuid = "without"
		}
		fmt.Fprintf(p.Stderr, "imaseal: EVM as %s: %s, %s file system UUID\n", source, short(slices.Concat(v.Counted, v.Added)), uuid)
	}
	return v, nil
}

// rare are options that are off in the kernels of most distributions: Debian,
// Fedora and those made from them have no Smack.
var rare = []string{"CONFIG_SECURITY_SMACK", "CONFIG_EVM_EXTRA_SMACK_XATTRS"}

// kernelConfig returns the configuration of the target's kernel and in words
// whose it is; nil stands for what distributions have.
func (p Program) kernelConfig(c *cli.Context) (host.Config, string, error) {
	if file := c.String("kernel-config"); file != "" {
		config, err := host.OpenConfig(file)
		if err == nil && !config.Enabled("CONFIG_EVM") {
			err = &fs.PathError{Op: "read", Path: file, Err: errNoEVM}
		}
		return config, file + " says", err
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
