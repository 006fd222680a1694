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
	// Platform is the keyring .platform, which firmware fills: nobody here
	// knows with what.
	Platform sign.Verifiers
}

// Keys returns the keys that the options name; without any, the running kernel's
// keyrings say at least which keys there are, if that kernel is meant.
func (t *Target) Keys() Keys {
	k := Keys{IMA: t.options.Keys, EVM: t.options.Keys, Platform: unknownKeys{}}
	if t.options.Keys == nil && t.Running {
		k.IMA, k.EVM = keyringKeys(".ima", "_ima"), keyringKeys(".evm", "_evm")
	}
	return k
}

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

// keyringKeys returns the keys in the first of the keyrings that there is, nil
// if none can be seen.
func keyringKeys(names ...string) sign.Verifiers {
	for _, name := range names {
		ring, err := keyring.Find(name)
		if err != nil {
			continue
		}
		list, err := keyring.List(ring)
		if err != nil {
			return nil
		}
		found := make(listedKeys)
		for _, key := range list {
			if id, ok := key.KeyID(); ok {
				found[id] = true
			}
		}
		return found
	}
	return nil
}
