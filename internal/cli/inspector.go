package cli

import (
	"fmt"
	"path/filepath"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/policy"
	"imaseal/internal/policy/inspect"
)

// inspector returns what looks at files for a policy, as the options say.
func inspector(c *urfave.Context) (*inspect.Inspector, error) {
	i := &inspect.Inspector{Type: c.String("target-fs")}
	if i.Type != "" {
		if _, ok := policy.MagicOf(i.Type); !ok {
			var names []string
			for _, fs := range policy.Filesystems() {
				names = append(names, fs.Name)
			}
			return nil, &cmdline.UsageError{
				Err:    fmt.Errorf("--target-fs %q: no file system of that name is known", i.Type),
				Advice: cmdline.DidYouMean(cmdline.Nearest(i.Type, names), "ext4, xfs, btrfs, f2fs, squashfs, erofs, overlay and others, as in /proc/filesystems"),
			}
		}
	}
	var err error
	i.UUID, err = evmUUID(c)
	return i, err
}

// absolute is the path with all that tells what a file is for.
func absolute(name string) string {
	if path, err := filepath.Abs(name); err == nil {
		return path
	}
	return name
}
