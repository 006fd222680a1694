package target

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/tree"
)

// A State is what EVM is set to: the flags of /sys/kernel/security/evm that
// decide about files. See host.EVMState.
type State struct {
	HMAC  bool // the HMAC key is loaded
	X509  bool // signatures are verified
	SigV3 bool // only signatures of version 3 count, since 7.2
}

// IsActive reports whether appraised files need an EVM label.
func (s State) IsActive() bool { return s.HMAC || s.X509 }

// String returns "none", or the words of the flags with commas.
func (s State) String() string {
	var words []string
	for _, flag := range []struct {
		on   bool
		word string
	}{{s.HMAC, "hmac"}, {s.X509, "x509"}, {s.SigV3, "sigv3"}} {
		if flag.on {
			words = append(words, flag.word)
		}
	}
	if words == nil {
		return "none"
	}
	return strings.Join(words, ",")
}

// ParseState parses what String prints, its words in any order. The error is an
// *OptionError.
func ParseState(text string) (State, error) {
	var s State
	flags := map[string]*bool{"hmac": &s.HMAC, "x509": &s.X509, "sigv3": &s.SigV3}
	if text == "none" {
		return s, nil
	}
	for word := range strings.SplitSeq(text, ",") {
		flag := flags[word]
		if flag == nil || *flag {
			return State{}, &OptionError{What: fmt.Sprintf("--evm-state %q is not none, or some of hmac, x509 and sigv3 with commas", text)}
		}
		*flag = true
	}
	return s, nil
}

// checkState refuses a state that the kernel cannot be in.
func (o Options) checkState(k policy.Kernel) error {
	if o.EVM != nil && o.EVM.SigV3 && !k.IsSigV3() {
		return &OptionError{"--evm-state sigv3 is of kernels since 7.2", "name the kernel with --kernel-version, or leave sigv3 out"}
	}
	return nil
}

// checkActive refuses a state that no kernel can be in, and a key that EVM does
// not have in that state.
func (o Options) checkActive() error {
	switch {
	case o.EVM == nil:
	case o.EVM.SigV3 && !o.EVM.IsActive():
		return &OptionError{"--evm-state sigv3 alone leaves EVM inactive", "--evm-state x509,sigv3"}
	case o.HasHMACKey && !o.EVM.HMAC:
		return &OptionError{"--evm-key is given, and EVM has no HMAC key with --evm-state " + o.EVM.String(), "--evm-state hmac, or leave it out"}
	}
	return nil
}

func (o Options) checkAttrs() error {
	for _, name := range o.Attrs {
		switch {
		case name == imaevm.AttrEVM:
			return &OptionError{What: fmt.Sprintf("--evm-xattr %q: a label of EVM does not cover itself", name)}
		case !strings.HasPrefix(name, "security."):
			return &OptionError{What: fmt.Sprintf("--evm-xattr %q is not one of security.*, which are those that EVM protects", name)}
		}
	}
	return nil
}

// State returns what EVM is set to: as the options say, as the key tells that
// somebody has, or as in the running kernel if that is meant, else inactive.
func (t *Target) State() State {
	switch {
	case t.options.EVM != nil:
		return *t.options.EVM
	case t.options.HasHMACKey:
		return State{HMAC: true}
	case t.Running:
		now, _ := t.host.EVM()
		return State{HMAC: now&host.EVMHMAC != 0, X509: now&host.EVMX509 != 0, SigV3: now&host.EVMSigV3 != 0}
	}
	return State{}
}

// An EVM is what the labels of the target's EVM cover. It is a plain value.
type EVM struct {
	// Attrs are the attributes that the kernel may have been built to protect,
	// in its order. Portable signatures cover them all.
	Attrs []Attr
	// Added are attributes that root adds at run time, in their order. They
	// count for every kind of label.
	Added []string
	// CountsUUID says whether HMACs and inode-bound signatures cover the UUID
	// of the file system (CONFIG_EVM_ATTR_FSUUID).
	CountsUUID policy.Truth
	// UUID is that of the target's file system, nil for that of the file.
	UUID *[16]byte
	// Layout is how all this is laid out.
	Layout imaevm.Target
	// Instead is what labels cover in place of what a file has.
	Instead Instead
	// Adapt returns what is Instead for a file and a kind of label; nil is for the
	// same for all.
	Adapt func(tree.File, imaevm.Type, Instead) (Instead, error)
	// Bare makes labels that no kernel takes, too, but portable ones: see
	// imaevm.Covered.
	Bare bool
	// Source says in words whose EVM it is, such as "in the running kernel
	// 6.12.9".
	Source string
}

// An Instead is what EVM covers in place of what a file has here: as it will have
// it on the target. Nil fields are for what it has.
type Instead struct {
	UID, GID   *uint32
	Mode       *uint32 // the whole i_mode, type bits included
	Inode      *uint64
	Generation *uint32
	// Values are those of attributes, nil for none.
	Values map[string][]byte
}

// IsBound reports whether something is in it that portable signatures do not cover.
func (i Instead) IsBound() bool { return i.Inode != nil || i.Generation != nil }

// owner puts the owner and the mode in place of a file's.
func (i Instead) owner(meta *imaevm.Meta) {
	for _, field := range []struct {
		to   *uint32
		from *uint32
	}{{&meta.UID, i.UID}, {&meta.GID, i.GID}, {&meta.Mode, i.Mode}} {
		if field.from != nil {
			*field.to = *field.from
		}
	}
}

// attrs puts values of attributes in place of a file's, in the order of names.
func (i Instead) attrs(names []string, has []imaevm.Attr) []imaevm.Attr {
	if i.Values == nil {
		return has
	}
	var attrs []imaevm.Attr
	for _, name := range names {
		if value, isGiven := i.Values[name]; isGiven {
			if value != nil {
				attrs = append(attrs, imaevm.Attr{Name: name, Value: value})
			}
			continue
		}
		for _, a := range has {
			if a.Name == name {
				attrs = append(attrs, a)
			}
		}
	}
	return attrs
}

// An Attr is an attribute that EVM may protect. Counts says whether HMACs and
// inode-bound signatures cover it in the kernel's build.
type Attr struct {
	Name   string
	Counts policy.Truth

	usual bool // in kernels of distributions
}

// Counted returns the names of the attributes that HMACs and inode-bound
// signatures cover, without those that are added. Labels have to be made for
// something: where the kernel's build is not known, it is taken for that of the
// usual distributions.
func (e EVM) Counted() []string {
	var names []string
	for _, a := range e.Attrs {
		if a.Counts == policy.True || a.Counts == policy.Unknown && a.usual {
			names = append(names, a.Name)
		}
	}
	return names
}

// Counts returns what is known of an attribute's counting; of one that no
// kernel protects by itself that it does not, unless it is added.
func (e EVM) Counts(name string) policy.Truth {
	if slices.Contains(e.Added, name) {
		return policy.True
	}
	for _, a := range e.Attrs {
		if a.Name == name {
			return a.Counts
		}
	}
	return policy.False
}

// NoUUID reports whether labels are made without the UUID. Where that is not
// known they are made with it, as in the usual distributions.
func (e EVM) NoUUID() bool { return e.CountsUUID == policy.False }

// String says in a line what the labels cover.
func (e EVM) String() string {
	var names []string
	for _, name := range slices.Concat(e.Counted(), e.Added) {
		names = append(names, strings.TrimPrefix(name, "security."))
	}
	text := e.Source + ": " + strings.Join(names, " ") + ", with file system UUID"
	if e.NoUUID() {
		text = e.Source + ": " + strings.Join(names, " ") + ", without file system UUID"
	}
	if e.Layout.Word32 {
		text += ", 32-bit"
	}
	if e.Layout.BigEndian {
		text += ", big endian"
	}
	return text
}

// rare are options that are off in the kernels of most distributions: Debian,
// Fedora and those made from them have no Smack.
var rare = []string{"CONFIG_SECURITY_SMACK", "CONFIG_EVM_EXTRA_SMACK_XATTRS"}

// EVM returns what the target's EVM covers: as its configuration says, if that
// is named, else as that of the running kernel, if that is meant and has EVM,
// else as the options say and distributions have it. A configuration without EVM
// gives ErrNoEVM in an *fs.PathError, one that contradicts the options an
// *OptionError.
func (t *Target) EVM() (EVM, error) {
	e := EVM{UUID: t.options.UUID, Instead: t.options.Instead, Layout: t.Layout(), Source: "in kernels of distributions (--kernel-config names another)"}
	config := t.Configuration
	switch {
	case config.Enabled("CONFIG_EVM") && t.ConfigFile != "":
		e.Source = "in the kernel of " + t.ConfigFile
	case config.Enabled("CONFIG_EVM"):
		e.Source = "in the running kernel " + t.host.Release()
	case t.ConfigFile != "":
		return EVM{}, &fs.PathError{Op: "read", Path: t.ConfigFile, Err: ErrNoEVM}
	default:
		config = nil // one that happens to run
	}
	for _, p := range imaevm.Protected() {
		a := Attr{Name: p.Name, usual: !slices.Contains(rare, p.Option)}
		switch {
		case p.Option == "":
			a.Counts = policy.True
		case config != nil:
			a.Counts = policy.Of(config.Enabled(p.Option))
		}
		e.Attrs = append(e.Attrs, a)
	}
	var added []string
	if t.Running {
		added, _ = t.host.EVMXattrs()
	}
	for _, name := range slices.Concat(added, t.options.Attrs) {
		isKnown := slices.ContainsFunc(e.Attrs, func(a Attr) bool { return a.Name == name })
		if !isKnown && !slices.Contains(e.Added, name) {
			e.Added = append(e.Added, name)
		}
	}
	var err error
	e.CountsUUID, err = t.countsUUID(config, e.Source)
	return e, err
}

func (t *Target) countsUUID(config host.Config, source string) (policy.Truth, error) {
	switch {
	case t.options.NoUUID:
		return policy.False, nil
	case config != nil && !config.Enabled("CONFIG_EVM_ATTR_FSUUID") && t.options.UUID != nil:
		return policy.False, &OptionError{
			"--evm-uuid is given, and EVM leaves the UUID out " + source + " (no CONFIG_EVM_ATTR_FSUUID)",
			"leave it out, or name the target's configuration with --kernel-config",
		}
	case config != nil:
		return policy.Of(config.Enabled("CONFIG_EVM_ATTR_FSUUID")), nil
	case t.options.UUID != nil:
		return policy.True, nil
	}
	return policy.Unknown, nil
}
