package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"imaseal/hash"
	"imaseal/internal/evmctl"
	"imaseal/internal/measure"
	"imaseal/internal/pcr"
	"imaseal/internal/stream"
	"imaseal/keys/tpm"
)

// evmctlBanks are those that evmctl knows, as far as nothing else is named.
var evmctlBanks = []hash.Algorithm{hash.SHA1, hash.SHA256}

// evmctlMeasurement compares a measurement list with PCRs.
func (p Program) evmctlMeasurement(ctx context.Context, r evmctl.Request) (int, error) {
	known, n, err := p.evmctlKnown(r)
	if err != nil {
		return 0, err
	}
	pcrs, err := p.evmctlPCRs(ctx, r)
	if err != nil {
		return 0, err
	}
	f, err := os.Open(r.Paths[0])
	if err != nil {
		return 0, err
	}
	defer f.Close()
	bank, _ := measure.BankOfName(r.Paths[0])
	list, err := measure.Open(stream.NewReader(ctx, f), measure.Layout{Form: measure.Binary, Bank: bank})
	if err != nil {
		return 0, err
	}
	c := evmctl.Checker{Request: r, PCRs: pcrs, Keys: known, NumKeys: n, Content: evmctlContent, Err: p.Stderr}
	return c.Check(list)
}

// evmctlContent is the digest of a file that a list names.
func evmctlContent(path string, a hash.Algorithm) (hash.Digest, error) {
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("no regular file")
	}
	if err != nil {
		return hash.Digest{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return hash.Digest{}, err
	}
	defer f.Close()
	h, err := hash.New(a)
	if err != nil {
		return hash.Digest{}, err
	}
	if _, err := io.Copy(h, f); err != nil {
		return hash.Digest{}, err
	}
	return h.Digest(), nil
}

// evmctlBootAggregate prints what the record boot_aggregate should be, for each bank.
func (p Program) evmctlBootAggregate(ctx context.Context, r evmctl.Request) error {
	pcrs, err := p.evmctlBootPCRs(ctx, r)
	if err != nil {
		return err
	}
	for _, bank := range pcrs.Banks() {
		d, err := pcr.BootAggregate(pcrs, bank)
		if err != nil {
			return err
		}
		if err := p.print(d.String() + "\n"); err != nil {
			return err
		}
	}
	return nil
}

// evmctlPCRs returns the values of PCRs: of the files that are named, of a TPM 1.2, or
// of a TPM 2.0; nil if there is none of them.
func (p Program) evmctlPCRs(ctx context.Context, r evmctl.Request) (pcr.Values, error) {
	files, err := r.PCRFiles()
	if err != nil {
		return nil, err
	}
	pcrs := make(pcr.Values)
	for _, file := range files {
		if err := readPCRs(pcrs, file.Path, file.Bank); err != nil {
			return nil, err
		}
	}
	if len(files) > 0 {
		return pcrs, nil
	}
	for _, name := range []string{"/sys/class/tpm/tpm0/device/pcrs", "/sys/class/misc/tpm0/device/pcrs"} {
		if readPCRs(pcrs, filepath.Join(p.Host.Root, name), hash.SHA1) == nil {
			return pcrs, nil
		}
	}
	if r.HardwareTPM && p.readSysfsPCRs(pcrs) {
		return pcrs, nil
	}
	return p.readTPM(ctx, r)
}

func readPCRs(pcrs pcr.Values, path string, bank hash.Algorithm) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file or link to regular file")}
	}
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	values, err := pcr.ParseText(text, bank)
	if err != nil {
		return &fs.PathError{Op: "read", Path: path, Err: err}
	}
	for _, bank := range values.Banks() {
		for _, i := range values.Indexes(bank) {
			d, _ := values.Value(bank, i)
			pcrs.Set(i, d)
		}
	}
	return nil
}

// readSysfsPCRs reads the values that kernels show of a TPM 2.0 since Linux 5.12.
func (p Program) readSysfsPCRs(pcrs pcr.Values) bool {
	for _, bank := range evmctlBanks {
		dir := filepath.Join(p.Host.Root, "/sys/class/tpm/tpm0/pcr-"+bank.String())
		for i := range pcr.Max + 1 {
			b, err := os.ReadFile(filepath.Join(dir, strconv.Itoa(i)))
			if err != nil {
				break
			}
			if d, err := pcr.ParseValue(string(b), bank); err == nil {
				pcrs.Set(i, d)
			}
		}
	}
	return len(pcrs) > 0
}

// readTPM reads the PCRs of a TPM 2.0; nil if none can be reached.
func (p Program) readTPM(ctx context.Context, r evmctl.Request) (pcr.Values, error) {
	device, err := evmctl.TPMDevice(p.getenv)
	if err != nil {
		return nil, err
	}
	banks, err := tpm.ReadPCRs(ctx, tpm.Options{Device: device})
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		if r.Verbose > 0 {
			fmt.Fprintf(p.Stderr, "Failed to read TPM 2.0 PCRs: %v\n", err)
		}
		return nil, nil
	}
	pcrs := make(pcr.Values)
	for _, b := range banks {
		bank, ok := pcr.Bank(b.Algorithm)
		if !ok || !slices.Contains(evmctlBanks, bank) {
			continue
		}
		for i, value := range b.Values {
			d, err := hash.NewDigest(bank, value)
			if err != nil {
				return nil, fmt.Errorf("the TPM's PCR %d: %w", i, err)
			}
			pcrs.Set(i, d)
		}
	}
	return pcrs, nil
}

// evmctlBootPCRs returns the values of PCRs as for lists, and fails if there are none.
func (p Program) evmctlBootPCRs(ctx context.Context, r evmctl.Request) (pcr.Values, error) {
	if len(r.Paths) > 0 {
		return nil, &evmctl.UnsupportedError{What: evmctl.BootAggregate + ": event logs are not read, only the TPM's PCRs and files of them"}
	}
	pcrs, err := p.evmctlPCRs(ctx, r)
	if err == nil && len(pcrs) == 0 {
		err = errors.New("failed to read any TPM PCRs")
	}
	return pcrs, err
}
