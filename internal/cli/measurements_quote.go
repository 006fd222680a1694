package cli

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/hash"
	"imaseal/internal/attest"
	"imaseal/internal/measure"
	"imaseal/internal/pcr"
	"imaseal/internal/pcr/eventlog"
	"imaseal/internal/pcr/quote"
	"imaseal/internal/report"
)

// quoteOptions name the files of a quote, and what it is checked with.
type quoteOptions struct{ message, signature, key, nonce, pcrs string }

func (o *quoteOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "quote", Destination: &o.message, Category: tpmCategory, Usage: "compare with the PCRs that a TPM has quoted: the `FILE` of tpm2_quote -m"},
		&urfave.StringFlag{Name: "quote-signature", Destination: &o.signature, Category: tpmCategory, Usage: "the quote's signature, the `FILE` of tpm2_quote -s"},
		&urfave.StringFlag{Name: "quote-key", Destination: &o.key, Category: tpmCategory, Usage: "public half of the attestation key: a `FILE` with PEM, DER, a certificate, or what tpm2_readpublic -f tss writes"},
		&urfave.StringFlag{Name: "quote-nonce", Destination: &o.nonce, Category: tpmCategory, Usage: "the nonce that was asked with, in `HEX` as in tpm2_quote -q; none takes any quote, however old"},
		&urfave.StringFlag{Name: "quote-pcrs", Destination: &o.pcrs, Category: tpmCategory, Usage: "values of the PCRs that were quoted, the `FILE` of tpm2_quote -o; needed for PCRs below 10"},
	}
}

// A quoteRequest is a quote, and what it is checked with. Message is "" for none.
type quoteRequest struct {
	message, signature, key, pcrs string
	nonce                         []byte // nil for any
}

func (o *quoteOptions) plan() (quoteRequest, error) {
	r := quoteRequest{message: o.message, signature: o.signature, key: o.key, pcrs: o.pcrs}
	if o.message == "" {
		return r, refuseUnused("--quote", given{"quote-signature", o.signature != ""}, given{"quote-key", o.key != ""},
			given{"quote-nonce", o.nonce != ""}, given{"quote-pcrs", o.pcrs != ""})
	}
	switch {
	case o.signature == "":
		return r, conflict("a quote without its signature says nothing", "--quote-signature FILE, as tpm2_quote -s writes it")
	case o.key == "":
		return r, conflict("a quote is checked with the key of the TPM", "--quote-key FILE; tpm2_readpublic -f pem -o FILE writes it")
	case o.nonce == "":
		return r, conflict("a quote without a nonce may be an old one", "--quote-nonce HEX, as given to tpm2_quote -q; --quote-nonce none takes any")
	case o.nonce == "none":
		return r, nil
	}
	var err error
	if r.nonce, err = hex.DecodeString(strings.TrimPrefix(o.nonce, "0x")); err != nil {
		return r, conflict("--quote-nonce "+report.Quote(o.nonce)+" is not in hexadecimal", "as given to tpm2_quote -q")
	}
	return r, nil
}

// readers are the files that are standard input.
func (r quoteRequest) readers() []given {
	return []given{reading("quote", r.message), reading("quote-signature", r.signature), reading("quote-key", r.key), reading("quote-pcrs", r.pcrs)}
}

// maxQuote bounds each file of a quote.
const maxQuote = 64 << 10

// readQuote reads a quote, and sets what the list is compared with. A quote that is not
// what it should be is a problem like others, and then nothing is compared with it.
func (v *listVerifier) readQuote(ctx context.Context, r quoteRequest) (*attest.Problem, error) {
	var message, signature, key []byte
	for _, f := range []struct {
		name string
		to   *[]byte
	}{{r.message, &message}, {r.signature, &signature}, {r.key, &key}} {
		var err error
		if *f.to, err = v.program.readSmall(ctx, f.name, maxQuote); err != nil {
			return nil, err
		}
	}
	public, err := quote.ParseKey(key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", report.Quote(r.key), err)
	}
	q, err := quote.Parse(message)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", report.Quote(r.message), err)
	}
	if err := q.Check(signature, public, r.nonce); err != nil {
		return &attest.Problem{Code: attest.WrongQuote, Err: err}, nil
	}
	if r.pcrs != "" {
		return v.readQuoted(ctx, q, r.pcrs)
	}
	for _, s := range q.Selections {
		if i := s.Indexes[0]; i < pcr.BootPCRs(s.Bank) {
			return nil, fmt.Errorf("%s: %w", report.Quote(r.message), &pcr.MissingError{Bank: s.Bank, Index: i, Quoted: true})
		}
	}
	v.options.MomentPCRs = make(map[hash.Algorithm][]int)
	for _, s := range q.Selections {
		v.options.MomentPCRs[s.Bank] = append(v.options.MomentPCRs[s.Bank], s.Indexes...)
	}
	v.options.Moment = func(p *measure.Replay) bool {
		is, _ := q.Matches(p.ValueOrZero)
		return is
	}
	return nil, nil
}

// readQuoted reads the values that were quoted.
func (v *listVerifier) readQuoted(ctx context.Context, q *quote.Quote, name string) (*attest.Problem, error) {
	data, err := v.program.readSmall(ctx, name, maxQuote)
	if err != nil {
		return nil, err
	}
	values, err := q.ParsePCRs(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", report.Quote(name), err)
	}
	if is, err := q.Matches(values.Value); err != nil || !is {
		return &attest.Problem{Code: attest.WrongQuote, Err: fmt.Errorf("%s: %w", report.Quote(name), quote.ErrPCRs)}, nil
	}
	// Values of other PCRs were not quoted.
	for _, bank := range values.Banks() {
		for _, i := range values.Indexes(bank) {
			if !q.Has(bank, i) {
				delete(values[bank], i)
			}
		}
	}
	v.options.PCRs, v.options.Quoted = values, true
	return nil, nil
}

// eventLogFlag names an event log.
func eventLogFlag(field *string) urfave.Flag {
	return &urfave.StringFlag{Name: "event-log", Destination: field, Category: tpmCategory, Usage: "what firmware and boot loader have extended PCRs 0 to 9 with: a `FILE`, a copy of binary_bios_measurements in /sys/kernel/security/tpm0, or running"}
}

// maxEventLog bounds an event log; firmware reserves some hundred KiB for it.
const maxEventLog = 64 << 20

// readEventLog replays an event log.
func (p Program) readEventLog(ctx context.Context, name string) (pcr.Values, error) {
	if name == running {
		var err error
		if name, err = p.Host.EventLog(); err != nil {
			return nil, err
		}
	}
	data, err := p.readSmall(ctx, name, maxEventLog)
	if err != nil {
		return nil, err
	}
	values, err := eventlog.Replay(strings.NewReader(string(data)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", report.Quote(name), err)
	}
	return values, nil
}
