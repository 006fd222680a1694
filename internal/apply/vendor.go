package apply

import (
	"errors"

	"imaseal/internal/labelfile"
	"imaseal/internal/reason"
	"imaseal/internal/run"
	"imaseal/sign"
)

// vendor decides by the first of the records that fits the file. Where none does, the
// file is left out, for the reason that is closest.
func (j *applying) vendor(records []labelfile.Record) (run.Decision, error) {
	var why reason.Code
	for i := range records {
		read := j.d.Result.Bytes
		j.d = run.Decision{Content: true}
		j.d.Result.Bytes = read
		err := j.decide(records[i : i+1])
		c := unfit(err)
		if c == "" {
			return j.d, err
		}
		if why == "" || why == reason.ChangedContent {
			why = c
		}
	}
	d := run.Skip(why)
	d.Result.Bytes = j.d.Result.Bytes
	return d, nil
}

// unfit returns why a record does not fit a file; nothing for other errors, and for
// none.
func unfit(err error) reason.Code {
	_, isContent := errors.AsType[*ContentError](err)
	_, isUnknown := errors.AsType[*sign.UnknownKeyError](err)
	_, isAmbiguous := errors.AsType[*sign.AmbiguousKeyError](err)
	_, isBad := errors.AsType[*sign.BadSignatureError](err)
	_, isSignature := errors.AsType[*SignatureError](err)
	switch {
	case isContent:
		return reason.ChangedContent
	case isUnknown:
		return reason.UnknownKey
	case isAmbiguous:
		return reason.AmbiguousKey
	case isBad:
		return reason.BadSignature
	case errors.Is(err, ErrWrongLabel):
		return reason.Malformed
	case isSignature:
		return reason.Unsupported
	}
	return ""
}
