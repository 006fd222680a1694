package cli

import (
	"crypto/rand"
	"fmt"
	"io/fs"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/report"
	"imaseal/keys/evmkey"
	"imaseal/keys/keyfile"
)

func (p Program) evmKeyCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "evm-key",
		Usage: "make an EVM HMAC key and the blob that a kernel loads",
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
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "out", Usage: "write the plain key to `FILE`, mode 0600"},
			&urfave.IntFlag{Name: "size", Value: evmkey.DefaultSize, Usage: "`NUMBER` of bytes of a new key"},
			&urfave.StringFlag{Name: "from", Usage: "take the plain key in `FILE` instead of a new one"},
			&urfave.StringFlag{Name: "blob", Usage: "write the encrypted key to `FILE`"},
			&urfave.StringFlag{Name: "open", Usage: "open the encrypted key in `FILE`"},
			&urfave.StringFlag{Name: "master", Usage: "`FILE` with the master key, exactly as the kernel has it"},
			&urfave.StringFlag{Name: "new-master", Usage: "make a master key and write it to `FILE`, mode 0600"},
			&urfave.StringFlag{Name: "master-name", Value: "kmk-user", Usage: "`NAME` of the master key in the kernel"},
			&urfave.StringFlag{Name: "format", Value: evmkey.FormatDefault, Usage: "`FORMAT` of the blob: default, or enc32"},
			&urfave.BoolFlag{Name: "force", Usage: "overwrite files"},
		},
		Action: p.evmKey,
	}
}

func (p Program) evmKey(c *urfave.Context) error {
	if err := evmKeyUsage(c); err != nil {
		return err
	}
	names := []string{c.String("new-master"), c.String("out"), c.String("blob")}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	reads := []string{c.String("master"), c.String("from"), c.String("open")}
	err := mayWrite(names, reads, c.Bool("force"))
	if err != nil {
		return err
	}
	var files []keyfile.File
	var master []byte
	switch {
	case c.String("new-master") != "":
		master = make([]byte, masterSize)
		rand.Read(master)
		files = append(files, keyfile.File{Path: c.String("new-master"), Data: master, Mode: secretMode})
	case c.String("master") != "":
		if master, err = p.readSecret(c.String("master"), evmkey.ReadSecret); err != nil {
			return err
		}
	}
	defer clear(master)
	key, err := p.theEVMKey(c, master)
	if err != nil {
		return err
	}
	defer clear(key)
	if name := c.String("out"); name != "" {
		files = append(files, keyfile.File{Path: name, Data: key, Mode: secretMode})
	}
	if name := c.String("blob"); name != "" {
		if len(key) < evmkey.MinSize {
			return fmt.Errorf("a key of %d bytes; in a blob it has %d to %d", len(key), evmkey.MinSize, evmkey.MaxSize)
		}
		blob, err := evmkey.NewBlob(c.String("format"), c.String("master-name"), master, key)
		if err != nil {
			return err
		}
		files = append(files, keyfile.File{Path: name, Data: []byte(blob.String()), Mode: secretMode})
	}
	return p.writeFiles(files, c.Bool("force"))
}

func evmKeyUsage(c *urfave.Context) error {
	sources := 0
	for _, name := range []string{"open", "from", "size"} {
		if c.IsSet(name) {
			sources++
		}
	}
	needsMaster := c.String("blob") != "" || c.String("open") != ""
	hasMaster := c.String("master") != "" || c.String("new-master") != ""
	switch {
	case c.Args().Len() > 0:
		return conflict(fmt.Sprintf("%q is not an option, and there are no paths here", c.Args().First()), "--out FILE names the key's file")
	case c.String("out") == "" && c.String("blob") == "":
		return conflict("nothing says what to write", "--out FILE for the plain key, --blob FILE for the encrypted one")
	case sources > 1:
		return conflict("--open, --from and --size each say what the key is", "give one of them")
	case c.String("from") == "" && c.String("open") == "" && c.String("out") == "":
		return conflict("a new key would be in the blob only, and nothing could make labels with it", "--out FILE for the plain key")
	case c.String("master") != "" && c.String("new-master") != "":
		return conflict("--master and --new-master contradict each other", "give one of them")
	case needsMaster && !hasMaster:
		return conflict("a blob is encrypted with a master key", "--master FILE, or --new-master FILE to make one")
	case hasMaster && !needsMaster:
		return conflict("a master key is given, and no blob", "add --blob FILE or --open FILE")
	case c.String("open") != "" && c.String("new-master") != "":
		return conflict("a new master key opens no blob", "--master FILE")
	case c.String("open") != "" && c.String("out") == "":
		return conflict("nothing says where to write the key of the blob to", "--out FILE")
	case c.String("open") != "" && c.String("blob") != "":
		return conflict("--open and --blob: a blob is opened or made", "open it first, then --from FILE --blob FILE")
	}
	if c.String("blob") == "" {
		if err := refuseUnused(c, "--blob", "master-name", "format"); err != nil {
			return err
		}
	}
	return checkFlags(c)
}

// theEVMKey makes or finds the key. The caller clears it.
func (p Program) theEVMKey(c *urfave.Context, master []byte) ([]byte, error) {
	if name := c.String("from"); name != "" {
		return p.readSecret(name, evmkey.Read)
	}
	if name := c.String("open"); name != "" {
		blob, err := evmkey.ReadBlob(name)
		if err != nil {
			return nil, err
		}
		key, err := blob.Open(master)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return key, nil
	}
	key, err := evmkey.New(c.Int("size"))
	if err != nil {
		return nil, &cmdline.UsageError{Err: fmt.Errorf("--size: %w", err)}
	}
	return key, nil
}

// masterSize is the size in bytes of a new master key: that of the AES key
// that is derived from it.
const masterSize = 32

// readSecret reads a file and says so if others can, too.
func (p Program) readSecret(name string, read func(string) ([]byte, fs.FileMode, error)) ([]byte, error) {
	secret, mode, err := read(name)
	if err != nil {
		return nil, err
	}
	p.warnReadable(name, mode)
	return secret, nil
}

// warnReadable says so if others than the owner can read the file of a secret.
func (p Program) warnReadable(name string, mode fs.FileMode) {
	if who := keyfile.ReadableBy(mode); who != "" {
		p.warn("%s: it is secret, and can be read by %s; chmod 600 it", report.Quote(name), who)
	}
}
