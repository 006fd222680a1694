package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"imaseal/internal/evmctl"
	"imaseal/internal/imaevm"
	"imaseal/internal/keyring"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/verify"
	"imaseal/keys"
	"imaseal/keys/keyfile"
	"imaseal/sign"
)

// evmctlJob returns what is to be done to files, and the private key that it has
// opened for that, nil for none. The caller closes the key.
func (p Program) evmctlJob(ctx context.Context, r evmctl.Request) (run.Job, *keys.Key, error) {
	switch r.Command {
	case evmctl.Clear:
		return label.Clearer{Attrs: label.All()}, nil, nil
	case evmctl.SetXattr:
		job, err := evmctlSetter(ctx, r)
		return job, nil, err
	case evmctl.IMAVerify, evmctl.Verify:
		job, err := p.evmctlVerifier(ctx, r)
		return job, nil, err
	}
	return p.evmctlLabeller(ctx, r)
}

// evmctlLabeller returns the job of the commands that make labels.
func (p Program) evmctlLabeller(ctx context.Context, r evmctl.Request) (run.Job, *keys.Key, error) {
	class, kind := plan.Sign, imaevm.TypeSignature
	switch {
	case r.Command == evmctl.Hash, r.IMAHash && r.Command != evmctl.IMASign:
		class = plan.Hash
	case r.Command == evmctl.IMASign:
		kind = 0
	}
	switch {
	case r.Command == evmctl.Hash:
		kind = 0
	case r.Command == evmctl.HMAC:
		kind = imaevm.TypeHMAC
	case r.Portable && kind != 0:
		kind = imaevm.TypePortable
	}
	l := &label.Labeller{
		Algo: r.Digest, Rules: plan.Only(class), Force: true, ReplaceSignatures: true, Stale: label.LeaveStale,
		OnlyEVM:  kind != 0 && !r.IMASig && !r.IMAHash,
		SigFiles: r.SigFile && class == plan.Sign && (r.IMASig || r.Command == evmctl.IMASign),
	}
	if kind != 0 {
		covers, err := p.evmctlCovers(r)
		if err != nil {
			return nil, nil, err
		}
		l.EVM = &label.EVM{Covers: covers, Kinds: map[plan.Class]imaevm.Type{class: kind}}
	}
	if kind == imaevm.TypeHMAC {
		var err error
		if l.EVM.HMAC, err = p.evmctlHMAC(ctx, r); err != nil {
			return nil, nil, err
		}
	}
	if r.Command == evmctl.Hash || kind == imaevm.TypeHMAC && !r.IMASig {
		return l, nil, nil
	}
	key, version, err := p.evmctlKey(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	l.Key = &label.Key{Signer: sign.NewCache(key), Own: key, Version: version, V1: key}
	return l, key, nil
}

// evmctlKey opens the private key of a request, and says of which version signatures
// by it are.
func (p Program) evmctlKey(ctx context.Context, r evmctl.Request) (*keys.Key, uint8, error) {
	o := p.complete(keys.Options{KeyID: r.KeyID})
	if r.KeyIDFromCert != "" {
		id, err := evmctlKeyID(ctx, r.KeyIDFromCert)
		if err != nil {
			return nil, 0, &evmctl.FailedError{Err: err}
		}
		o.KeyID = &id
	}
	ask := p.asker(ctx, passphraseOption{})
	ref, secret := evmctlKeyFile(r)
	if secret != nil {
		ask = func(string) ([]byte, error) { return []byte(*secret), nil }
	}
	if err := keys.Check(ref, ""); err != nil {
		return nil, 0, err
	}
	key, err := keys.Open(ctx, ref, ask, o)
	if err != nil {
		return nil, 0, err
	}
	p.warnOfKeys(key.Warnings())
	request := keyRequest{version: r.SigVersion}
	switch {
	case r.Immutable && !r.Portable:
		request.version = 3
	case r.RSA:
		request.version = 1
	}
	version, err := request.versionFor(key.Scheme(), r.Digest)
	if err == nil {
		err = key.Scheme().Check(r.Digest)
	}
	if err != nil {
		key.Close()
		return nil, 0, err
	}
	return key, version, nil
}

// evmctlKeyID returns the key id of a certificate.
func evmctlKeyID(ctx context.Context, file string) (imaevm.KeyID, error) {
	certificates, err := awaitFile(ctx, file, keyfile.OpenCertificates)
	if err != nil {
		return 0, err
	}
	if len(certificates[0].KeyIDs) == 0 {
		return 0, fmt.Errorf("%s has no subject key identifier", report.Quote(file))
	}
	return imaevm.KeyID(certificates[0].KeyIDs[0]), nil
}

// evmctlHMAC opens the key of EVM's HMACs, which is bytes as they are.
func (p Program) evmctlHMAC(ctx context.Context, r evmctl.Request) (*imaevm.HMACKey, error) {
	file := cmp.Or(r.HMACKey, "/etc/keys/evm-key-plain")
	key, err := awaitFile(ctx, file, readKey)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	mac, err := imaevm.NewHMACKey(key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", report.Quote(file), err)
	}
	return mac, nil
}

// evmctlKnown opens the public keys of a request and says how many there are. Those
// that cannot be read are left out.
func (p Program) evmctlKnown(ctx context.Context, r evmctl.Request) (*keys.Verifiers, int, error) {
	var files []string
	for _, file := range evmctlKeyFiles(r) {
		known, err := awaitKeys(ctx, file)
		if r.Command == evmctl.Measurement && r.Key == "" && r.Verbose == 0 && errors.Is(err, fs.ErrNotExist) {
			continue // signatures are checked beside other things
		}
		if err != nil {
			fmt.Fprintf(p.Stderr, "%s: key is left out: %s\n", evmctlName, printable(err))
			continue
		}
		for _, k := range known.Keys() {
			fmt.Fprintf(p.Stderr, "key %d: %s %s\n", len(files)+1, k.KeyID(), report.Quote(file))
		}
		files = append(files, file)
	}
	known, err := p.openVerifiers(ctx, files)
	return known, len(files), err
}

// evmctlVerifier returns the job of the commands that verify.
func (p Program) evmctlVerifier(ctx context.Context, r evmctl.Request) (run.Job, error) {
	known, _, err := p.evmctlKnown(ctx, r)
	if err != nil {
		return nil, err
	}
	v := &verify.Verifier{Keys: known, HashInHeader: true}
	if r.Command == evmctl.IMAVerify {
		v.IgnoreEVM, v.NeedSignature, v.SigFiles = true, true, r.SigFile
		return v, nil
	}
	v.OnlyEVM, v.NeedEVM = true, true
	v.Covers, err = p.evmctlCovers(r)
	return v, err
}

// evmctlSetter returns the job of ima_setxattr.
func evmctlSetter(ctx context.Context, r evmctl.Request) (run.Job, error) {
	if !r.SigFile {
		return label.Setter{}, nil
	}
	if len(r.Paths) < 2 {
		return nil, evmctl.Missing(r.Command)
	}
	b, err := awaitFile(ctx, r.Paths[0], os.ReadFile)
	if err == nil && len(b) == 0 {
		err = fmt.Errorf("%s: %w", report.Quote(r.Paths[0]), errEmpty)
	}
	return label.Setter{Label: b}, err
}

// evmctlRings are the keyrings that keyctl(1) names so.
var evmctlRings = map[string]keyring.ID{"@t": -1, "@p": -2, "@s": -3, "@u": -4, "@us": -5, "@g": -6}

// evmctlImport adds a certificate, or with --rsa a public key, to a keyring, and
// prints its number.
func (p Program) evmctlImport(ctx context.Context, r evmctl.Request) error {
	file := evmctlKeyFiles(evmctl.Request{Options: evmctl.Options{RSA: r.RSA}})[0]
	if len(r.Paths) > 0 {
		file = r.Paths[0]
	}
	ring := evmctlRings["@u"]
	if len(r.Paths) > 1 {
		var err error
		if ring, err = evmctlRing(r.Paths[1]); err != nil {
			return err
		}
	}
	key, err := evmctlAdd(ctx, ring, file, r.RSA)
	if err != nil {
		return err
	}
	return p.print(key.ID.String() + "\n")
}

func evmctlRing(name string) (keyring.ID, error) {
	if id, ok := evmctlRings[name]; ok {
		return id, nil
	}
	var id keyring.ID
	if _, err := fmt.Sscan(name, &id); err != nil || id == 0 {
		return 0, fmt.Errorf("keyring %s: neither a number nor one of @t @p @s @u @us @g", report.Quote(name))
	}
	return id, nil
}

func evmctlAdd(ctx context.Context, ring keyring.ID, file string, isV1 bool) (keyring.Key, error) {
	if isV1 {
		known, err := awaitKeys(ctx, file)
		if err != nil {
			return keyring.Key{}, &evmctl.FailedError{Err: err}
		}
		for _, k := range known.Keys() {
			if v1, ok := k.KeyV1(); ok {
				return keyring.ImportV1(ring, v1)
			}
		}
		return keyring.Key{}, &evmctl.FailedError{Err: fmt.Errorf("%s: no RSA key in it", report.Quote(file))}
	}
	certificates, err := awaitFile(ctx, file, keyfile.OpenCertificates)
	if err != nil {
		return keyring.Key{}, &evmctl.FailedError{Err: err}
	}
	return keyring.Import(ring, certificates[0].Raw)
}
