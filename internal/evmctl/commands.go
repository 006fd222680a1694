package evmctl

import (
	"fmt"
	"strings"
)

// Names of commands.
const (
	Help      = "help"
	Import    = "import"
	Sign      = "sign"
	Verify    = "verify"
	IMASign   = "ima_sign"
	IMAVerify = "ima_verify"
	SetXattr  = "ima_setxattr"
	Hash      = "ima_hash"
	Fix       = "ima_fix"
	Clear     = "ima_clear"
	SignHash  = "sign_hash"
	HMAC      = "hmac"

	Measurement   = "ima_measurement"
	BootAggregate = "ima_boot_aggregate"
)

// A command is one of evmctl's.
type command struct {
	name, args, what string
	paths            bool // it needs one at least
	hashes           bool // by the algorithm of -a
	unsupported      string
}

// commands are all of them, in the order of evmctl's help.
var commands = []command{
	{name: "--version"},
	{name: Help, args: "<command>"},
	{name: Import, args: "[--rsa (deprecated)] pubkey keyring", what: "Import public key into the keyring."},
	{name: "convert", args: "key", what: "Convert public key into the keyring. (deprecated)", unsupported: "import --rsa needs no converted key"},
	{name: Sign, args: "[-r] [--imahash | --imasig ] [--key key] [--pass[=<password>]] file", what: "Sign file metadata.", paths: true, hashes: true},
	{name: Verify, args: "file", what: "Verify EVM signature (for debugging).", paths: true},
	{name: IMASign, args: "[--sigfile] [--key key] [--pass[=<password>]] file", what: "Make file content signature.", paths: true, hashes: true},
	{name: IMAVerify, args: "file", what: "Verify IMA signature (for debugging).", paths: true},
	{name: SetXattr, args: "[--sigfile file]", what: "Set IMA signature from sigfile", paths: true},
	{name: Hash, args: "file", what: "Make file content hash.", paths: true, hashes: true},
	{name: Measurement, args: "[--ignore-violations] [--verify-sig [--key key1, key2, ...]] [--pcrs [hash-algorithm,]file [--pcrs hash-algorithm,file] ...] [--verify-bank hash-algorithm] file", what: "Verify measurement list.", paths: true},
	{name: BootAggregate, args: "[--pcrs hash-algorithm,file] [BIOS event log] [--hwtpm]", what: "Calculate per TPM bank boot_aggregate digests"},
	{name: Fix, args: "[-t fxm] path", what: "Recursively fix IMA/EVM xattrs in fix mode.", paths: true},
	{name: Clear, args: "[-t fxm] path", what: "Recursively remove IMA/EVM xattrs.", paths: true},
	{name: SignHash, args: "[--veritysig] [--key key] [--pass[=<password>]]", what: "Sign hashes from either shaXsum or \"fsverity digest\" output.", hashes: true},
	{name: HMAC, args: "[--imahash | --imasig] [--hmackey key] file", what: "Sign file metadata with HMAC using symmetric key (for testing purpose).", paths: true, hashes: true},
}

// lookUp returns the command of a name, whatever the case of its letters.
func lookUp(name string) *command {
	for i := range commands {
		if strings.EqualFold(commands[i].name, name) && commands[i].name != "--version" {
			return &commands[i]
		}
	}
	return nil
}

func (c *command) usage() string { return fmt.Sprintf("usage: %s %s\n", c.name, c.args) }

// HelpOn returns what help says of the first of the words, or of itself.
func HelpOn(words []string) (string, error) {
	if len(words) == 0 {
		return lookUp(Help).usage(), nil
	}
	c := lookUp(words[0])
	if c == nil {
		return "", &CommandError{Usage: fmt.Sprintf("invalid command: %s\n", words[0])}
	}
	text := c.usage()
	if c.what != "" {
		text += c.what + "\n"
	}
	return text, nil
}

// Usage is what evmctl prints without a command, and for --help.
func Usage() string {
	var b strings.Builder
	b.WriteString("Usage: evmctl [-v] <command> [OPTIONS]\ncommands:\n")
	for _, c := range commands {
		if c.unsupported == "" {
			fmt.Fprintf(&b, " %s %s\n", c.name, c.args)
		}
	}
	b.WriteString(optionsHelp)
	return b.String()
}

const optionsHelp = `
  -a, --hashalgo     md5, sha1, sha224, sha256, sha384, sha512, rmd160, sm3, sha3-256 and others (default: sha256)
  -s, --imasig       make IMA signature
      --veritysig    sign an fs-verity file digest hash
  -d, --imahash      make IMA hash
  -f, --sigfile      store IMA signature in .sig file, too
      --xattr-user   store xattrs in user namespace (for testing purposes)
      --rsa          use RSA key type and signing scheme v1 (deprecated)
      --v2, --v3     signature version (default: 2; 3 is for Linux 7.2 and later)
  -k, --key          path to signing key (default: /etc/keys/{privkey,pubkey}_evm.pem)
                     or a pkcs11 URI, or any KEY of imaseal
      --keyid n      overwrite signature keyid with a 32-bit value in hex (for signing)
      --keyid-from-cert file
                     read keyid value from SKID of a x509 cert file
  -o, --portable     generate portable EVM signatures
  -p, --pass         password for encrypted signing; use -p<password>
  -r, --recursive    recurse into directories
  -t, --type         file types to fix 'fxm' (f: file)
                     x - skip fixing if both ima and evm xattrs exist (use with caution)
                     m - stay on the same filesystem (like 'find -xdev')
  -n                 print result to stdout instead of setting xattr
  -u, --uuid         use custom FS UUID for EVM (unspecified: from FS, empty: do not use)
      --smack        use extra SMACK xattrs for EVM
      --m32          force EVM hmac/signature for 32 bit target system
      --m64          force EVM hmac/signature for 64 bit target system
      --ino          use custom inode for EVM
      --uid          use custom UID for EVM
      --gid          use custom GID for EVM
      --mode         use custom Mode for EVM
      --generation   use custom Generation for EVM(unspecified: from FS, empty: use 0)
      --ima          use custom IMA signature for EVM
      --selinux      use custom Selinux label for EVM
      --caps         use custom Capabilities for EVM(unspecified: from FS, empty: do not use)
      --verify-sig   verify measurement list signatures
      --ignore-violations ignore ToMToU measurement violations
      --pcrs [algorithm,]file
                     read the values of PCRs from a file (default: sha1)
      --verify-bank algorithm
                     verify the PCRs of one bank only
      --hwtpm        read PCRs by sysfs before a TPM is asked
      --engine e     pkcs11, which is in here; no other OpenSSL engine is
      --provider p   pkcs11, which is in here; no other OpenSSL provider is
      --hmackey      path to symmetric key (default: /etc/keys/evm-key-plain)
  -v                 increase verbosity level
  -h, --help         display this help and exit

Environment variables:

EVMCTL_KEY_PASSWORD  : Private key password to use; do not use --pass option

This is imaseal; doc/evmctl.md and imaseal(8) say what it does otherwise.
`
