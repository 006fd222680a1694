package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"imaseal/internal/measured"
	"imaseal/internal/reason"
)

// fromListOptions are the options of imaseal policy from-list.
type fromListOptions struct {
	list      listOptions
	root      string
	elsewhere bool
}

func (o *fromListOptions) flags() []urfave.Flag {
	return append(o.list.flags(),
		&urfave.BoolFlag{Name: "elsewhere", Destination: &o.elsewhere, Category: listCategory, Usage: "the list is another machine's: look at no files of this one"},
		&urfave.StringFlag{Name: "root", Destination: &o.root, Category: selecting, DefaultText: "/", Usage: "the files that were measured are below `DIR`"},
	)
}

// A fromListRequest is what policy from-list is asked for.
type fromListRequest struct {
	list listRequest
	root string // "" to look at no files
}

func (o *fromListOptions) plan(args []string) (fromListRequest, error) {
	r := fromListRequest{root: "/"}
	if o.root != "" {
		r.root = o.root
	}
	var err error
	if r.list, err = o.list.plan(args); err != nil || !o.elsewhere {
		return r, err
	}
	r.root = ""
	return r, refuseWith("elsewhere", given{"root", o.root != ""})
}

func (p Program) policyFromListCommand() *urfave.Command {
	o := new(fromListOptions)
	return &urfave.Command{
		Name:      "from-list",
		Usage:     "print a policy that appraises what was measured",
		ArgsUsage: "[LIST]",
		Description: `Reads a measurement list, looks at owner and file system of each file that it
names, and prints a policy with a rule for each owner and file system, and
comments that say for what: the way from measuring to appraising. Without LIST
it is that of the running kernel.

   imaseal policy from-list >ima-policy
   imaseal policy lint ima-policy
   imaseal check --policy ima-policy /

The list of a machine whose root file system is mounted here:
   imaseal policy from-list --root /mnt/root binary_runtime_measurements`,
		Flags:  o.flags(),
		Action: action(o.plan, p.policyFromList),
	}
}

// errNoCover says that there are no rules to write.
var errNoCover = &advisedError{err: errors.New("the list names no file that is known and could be appraised"), code: "nothing-known", advice: "--root DIR says where the files are that were measured; what is in memory holds no labels that last"}

// policyFromList prints a policy.
func (p Program) policyFromList(ctx context.Context, r fromListRequest) error {
	files, _, damaged, err := p.readMeasured(ctx, r.list)
	if err != nil {
		return err
	}
	var cover measured.Cover
	for _, name := range files.Names() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e := files.Entry(name)
		f := measured.Fact{Path: name, UID: e.UID}
		if e.Mode != nil {
			f.Code = measured.IsCode(name, *e.Mode)
		}
		if r.root != "" && strings.HasPrefix(name, "/") {
			lookAt(&f, filepath.Join(r.root, name))
		}
		cover.Add(f)
	}
	if cover.IsEmpty() {
		return errNoCover
	}
	if err := p.print(cover.Text()); err != nil {
		return err
	}
	if n := cover.Unknown(); n > 0 {
		p.warn(reason.PartialCover, "the policy leaves out %s that were measured, of which nothing is known (--root DIR says where they are)", plural(int64(n), "file"))
	}
	if damaged {
		return &verdictError{status: exitFiles}
	}
	return nil
}

// lookAt adds what the file says that is there now, if it is a regular one.
func lookAt(f *measured.Fact, name string) {
	info, err := os.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	f.UID, f.Code = &st.Uid, measured.IsCode(f.Path, st.Mode)
	var fs unix.Statfs_t
	if unix.Statfs(name, &fs) == nil {
		magic := uint32(fs.Type)
		f.Magic = &magic
	}
}
