package pkcs11

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"imaseal/keys/child"
	"imaseal/keys/keyfile"
	"imaseal/keys/pkcs11/p11kit"
)

// Sign returns the raw signature over a digest: PKCS#1 v1.5, or DER of an ECDSA
// signature. For RSA and hash function 0 the digest is a whole DigestInfo. A
// session that is lost is opened again, once. The errors are those of Open; when
// ctx ends the error wraps its cause.
func (k *Key) Sign(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	data, err := input(k.public, digest, opts.HashFunc())
	if err != nil {
		return nil, err
	}
	var s *session
	select {
	case s = <-k.sessions:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the token: %w", context.Cause(ctx))
	}
	defer func() { k.sessions <- s }()
	for again := false; ; again = true {
		if s == nil {
			if s, err = k.open(ctx); err != nil {
				return nil, err
			}
		}
		sig, err := k.sign(ctx, s, data)
		if err == nil {
			return sig, nil
		}
		call, isCall := errors.AsType[*p11kit.CallError](err)
		if isCall && !call.Code.IsLost() {
			return nil, err
		}
		s.Close()
		s = nil
		if again || ctx.Err() != nil || !isCall && !isEnded(err) {
			return nil, err
		}
		k.o.Notice(fmt.Sprintf("the session with the token is lost (%v), and opened again", err))
	}
}

func isEnded(err error) bool {
	_, ok := errors.AsType[*child.EndedError](err)
	return ok
}

// sign has the token sign what its mechanism takes.
func (k *Key) sign(ctx context.Context, s *session, data []byte) ([]byte, error) {
	var mechanism uint32 = p11kit.RSAPKCS
	if s.ec {
		mechanism = p11kit.ECDSA
	}
	err := s.SignInit(ctx, mechanism, s.key)
	if e, ok := errors.AsType[*p11kit.CallError](err); ok && e.Code == p11kit.KeyFunctionNotPermitted {
		return nil, errNotForSigning
	}
	if err == nil && s.always {
		if err = k.lock(ctx); err == nil {
			err = k.login(ctx, s, p11kit.ContextSpecific)
			k.unlock()
		}
	}
	if err != nil {
		return nil, err
	}
	sig, err := s.Sign(ctx, data)
	if err != nil || !s.ec {
		return sig, err
	}
	n := len(sig) / 2
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:])})
}

// input returns what the mechanism of a key takes for a digest. ECDSA takes no
// more of it than the order is long: not every token cuts off the rest.
func input(key crypto.PublicKey, digest []byte, h crypto.Hash) ([]byte, error) {
	if k, ok := key.(*ecdsa.PublicKey); ok {
		return digest[:min(len(digest), (k.Params().N.BitLen()+7)/8)], nil
	}
	if h == 0 {
		return digest, nil
	}
	oid, ok := digestOIDs[h]
	if !ok {
		return nil, fmt.Errorf("tokens are not asked for RSA signatures over %v digests", h)
	}
	return asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}{pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.NullRawValue}, digest})
}

// digestOIDs are the identifiers in a DigestInfo (RFC 8017, appendix B.1; for
// SHA-3 NIST's register).
var digestOIDs = map[crypto.Hash]asn1.ObjectIdentifier{
	crypto.MD5:      {1, 2, 840, 113549, 2, 5},
	crypto.SHA1:     {1, 3, 14, 3, 2, 26},
	crypto.SHA256:   {2, 16, 840, 1, 101, 3, 4, 2, 1},
	crypto.SHA384:   {2, 16, 840, 1, 101, 3, 4, 2, 2},
	crypto.SHA512:   {2, 16, 840, 1, 101, 3, 4, 2, 3},
	crypto.SHA224:   {2, 16, 840, 1, 101, 3, 4, 2, 4},
	crypto.SHA3_256: {2, 16, 840, 1, 101, 3, 4, 2, 8},
	crypto.SHA3_384: {2, 16, 840, 1, 101, 3, 4, 2, 9},
	crypto.SHA3_512: {2, 16, 840, 1, 101, 3, 4, 2, 10},
}

// beside returns the objects of a class that have the key's CKA_ID.
func (s *session) beside(ctx context.Context, class uint64) ([]uint64, error) {
	a, err := s.Attributes(ctx, s.key, p11kit.ID)
	if err != nil || len(a[p11kit.ID].Bytes) == 0 {
		return nil, err
	}
	return s.Find(ctx, p11kit.Attribute{Type: p11kit.Class, Ulong: class}, a[p11kit.ID])
}

// certificates returns the certificates beside the key. What is no X.509
// certificate is left out.
func (s *session) certificates(ctx context.Context) ([]*x509.Certificate, error) {
	objects, err := s.beside(ctx, p11kit.Certificate)
	if err != nil {
		return nil, err
	}
	var all []*x509.Certificate
	for _, object := range objects {
		a, err := s.Attributes(ctx, object, p11kit.Value)
		if err != nil {
			return nil, err
		}
		if c, err := x509.ParseCertificate(a[p11kit.Value].Bytes); err == nil {
			all = append(all, c)
		}
	}
	return all, nil
}

// errNoPublic says that the token has the private half alone.
var errNoPublic = errors.New("the token has neither a public key nor a certificate with the private key's CKA_ID; write one there")

// publicKey returns the public half of the key: from its own attributes, from
// the public key beside it, or from a certificate.
func (s *session) publicKey(ctx context.Context, certs []*x509.Certificate) (crypto.PublicKey, error) {
	objects, err := s.beside(ctx, p11kit.PublicKey)
	if err != nil {
		return nil, err
	}
	for _, object := range append([]uint64{s.key}, objects...) {
		a, err := s.Attributes(ctx, object, p11kit.Modulus, p11kit.PublicExponent, p11kit.ECParams, p11kit.ECPoint)
		if err != nil {
			return nil, err
		}
		switch {
		case s.ec && a[p11kit.ECPoint].Bytes != nil:
			return ecKey(a[p11kit.ECParams].Bytes, a[p11kit.ECPoint].Bytes)
		case !s.ec && a[p11kit.Modulus].Bytes != nil && a[p11kit.PublicExponent].Bytes != nil:
			return rsaKey(a[p11kit.Modulus].Bytes, a[p11kit.PublicExponent].Bytes)
		}
	}
	for _, c := range certs {
		return c.PublicKey, nil
	}
	return nil, errNoPublic
}

func rsaKey(modulus, exponent []byte) (crypto.PublicKey, error) {
	e := new(big.Int).SetBytes(exponent)
	if e.BitLen() > 31 {
		return nil, errors.New("the RSA key's public exponent has more than 31 bits")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(e.Int64())}, nil
}

// curves are those of kernels, by the DER of their identifiers in CKA_EC_PARAMS.
var curves = []struct {
	oid   asn1.ObjectIdentifier
	curve elliptic.Curve
}{
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, elliptic.P256()},
	{asn1.ObjectIdentifier{1, 3, 132, 0, 34}, elliptic.P384()},
	{asn1.ObjectIdentifier{1, 3, 132, 0, 35}, elliptic.P521()},
}

// ecKey returns the key with a point, which is DER of an OCTET STRING, though
// some modules give the point itself.
func ecKey(params, point []byte) (crypto.PublicKey, error) {
	var octets []byte
	if rest, err := asn1.Unmarshal(point, &octets); err == nil && len(rest) == 0 {
		point = octets
	}
	for _, c := range curves {
		der, err := asn1.Marshal(c.oid)
		if err == nil && bytes.Equal(der, params) {
			return ecdsa.ParseUncompressedPublicKey(c.curve, point)
		}
	}
	return nil, &keyfile.UnsupportedError{Kind: cmp.Or(keyfile.CurveKind(params), "EC")}
}
