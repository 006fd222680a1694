package advice

import (
	"errors"

	"imaseal/internal/attest"
	"imaseal/internal/host"
	"imaseal/internal/measure"
	"imaseal/internal/pcr"
	"imaseal/internal/reason"
)

// isQuoted reports whether the value of a PCR that was quoted is missing.
func isQuoted(err error) bool {
	missing, ok := errors.AsType[*pcr.MissingError](err)
	return ok && missing.Quoted
}

// ofMeasurements is about measurement lists and PCRs.
func ofMeasurements(err error) (reason.Code, string) {
	switch {
	case errors.Is(err, host.ErrNoTPM):
		return "no-tpm", "--pcrs FILE names values that tpm2_pcrread has printed elsewhere"
	case errors.Is(err, host.ErrNoPCRs):
		return reason.NoPCRs, "tpm2_pcrread >FILE asks the TPM itself; --pcrs FILE names that"
	case errors.Is(err, host.ErrTPMAway):
		return "tpm-away", "dmesg | grep -i tpm may say why; --pcrs FILE names values that were read before"
	case errors.Is(err, host.ErrNoBank):
		return "no-bank", "ls /sys/kernel/security/ima shows the banks that there are; without --bank the best one is read"
	case is[*measure.FormatError](err):
		return "no-measurement-list", "a list is what cat /sys/kernel/security/ima/binary_runtime_measurements prints"
	case is[*measure.EndError](err):
		return "cut-list", "the list was cut: copy it with cat, in one go; its size is not what ls says"
	case is[*pcr.LineError](err):
		return "bad-pcrs", "values of PCRs are what tpm2_pcrread prints"
	case errors.Is(err, attest.ErrBeginsLate):
		return attest.BeginsLate, "who removed records should have kept them: cat REMOVED LIST | imaseal measurements verify --pcrs PCRS -"
	case errors.Is(err, attest.ErrNoMoment):
		return attest.WrongPCR, "--quote-pcrs FILE, as tpm2_quote -o writes it, tells which PCR differs; the list must be read after the quote is made"
	case is[*attest.PCRError](err):
		return attest.WrongPCR, "PCRs and list must be of the same boot, and the list read after the PCRs; else a record was changed or left out"
	case isQuoted(err):
		return reason.NoPCRs, "--quote-pcrs FILE, as tpm2_quote -o writes it, has the values; or quote what IMA extends alone: tpm2_quote -l sha256:10"
	case errors.Is(err, host.ErrNoEvents):
		return "no-event-log", "--pcrs FILE names the values of PCRs"
	case is[*pcr.MissingError](err):
		return reason.NoPCRs, "tpm2_pcrread sha1:0,1,2,3,4,5,6,7+sha256:0,1,2,3,4,5,6,7,8,9 prints what is needed"
	}
	return "", ""
}
