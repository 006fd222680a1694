package cli

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"imaseal/internal/cmdline"
	"imaseal/internal/imaevm"
	"imaseal/internal/inode"
	"imaseal/internal/report"
	"imaseal/internal/target"
)

// viewOptions say what is not the same with the target's EVM as here.
type viewOptions struct {
	uuid   string
	noUUID bool
	xattrs []string

	uid, gid, inode, generation *uint64
	mode                        string
	values                      []string
}

func (o *viewOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		o.uuidFlag(evmCategory, "`UUID` of the target's file system, if it is not this one's"),
		&urfave.BoolFlag{Name: "evm-no-uuid", Destination: &o.noUUID, Category: evmCategory, Usage: "the target's kernel leaves the UUID out (no CONFIG_EVM_ATTR_FSUUID)"},
		&urfave.StringSliceFlag{Name: "evm-xattr", Action: into(&o.xattrs), Category: evmCategory, Usage: "attribute `NAME` that the target protects too (evm_xattrs)"},
	}
}

// insteadFlags are for commands about labels as they will be on the target.
func (o *viewOptions) insteadFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.Uint64Flag{Name: "evm-uid", Action: noted(&o.uid), Category: evmCategory, DefaultText: "that of the file", Usage: "`NUMBER` of the user who will own the files"},
		&urfave.Uint64Flag{Name: "evm-gid", Action: noted(&o.gid), Category: evmCategory, DefaultText: "that of the file", Usage: "`NUMBER` of the files' group then"},
		&urfave.StringFlag{Name: "evm-mode", Destination: &o.mode, Category: evmCategory, DefaultText: "that of the file", Usage: "the files' mode then, in `OCTAL`: 0755, or with the type 0100755"},
		&urfave.Uint64Flag{Name: "evm-inode", Action: noted(&o.inode), Category: evmCategory, DefaultText: "that of the file", Usage: "`NUMBER` of the file's inode then"},
		&urfave.Uint64Flag{Name: "evm-generation", Action: noted(&o.generation), Category: evmCategory, DefaultText: "that of the file", Usage: "generation of the inode then, a `NUMBER`"},
		&urfave.StringSliceFlag{Name: "evm-value", Action: into(&o.values), Category: evmCategory, Usage: "value of an attribute then: `NAME=TEXT`, NAME=0xHEX, or NAME- for none"},
	}
}

func (o *viewOptions) uuidFlag(category, usage string) urfave.Flag {
	return &urfave.StringFlag{Name: "evm-uuid", Destination: &o.uuid, Category: category, Usage: usage}
}

// plan adds the options to those of the kernel.
func (o *viewOptions) plan(t *target.Options) error {
	t.NoUUID, t.Attrs = o.noUUID, o.xattrs
	if err := o.instead(&t.Instead); err != nil {
		return err
	}
	if o.uuid == "" {
		return nil
	}
	uuid, err := inode.ParseUUID(o.uuid)
	if err != nil {
		return &cmdline.UsageError{Err: fmt.Errorf("--evm-uuid: %w", err)}
	}
	t.UUID = &uuid
	return nil
}

// instead fills in what files will have in place of what they have here.
func (o *viewOptions) instead(i *target.Instead) error {
	i.Inode = o.inode
	for _, n := range []struct {
		name string
		from *uint64
		to   **uint32
	}{{"evm-uid", o.uid, &i.UID}, {"evm-gid", o.gid, &i.GID}, {"evm-generation", o.generation, &i.Generation}} {
		if n.from == nil {
			continue
		}
		if *n.from > math.MaxUint32 {
			return conflict(fmt.Sprintf("--%s %d has more than 32 bits", n.name, *n.from), "")
		}
		value := uint32(*n.from)
		*n.to = &value
	}
	if o.mode != "" {
		mode, err := parseMode(o.mode)
		if err != nil {
			return err
		}
		i.Mode = &mode
	}
	for _, given := range o.values {
		name, value, err := parseValue(given)
		if err != nil {
			return err
		}
		if i.Values == nil {
			i.Values = make(map[string][]byte)
		}
		i.Values[name] = value
	}
	return nil
}

// parseMode parses a mode, of a regular file if it has no type.
func parseMode(text string) (uint32, error) {
	mode, err := strconv.ParseUint(text, 8, 16)
	if err != nil {
		return 0, conflict(fmt.Sprintf("--evm-mode %q is no mode in octal", text), "0755; with the type, 0100755 is a regular file and 040755 a directory")
	}
	if mode>>12 == 0 {
		mode |= unix.S_IFREG
	}
	return uint32(mode), nil
}

// parseValue parses what --evm-value says of an attribute; nil is none.
func parseValue(text string) (name string, value []byte, err error) {
	name, is, ok := strings.Cut(text, "=")
	if !ok {
		name, ok = strings.CutSuffix(text, "-")
	} else if digits, isHex := strings.CutPrefix(is, "0x"); isHex {
		if value, err = hex.DecodeString(digits); err != nil {
			return "", nil, conflict(fmt.Sprintf("--evm-value %s: %v", report.Quote(text), err), "two hexadecimal digits stand for a byte")
		}
	} else {
		value = []byte(is)
	}
	if !ok || !strings.HasPrefix(name, "security.") || name == imaevm.AttrEVM {
		return "", nil, conflict(fmt.Sprintf("--evm-value %s names none of the attributes that EVM protects", report.Quote(text)),
			"security.selinux=TEXT, security.capability=0xHEX, or security.capability- for a file without it")
	}
	return name, value, nil
}

// givenInstead are the options about what files will have, givenBound those of them
// that only labels bound to an inode cover.
func (o *viewOptions) givenInstead() []given {
	return []given{{"evm-uid", o.uid != nil}, {"evm-gid", o.gid != nil}, {"evm-mode", o.mode != ""}, {"evm-value", o.values != nil}}
}

func (o *viewOptions) givenBound() []given {
	return []given{{"evm-inode", o.inode != nil}, {"evm-generation", o.generation != nil}}
}

// givenUUID, givenNoUUID and givenXattr are the options that may be of no use.
func (o *viewOptions) givenUUID() given   { return given{"evm-uuid", o.uuid != ""} }
func (o *viewOptions) givenNoUUID() given { return given{"evm-no-uuid", o.noUUID} }
func (o *viewOptions) givenXattr() given  { return given{"evm-xattr", o.xattrs != nil} }

// all are all of them.
func (o *viewOptions) all() []given {
	return slices.Concat([]given{o.givenUUID(), o.givenNoUUID(), o.givenXattr()}, o.givenInstead(), o.givenBound())
}
