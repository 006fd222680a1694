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

	"imaseal/internal/measure"
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
	// rootGiven says that root is what was asked for.
	rootGiven bool
}

func (o *fromListOptions) plan(args []string) (fromListRequest, error) {
	r := fromListRequest{root: "/"}
	if o.root != "" {
		r.root, r.rootGiven = o.root, true
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
	p.warnOfCover(&cover)
	if r.list.name != "" && r.root == "/" && !r.rootGiven {
		p.warnOfMachine(ctx, files.Boot)
	}
	if damaged {
		return &verdictError{status: exitFiles}
	}
	return nil
}

// warnOfCover warns of a policy that covers little.
func (p Program) warnOfCover(c *measured.Cover) {
	const where = "--root DIR says where they are"
	all, unknown := int64(c.Files()), int64(c.Unknown())
	switch {
	case !c.HasRoot() && unknown == 0:
		p.warn(reason.PartialCover, "the policy has no rule for files of root (owner 0): none was measured")
	case !c.HasRoot():
		p.warn(reason.PartialCover, "the policy covers hardly anything: it has rules for %d of %s that were measured, and none for files of root (owner 0); of %d nothing is known (%s)", all-unknown, plural(all, "file"), unknown, where)
	case unknown > 0:
		p.warn(reason.PartialCover, "the policy has rules for %d of %s that were measured, and leaves out %d of which nothing is known (%s)", all-unknown, plural(all, "file"), unknown, where)
	}
}

// warnOfMachine warns unless a list, whose boot_aggregate is given, is seen to be of this
// machine.
func (p Program) warnOfMachine(ctx context.Context, boot measure.FileDigest) {
	const advice = "owners and file systems are those of this machine's files (--root DIR names the list's, --elsewhere looks at none)"
	here, known := p.runningBoot(ctx)
	switch {
	case known && here == boot:
	case known && boot.Digest.Algorithm() == here.Digest.Algorithm():
		p.warn(reason.OtherMachine, "the list is of another machine or boot, as its boot_aggregate is not that of the running kernel's: %s", advice)
	default:
		p.warn(reason.OtherMachine, "the list may be of another machine, which cannot be found out: %s", advice)
	}
}

// runningBoot returns the boot_aggregate of the running kernel's list, if it can be read.
func (p Program) runningBoot(ctx context.Context) (measure.FileDigest, bool) {
	l, err := p.openList(ctx, listRequest{})
	if err != nil {
		return measure.FileDigest{}, false
	}
	defer l.Close()
	rec, err := l.Next()
	if err != nil || !rec.IsBootAggregate() {
		return measure.FileDigest{}, false
	}
	return rec.FileDigest()
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
