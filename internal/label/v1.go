package label

import (
	"context"
	"fmt"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/sign"
)

// labelV1 is label for version 1. A portable label is one of another type.
func (k *Key) labelV1(ctx context.Context, kind imaevm.Type, d hash.Digest) ([]byte, error) {
	l, err := sign.LabelV1(ctx, k.V1, d)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	b, err := l.AppendBinary(nil)
	if err == nil {
		b[0] = byte(kind)
	}
	return b, err
}

// madeV1 is made for version 1.
func (k *Key) madeV1(kind imaevm.Type, d hash.Digest, label []byte) bool {
	if len(label) == 0 || imaevm.Type(label[0]) != kind {
		return false
	}
	b := append([]byte{byte(imaevm.TypeSignature)}, label[1:]...)
	l, err := imaevm.ParseSignatureV1(b)
	id, isRSA := k.V1.KeyIDV1()
	a, isKnown := l.ContentAlgorithm()
	known, isFor := k.Own.(sign.VerifiersV1)
	return err == nil && isRSA && isKnown && isFor && len(l.Rest) == 0 && l.KeyID == id && a == d.Algorithm() &&
		l.Timestamp == uint32(a.Number()) && sign.VerifyV1(l, d, known) == nil
}
