package label

import (
	"bytes"
	"context"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/tree"
	"imaseal/sign"
)

// A Requester is a run.Job that decides which labels files should carry, and makes
// those that need no key. Its Labeller has a Key that is Elsewhere.
type Requester struct{ *Labeller }

// Decide implements run.Job. What would be labelled is requested.
func (r Requester) Decide(ctx context.Context, reader *hash.Reader, f tree.File) (run.Decision, error) {
	d, err := r.Labeller.Decide(ctx, reader, f)
	if d.Result.Outcome == report.Labelled {
		d.Result.Outcome = report.Requested
		d.Result.IMA, d.Result.EVM, d.Result.HasKeyID = nil, nil, false
	}
	return d, err
}

// Elsewhere returns a Key that is not here. What it signs are labels that stand for
// those to be made, which a Record leaves out. The version of signatures counts for
// policies that demand one.
func Elsewhere(version uint8) *Key { return &Key{Signer: absent{}, Own: absent{}, Version: version} }

// absent is a key that there is none of: no key has its id.
type absent struct{}

var placeholder = []byte("elsewhere")

func (absent) KeyID() imaevm.KeyID { return 0 }

func (absent) SignDigest(context.Context, hash.Digest) ([]byte, error) {
	return bytes.Clone(placeholder), nil
}

func (absent) Verifier(id imaevm.KeyID) (sign.Verifier, error) {
	return nil, &sign.UnknownKeyError{KeyID: id}
}

// isElsewhere reports whether a label stands for one that is made elsewhere.
func isElsewhere(label []byte) bool {
	s, err := imaevm.ParseSignature(label)
	return err == nil && s.KeyID == 0 && bytes.Equal(s.Raw, placeholder)
}
