// Package quote checks quotes of PCRs, as tpm2_quote writes them: what a TPM has signed of
// its PCRs at one moment (TPM 2.0 Library, TPM2_Quote).
//
//	message    TPMS_ATTEST: nonce, which PCRs of which banks, and the digest of them all
//	signature  TPMT_SIGNATURE: RSASSA, RSAPSS or ECDSA over the message
//	key        the attestation key: PEM or DER, public key or certificate; or TPM2B_PUBLIC
//	PCRs       see ParsePCRs; not signed, but the digest is
package quote

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"imaseal/hash"
	"imaseal/internal/pcr"
	"imaseal/keys/keyfile"
)

// A Selection is the PCRs of a bank, in order.
type Selection struct {
	Bank    hash.Algorithm
	Indexes []int
}

// A Quote is what a TPM has signed.
type Quote struct {
	Nonce      []byte
	Selections []Selection // in the order in which the digest covers them
	Digest     []byte      // of the PCRs

	message []byte
	alg     hash.Algorithm // of the digest; the signature's
}

// Errors of Parse and Check.
var (
	ErrNoQuote   = errors.New("no quote of a TPM")
	ErrSignature = errors.New("the signature is not one of this key over this quote")
	ErrNonce     = errors.New("the quote has another nonce: it was not made for this request, or long ago")
	ErrPCRs      = errors.New("the values of the PCRs are not those that were quoted")
)

// Parse parses a message. The error wraps ErrNoQuote. Nothing of it is to be believed
// before Check.
func Parse(message []byte) (*Quote, error) {
	attest, err := tpm2.Unmarshal[tpm2.TPMSAttest](message)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoQuote, err)
	}
	if !bytes.Equal(tpm2.Marshal(*attest), message) {
		return nil, fmt.Errorf("%w: bytes behind it", ErrNoQuote)
	}
	info, err := attest.Attested.Quote()
	if attest.Magic != tpm2.TPMGeneratedValue || attest.Type != tpm2.TPMSTAttestQuote || err != nil {
		return nil, fmt.Errorf("%w: it attests something else", ErrNoQuote)
	}
	q := &Quote{Nonce: attest.ExtraData.Buffer, Digest: info.PCRDigest.Buffer, message: message}
	for _, s := range info.PCRSelect.PCRSelections {
		indexes := pcr.Selected(s.PCRSelect)
		if len(indexes) == 0 {
			continue
		}
		bank, ok := pcr.Bank(uint16(s.Hash))
		if !ok {
			return nil, fmt.Errorf("%w that is known: PCRs of bank %#x", ErrNoQuote, uint16(s.Hash))
		}
		q.Selections = append(q.Selections, Selection{bank, indexes})
	}
	if len(q.Selections) == 0 {
		return nil, fmt.Errorf("%w that is of use: of no PCRs", ErrNoQuote)
	}
	return q, nil
}

// ErrUnrestricted says that a key is none for attestation.
var ErrUnrestricted = errors.New("not a restricted signing key: it signs whatever it is given, also what looks like a quote")

// ParseKey parses the public half of an attestation key. What is in the form of a TPM
// tells whether the key is one, else the error is ErrUnrestricted.
func ParseKey(data []byte) (crypto.PublicKey, error) {
	if public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](data); err == nil && bytes.Equal(tpm2.Marshal(*public), data) {
		if contents, err := public.Contents(); err == nil {
			if a := contents.ObjectAttributes; !a.Restricted || !a.SignEncrypt {
				return nil, ErrUnrestricted
			}
			return tpm2.Pub(*contents)
		}
	}
	key, err := keyfile.ParsePublic(data)
	if err == nil {
		return key, nil
	}
	if block, _ := pem.Decode(data); block != nil {
		data = block.Bytes
	}
	if c, err := keyfile.ParseCertificate(data); err == nil {
		return c.PublicKey, nil
	}
	return nil, fmt.Errorf("no public key, in PEM, DER, a certificate or as a TPM has it: %w", err)
}

// Check checks signature and nonce; nonce nil is not compared. The errors wrap ErrSignature
// and ErrNonce.
func (q *Quote) Check(signature []byte, key crypto.PublicKey, nonce []byte) error {
	s, err := tpm2.Unmarshal[tpm2.TPMTSignature](signature)
	if err != nil || !bytes.Equal(tpm2.Marshal(*s), signature) {
		return fmt.Errorf("%w: it is not one of a TPM (tpm2_quote -f tss makes those)", ErrSignature)
	}
	var id tpm2.TPMIAlgHash
	var verify func(crypto.Hash, []byte) error
	switch s.SigAlg {
	case tpm2.TPMAlgRSASSA, tpm2.TPMAlgRSAPSS:
		id, verify, err = rsaOf(s, key)
	case tpm2.TPMAlgECDSA:
		id, verify, err = ecdsaOf(s, key)
	default:
		err = fmt.Errorf("a signature of scheme %#x", uint16(s.SigAlg))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	alg, ok := pcr.Bank(uint16(id))
	if !ok || alg.Crypto() == 0 || alg == hash.SHA1 {
		return fmt.Errorf("%w: its digest, %#x, is none that is taken", ErrSignature, uint16(id))
	}
	d, err := hash.Sum(alg, q.message)
	if err != nil {
		return err
	}
	if err := verify(alg.Crypto(), d.Bytes()); err != nil {
		return ErrSignature
	}
	q.alg = alg
	if nonce != nil && !bytes.Equal(nonce, q.Nonce) {
		return fmt.Errorf("%w (it has %x)", ErrNonce, q.Nonce)
	}
	return nil
}

func rsaOf(s *tpm2.TPMTSignature, key crypto.PublicKey) (tpm2.TPMIAlgHash, func(crypto.Hash, []byte) error, error) {
	k, ok := key.(*rsa.PublicKey)
	if !ok {
		return 0, nil, errors.New("it is one of RSA, and the key is not")
	}
	if s.SigAlg == tpm2.TPMAlgRSASSA {
		v, err := s.Signature.RSASSA()
		if err != nil {
			return 0, nil, err
		}
		return v.Hash, func(h crypto.Hash, d []byte) error { return rsa.VerifyPKCS1v15(k, h, d, v.Sig.Buffer) }, nil
	}
	v, err := s.Signature.RSAPSS()
	if err != nil {
		return 0, nil, err
	}
	return v.Hash, func(h crypto.Hash, d []byte) error { return rsa.VerifyPSS(k, h, d, v.Sig.Buffer, nil) }, nil
}

func ecdsaOf(s *tpm2.TPMTSignature, key crypto.PublicKey) (tpm2.TPMIAlgHash, func(crypto.Hash, []byte) error, error) {
	k, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return 0, nil, errors.New("it is one of ECDSA, and the key is not")
	}
	v, err := s.Signature.ECDSA()
	if err != nil {
		return 0, nil, err
	}
	return v.Hash, func(_ crypto.Hash, d []byte) error {
		if !ecdsa.Verify(k, d, new(big.Int).SetBytes(v.SignatureR.Buffer), new(big.Int).SetBytes(v.SignatureS.Buffer)) {
			return ErrSignature
		}
		return nil
	}, nil
}

// Matches reports whether PCRs are as they were quoted, which is to be asked after Check.
// Missing is a PCR whose value is not known; then it does not report true.
func (q *Quote) Matches(value func(bank hash.Algorithm, index int) (hash.Digest, bool)) (is bool, missing error) {
	var all []byte
	for _, s := range q.Selections {
		for _, i := range s.Indexes {
			d, ok := value(s.Bank, i)
			if !ok {
				return false, &pcr.MissingError{Bank: s.Bank, Index: i}
			}
			all = d.AppendTo(all)
		}
	}
	d, err := hash.Sum(q.alg, all)
	return err == nil && bytes.Equal(d.Bytes(), q.Digest), err
}

// Has reports whether a PCR was quoted.
func (q *Quote) Has(bank hash.Algorithm, index int) bool {
	return slices.ContainsFunc(q.Selections, func(s Selection) bool { return s.Bank == bank && slices.Contains(s.Indexes, index) })
}
