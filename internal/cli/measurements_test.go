package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"imaseal/internal/host"
	"imaseal/internal/pcr"
)

// A machine is what the program sees of one.
type machine struct {
	t    *testing.T
	root string
}

func (m machine) put(name string, content []byte) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) copy(name, from string) {
	m.t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		m.t.Fatal(err)
	}
	m.put(name, b)
}

func (m machine) expect(args string, want int, out, errs string) {
	m.t.Helper()
	var o, e bytes.Buffer
	status := Main(context.Background(), Program{Args: strings.Fields(args), Stdin: strings.NewReader(""), Stdout: &o, Stderr: &e, Host: host.Host{Root: m.root}})
	if status != want || !regexp.MustCompile(out).MatchString(o.String()) || !regexp.MustCompile(errs).MatchString(e.String()) {
		m.t.Errorf("%s: status %d, want %d\n%s%s", args, status, want, &o, &e)
	}
}

// TestRunningKernel has a machine that lists of a kernel and values of its TPM are of.
func TestRunningKernel(t *testing.T) {
	const lists, ima = "../measure/testdata/", "sys/kernel/security/ima/binary_runtime_measurements"
	m := machine{t, t.TempDir()}
	m.expect("measurements verify", 1, "^$", "error: the kernel shows no IMA.*\n.*hint: mount -t securityfs")
	m.expect("boot-aggregate", 1, "^$", "error: the kernel shows no TPM in .*\n.*hint: --pcrs FILE")
	m.copy(ima+"_sha256", lists+"linux-6.12.sha256.bin")
	m.expect("measurements verify", 0, "the list makes PCR 11 sha256:", "warning: the kernel shows no TPM in .*: the list is compared with no PCRs")
	m.expect("measurements verify --pcrs running", 1, "^$", "error: the kernel shows no TPM")
	m.expect("measurements verify --bank sha512", 1, "^$", "no measurement list of this bank\n.*hint: ls ")

	b, err := os.ReadFile(lists + "linux-6.12.pcrs")
	if err != nil {
		t.Fatal(err)
	}
	values, err := pcr.ParseText(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, bank := range values.Banks() {
		for _, i := range values.Indexes(bank) {
			v, _ := values.Value(bank, i)
			m.put("sys/class/tpm/tpm0/pcr-"+bank.String()+"/"+strconv.Itoa(i), []byte(strings.TrimPrefix(v.String(), bank.String()+":")+"\n"))
		}
	}
	m.expect("measurements verify", 0, "PCR 10 of bank sha1 is that of the list\n(.*\n)*.*PCR 11 of bank sha256 is that of the list\n.*boot_aggregate is that of the PCRs; the list is of one boot", "^$")
	m.expect("measurements verify "+lists+"linux-6.12.sha256.bin", 0, "the list makes PCR 10", "compared with no PCRs: --pcrs FILE")
	m.expect("measurements verify --pcrs running "+lists+"linux-7.x.sha256.bin", 4, "PCR 10 of bank sha256 differs", "PCR 10 of bank sha256 is ")
	m.expect("measurements show", 0, "23 records, binary list of bank sha256", "^$")
	m.expect("boot-aggregate", 0, "^sha1:[0-9a-f]{40}\nsha256:[0-9a-f]{64}\n$", "the boot_aggregate of .*sha256 is that of bank sha256")
	m.expect("boot-aggregate --pcrs running --bank sha1", 0, "^sha1:[0-9a-f]{40}\n$", "is of bank sha256, which is not among these")
	m.put("sys/class/tpm/tpm0/pcr-sha256/3", []byte(strings.Repeat("ab", 32)))
	m.expect("boot-aggregate", 4, "^sha1:.*\nsha256:.*\n$", "error: .*: boot_aggregate is sha256:[0-9a-f]{64}, which is not that of the PCRs")
	m.expect("measurements verify", 4, "boot_aggregate is not that of the PCRs", "boot_aggregate is sha256:.*, and the PCRs give sha256:")
	m.put("sys/class/tpm/tpm0/pcr-sha256/3", nil) // as a TPM that does not answer
	m.expect("measurements verify", 1, "^$", "pcr-sha256/3: the TPM does not answer\n.*hint: dmesg")
}
