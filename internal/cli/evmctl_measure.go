package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"imaseal/hash"
	"imaseal/internal/evmctl"
	"imaseal/internal/host"
	"imaseal/internal/measure"
	"imaseal/internal/pcr"
	"imaseal/internal/pcr/eventlog"
	"imaseal/keys/tpm"
)

// evmctlBanks are those that evmctl knows, as far as nothing else is named.
var evmctlBanks = []hash.Algorithm{hash.SHA1, hash.SHA256}

// evmctlMeasurement compares a measurement list with PCRs.
func (p Program) evmctlMeasurement(ctx context.Context, r evmctl.Request) (int, error) {
	known, n, err := p.evmctlKnown(ctx, r)
	if err != nil {
		return 0, err
	}
	pcrs, err := p.evmctlPCRs(ctx, r)
	if err != nil {
		return 0, err
	}
	in, err := p.openInput(ctx, r.Paths[0])
	if err != nil {
		return 0, err
	}
	defer in.Close()
	bank, _ := measure.BankOfName(r.Paths[0])
	list, err := measure.Open(in, measure.Layout{Form: measure.Binary, Bank: bank})
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
	var named pcrsRequest
	for _, file := range files {
		if file.Path == "-" || file.Path == running { // which are words of ours
			file.Path = "./" + file.Path
		}
		named = append(named, pcrFile{file.Path, file.Bank})
	}
	if len(named) > 0 {
		return p.readPCRs(ctx, named)
	}
	chip := filepath.Join(p.Host.Root, "/sys/class/tpm/tpm0")
	for _, name := range []string{chip + "/device/pcrs", filepath.Join(p.Host.Root, "/sys/class/misc/tpm0/device/pcrs")} {
		if values, err := p.readPCRs(ctx, pcrsRequest{{name, hash.SHA1}}); err == nil {
			return values, nil
		}
	}
	if r.HardwareTPM {
		if values, err := host.ReadPCRs(chip); err == nil {
			maps.DeleteFunc(values, func(a hash.Algorithm, _ map[int]hash.Digest) bool { return !slices.Contains(evmctlBanks, a) })
			return values, nil
		}
	}
	return p.readTPM(ctx, r)
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

// evmctlBootPCRs returns the values of PCRs by the event log that is named, or as for
// lists.
func (p Program) evmctlBootPCRs(ctx context.Context, r evmctl.Request) (pcr.Values, error) {
	if len(r.Paths) == 0 {
		pcrs, err := p.evmctlPCRs(ctx, r)
		if err == nil && len(pcrs) == 0 {
			err = errors.New("failed to read any TPM PCRs")
		}
		return pcrs, err
	}
	in, err := p.openInput(ctx, r.Paths[0])
	if err != nil {
		return nil, err
	}
	defer in.Close()
	pcrs, err := eventlog.Replay(bufio.NewReader(in))
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: r.Paths[0], Err: err}
	}
	if r.Verbose == 0 {
		return pcrs, nil
	}
	for i := range pcr.Max + 1 {
		if d, ok := pcrs.Value(hash.SHA1, i); ok {
			fmt.Fprintf(p.Stderr, "PCR-%02x %x\n", i, d.Bytes()) // in hexadecimal, as evmctl has it
		}
	}
	return pcrs, nil
}
