package tpm

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"

	tss "github.com/foxboron/go-tpm-keyfiles"
	"github.com/google/go-tpm/tpm2"

	"imaseal/keys/keyfile"
)

// A loaded is a key in the TPM.
type loaded struct {
	key     tpm2.AuthHandle
	session tpm2.Session // that proves the passphrase; nil for none
	flush   bool         // the key is to be flushed, being none that stays
}

// Sign returns the raw signature over a digest: PKCS#1 v1.5, or DER of an ECDSA
// signature. A key that is lost, because the TPM was reset or the device went
// away, is loaded again, once. Errors that are temporary say so; when ctx ends
// the error wraps its cause.
func (k *Key) Sign(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	algorithm, ok := algorithms[opts.HashFunc()]
	if !ok {
		return nil, fmt.Errorf("a TPM cannot sign %v digests", opts.HashFunc())
	}
	select {
	case k.busy <- struct{}{}:
		defer func() { <-k.busy }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the TPM: %w", context.Cause(ctx))
	}
	for again := false; ; again = true {
		if err := k.ready(ctx); err != nil {
			return nil, err
		}
		sig, err := k.sign(ctx, algorithm, digest)
		if isWrong(err) {
			if err := k.askLate(ctx); err != nil {
				return nil, err
			}
			sig, err = k.sign(ctx, algorithm, digest)
		}
		switch {
		case isWrong(err):
			k.refuse = &keyfile.PassphraseError{Wrong: true}
			return nil, k.refuse
		case err == nil, !isLost(err), ctx.Err() != nil:
			return sig, err
		}
		k.unload(ctx)
		if again {
			return nil, err
		}
		k.o.Notice(fmt.Sprintf("key %q is loaded into the TPM again: %v", k.name, err))
	}
}

// ready sees to it that the key is loaded.
func (k *Key) ready(ctx context.Context) error {
	if k.refuse != nil || k.loaded != nil {
		return k.refuse
	}
	return k.load(ctx)
}

// algorithms are the digests that TPMs can have.
var algorithms = map[crypto.Hash]tpm2.TPMAlgID{
	crypto.SHA1:     tpm2.TPMAlgSHA1,
	crypto.SHA256:   tpm2.TPMAlgSHA256,
	crypto.SHA384:   tpm2.TPMAlgSHA384,
	crypto.SHA512:   tpm2.TPMAlgSHA512,
	crypto.SHA3_256: tpm2.TPMAlgSHA3256,
	crypto.SHA3_384: tpm2.TPMAlgSHA3384,
	crypto.SHA3_512: tpm2.TPMAlgSHA3512,
}

func (k *Key) sign(ctx context.Context, algorithm tpm2.TPMAlgID, digest []byte) ([]byte, error) {
	scheme := tpm2.TPMAlgRSASSA
	if _, ok := k.public.(*ecdsa.PublicKey); ok {
		scheme = tpm2.TPMAlgECDSA
	}
	answer, err := tpm2.Sign{
		KeyHandle: k.loaded.key,
		Digest:    tpm2.TPM2BDigest{Buffer: digest},
		InScheme:  tpm2.TPMTSigScheme{Scheme: scheme, Details: tpm2.NewTPMUSigScheme(scheme, &tpm2.TPMSSchemeHash{HashAlg: algorithm})},
		Validation: tpm2.TPMTTKHashCheck{ // there is none: the digest comes from elsewhere
			Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull,
		},
	}.Execute(run{ctx, k.link})
	if err != nil {
		return nil, &failure{"signing", err}
	}
	if scheme == tpm2.TPMAlgRSASSA {
		sig, err := answer.Signature.Signature.RSASSA()
		if err != nil {
			return nil, err
		}
		return sig.Sig.Buffer, nil
	}
	sig, err := answer.Signature.Signature.ECDSA()
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(struct{ R, S *big.Int }{
		new(big.Int).SetBytes(sig.SignatureR.Buffer), new(big.Int).SetBytes(sig.SignatureS.Buffer),
	})
}

// load loads the key, finds out whether it can be used and, the first time, what
// passphrase it has. After an error the key is not loaded: without what proves its
// passphrase it would be refused as one of which that is wrong.
func (k *Key) load(ctx context.Context) (err error) {
	l, public, p, err := k.find(ctx)
	if err != nil {
		return err
	}
	k.loaded = l
	defer p.flush(ctx, k.link)
	defer func() {
		if err != nil {
			k.forget()
		}
	}()
	if err := usable(public); err != nil {
		return err
	}
	if err := k.same(public); err != nil {
		return err
	}
	if !k.asked && k.asksFirst(public) {
		// If there is nobody to ask, the key itself is.
		if k.ask(); ctx.Err() != nil {
			return cmp.Or(k.noAuth, context.Cause(ctx))
		}
	}
	return k.prove(ctx, p)
}

// same sees to it that what is loaded is the key of the first time. Another one may
// be at its handle by now.
func (k *Key) same(loaded *tpm2.TPMTPublic) error {
	public, err := tpm2.Pub(*loaded)
	switch {
	case err != nil:
		return &keyfile.UnsupportedError{Kind: fmt.Sprintf("TPM type 0x%x", uint16(loaded.Type))}
	case k.public == nil:
		k.public = public
	case !k.public.(interface{ Equal(crypto.PublicKey) bool }).Equal(public):
		return &RefusedError{"the TPM has another key there than when it was opened"}
	}
	return nil
}

// asksFirst reports whether the passphrase is asked for before the key has shown
// that it has one, which only a signature without it does. Such a signature is a
// failed try of a key that is not exempt from the protection against dictionary
// attacks (noDA). A right passphrase later does not take the try back, and too many
// lock the TPM (TPM 2.0 Library, Part 1, "Dictionary Attack Protection"; Part 2,
// TPMA_OBJECT). A file says whether there is a passphrase, but tpm2-tools write
// that there is one for keys without, too.
func (k *Key) asksFirst(public *tpm2.TPMTPublic) bool {
	if k.file != nil {
		return !k.file.EmptyAuth
	}
	return !public.ObjectAttributes.NoDA
}

// A parent is the key that another one was loaded under.
type parent struct {
	handle tpm2.AuthHandle
	public *tpm2.TPMTPublic
	made   bool // for this, and to be flushed
}

func (p *parent) flush(ctx context.Context, l *link) {
	if p != nil && p.made {
		tpm2.FlushContext{FlushHandle: p.handle.Handle}.Execute(run{ctx, l})
	}
}

// find returns the key in the TPM, after loading the one in a file, with its
// parent.
func (k *Key) find(ctx context.Context) (*loaded, *tpm2.TPMTPublic, *parent, error) {
	tpm := run{ctx, k.link}
	if k.file == nil {
		handle, public, err := tss.ReadPublic(tpm, k.handle)
		if errors.Is(err, tpm2.TPMRCHandle) {
			return nil, nil, nil, &RefusedError{fmt.Sprintf("the TPM has no persistent key 0x%08x", uint32(k.handle))}
		}
		if err != nil {
			return nil, nil, nil, &failure{"reading the public key", err}
		}
		return &loaded{key: tpm2.AuthHandle{Handle: k.handle, Name: handle.Name}}, public, nil, nil
	}
	p, err := k.parent(tpm)
	if err != nil {
		return nil, nil, nil, err
	}
	file := k.file
	if file.Keytype.Equal(tss.OIDImportableKey) {
		answer, err := tpm2.Import{
			ParentHandle: p.handle, ObjectPublic: file.Pubkey, Duplicate: file.Privkey, InSymSeed: file.Secret,
		}.Execute(tpm)
		if err != nil {
			p.flush(ctx, k.link)
			return nil, nil, nil, &failure{"importing the key", err}
		}
		file = &tss.TPMKey{Pubkey: file.Pubkey, Privkey: answer.OutPrivate}
	}
	answer, err := tpm2.Load{ParentHandle: p.handle, InPrivate: file.Privkey, InPublic: file.Pubkey}.Execute(tpm)
	if err != nil {
		p.flush(ctx, k.link)
		return nil, nil, nil, &failure{"loading the key", err}
	}
	public, err := file.Pubkey.Contents()
	return &loaded{key: tpm2.AuthHandle{Handle: answer.ObjectHandle, Name: answer.Name}, flush: true}, public, p, err
}

// parent returns the key that the one in the file is loaded under: a persistent
// one, or the storage root key of a hierarchy, which is always made the same.
func (k *Key) parent(tpm run) (*parent, error) {
	if tss.IsMSO(k.file.Parent, tss.TPM_HT_PERSISTENT) {
		handle, public, err := tss.ReadPublic(tpm, k.file.Parent)
		if err != nil {
			return nil, &failure{fmt.Sprintf("reading the parent key 0x%08x", uint32(k.file.Parent)), err}
		}
		handle.Auth = tpm2.PasswordAuth(nil)
		return &parent{handle: *handle, public: public}, nil
	}
	hierarchy := k.file.Parent
	if !tss.IsMSO(hierarchy, tss.TPM_HT_PERMANENT) {
		hierarchy = tpm2.TPMRHOwner
	}
	answer, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: hierarchy, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(tss.ECCSRK_H2_Template),
	}.Execute(tpm)
	if isWrong(err) {
		return nil, &RefusedError{"the TPM's owner has a passphrase, which is not asked for; make a persistent parent, and the key under that"}
	}
	if err != nil {
		return nil, &failure{"making the storage root key", err}
	}
	public, err := answer.OutPublic.Contents()
	if err != nil {
		return nil, err
	}
	return &parent{tpm2.AuthHandle{Handle: answer.ObjectHandle, Name: answer.Name, Auth: tpm2.PasswordAuth(nil)}, public, true}, nil
}

// usable returns why a key cannot sign labels, or nil.
func usable(public *tpm2.TPMTPublic) error {
	switch attributes := public.ObjectAttributes; {
	case !attributes.SignEncrypt:
		return &RefusedError{"the key is not one for signing"}
	case attributes.Restricted:
		return &RefusedError{"the key is restricted: it signs only what the TPM itself has made, no digests of files"}
	case !attributes.UserWithAuth:
		return &RefusedError{"the key wants a policy to be fulfilled, which is not supported"}
	}
	scheme := tpm2.TPMAlgNull
	switch public.Type {
	case tpm2.TPMAlgRSA:
		if p, err := public.Parameters.RSADetail(); err == nil {
			scheme = p.Scheme.Scheme
		}
	case tpm2.TPMAlgECC:
		if p, err := public.Parameters.ECCDetail(); err == nil {
			scheme = p.Scheme.Scheme
		}
	}
	if !slices.Contains([]tpm2.TPMAlgID{tpm2.TPMAlgNull, tpm2.TPMAlgRSASSA, tpm2.TPMAlgECDSA}, scheme) {
		return &RefusedError{fmt.Sprintf("the key only signs by scheme 0x%04x, which no kernel verifies", uint16(scheme))}
	}
	return nil
}

// ask asks for the passphrase, once. An empty one is that of a key without one.
func (k *Key) ask() {
	k.asked = true
	if k.o.Ask == nil {
		k.noAuth = &keyfile.PassphraseError{}
		return
	}
	auth, err := k.o.Ask(fmt.Sprintf("passphrase of %q", k.name))
	if err != nil {
		k.noAuth = fmt.Errorf("asking for the passphrase: %w", err)
		return
	}
	k.auth = auth
}

// askLate asks for the passphrase after the key has shown that it has one. The
// error is final, but for one of the TPM after the answer.
func (k *Key) askLate(ctx context.Context) error {
	switch {
	case !k.asked:
		if k.ask(); k.noAuth == nil {
			err := k.prove(ctx, nil)
			if err != nil {
				k.forget() // and the next use proves it when it loads the key
			}
			return err
		}
		k.refuse = k.noAuth
	case k.noAuth != nil:
		k.refuse = k.noAuth
	case len(k.auth) > 0: // asked first, maybe for a key without a passphrase
		k.refuse = fmt.Errorf("%w; for a key without one, give none", &keyfile.PassphraseError{Wrong: true})
	default:
		k.refuse = &keyfile.PassphraseError{Wrong: true}
	}
	return k.refuse
}

// prove gives the key what proves its passphrase: a session that lets nobody on
// the way to the TPM see it. If the parent is known its key encrypts what the
// session begins with.
func (k *Key) prove(ctx context.Context, p *parent) error {
	if len(k.auth) == 0 {
		k.loaded.key.Auth = tpm2.PasswordAuth(nil)
		return nil
	}
	options := []tpm2.AuthOption{tpm2.Auth(k.auth)}
	if p != nil {
		options = append(options, tpm2.Salted(p.handle.Handle, *p.public))
	}
	const nonce = 16
	session, _, err := tpm2.HMACSession(run{ctx, k.link}, tpm2.TPMAlgSHA256, nonce, options...)
	if err != nil {
		return &failure{"starting a session", err}
	}
	k.loaded.session, k.loaded.key.Auth = session, session
	return nil
}

// forget flushes the key though what wanted it may be interrupted.
func (k *Key) forget() {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	k.unload(ctx)
}

// unload flushes the key.
func (k *Key) unload(ctx context.Context) {
	l := k.loaded
	k.loaded = nil
	if l == nil {
		return
	}
	if l.session != nil {
		tpm2.FlushContext{FlushHandle: l.session.Handle()}.Execute(run{ctx, k.link})
	}
	if l.flush {
		tpm2.FlushContext{FlushHandle: l.key.Handle}.Execute(run{ctx, k.link})
	}
}
