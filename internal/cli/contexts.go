package cli

import (
	"context"
	"path"
	"path/filepath"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/selinux"
)

// contextOptions say which SELinux contexts files get.
type contextOptions struct{ file, root string }

func (o *contextOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "file-contexts", Destination: &o.file, Category: labels, Usage: "write security.selinux first, as a policy's file_contexts `FILE` has it"},
		&urfave.StringFlag{Name: "contexts-root", Destination: &o.root, Category: labels, DefaultText: "/", Usage: "`DIR` that will be the root directory of the policy's system"},
	}
}

// A contextRequest names the file; "" for none.
type contextRequest struct{ file, root string }

// plan takes the selection because the root of an archive's files is in it: there
// is no current directory that a relative one could begin at.
func (o *contextOptions) plan(s plan.Selection) (contextRequest, error) {
	if o.file == "" {
		return contextRequest{}, refuseUnused("--file-contexts", given{"contexts-root", o.root != ""})
	}
	root := "/"
	if _, ok := s.Carrier(); ok {
		root = path.Clean("/" + o.root)
	} else if o.root != "" {
		var err error
		if root, err = filepath.Abs(o.root); err != nil {
			return contextRequest{}, err
		}
	}
	return contextRequest{o.file, root}, nil
}

// open reads the contexts; nil for none.
func (r contextRequest) open(ctx context.Context) (label.Contexts, error) {
	if r.file == "" {
		return nil, nil
	}
	c, err := awaitFile(ctx, r.file, selinux.Load)
	if err != nil {
		return nil, err
	}
	return selinux.Files{Contexts: c, Root: r.root}, nil
}
