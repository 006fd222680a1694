package cli

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"imaseal/internal/treetest"
	"imaseal/internal/vectors"
	"imaseal/keys/keytest"
)

// An evmctlLine is a command line of evmctl, and what comes of it.
type evmctlLine struct {
	args     string
	stdin    string
	status   int
	out, err string // regular expressions
	// alone says that evmctl itself does otherwise, or says it in other words.
	alone bool
}

// evmctlFiles makes files with labels in user attributes.
func evmctlFiles(t *testing.T) string {
	t.Helper()
	dir := treetest.Make(t, "file f content=content\nfile g content=other\nfile d/h content=x\nfile text content=x\nlink link f")
	treetest.UserAttrs(t, dir)
	for _, name := range []string{"rsa2048", "p256", "p192"} {
		for from, to := range map[string]string{".key.pem": ".key", ".cert.der": ".cer"} {
			b := vectors.Read(t, "keys/"+name+from)
			if err := os.WriteFile(filepath.Join(dir, name+to), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	list, err := os.ReadFile("../measure/testdata/ima-sigv2.sha1.bin")
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(list)
	damaged[60] ^= 1 // in the digest of boot_aggregate
	for name, b := range map[string][]byte{
		"list": list, "damaged": damaged, "log": evmctlLog(),
		"pcrs":     evmctlPCRs("6a5d32a64926d5a9d5e93e2a7071623cedafff24"),
		"pcrs256":  evmctlPCRs("74d56c35c09aa4d4a1a3f0a0adca6faf6b13a765e87c47fa511101f58b964a0e"),
		"wrong256": evmctlPCRs("75d56c35c09aa4d4a1a3f0a0adca6faf6b13a765e87c47fa511101f58b964a0e"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	keytest.Run(t, "openssl", "pkey", "-in", "rsa2048.key", "-pubout", "-out", "rsa2048.pub")
	keytest.Run(t, "openssl", "pkey", "-in", "rsa2048.key", "-aes256", "-passout", "pass:secret", "-out", "locked.key")
	return dir
}

// evmctlPCRs is a file of PCRs of which all but PCR 10 are zero.
func evmctlPCRs(value string) []byte {
	var b []byte
	for i := range 24 {
		if i == 10 {
			b = fmt.Appendf(b, "PCR-10: %s\n", value)
			continue
		}
		b = fmt.Appendf(b, "PCR-%02d: %s\n", i, strings.Repeat("00", len(value)/2))
	}
	return b
}

// evmctlLog is the event log of a TPM 1.2.
func evmctlLog() []byte {
	var b []byte
	for i, index := range []uint32{0, 0, 4, 7} {
		b = binary.LittleEndian.AppendUint32(b, index)
		b = binary.LittleEndian.AppendUint32(b, 1) // EV_POST_CODE
		b = append(b, bytes.Repeat([]byte{byte(i + 1)}, 20)...)
		b = append(binary.LittleEndian.AppendUint32(b, 4), "POST"...)
	}
	return b
}

// evmctlLines are run one after the other.
var evmctlLines = []evmctlLine{
	// Words.
	{args: "", out: `^Usage: evmctl \[-v\] <command> \[OPTIONS\]\n`},
	{args: "--help", out: `--hmackey`, alone: true},
	{args: "-h", out: `--engine e .*\n.*--provider p`, alone: true},
	{args: "--version", out: `^evmctl 1\.6\.2\n$`, alone: true}, // evmctl's own version
	{args: "-v --version", out: `^evmctl 1\.6\.2\nimaseal `, alone: true},
	{args: "help", out: `^usage: help <command>\n$`},
	{args: "help foo", status: 125, out: `^invalid command: foo\n$`},
	{args: "help ima_hash", out: `^usage: ima_hash file\nMake file content hash\.\n$`},
	{args: "foo", status: 125, out: `^Invalid command: foo\n$`},
	{args: "--foo", status: 1, err: `^evmctl: unrecognized option '--foo'\n$`},
	{args: "-a", status: 1, err: `^evmctl: option requires an argument -- 'a'\n$`},
	{args: "ima_hash", status: 125, out: `^usage: ima_hash file\n$`, err: `^Parameters missing\n`},
	{args: "--keyid 0 ima_sign f", status: 1, err: `Invalid keyid value\.`},

	// Hashes.
	{args: "ima_hash --xattr-user f", out: `^0404ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73\n$`},
	{args: "ima_hash --xattr-user -a sha1 f", out: `^01040f06fd774092478d450774f5ba30c5da78acc8\n$`},
	{args: "-a sha512 --xattr-user ima_hash f -n", out: `^0406`},
	{args: "ima_verify --xattr-user -k rsa2048.cer f", status: 1, err: `f: verification failed`, alone: true},
	{args: "ima_hash --xattr-user -a SHA1 f", status: 125},
	{args: "ima_hash --xattr-user nofile", status: 125},
	{args: "ima_hash --xattr-user d", status: 125, err: `d: is no regular file`, alone: true},
	{args: "ima_hash --xattr-user link", status: 125, err: `link: is no regular file`, alone: true},
	{args: "ima_hash --xattr-user f g", out: `^0404.{64}\n0404.{64}\n$`, alone: true},
	{args: "ima_hash -r --xattr-user d", out: `^04042d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\n$`},
	{args: "ima_hash -r --xattr-user nodir", status: 125, alone: true},

	// Signatures of contents.
	{args: "ima_sign --xattr-user --key rsa2048.key f", out: `^030204dd65a4eb0100[0-9a-f]{512}\n$`, err: `hash\(sha256\): ed7002.*\nevm/ima signature: 264 bytes\n`},
	{args: "ima_verify --xattr-user --key rsa2048.cer f", err: `^key 1: dd65a4eb rsa2048.cer\nf: verification is OK\n$`},
	{args: "ima_verify --xattr-user --key p256.cer f", status: 1},
	{args: "ima_verify --xattr-user --key /dev/null,rsa2048.cer, f", err: `f: verification is OK\n$`},
	{args: "ima_verify --xattr-user --key text,nofile,rsa2048.cer f", err: `f: verification is OK\n$`},
	{args: "ima_verify --xattr-user --key /dev/zero f", status: 1},
	{args: "ima_verify --xattr-user --key rsa2048.cer g f nofile", status: 1, err: `f: verification is OK`},
	{args: "ima_sign --xattr-user -k p192.key -f --keyid=aabbccdd f", out: `^030204aabbccdd00`, err: `Writing|evm/ima`},
	{args: "ima_sign --xattr-user -k rsa2048.key -f --keyid-from-cert rsa2048.cer f", out: `^030204dd65a4eb0100`},
	{args: "ima_verify --xattr-user --sigfile -k rsa2048.cer f", err: `verification is OK`},
	{args: "ima_hash --xattr-user f"},
	{args: "ima_setxattr --xattr-user f"},
	{args: "ima_verify --xattr-user -k rsa2048.cer f", err: `verification is OK`},
	{args: "ima_setxattr --xattr-user --sigfile f.sig g"},
	{args: "ima_verify --xattr-user -k rsa2048.cer g", status: 1, err: `g: verification failed`},
	{args: "ima_setxattr --xattr-user text", status: 125, alone: true}, // evmctl: 0
	{args: "ima_sign --xattr-user -n -k rsa2048.key -f text", out: `^030204`},
	{args: "ima_verify --xattr-user --sigfile -k rsa2048.cer text", err: `verification is OK`},
	{args: "ima_verify --xattr-user -k rsa2048.cer text", status: 1, err: `getxattr failed: text`},
	{args: "ima_sign --xattr-user --key nokey f", status: 125},
	{args: "ima_sign --xattr-user -k locked.key -psecret f", out: `^030204dd65a4eb0100`},
	{args: "ima_sign --xattr-user -k locked.key --pass=wrong f", status: 125},
	{args: "ima_sign --xattr-user -k p192.key f", out: `^030204`},
	{args: "ima_verify --xattr-user -k p192.cer f", err: `verification is OK`},

	// Version 1.
	{args: "ima_sign --xattr-user --rsa -k rsa2048.key f", out: `^0301[0-9a-f]{8}00010227da7bc4f8bf4f010800`},
	{args: "ima_verify --xattr-user --rsa -k rsa2048.pub f", err: `verification is OK`},
	{args: "ima_sign --xattr-user --rsa -a md5 -k rsa2048.key f", status: 125, alone: true},
	{args: "sign --xattr-user --uuid --generation 0 --rsa -k rsa2048.key f", out: `^0301`},
	{args: "verify --xattr-user --uuid --generation 0 --rsa -k rsa2048.pub f", err: `verification is OK`},
	{args: "verify --xattr-user --uuid --generation 1 --rsa -k rsa2048.pub f", status: 1, alone: true},

	// EVM.
	{args: "sign --xattr-user --uuid --generation 0 --ino 7 -k p256.key f", out: `^0302046bca908e00`, err: `evm/ima signature`},
	{args: "verify --xattr-user --uuid --generation 0 --ino 7 -k p256.cer f", err: `verification is OK`},
	{args: "verify --xattr-user --uuid --generation 0 --ino 8 -k p256.cer f", status: 1},
	{args: "verify --xattr-user --uuid --generation 0 --ino 7 --m32 -k p256.cer f", status: 1},
	{args: "verify --xattr-user --uuid --generation 0 --ino 7 -k rsa2048.cer f", status: 125},
	{args: "verify --xattr-user -k rsa2048.cer text", status: 125},
	{args: "sign --xattr-user --uuid=11223344-5566-7788-99aa-bbccddeeff00 --generation 5 --selinux u:r:t --caps --uid 7 --gid 8 --mode 33261 -k rsa2048.key f", out: `^030204dd65a4eb0100`},
	{args: "verify --xattr-user --uuid=11223344-5566-7788-99aa-bbccddeeff00 --generation 5 --selinux u:r:t --caps --uid 7 --gid 8 --mode 33261 -k rsa2048.cer f", err: `verification is OK`},
	{args: "verify --xattr-user --uuid=11223344-5566-7788-99aa-bbccddeeff00 --generation 5 --selinux u:r:s --caps --uid 7 --gid 8 --mode 33261 -k rsa2048.cer f", status: 1},
	{args: "sign --xattr-user -o --imahash -k p256.key f", out: `^0404ed70.*\n0502046bca908e00`},
	{args: "verify --xattr-user -k p256.cer f", err: `verification is OK`},
	{args: "sign --xattr-user -o --imasig -k rsa2048.key f", out: `^030204dd65a4eb0100.*\n050204dd65a4eb0100`},
	{args: "ima_verify --xattr-user -k rsa2048.cer f", err: `verification is OK`},
	{args: "verify --xattr-user -k rsa2048.cer f", err: `verification is OK`},
	// ima_verify leaves security.evm aside.
	{args: "sign --xattr-user -o --uid 7 -k rsa2048.key f", out: `^050204dd65a4eb0100`},
	{args: "verify --xattr-user -k rsa2048.cer f", status: 1, err: `f: verification failed: 0 \(`},
	{args: "verify --xattr-user -o --uid=7 -k rsa2048.cer f", err: `f: verification is OK\n$`},
	{args: "ima_verify --xattr-user -k rsa2048.cer f", err: `f: verification is OK\n$`},
	{args: "sign --xattr-user -o -k rsa2048.key text", status: 125},
	{args: "sign --xattr-user -i --uuid --generation 0 -k rsa2048.key f", out: `^0303`, alone: true},
	{args: "hmac --xattr-user --uuid --hmackey text -n f", status: 0, err: `(?m)^hmac: [0-9a-f]{40}$`, alone: true},
	{args: "hmac --xattr-user --uuid --hmackey nofile f", status: 125, alone: true},
	{args: "ima_clear --xattr-user f", err: `^f\n$`},
	{args: "ima_verify --xattr-user -k rsa2048.cer f", status: 1},
	{args: "ima_clear --xattr-user f", err: `^f\n$`},
	{args: "ima_fix f", err: `^f\n$`},
	{args: "ima_fix -r -t fxm d", err: `(?m)^d?/?[a-z]+$`},
	{args: "ima_fix nofile", status: 125, err: `^nofile\n`},

	// Digests of files elsewhere.
	{args: "sign_hash -k rsa2048.key", stdin: "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73  f\n", out: `^ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73  f 030204dd65a4eb0100[0-9a-f]{512}\n$`},
	{args: "sign_hash --veritysig -k rsa2048.key", stdin: "sha256:5161c5386613f74a6fdfa5e9debfeae6bc22a817cf10caef11bf9adb62407191 hello\n", out: ` hello 060304dd65a4eb0100[0-9a-f]{512}\n$`, alone: true}, // not in 1.4
	{args: "sign_hash --veritysig -k rsa2048.key", stdin: "5161 hello\n", status: 125, alone: true},
	{args: "sign_hash -k rsa2048.key", status: 125, alone: true},

	// Keys where none is named, on machines that have none.
	{args: "ima_sign --xattr-user f", status: 125, err: `/etc/keys/privkey_evm\.pem`},
	{args: "sign_hash", stdin: "00  f\n", status: 125, err: `/etc/keys/privkey_evm\.pem`},
	{args: "ima_verify --xattr-user f", status: 1, err: `/etc/keys/x509_evm\.der`},
	{args: "import", status: 1, err: `/etc/keys/x509_evm\.der`},
	{args: "import --rsa", status: 1, err: `/etc/keys/pubkey_evm\.pem`},
	{args: "hmac --xattr-user --uuid f", status: 125, err: `/etc/keys/evm-key-plain`},

	// What there is not.
	{args: "convert f", status: 125, err: `convert: import --rsa needs no converted key`, alone: true},
	{args: "ima_sign --engine gost -k rsa2048.key f", status: 125, err: `GOST`, alone: true},
	{args: "ima_hash -a streebog256 f", status: 125, err: `streebog256 cannot be computed`, alone: true},
	{args: "ima_sign --keyid-from-cert nofile -k rsa2048.key f", status: 1},
	{args: "import nofile", status: 1, err: `nofile`},
	{args: "import --rsa nofile", status: 1, err: `nofile`},

	// Measurement lists. Without --ignore-violations none matches that has a violation.
	{args: "ima_measurement", status: 125, out: `^usage: ima_measurement \[--ignore-violations\] \[--verify-sig \[--key key1, key2, ...\]\] \[--pcrs`, err: `^Parameters missing\n`},
	{args: "ima_measurement nofile", status: 125, err: `nofile`},
	{args: "ima_measurement list --pcrs pcrs --ignore-violations", err: `Matched per TPM bank calculated digest\(s\)\.\n$`},
	{args: "--pcrs sha1,pcrs --ignore-viol ima_measurement list --pcrs sha256,pcrs256", err: `Matched per TPM bank calculated digest\(s\)\.\n$`},
	{args: "ima_measurement list --pcrs pcrs", status: 1, err: `Failed to match per TPM bank or SHA1 padded TPM digest\(s\)\.\n$`},
	{args: "ima_measurement list --ignore-violations --pcrs pcrs --pcrs sha256,wrong256", status: 1, err: `Failed to match`},
	{args: "ima_measurement list --ignore-violations --pcrs pcrs --pcrs sha256,wrong256 --verify-bank=sha1", err: `Matched per TPM bank`},
	{args: "ima_measurement damaged --ignore-violations --pcrs pcrs", status: 1, err: `Failed to verify template data digest\.\n$`},
	{args: "ima_measurement list --pcrs a --pcrs b --pcrs c", status: 1, err: `too many --pcrfile options\n$`},
	{args: "ima_measurement list --pcrs nofile", status: 125, err: `nofile`, alone: true}, // evmctl: 0
	{args: "ima_measurement list --pcrs md5,pcrs", status: 125, err: `unknown algorithm 'md5'`, alone: true},
	{args: "ima_measurement list --ignore-violations --pcrs pcrs --verify-sig -k rsa2048.cer", err: `^key 1: dd65a4eb rsa2048\.cer\n/mnt/e1: xattr ima has no signature\nMatched`, alone: true}, // 1.4 knows no ima-sigv2
	{args: "ima_boot_aggregate --pcrs pcrs --pcrs sha256,pcrs256", out: `^sha1:[0-9a-f]{40}\nsha256:[0-9a-f]{64}\n$`},
	{args: "ima_boot_aggregate -v --pcrs sha256,pcrs256", out: `^sha256:7b6436b0c98f62380866d9432c2af0ee08ce16a171bda6951aecd95ee1307d61\n$`},
	{args: "ima_boot_aggregate log", out: `^sha1:[0-9a-f]{40}\n$`},
	{args: "ima_boot_aggregate -v log", out: `^sha1:[0-9a-f]{40}\n$`, err: `(?m)^PCR-00 [0-9a-f]{40}$`},
	{args: "ima_boot_aggregate nofile", status: 125, err: `nofile`},
	{args: "ima_boot_aggregate text", status: 125, err: `text: `, alone: true}, // evmctl: 0 for a log that is cut
}

// TestEvmctlLines runs evmctl's command lines: by imaseal alone, and then those that
// should be alike by evmctl itself too, on the same files. The statuses are the same, and
// standard outputs but for signatures that are made with random numbers.
func TestEvmctlLines(t *testing.T) {
	t.Run("alone", func(t *testing.T) {
		evmctlFiles(t)
		for _, line := range evmctlLines {
			out, errs, status := line.ours()
			line.check(t, "imaseal", out, errs, status)
		}
	})
	t.Run("beside evmctl", func(t *testing.T) {
		treetest.Tool(t, "evmctl")
		evmctlFiles(t)
		for _, line := range evmctlLines {
			out, errs, status := line.ours()
			line.check(t, "imaseal", out, errs, status)
			if line.alone {
				continue
			}
			theirs, errs, status := line.theirs(t)
			line.check(t, "evmctl", theirs, errs, status)
			if (strings.Contains(line.args, "rsa2048.key") || strings.Contains(line.args, "ima_boot")) && !strings.Contains(line.args, "--rsa") && theirs != out {
				t.Errorf("evmctl %s: ours\n%s\nevmctl's\n%s", line.args, out, theirs)
			}
		}
	})
}

func (l evmctlLine) ours() (out, errs string, status int) {
	var o, e bytes.Buffer
	p := Program{
		Args: append([]string{"evmctl"}, strings.Fields(l.args)...), Stdin: strings.NewReader(l.stdin), Stdout: &o, Stderr: &e,
		Getenv: func(string) string { return "" },
	}
	status = Main(context.Background(), p)
	return o.String(), e.String(), status
}

func (l evmctlLine) theirs(t *testing.T) (out, errs string, status int) {
	t.Helper()
	var o, e bytes.Buffer
	cmd := exec.Command("evmctl", strings.Fields(l.args)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(l.stdin), &o, &e
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

func (l evmctlLine) check(t *testing.T, who, out, errs string, status int) {
	t.Helper()
	if status != l.status || !regexp.MustCompile(l.out).MatchString(out) || who == "imaseal" && !regexp.MustCompile(l.err).MatchString(errs) {
		t.Errorf("%s: evmctl %s: status %d, want %d\n%s%s", who, l.args, status, l.status, out, errs)
	}
}
