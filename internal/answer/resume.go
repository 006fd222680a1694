package answer

import (
	"errors"
	"io"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/labelfile"
	"imaseal/sign"
)

// ErrOtherAnswers says that answers that are there are not those of the requests, or
// of the key.
var ErrOtherAnswers = errors.New("holds answers to other requests, or by another key")

// Resume reads the answers that a run has written which was broken off, and takes
// their requests from in. It calls had with each, and returns where in done they
// end: behind that there may be a torn line. The error is ErrOtherAnswers, or that
// of in.
func (a *Answerer) Resume(in *labelfile.Reader, done io.Reader, had func(labelfile.Record)) (end int64, err error) {
	r := labelfile.NewReader(done, labelfile.Labels)
	for {
		got, err := r.Next()
		if err == io.EOF || errors.Is(err, labelfile.ErrTorn) {
			return end, nil
		}
		if err != nil {
			return end, ErrOtherAnswers
		}
		asked, err := in.Next()
		if err == io.EOF {
			return end, ErrOtherAnswers
		}
		if err != nil {
			return end, err
		}
		if !a.isAnswer(asked, got) {
			return end, ErrOtherAnswers
		}
		had(got)
		end = r.End()
	}
}

// isAnswer reports whether a record is the one that answer would make.
func (a *Answerer) isAnswer(asked, got labelfile.Record) bool {
	if got.Answers != asked.Sum || !labelfile.SameBut(asked, got) {
		return false
	}
	if asked.NeedsIMA() && !a.IMA.made(&asked, kindOf(&asked), got.Digest, got.IMA) {
		return false
	}
	if !asked.NeedsEVM() {
		return true
	}
	d, err := covered(&got)
	return err == nil && a.EVM.made(&asked, asked.EVM.Kind, d, got.EVMLabel)
}

// made reports whether the key made a label.
func (k *Key) made(asked *labelfile.Record, kind imaevm.Type, d hash.Digest, l []byte) bool {
	s, err := imaevm.ParseSignature(l)
	return err == nil && s.Kind == kind && s.Version == k.version(asked, kind) && s.Alg == d.Algorithm() &&
		s.KeyID == k.Signer.KeyID() && sign.Verify(s, d, k.Own) == nil
}
