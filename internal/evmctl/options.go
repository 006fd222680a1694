package evmctl

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"imaseal/internal/imaevm"
)

// Options are those of evmctl. Pointers are nil for what is not given.
type Options struct {
	Help, Version bool
	Verbose       int

	Algo             string // as given; sha256 if it is not
	IMASig, IMAHash  bool
	SigFile, Print   bool // -f and -n
	UserXattrs       bool
	Key              string
	KeyID            *imaevm.KeyID
	KeyIDFromCert    string
	RSA              bool  // signatures of version 1
	SigVersion       uint8 // 2 or 3; 0 if that is not given
	Pass             *string
	Engine, Provider string
	Verity           bool

	Recursive      bool
	SameFilesystem bool
	SkipLabelled   bool

	Portable, Immutable, Smack bool
	Word32, Word64             bool
	NoUUID                     bool
	UUID                       string
	Inode, Generation          *uint64
	UID, GID, Mode             *uint64
	// Values are those of attributes in place of a file's, nil for none.
	Values  map[string][]byte
	HMACKey string

	VerifySig, IgnoreViolations, HardwareTPM bool
	// PCRs are files with the values of registers, in the form [ALGORITHM,]FILE.
	PCRs       []string
	VerifyBank string // the one that counts, "" for all
}

// yes makes an option that has no argument.
func yes(field func(*Options) *bool) func(*Options, string, bool) error {
	return func(o *Options, _ string, _ bool) error {
		*field(o) = true
		return nil
	}
}

func text(field func(*Options) *string) func(*Options, string, bool) error {
	return func(o *Options, value string, _ bool) error {
		*field(o) = value
		return nil
	}
}

// number makes an option with a decimal number, or nothing for 0.
func number(name string, bits int, field func(*Options) **uint64) func(*Options, string, bool) error {
	return func(o *Options, value string, _ bool) error {
		base := 10
		if name == "mode" && len(value) > 1 && value[0] == '0' {
			base = 8 // in decimal, as evmctl has it, that would be no mode
		}
		n := uint64(0)
		if value != "" {
			var err error
			if n, err = strconv.ParseUint(value, base, bits); err != nil {
				return usageError("option '--%s': %q is no number of at most %d bits", name, value, bits)
			}
		}
		*field(o) = &n
		return nil
	}
}

func (o *Options) setValue(attr string, value []byte) {
	if o.Values == nil {
		o.Values = make(map[string][]byte)
	}
	o.Values[attr] = value
}

// options are all of evmctl's, in the order of its table.
var options []option

func init() { options = table() } // find, which table's functions reach, reads it

func table() []option {
	return []option{
		{name: "help", letter: 'h', set: func(o *Options, _ string, _ bool) error { o.Help = true; return errEnough }},
		{name: "imasig", letter: 's', set: yes(func(o *Options) *bool { return &o.IMASig })},
		{name: "imahash", letter: 'd', set: yes(func(o *Options) *bool { return &o.IMAHash })},
		{name: "hashalgo", letter: 'a', arg: required, set: text(func(o *Options) *string { return &o.Algo })},
		{name: "pass", letter: 'p', arg: optional, set: setPass},
		{name: "sigfile", letter: 'f', set: yes(func(o *Options) *bool { return &o.SigFile })},
		{name: "uuid", letter: 'u', arg: optional, set: setUUID},
		{name: "rsa", set: yes(func(o *Options) *bool { return &o.RSA })},
		{name: "v2", set: func(o *Options, _ string, _ bool) error { o.SigVersion = 2; return nil }},
		{name: "v3", set: func(o *Options, _ string, _ bool) error { o.SigVersion = 3; return nil }},
		{name: "key", letter: 'k', arg: required, set: text(func(o *Options) *string { return &o.Key })},
		{name: "type", letter: 't', arg: required, set: setTypes},
		{name: "recursive", letter: 'r', set: yes(func(o *Options) *bool { return &o.Recursive })},
		{name: "m32", set: yes(func(o *Options) *bool { return &o.Word32 })},
		{name: "m64", set: yes(func(o *Options) *bool { return &o.Word64 })},
		{name: "portable", letter: 'o', set: yes(func(o *Options) *bool { return &o.Portable })},
		{letter: 'i', set: yes(func(o *Options) *bool { return &o.Immutable })},
		{letter: 'n', set: yes(func(o *Options) *bool { return &o.Print })},
		{letter: 'v', set: func(o *Options, _ string, _ bool) error { o.Verbose++; return nil }},
		{name: "smack", set: yes(func(o *Options) *bool { return &o.Smack })},
		{name: "version", set: func(o *Options, _ string, _ bool) error { o.Version = true; return errEnough }},
		{name: "inode", arg: required, set: number("inode", 64, func(o *Options) **uint64 { return &o.Inode })},
		{name: "uid", arg: required, set: number("uid", 32, func(o *Options) **uint64 { return &o.UID })},
		{name: "gid", arg: required, set: number("gid", 32, func(o *Options) **uint64 { return &o.GID })},
		{name: "mode", arg: required, set: number("mode", 16, func(o *Options) **uint64 { return &o.Mode })},
		{name: "generation", arg: required, set: number("generation", 32, func(o *Options) **uint64 { return &o.Generation })},
		{name: "ima", arg: required, set: setIMA},
		{name: "selinux", arg: required, set: setSELinux},
		{name: "caps", arg: optional, set: setCaps},
		{name: "verify-sig", set: yes(func(o *Options) *bool { return &o.VerifySig })},
		{name: "engine", arg: required, set: setEngine},
		{name: "xattr-user", set: yes(func(o *Options) *bool { return &o.UserXattrs })},
		{name: "verify", set: yes(func(o *Options) *bool { return &o.VerifySig })}, // before 1.3.1
		{name: "validate", set: yes(func(o *Options) *bool { return &o.IgnoreViolations })},
		{name: "ignore-violations", set: yes(func(o *Options) *bool { return &o.IgnoreViolations })},
		{name: "pcrs", arg: required, set: addPCRs},
		{name: "verify-bank", arg: optional, set: text(func(o *Options) *string { return &o.VerifyBank })},
		{name: "keyid", arg: required, set: setKeyID},
		{name: "keyid-from-cert", arg: required, set: text(func(o *Options) *string { return &o.KeyIDFromCert })},
		{name: "veritysig", set: yes(func(o *Options) *bool { return &o.Verity })},
		{name: "hwtpm", set: yes(func(o *Options) *bool { return &o.HardwareTPM })},
		{name: "hmackey", arg: required, set: text(func(o *Options) *string { return &o.HMACKey })},
		{name: "provider", arg: required, set: setProvider},
	}
}

func setPass(o *Options, value string, isGiven bool) error {
	if o.Pass = nil; isGiven {
		o.Pass = &value
	}
	return nil
}

func setUUID(o *Options, value string, _ bool) error {
	o.UUID, o.NoUUID = value, value == ""
	return nil
}

// setTypes takes the letters of -t: f, x and m, and d and s, which count for nothing.
func setTypes(o *Options, value string, _ bool) error {
	o.SkipLabelled = strings.Contains(value, "x")
	o.SameFilesystem = strings.Contains(value, "m")
	return nil
}

// maxPCRs is how often --pcrs can be given: once for a bank.
const maxPCRs = 2

func addPCRs(o *Options, value string, _ bool) error {
	if len(o.PCRs) == maxPCRs {
		return usageError("too many --pcrfile options")
	}
	o.PCRs = append(o.PCRs, value)
	return nil
}

func setIMA(o *Options, value string, _ bool) error {
	label, err := hex.DecodeString(value)
	if err != nil || len(label) == 0 {
		return usageError("option '--ima': %q is no label in hexadecimal", value)
	}
	o.setValue(imaevm.AttrIMA, label)
	return nil
}

// setSELinux ends the context with a zero byte, as file systems hold it.
func setSELinux(o *Options, value string, _ bool) error {
	o.setValue(imaevm.AttrSELinux, append([]byte(value), 0))
	return nil
}

// setCaps takes the bytes of security.capability: in hexadecimal behind 0x, else, as
// evmctl has it, as they are, which no command line can spell. Nothing is none.
func setCaps(o *Options, value string, _ bool) error {
	var caps []byte
	if digits, ok := strings.CutPrefix(value, "0x"); ok {
		var err error
		if caps, err = hex.DecodeString(digits); err != nil {
			return usageError("option '--caps': %q is no value in hexadecimal", value)
		}
	} else if value != "" {
		caps = []byte(value)
	}
	o.setValue("security.capability", caps)
	return nil
}

func setKeyID(o *Options, value string, _ bool) error {
	id, err := imaevm.ParseKeyID(value)
	if err != nil || id == 0 {
		return usageError("Invalid keyid value.")
	}
	o.KeyID = &id
	return nil
}

// pkcs11 is the one engine and provider whose work is done here, too.
const pkcs11 = "pkcs11"

func setEngine(o *Options, value string, _ bool) error {
	o.Engine = value
	return accessible("engine", value)
}

func setProvider(o *Options, value string, _ bool) error {
	o.Provider = value
	return accessible("provider", value)
}

func accessible(what, name string) error {
	switch name {
	case pkcs11:
		return nil
	case "gost":
		return &UnsupportedError{What: fmt.Sprintf("%s %s: GOST R 34.10 and 34.11 are not supported", what, name)}
	}
	return &UnsupportedError{What: fmt.Sprintf("%s %s: there is no OpenSSL in here, and %s alone is known", what, name, pkcs11)}
}

// An UnsupportedError says that evmctl can do something that imaseal cannot.
type UnsupportedError struct{ What string }

func (e *UnsupportedError) Error() string { return e.What }
