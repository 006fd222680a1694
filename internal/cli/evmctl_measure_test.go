package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/host"
	"imaseal/internal/measure"
	"imaseal/internal/pcr"
	"imaseal/keys/keytest"
)

// kernelList is a list that a kernel has made.
const kernelList = "../measure/testdata/ima-sigv2.sha1.bin"

// An evmctlHost is a machine with or without a TPM.
type evmctlHost struct {
	root string
	env  map[string]string
}

func (h evmctlHost) run(args string) (out, errs string, status int) {
	var o, e bytes.Buffer
	p := Program{
		Args: append([]string{"evmctl"}, strings.Fields(args)...), Stdin: strings.NewReader(""), Stdout: &o, Stderr: &e,
		Getenv: func(name string) string { return h.env[name] }, Host: host.Host{Root: h.root},
	}
	status = Main(context.Background(), p)
	return o.String(), e.String(), status
}

func (h evmctlHost) expect(t *testing.T, args string, want int, out, errs string) {
	t.Helper()
	haveOut, haveErr, status := h.run(args)
	if status != want || !regexp.MustCompile(out).MatchString(haveOut) || !regexp.MustCompile(errs).MatchString(haveErr) {
		t.Errorf("%s: status %d, want %d\n%s%s", args, status, want, haveOut, haveErr)
	}
}

// TestEvmctlTPM has a TPM that was extended as a kernel extends it: the list is what the
// PCRs say, until another thing is measured.
func TestEvmctlTPM(t *testing.T) {
	m := keytest.NewTPM(t)
	h := evmctlHost{t.TempDir(), map[string]string{"TPM2TOOLS_TCTI": m.TCTI}}
	f, err := os.Open(kernelList)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := measure.Open(f, measure.Layout{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		r, err := list.Next()
		if err == io.EOF {
			break
		}
		short, err1 := r.Extended(hash.SHA1)
		long, err2 := r.Extended(hash.SHA256)
		if err != nil || err1 != nil || err2 != nil {
			t.Fatal(err, err1, err2)
		}
		keytest.Run(t, "tpm2_pcrextend", fmt.Sprintf("%d:sha1=%x,sha256=%x", r.PCR, short.Bytes(), long.Bytes()))
	}
	h.expect(t, "ima_measurement --ignore-violations "+kernelList, 0, `^$`, `Matched per TPM bank calculated digest\(s\)\.\n$`)
	h.expect(t, "ima_measurement "+kernelList, 1, `^$`, `Failed to match per TPM bank or SHA1 padded TPM digest\(s\)\.\n$`)
	keytest.Run(t, "tpm2_pcrextend", "0:sha256="+strings.Repeat("ab", 32))
	h.expect(t, "ima_measurement --ignore-violations "+kernelList, 0, `^$`, `Matched per TPM bank`)
	zero := make([]byte, 32)
	first := sha256.Sum256(append(bytes.Clone(zero), bytes.Repeat([]byte{0xab}, 32)...))
	boot := sha256.Sum256(append(first[:], bytes.Repeat(zero, 9)...))
	h.expect(t, "ima_boot_aggregate", 0, fmt.Sprintf(`^sha1:9797edf8d0eed36b1cf92547816051c8af4e45ee\nsha256:%x\n$`, boot), `^$`)
	keytest.Run(t, "tpm2_pcrextend", "10:sha256="+strings.Repeat("ab", 32))
	h.expect(t, "ima_measurement --ignore-violations "+kernelList, 1, `^$`, `Failed to match`)
}

// TestEvmctlKernels compares lists of kernels with the PCRs of their machines.
func TestEvmctlKernels(t *testing.T) {
	for _, list := range []string{"linux-6.1.sha1", "linux-6.12.sha256", "linux-7.x.sha256"} {
		base := "../measure/testdata/" + list
		pcrs := strings.TrimSuffix(strings.TrimSuffix(base, ".sha1"), ".sha256") + ".pcrs"
		evmctlHost{}.expect(t, "ima_measurement --ignore-violations --pcrs "+pcrs+" "+base+".bin", 0, `^$`, `Matched per TPM bank calculated digest\(s\)\.\n$`)
	}
}

// TestEvmctlSysfs reads PCRs as kernels show them, of a TPM 1.2 always and of a TPM 2.0
// with --hwtpm. Without a TPM the list is read, and that is no failure.
func TestEvmctlSysfs(t *testing.T) {
	const list = "ima_measurement --ignore-violations " + kernelList
	nobody := map[string]string{"TPM2TOOLS_TCTI": "device:/nonexistent"}
	none := evmctlHost{t.TempDir(), nobody}
	none.expect(t, list, 0, `^$`, `Failed to read any TPM PCRs\n$`)
	none.expect(t, "ima_boot_aggregate", 125, `^$`, `failed to read any TPM PCRs\n$`)
	none.expect(t, "ima_boot_aggregate -v", 125, `^$`, `Failed to read TPM 2\.0 PCRs: .*/nonexistent`)

	old := evmctlHost{t.TempDir(), nobody}
	write(t, filepath.Join(old.root, "sys/class/tpm/tpm0/device/pcrs"), string(evmctlPCRs("6a5d32a64926d5a9d5e93e2a7071623cedafff24")))
	old.expect(t, list, 0, `^$`, `Matched per TPM bank`)
	old.expect(t, "ima_boot_aggregate", 0, `^sha1:9797edf8d0eed36b1cf92547816051c8af4e45ee\n$`, `^$`)

	now := evmctlHost{t.TempDir(), nobody}
	for i := range pcr.Max + 1 {
		value := strings.Repeat("00", 32)
		if i == 10 {
			value = "74D56C35C09AA4D4A1A3F0A0ADCA6FAF6B13A765E87C47FA511101F58B964A0E"
		}
		write(t, filepath.Join(now.root, "sys/class/tpm/tpm0/pcr-sha256", fmt.Sprint(i)), value+"\n")
	}
	now.expect(t, list+" --hwtpm", 0, `^$`, `Matched per TPM bank`)
	now.expect(t, list, 0, `^$`, `Failed to read any TPM PCRs`)
	now.expect(t, "ima_boot_aggregate --hwtpm", 0, `^sha256:7b6436b0c98f62380866d9432c2af0ee08ce16a171bda6951aecd95ee1307d61\n$`, `^$`)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestEvmctlMeasurementLines compares what both programs say of lists that kernels made
// and of PCRs, at all levels of -v. That evmctl 1.4 does not know newer templates, and
// how it reads PCRs, is left out.
func TestEvmctlMeasurementLines(t *testing.T) {
	evmctl, err := exec.LookPath("evmctl")
	if err != nil {
		t.Skip("no evmctl")
	}
	dir := t.TempDir()
	good, wrong := filepath.Join(dir, "good"), filepath.Join(dir, "wrong")
	write(t, good, string(evmctlPCRs("6a5d32a64926d5a9d5e93e2a7071623cedafff24")))
	write(t, wrong, string(evmctlPCRs("74d56c35c09aa4d4a1a3f0a0adca6faf6b13a765e87c47fa511101f58b964a0e")))
	counts := func(text string) []string {
		return slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool {
			return !regexp.MustCompile(`^(sha1|sha256)[: ]|^Matched|^Failed to (match|verify)`).MatchString(line)
		})
	}
	compared := 0
	// Of other lists evmctl refuses some: of other banks than SHA-1's, and with records
	// of the template ima among others.
	for _, list := range []string{kernelList, "../measure/testdata/evm-sig.sha1.bin"} {
		for _, args := range []string{"", "-v ", "-vv ", "-v -v --ignore-violations ", "-vv --ignore-violations --verify-bank=sha256 "} {
			args = "ima_measurement --pcrs " + good + " --pcrs sha256," + wrong + " " + args + list
			_, ours, status := evmctlHost{}.run(args)
			var errs bytes.Buffer
			cmd := exec.Command(evmctl, strings.Fields(args)...)
			cmd.Stderr = &errs
			cmd.Run()
			if theirs := counts(errs.String()); status != cmd.ProcessState.ExitCode() || !slices.Equal(counts(ours), theirs) {
				t.Errorf("%s: %d, evmctl %v\nours\n%s\nevmctl's\n%s", args, status, cmd.ProcessState, ours, &errs)
			}
			compared += len(counts(ours))
		}
	}
	if compared < 100 {
		t.Errorf("%d lines are compared", compared)
	}
}
