package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"imaseal/hash"
	"imaseal/internal/pcr"
)

// Errors of PCRs and of MeasurementList.
var (
	ErrNoTPM    = errors.New("the kernel shows no TPM in /sys/class/tpm")
	ErrNoPCRs   = errors.New("the kernel shows no PCRs of its TPM, which kernels before 5.12 do not")
	ErrNoEvents = errors.New("the kernel shows no event log of its TPM, of which firmware made none, or only root sees it")
	ErrTPMAway  = errors.New("the TPM does not answer")
	ErrNoBank   = errors.New("the kernel has no measurement list of this bank")
)

// PCRs returns the values of all PCRs of the TPM that the kernel found first, which is the
// one that IMA extends. The error is ErrNoTPM, ErrNoPCRs, or what reading gave: a TPM may
// be away. Kernel: drivers/char/tpm/tpm-sysfs.c.
func (h Host) PCRs() (pcr.Values, error) {
	chips, err := filepath.Glob(filepath.Join(h.Root, "/sys/class/tpm/tpm[0-9]*"))
	if err != nil || len(chips) == 0 {
		return nil, ErrNoTPM
	}
	for _, chip := range slices.Sorted(slices.Values(chips)) {
		values, err := ReadPCRs(chip)
		if err == nil || !errors.Is(err, ErrNoPCRs) {
			return values, err
		}
	}
	return nil, ErrNoPCRs
}

// ReadPCRs reads the values below the directory of a TPM, or below a copy of it: files
// pcr-ALG/N with one value each, or one named pcrs, of a TPM 1.2.
func ReadPCRs(dir string) (pcr.Values, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	values := make(pcr.Values)
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), "pcr-")
		if !ok {
			continue
		}
		bank, err := hash.Parse(name)
		if err != nil || !pcr.IsBank(bank) {
			continue
		}
		if err := readBank(values, filepath.Join(dir, e.Name()), bank); err != nil {
			return nil, err
		}
	}
	if len(values) > 0 {
		return values, nil
	}
	text, err := os.ReadFile(filepath.Join(dir, "pcrs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoPCRs
	}
	if err != nil {
		return nil, err
	}
	return pcr.ParseText(text, hash.SHA1)
}

func readBank(values pcr.Values, dir string, bank hash.Algorithm) error {
	for i := range pcr.Max + 1 {
		name := filepath.Join(dir, strconv.Itoa(i))
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(text)) == "" {
			return &os.PathError{Op: "read", Path: name, Err: ErrTPMAway}
		}
		value, err := pcr.ParseValue(string(text), bank)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		values.Set(i, value)
	}
	return nil
}

// securityFS are the places of IMA's files, one a link to the other.
var securityFS = []string{"/sys/kernel/security/ima", "/sys/kernel/security/integrity/ima"}

// MeasurementList returns the path of the running kernel's binary list of a bank. For bank
// zero it is that of the best one there is, and SHA-1's in the end. The error is ErrNoIMA
// or ErrNoBank.
func (h Host) MeasurementList(bank hash.Algorithm) (string, error) {
	if !h.HasIMA() {
		return "", ErrNoIMA
	}
	names := []string{"_" + bank.String()}
	switch bank {
	case 0:
		names = nil
		for _, b := range append(pcr.Banks()[1:], hash.SHA1) {
			names = append(names, "_"+b.String())
		}
		names = append(names, "")
	case hash.SHA1:
		names = append(names, "")
	}
	for _, name := range names {
		for _, dir := range securityFS {
			path := filepath.Join(h.Root, dir, "binary_runtime_measurements"+name)
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
		}
	}
	return "", ErrNoBank
}

// EventLog returns the path of the event log of the TPM that the kernel found first. The
// error is ErrNoEvents.
func (h Host) EventLog() (string, error) {
	logs, err := filepath.Glob(filepath.Join(h.Root, "/sys/kernel/security/tpm[0-9]*/binary_bios_measurements"))
	if err != nil || len(logs) == 0 {
		return "", ErrNoEvents
	}
	return slices.Min(logs), nil
}
