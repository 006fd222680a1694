// Package attest says what the records of a measurement list stand for, and checks
// them: their digests, the PCRs that they were extended into, the boot aggregate, and
// the signatures that they have. It opens nothing.
package attest

import (
	"bytes"
	"crypto/x509"
	"strings"
	"unicode"
	"unicode/utf8"

	"imaseal/internal/imaevm"
	"imaseal/internal/measure"
	"imaseal/keys/keyfile"
)

// A Kind is what was measured.
type Kind string

// The kinds.
const (
	File        Kind = "file"
	Boot        Kind = "boot-aggregate"
	Violation   Kind = "violation"
	Key         Kind = "key" // loaded into a keyring, whose name is that of the record
	CommandLine Kind = "kexec-command-line"
	Data        Kind = "data"    // critical data, and other buffers
	Unknown     Kind = "unknown" // a template that is not known, or damaged data
)

// kexecName is the name of the record that kexec_file_load(2) makes of the command line.
// Kernel: ima_kexec_cmdline(), security/integrity/ima/ima_main.c.
const kexecName = "kexec-cmdline"

// A Certificate is a key that was loaded.
type Certificate struct {
	KeyIDs  []imaevm.KeyID // by which labels can name it, the usual one first
	Subject string         // "" if it cannot be read
}

// An Event is a record with what it stands for.
type Event struct {
	Kind        Kind
	Name        string
	Certificate *Certificate // of a Key, nil if the buffer is none
	Buffer      []byte       // what was measured if that is no file
	Text        string       // the buffer, if it is text
	IMA, EVM    []byte       // labels that the record has, nil for none
}

// Describe says what a record stands for.
func Describe(r measure.Record) Event {
	e := Event{Name: r.Name(), Kind: File}
	e.Buffer, _ = r.Field("buf")
	e.IMA, e.EVM = labelsOf(r)
	_, isBuffer := r.Field("buf")
	switch {
	case r.IsViolation():
		e.Kind = Violation
	case r.IsBootAggregate():
		e.Kind = Boot
	case r.Fields == nil:
		e.Kind = Unknown
	case !isBuffer:
	case e.Name == kexecName:
		e.Kind, e.Text = CommandLine, text(e.Buffer)
	case strings.HasPrefix(e.Name, ".") || strings.HasPrefix(e.Name, "_"):
		e.Kind, e.Certificate = Key, certificate(e.Buffer)
	default:
		e.Kind, e.Text = Data, text(e.Buffer)
		if e.Certificate = certificate(e.Buffer); e.Certificate != nil {
			e.Kind = Key // a keyring of the user's
		}
	}
	return e
}

// labelsOf returns the labels of a record. The field sig has that of EVM where the file has
// no signature of its own.
func labelsOf(r measure.Record) (ima, evm []byte) {
	evm, _ = r.Field("evmsig")
	if sig, _ := r.Field("sig"); len(sig) > 0 {
		if imaevm.Type(sig[0]) == imaevm.TypePortable {
			return nil, sig
		}
		ima = sig
	}
	if len(evm) == 0 {
		evm = nil
	}
	return ima, evm
}

func certificate(der []byte) *Certificate {
	c, err := keyfile.ParseCertificate(der)
	if err != nil {
		return nil
	}
	found := new(Certificate)
	for _, id := range c.KeyIDs {
		found.KeyIDs = append(found.KeyIDs, imaevm.KeyID(id))
	}
	if parsed, err := x509.ParseCertificate(der); err == nil {
		found.Subject = parsed.Subject.String()
	}
	return found
}

// text returns a buffer as text, "" if it is none.
func text(b []byte) string {
	b = bytes.TrimRight(b, "\x00\n")
	if !utf8.Valid(b) || bytes.ContainsFunc(b, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }) {
		return ""
	}
	return string(b)
}
