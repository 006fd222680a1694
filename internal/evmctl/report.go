package evmctl

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"imaseal/internal/imaevm"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/tree"
)

// A Report prints results as evmctl does: labels in hexadecimal to Out, the rest to
// Err. It is a report.Handler.
type Report struct {
	Request  Request
	Out, Err io.Writer
	// Made sets the labels of a file that were made and could not be set; nil sets none.
	Made   func(*report.Result)
	failed int
	// broken says that something could not be done, besides what does not verify.
	broken bool
}

// Start implements report.Handler.
func (r *Report) Start(report.Header) error { return nil }

// Finish implements report.Handler.
func (r *Report) Finish(report.Summary) error { return nil }

// Result implements report.Handler.
func (r *Report) Result(res report.Result) error {
	name := report.Quote(res.Path)
	if r.Request.Command == Clear && res.Outcome != report.Skipped {
		r.Comes(res.Path)
	}
	switch res.Outcome {
	case report.Skipped:
		if r.Request.Recursive {
			return nil
		}
		return r.fail("%s: %s\n", name, res.Reason)
	case report.Failed:
		if err := r.made(res); err != nil {
			return err
		}
		return r.fail("%s: %s\n", name, Failure(res.Err))
	case report.Vanished:
		return r.fail("%s: %s\n", name, Failure(syscall.ENOENT))
	case report.Valid:
		return r.say("%s: verification is OK\n", name)
	case report.Unlabelled:
		if res.Code == reason.NoSidecar {
			return r.fail("Failed to open: %s.sig\n", name)
		}
		return r.fail("getxattr failed: %s %s\n", name, Failure(syscall.ENODATA))
	case report.Invalid, report.Unverifiable:
		r.failed++
		r.broken = r.broken || res.Code != reason.BadSignature && res.Code != reason.BadHMAC
		return r.say("%s: verification failed: 0 (%s)\n", name, res.Reason)
	}
	return r.labelled(res)
}

// Failure words an error as evmctl does: what the system says of it stands behind, in
// brackets, as strerror(3) has it.
func Failure(err error) string {
	var number syscall.Errno
	text := err.Error()
	if !errors.As(err, &number) {
		return text
	}
	said := number.Error()
	what, found := strings.CutSuffix(text, said)
	if !found || said == "" {
		return text
	}
	what = strings.TrimSuffix(what, ": ")
	return strings.TrimPrefix(fmt.Sprintf("%s (errno: %s)", what, strings.ToUpper(said[:1])+said[1:]), " ")
}

// say prints to Err. Who hides messages misses nothing that counts.
func (r *Report) say(format string, args ...any) error {
	fmt.Fprintf(r.Err, format, args...)
	return nil
}

func (r *Report) fail(format string, args ...any) error {
	r.failed++
	r.broken = true
	return r.say(format, args...)
}

// Comes says that ima_clear or ima_fix comes to a file.
func (r *Report) Comes(path string) { r.say("%s\n", report.Quote(path)) }

// made prints labels that could not be set.
func (r *Report) made(res report.Result) error {
	if r.Made == nil {
		return nil
	}
	res.IMA, res.EVM = nil, nil
	if r.Made(&res); res.IMA == nil && res.EVM == nil {
		return nil
	}
	if _, half := errors.AsType[*tree.PartialError](res.Err); !half && res.IMA != nil {
		res.EVM = nil // which evmctl makes after the other was set
	}
	return r.labelled(res)
}

// labelled prints the labels that a command has made, in their order.
func (r *Report) labelled(res report.Result) error {
	q := r.Request
	switch {
	case q.Command == Hash, q.IMAHash && (q.Command == Sign || q.Command == HMAC):
		r.say("hash(%s): ", q.Digest)
		if err := r.hex(res.IMA); err != nil {
			return err
		}
	case q.Command == IMASign, q.IMASig && (q.Command == Sign || q.Command == HMAC):
		r.say("hash(%s): %s\n", q.Digest, hex.EncodeToString(res.Digest.Bytes()))
		if err := r.signature(res.IMA); err != nil {
			return err
		}
	}
	switch {
	case res.EVM == nil:
	case q.Command == Sign:
		return r.signature(res.EVM)
	case q.Command == HMAC:
		if mac, err := imaevm.ParseHMAC(res.EVM); err == nil {
			return r.say("hmac: %x\n", mac[:])
		}
	}
	return nil
}

func (r *Report) signature(label []byte) error {
	r.say("evm/ima signature: %d bytes\n", len(label)-1)
	return r.hex(label)
}

func (r *Report) hex(label []byte) error {
	_, err := fmt.Fprintf(r.Out, "%x\n", label)
	return err
}

// Status is that of a run whose results were all reported.
func (r *Report) Status() int {
	switch {
	case r.failed == 0:
		return StatusOK
	case r.Request.Command == IMAVerify, r.Request.Command == Verify && !r.broken:
		return StatusFailed
	}
	return StatusError
}
