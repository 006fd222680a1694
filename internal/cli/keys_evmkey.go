package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/stream"
	"imaseal/keys/evmkey"
	"imaseal/keys/keyfile"
)

// keysEVMKeyOptions are the options of imaseal keys evm-key.
type keysEVMKeyOptions struct {
	out, from, blob, open string
	size                  *int
	master, newMaster     string
	masterName, format    string // "" if not given
	making                makingOptions
}

// defaultMasterName is what the kernel's documentation calls the master key.
const defaultMasterName = "kmk-user"

func (o *keysEVMKeyOptions) flags() []urfave.Flag {
	return append([]urfave.Flag{
		&urfave.StringFlag{Name: "out", Destination: &o.out, Usage: "write the plain key to `FILE`, mode 0600"},
		&urfave.IntFlag{Name: "size", Action: noted(&o.size), Value: evmkey.DefaultSize, Usage: "`NUMBER` of bytes of a new key"},
		&urfave.StringFlag{Name: "from", Destination: &o.from, Usage: "take the plain key in `FILE` instead of a new one"},
		&urfave.StringFlag{Name: "blob", Destination: &o.blob, Usage: "write the encrypted key to `FILE`"},
		&urfave.StringFlag{Name: "open", Destination: &o.open, Usage: "open the encrypted key in `FILE`"},
		&urfave.StringFlag{Name: "master", Destination: &o.master, Usage: "`FILE` with the master key, exactly as the kernel has it"},
		&urfave.StringFlag{Name: "new-master", Destination: &o.newMaster, Usage: "make a master key and write it to `FILE`, mode 0600"},
		&urfave.StringFlag{Name: "master-name", Destination: &o.masterName, DefaultText: defaultMasterName, Usage: "`NAME` of the master key in the kernel"},
		&urfave.StringFlag{Name: "format", Destination: &o.format, DefaultText: evmkey.FormatDefault, Usage: "`FORMAT` of the blob: default, or enc32"},
	}, o.making.flags()...)
}

// A keysEVMKeyRequest is what keys evm-key is asked for. Files that are not named
// are neither read nor written.
type keysEVMKeyRequest struct {
	out, from, blob, open string
	size                  int // of a new key, in bytes
	master, newMaster     string
	masterName, format    string
	making                makingOptions
}

// writes are the names of the files that are written.
func (r *keysEVMKeyRequest) writes() []string {
	return slices.DeleteFunc([]string{r.newMaster, r.out, r.blob}, func(name string) bool { return name == "" })
}

func (o *keysEVMKeyOptions) plan(args []string) (keysEVMKeyRequest, error) {
	r := keysEVMKeyRequest{
		out: o.out, from: o.from, blob: o.blob, open: o.open, size: evmkey.DefaultSize, master: o.master, newMaster: o.newMaster,
		masterName: cmp.Or(o.masterName, defaultMasterName), format: cmp.Or(o.format, evmkey.FormatDefault), making: o.making,
	}
	if len(args) > 0 {
		return r, conflict(fmt.Sprintf("%q is not an option, and there are no paths here", args[0]), "--out FILE names the key's file")
	}
	if o.size != nil {
		r.size = *o.size
	}
	return r, firstError(o.checkFiles(), o.checkMaster(), o.checkBlob(), o.checkSize(), checkDistinct(r.writes()))
}

// checkFiles refuses to make a key of several, or of which nothing remains.
func (o *keysEVMKeyOptions) checkFiles() error {
	sources := 0
	for _, is := range []bool{o.open != "", o.from != "", o.size != nil} {
		if is {
			sources++
		}
	}
	switch {
	case o.out == "" && o.blob == "":
		return conflict("nothing says what to write", "--out FILE for the plain key, --blob FILE for the encrypted one")
	case sources > 1:
		return conflict("--open, --from and --size each say what the key is", "give one of them")
	case o.from == "" && o.open == "" && o.out == "":
		return conflict("a new key would be in the blob only, and nothing could make labels with it", "--out FILE for the plain key")
	}
	return nil
}

func (o *keysEVMKeyOptions) checkMaster() error {
	needsMaster := o.blob != "" || o.open != ""
	hasMaster := o.master != "" || o.newMaster != ""
	switch {
	case o.master != "" && o.newMaster != "":
		return conflict("--master and --new-master contradict each other", "give one of them")
	case needsMaster && !hasMaster:
		return conflict("a blob is encrypted with a master key", "--master FILE, or --new-master FILE to make one")
	case hasMaster && !needsMaster:
		return conflict("a master key is given, and no blob", "add --blob FILE or --open FILE")
	case o.open != "" && o.newMaster != "":
		return conflict("a new master key opens no blob", "--master FILE")
	}
	return nil
}

func (o *keysEVMKeyOptions) checkBlob() error {
	switch {
	case o.open != "" && o.out == "":
		return conflict("nothing says where to write the key of the blob to", "--out FILE")
	case o.open != "" && o.blob != "":
		return conflict("--open and --blob: a blob is opened or made", "open it first, then --from FILE --blob FILE")
	case o.blob == "":
		return refuseUnused("--blob", given{"master-name", o.masterName != ""}, given{"format", o.format != ""})
	case o.format != "":
		if err := oneOf("format", o.format, blobFormats()); err != nil {
			return err
		}
	}
	return checkMasterName(o.masterName)
}

// checkMasterName refuses what no blob can name, or nobody but a kernel make one
// with.
func checkMasterName(name string) error {
	kind, _, _ := strings.Cut(name, ":")
	switch {
	case kind == "trusted" && kind != name:
		return &evmkey.TrustedMasterError{Master: name}
	case kind != name && kind != "user", strings.HasSuffix(name, ":"), strings.ContainsAny(name, " \t\n"):
		return conflict(fmt.Sprintf("--master-name %q is not the name of a key of type user", name), "NAME or user:NAME, without blanks")
	}
	return nil
}

// checkSize refuses a size that no new key can have.
func (o *keysEVMKeyOptions) checkSize() error {
	switch {
	case o.size == nil:
	case *o.size < evmkey.MinSize || *o.size > evmkey.MaxSize:
		return conflict("--size: "+(&evmkey.SizeError{Size: *o.size, Min: evmkey.MinSize, Max: evmkey.MaxSize}).Error(), "")
	case o.format == evmkey.FormatEnc32 && *o.size != evmkey.DefaultSize:
		return conflict(fmt.Sprintf("--format enc32 --size %d: a key in that format has %d bytes", *o.size, evmkey.DefaultSize), "")
	}
	return nil
}

// blobFormats are the words of --format.
func blobFormats() []string { return []string{evmkey.FormatDefault, evmkey.FormatEnc32} }

func (p Program) keysEVMKeyCommand() *urfave.Command {
	o := new(keysEVMKeyOptions)
	return &urfave.Command{
		Name:  "evm-key",
		Usage: "make an EVM HMAC key and the blob that a kernel loads",
		UsageText: `--out FILE
--out FILE --blob FILE --new-master FILE
--from FILE --blob FILE --master FILE
--open FILE --master FILE --out FILE`,
		Description: `Makes the key for --evm-key, or takes one with --from, and encrypts it with a
master key of type user to the blob that keyctl loads; nothing of this needs the
target's kernel. With --open it takes the key out of a blob instead.

   imaseal keys evm-key --out evm.key --new-master kmk --blob evm.blob
   imaseal keys evm-key --from evm.key --master kmk --blob copy.blob
   imaseal keys evm-key --open evm.blob --master kmk --out copy.key

The target loads it, before EVM is switched on, with
   keyctl padd user kmk-user @u <kmk
   keyctl add encrypted evm-key "load $(cat evm.blob)" @u
   echo 1 >/sys/kernel/security/evm

Files of keys hold their bytes as they are. A file of hexadecimal digits that
ends with a newline stands for what the digits mean.`,
		Flags:  o.flags(),
		Action: action(o.plan, p.keysEVMKey),
	}
}

func (p Program) keysEVMKey(ctx context.Context, r keysEVMKeyRequest) error {
	err := mayWrite(r.writes(), []string{r.master, r.from, r.open}, r.making.force)
	if err != nil {
		return err
	}
	var files []madeFile
	var master []byte
	switch {
	case r.newMaster != "":
		master = make([]byte, masterSize)
		rand.Read(master)
		files = append(files, secretFile(r.newMaster, master, "master-key"))
	case r.master != "":
		if master, err = p.readSecret(ctx, r.master, evmkey.ReadSecret); err != nil {
			return err
		}
	}
	defer clear(master)
	key, err := p.theEVMKey(ctx, r, master)
	if err != nil {
		return err
	}
	defer clear(key)
	if r.out != "" {
		files = append(files, secretFile(r.out, key, "evm-key"))
	}
	if r.blob != "" {
		if len(key) < evmkey.MinSize {
			return fmt.Errorf("a key of %d bytes; in a blob it has %d to %d", len(key), evmkey.MinSize, evmkey.MaxSize)
		}
		blob, err := evmkey.NewBlob(r.format, r.masterName, master, key)
		if err != nil {
			return err
		}
		files = append(files, secretFile(r.blob, []byte(blob.String()), "encrypted-evm-key"))
	}
	return p.writeFiles("keys evm-key", files, r.making)
}

// theEVMKey makes or finds the key. The caller clears it.
func (p Program) theEVMKey(ctx context.Context, r keysEVMKeyRequest, master []byte) ([]byte, error) {
	switch {
	case r.from != "":
		return p.readSecret(ctx, r.from, evmkey.Read)
	case r.open == "":
		return evmkey.New(r.size)
	}
	blob, err := awaitFile(ctx, r.open, evmkey.ReadBlob)
	if err != nil {
		return nil, err
	}
	key, err := blob.Open(master)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: r.open, Err: err}
	}
	return key, nil
}

// masterSize is the size in bytes of a new master key: that of the AES key
// that is derived from it.
const masterSize = 32

// readSecret reads a file and says so if others can, too.
func (p Program) readSecret(ctx context.Context, name string, read func(string) ([]byte, fs.FileMode, error)) ([]byte, error) {
	var mode fs.FileMode
	secret, err := stream.Await(ctx, func() (secret []byte, err error) {
		secret, mode, err = read(name)
		return secret, err
	})
	if err != nil {
		return nil, err
	}
	p.warnReadable(name, mode)
	return secret, nil
}

// warnReadable says so if others than the owner can read the file of a secret.
func (p Program) warnReadable(name string, mode fs.FileMode) {
	if who := keyfile.ReadableBy(mode); who != "" {
		p.warn(reason.ReadableSecret, "%s: it is secret, and can be read by %s; chmod 600 it", report.Quote(name), who)
	}
}
