package target

import (
	"imaseal/internal/imaevm"
	"imaseal/internal/keyring"
	"imaseal/sign"
)

// Keys are what is known of the keys in the target's keyrings; nil: nothing.
type Keys struct {
	IMA sign.Verifiers // of .ima or _ima, for files
	EVM sign.Verifiers // of .evm or _evm
	// IMAV1 and EVMV1 are the user keys in them, for signatures of version 1.
	IMAV1, EVMV1 sign.VerifiersV1
	// Platform is the keyring .platform, which firmware fills: nobody here
	// knows with what.
	Platform sign.Verifiers
}

// Keys returns the keys that the options name; without any, the running kernel's
// keyrings say at least which keys there are, if that kernel is meant.
func (t *Target) Keys() Keys {
	k := Keys{Platform: unknownKeys{}}
	switch {
	case t.options.Keys != nil:
		named := t.options.Keys(t.Certificates())
		k.IMA, k.EVM = named, named
		if with, ok := named.(UserKeys); ok {
			k.IMAV1, k.EVMV1 = with.UserKeys(), with.UserKeys()
		}
	case t.Running:
		k.IMA, k.IMAV1 = keyringKeys(".ima", "_ima")
		k.EVM, k.EVMV1 = keyringKeys(".evm", "_evm")
	}
	return k
}

// UserKeys is what keys have of which some are public keys without a certificate:
// those stand for user keys in a keyring, which check signatures of version 1.
type UserKeys interface{ UserKeys() sign.VerifiersV1 }

// unknownKeys is a keyring of which nothing is known.
type unknownKeys struct{}

// Verifier implements sign.Verifiers: it cannot tell.
func (unknownKeys) Verifier(id imaevm.KeyID) (sign.Verifier, error) {
	return nil, &sign.AmbiguousKeyError{KeyID: id}
}

// listedKeys are the ids of the keys in a keyring, which gives away nothing to
// verify with.
type listedKeys map[imaevm.KeyID]bool

// Verifier implements sign.Verifiers.
func (l listedKeys) Verifier(id imaevm.KeyID) (sign.Verifier, error) {
	if !l[id] {
		return nil, &sign.UnknownKeyError{KeyID: id}
	}
	return nil, &sign.AmbiguousKeyError{KeyID: id}
}

// listedKeysV1 are those for signatures of version 1.
type listedKeysV1 map[imaevm.KeyIDV1]bool

// VerifierV1 implements sign.VerifiersV1.
func (l listedKeysV1) VerifierV1(id imaevm.KeyIDV1) (sign.VerifierV1, error) {
	if !l[id] {
		return nil, &sign.UnknownKeyError{KeyID: id}
	}
	return nil, &sign.AmbiguousKeyError{KeyID: id}
}

// keyringKeys returns the keys in the first of the keyrings that there is, nil
// if none can be seen.
func keyringKeys(names ...string) (sign.Verifiers, sign.VerifiersV1) {
	for _, name := range names {
		ring, err := keyring.Find(name)
		if err != nil {
			continue
		}
		list, err := keyring.List(ring)
		if err != nil {
			return nil, nil
		}
		found, foundV1 := make(listedKeys), make(listedKeysV1)
		for _, key := range list {
			if id, ok := key.KeyID(); ok {
				found[id] = true
			}
			if id, ok := key.KeyIDV1(); ok {
				foundV1[id] = true
			}
		}
		return found, foundV1
	}
	return nil, nil
}
