package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/keys/evmkey"
)

// An evmKeyOption names the file of EVM's HMAC key.
type evmKeyOption struct{ file string }

func (o *evmKeyOption) flag() urfave.Flag {
	return &urfave.StringFlag{Name: "evm-key", Destination: &o.file, Category: evmCategory, Usage: "`FILE` with the HMAC key"}
}

// openHMAC reads the HMAC key.
func (p Program) openHMAC(ctx context.Context, file string) (*imaevm.HMACKey, error) {
	key, err := p.readSecret(ctx, file, evmkey.Read)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return imaevm.NewHMACKey(key)
}

// evmOptions say which EVM labels are written.
type evmOptions struct {
	kinds string
	key   evmKeyOption
}

func (o *evmOptions) flags() []urfave.Flag { return []urfave.Flag{o.kindFlag(), o.key.flag()} }

func (o *evmOptions) kindFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "evm", Destination: &o.kinds, Category: evmCategory, DefaultText: "none", Usage: "write security.evm too, of this `KIND`: portable, signature (bound to the inode), hmac, or a kind for signed files and hmac for the rest: portable,hmac or signature,hmac"}
}

// An evmRequest says which kinds of EVM labels are asked for. Zero is none.
type evmRequest struct {
	word      string      // as it was given
	signature imaevm.Type // TypePortable or TypeSignature
	hmac      imaevm.Type
	key       string // the file of the HMAC key
	// refused says that none was asked for in so many words: EVM labels that do
	// not fit any more are then the user's matter.
	refused bool
}

func (r evmRequest) isNone() bool { return r.signature == 0 && r.hmac == 0 }

// isBound reports whether a label is asked for that depends on the target's
// build and file system.
func (r evmRequest) isBound() bool { return r.hmac != 0 || r.signature == imaevm.TypeSignature }

// evmWords are the kinds of EVM labels by what --evm calls them.
var evmWords = map[string]imaevm.Type{
	"portable":  imaevm.TypePortable,
	"signature": imaevm.TypeSignature,
	"hmac":      imaevm.TypeHMAC,
}

// plan refuses kinds that there are not, and an HMAC key that is missing or of no
// use.
func (o *evmOptions) plan() (evmRequest, error) {
	r := evmRequest{word: o.kinds, key: o.key.file, refused: o.kinds == "none"}
	if o.kinds != "none" && o.kinds != "" {
		for word := range strings.SplitSeq(o.kinds, ",") {
			if err := r.add(word); err != nil {
				return r, err
			}
		}
	}
	switch {
	case r.isNone():
		return r, refuseUnused("--evm", given{"evm-key", o.key.file != ""})
	case r.hmac == 0:
		return r, refuseUnused("--evm hmac", given{"evm-key", o.key.file != ""})
	case o.key.file == "":
		return r, conflict("HMACs need a key", "--evm-key FILE; imaseal keys evm-key --out FILE makes one")
	}
	return r, nil
}

func (r *evmRequest) add(word string) error {
	kind, ok := evmWords[word]
	switch {
	case !ok:
		return &cmdline.UsageError{
			Err:    fmt.Errorf("--evm %q is not none, portable, signature or hmac", word),
			Advice: cmdline.DidYouMean(cmdline.Nearest(word, []string{"none", "portable", "signature", "hmac"}), ""),
		}
	case kind == imaevm.TypeHMAC && r.hmac != 0, kind != imaevm.TypeHMAC && r.signature != 0:
		return conflict("--evm "+r.word+": a file has one EVM label", "portable or signature, and hmac for files that are hashed")
	case kind == imaevm.TypeHMAC:
		r.hmac = kind
	default:
		r.signature = kind
	}
	return nil
}

// kinds says which class of files gets which kind of EVM label, nil for none.
// Signatures go to files of class sign, HMACs to the others; what is asked for
// alone goes to all, since a kernel with EVM takes no file without a label.
func (r evmRequest) kinds(rules plan.Rules) (map[plan.Class]imaevm.Type, error) {
	if r.isNone() {
		return nil, nil
	}
	if r.signature != 0 && r.hmac != 0 && !(rules.Uses(plan.Sign) && rules.Uses(plan.Hash)) {
		return nil, conflict("--evm "+r.word+" is by class, and all files are of the same", "name one kind, or sign by --rules")
	}
	return map[plan.Class]imaevm.Type{
		plan.Sign: cmp.Or(r.signature, r.hmac),
		plan.Hash: cmp.Or(r.hmac, r.signature),
	}, nil
}
