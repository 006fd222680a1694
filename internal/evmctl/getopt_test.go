package evmctl

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// What getopt_long(3) makes of arguments. Messages are glibc's.
func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args  string
		paths string
		wrong string
		holds func(Request) bool
	}{
		{args: "ima_hash f", paths: "f"},
		{args: "-a sha1 ima_hash f -n", paths: "f", holds: func(r Request) bool { return r.Algo == "sha1" && r.Print }},
		{args: "ima_hash f -asha512 g", paths: "f g", holds: func(r Request) bool { return r.Algo == "sha512" }},
		{args: "ima_hash --hasha=sha384 f", paths: "f", holds: func(r Request) bool { return r.Digest.String() == "sha384" }},
		{args: "IMA_Hash f", paths: "f", holds: func(r Request) bool { return r.Command == Hash }},
		{args: "ima_hash -- -a", paths: "-a"},
		{args: "ima_hash -", paths: "-"},
		{args: "sign -ronk KEY d", paths: "d", holds: func(r Request) bool { return r.Recursive && r.Portable && r.Print && r.Key == "KEY" }},
		{args: "sign -p f", paths: "f", holds: func(r Request) bool { return r.Pass == nil }},
		{args: "sign -pPW f", paths: "f", holds: func(r Request) bool { return r.Pass != nil && *r.Pass == "PW" }},
		{args: "sign --pass=PW f", paths: "f", holds: func(r Request) bool { return r.Pass != nil && *r.Pass == "PW" }},
		{args: "sign --pass= f", paths: "f", holds: func(r Request) bool { return r.Pass != nil && *r.Pass == "" }},
		{args: "sign --pass PW f", paths: "PW f"},
		{args: "sign -u f", paths: "f", holds: func(r Request) bool { return r.NoUUID && r.UUID == "" }},
		{args: "sign --uuid f", paths: "f", holds: func(r Request) bool { return r.NoUUID }},
		{args: "sign --uuid=1 f", paths: "f", holds: func(r Request) bool { return r.UUID == "1" && !r.NoUUID }},
		{args: "sign f", paths: "f", holds: func(r Request) bool { return r.UUID == "" && !r.NoUUID && r.Values == nil }},
		{args: "sign --ino 12 --uid 0 --gid 4294967295 --mode 33188 --generation 7 f", paths: "f", holds: func(r Request) bool {
			return *r.Inode == 12 && *r.UID == 0 && *r.GID == 1<<32-1 && *r.Mode == 33188 && *r.Generation == 7
		}},
		{args: "sign --mode 0100644 f", paths: "f", holds: func(r Request) bool { return *r.Mode == 33188 }},
		{args: "sign --generation= f", paths: "f", holds: func(r Request) bool { return *r.Generation == 0 }},
		{args: "sign --caps f", paths: "f", holds: func(r Request) bool { v, ok := r.Values["security.capability"]; return ok && v == nil }},
		{args: "sign --caps=0x0102 f", paths: "f", holds: func(r Request) bool { return string(r.Values["security.capability"]) == "\x01\x02" }},
		{args: "sign --selinux a:b f", paths: "f", holds: func(r Request) bool { return string(r.Values["security.selinux"]) == "a:b\x00" }},
		{args: "sign --ima 0401 f", paths: "f", holds: func(r Request) bool { return string(r.Values["security.ima"]) == "\x04\x01" }},
		{args: "sign --imas --imah f", paths: "f", holds: func(r Request) bool { return r.IMASig && r.IMAHash }},
		{args: "sign --keyid=aabbccdd f", paths: "f", holds: func(r Request) bool { return *r.KeyID == 0xaabbccdd }},
		{args: "ima_fix -r -t fxm d", paths: "d", holds: func(r Request) bool { return r.SkipLabelled && r.SameFilesystem }},
		{args: "ima_sign --engine pkcs11 --provider pkcs11 f", paths: "f"},
		{args: "-vv ima_hash -v f", paths: "f", holds: func(r Request) bool { return r.Verbose == 3 }},
		{args: "--help --nonsense", holds: func(r Request) bool { return r.Help }},
		{args: "--version", holds: func(r Request) bool { return r.Version }},
		{args: "ima_measurement list --pcrs=sha256,p --pcrs q --verify-bank=sha1 --ignore --verify-s", paths: "list", holds: func(r Request) bool {
			return slices.Equal(r.PCRs, []string{"sha256,p", "q"}) && r.VerifyBank == "sha1" && r.IgnoreViolations && r.VerifySig
		}},
		{args: "ima_measurement --verify-bank sha1 list", paths: "sha1 list", holds: func(r Request) bool { return r.VerifyBank == "" }},
		{args: "ima_measurement --validate --verify list", paths: "list", holds: func(r Request) bool { return r.IgnoreViolations && r.VerifySig }},
		{args: "ima_boot_aggregate --hwtpm", holds: func(r Request) bool { return r.HardwareTPM }},
		{args: "import cert.der @u", paths: "cert.der @u"},
		{args: "import"},
		{args: ""},

		{args: "--nonsense", wrong: "unrecognized option '--nonsense'"},
		{args: "-z", wrong: "invalid option -- 'z'"},
		{args: "ima_hash -nz f", wrong: "invalid option -- 'z'"},
		{args: "--key", wrong: "option '--key' requires an argument"},
		{args: "sign -k", wrong: "option requires an argument -- 'k'"},
		{args: "--rsa=1", wrong: "option '--rsa' doesn't allow an argument"},
		{args: "--m", wrong: "option '--m' is ambiguous; possibilities: '--m32' '--m64' '--mode'"},
		{args: "--imasigs", wrong: "unrecognized option '--imasigs'"},
		{args: "--keyid 0 sign f", wrong: "Invalid keyid value."},
		{args: "--keyid xyz sign f", wrong: "Invalid keyid value."},
		{args: "--keyid 123456789 sign f", wrong: "Invalid keyid value."},
		{args: "--uid root sign f", wrong: "option '--uid': \"root\" is no number of at most 32 bits"},
		{args: "--mode 65536 sign f", wrong: "option '--mode': \"65536\" is no number of at most 16 bits"},
		{args: "--ima 040 sign f", wrong: "option '--ima': \"040\" is no label in hexadecimal"},
		{args: "--engine gost sign f", wrong: "engine gost: GOST R 34.10 and 34.11 are not supported"},
		{args: "--provider tpm2 sign f", wrong: "provider tpm2: there is no OpenSSL in here, and pkcs11 alone is known"},
		{args: "foo", wrong: "Invalid command: foo"},
		{args: "ima_hash", wrong: "Parameters missing\nusage: ima_hash file"},
		{args: "ima_hash -a SHA256 f", wrong: "unknown digest algorithm"},
		{args: "ima_hash -a md_gost12_256 f", wrong: "digest algorithm streebog256 cannot be computed"},
		{args: "ima_measurement", wrong: "Parameters missing\nusage: ima_measurement [--ignore-violations]"},
		{args: "ima_measurement --pcrs a --pcrs b --pcrs c list", wrong: "too many --pcrfile options"},
		{args: "convert f", wrong: "convert: import --rsa needs no converted key"},
	} {
		r, err := Parse(strings.Fields(tt.args))
		switch {
		case tt.wrong != "":
			if err == nil || !strings.HasPrefix(err.Error(), tt.wrong) {
				t.Errorf("%q: %v, want %s", tt.args, err, tt.wrong)
			}
		case err != nil:
			t.Errorf("%q: %v", tt.args, err)
		case !slices.Equal(r.Paths, strings.Fields(tt.paths)) || tt.holds != nil && !tt.holds(r):
			t.Errorf("%q: %+v", tt.args, r)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, c := range commands {
		if listed := strings.Contains(Usage(), "\n "+c.name+" "); listed != (c.unsupported == "") {
			t.Errorf("help has %s: %t", c.name, listed)
		}
	}
	if text, err := HelpOn([]string{"ima_hash"}); err != nil || text != "usage: ima_hash file\nMake file content hash.\n" {
		t.Errorf("%q, %v", text, err)
	}
	if text, err := HelpOn(nil); err != nil || text != "usage: help <command>\n" {
		t.Errorf("%q, %v", text, err)
	}
	var wrong *CommandError
	if _, err := HelpOn([]string{"foo"}); !errors.As(err, &wrong) || wrong.Usage != "invalid command: foo\n" {
		t.Errorf("%v", err)
	}
}

// Whatever the arguments are, each is an option, a value or a word.
func FuzzParse(f *testing.F) {
	for _, args := range []string{"ima_hash\nf", "-a\nsha1\n--\n-f", "--key=x\nsign\n-rosk\ny", "--m32\n-pPW", "sign\n--caps\n--uuid="} {
		f.Add(args)
	}
	f.Fuzz(func(t *testing.T, args string) {
		all := strings.Split(args, "\n")
		r, err := Parse(all)
		if err != nil {
			return
		}
		for _, p := range r.Paths {
			if !slices.Contains(all, p) {
				t.Errorf("%q is no argument", p)
			}
		}
	})
}
