package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"imaseal/internal/cmdline"
	"imaseal/internal/integrate"
	"imaseal/internal/reason"
	"imaseal/internal/report"
)

// integrateOptions are the options of imaseal integrate.
type integrateOptions struct {
	print, install, remove bool
	root, program          string
	json                   bool
}

func (o *integrateOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.BoolFlag{Name: "print", Destination: &o.print, Category: writing, Usage: "print the files, and write nothing; this is what is done without another of these options"},
		&urfave.BoolFlag{Name: "install", Destination: &o.install, Category: writing, Usage: "print the files that change, then install them: new ones, and in the place of those that an earlier imaseal installed"},
		&urfave.BoolFlag{Name: "remove", Destination: &o.remove, Category: writing, Usage: "remove what was installed"},
		&urfave.StringFlag{Name: "root", Destination: &o.root, Category: writing, Value: "/", Usage: "of the system whose root is `DIR`, such as an image that is being built; no link leads out of it"},
		&urfave.StringFlag{Name: "program", Destination: &o.program, Category: writing, DefaultText: "where imaseal is installed", Usage: "`PATH` of imaseal in that system"},
		jsonFlag(&o.json, "print one JSON object per file, then a summary object"),
	}
}

// An integrateRequest is what integrate is asked for.
type integrateRequest struct {
	list            []integrate.Integration
	install, remove bool
	root, program   string // program "" looks for it
	json            bool
}

func (o *integrateOptions) plan(args []string) (integrateRequest, error) {
	r := integrateRequest{install: o.install, remove: o.remove, root: o.root, program: o.program, json: o.json}
	names := strings.Join(integrate.Names(), ", ")
	if len(args) == 0 {
		return r, conflict("integrate needs what imaseal is to be integrated with", names)
	}
	for _, name := range args {
		in, ok := integrate.Find(name)
		if !ok {
			return r, &cmdline.UsageError{
				Err:    fmt.Errorf("integrate knows no %q", name),
				Advice: cmdline.DidYouMean(cmdline.Nearest(name, integrate.Names()), names),
			}
		}
		r.list = append(r.list, in)
	}
	switch {
	case o.install && o.remove:
		return r, conflict("--install and --remove contradict each other", "leave out one of them")
	case o.print && (o.install || o.remove):
		return r, conflict("--print writes nothing", "leave it out: --install prints the files, too")
	case o.remove:
		return r, refuseWith("remove", given{"program", o.program != ""})
	case o.program != "":
		if err := integrate.CheckPath(o.program); err != nil {
			return r, &cmdline.UsageError{Err: fmt.Errorf("--program %w", err), Advice: "an absolute path of letters, digits and ._+-, such as /usr/bin/imaseal"}
		}
	}
	return r, nil
}

func (p Program) integrateCommand() *urfave.Command {
	o := new(integrateOptions)
	return &urfave.Command{
		Name:      "integrate",
		Usage:     "have package managers and the boot call imaseal",
		ArgsUsage: strings.Join(integrate.Names(), "|") + "...",
		Description: `Prints, installs or removes small files by which other programs of a system
call imaseal. A file that somebody changed is never written over and never
removed: then nothing is done, and it is named.

   apt, dnf, pacman   a hook that labels what packages bring, as
                      /etc/imaseal/config says (see imaseal config)
   initramfs-tools,   a part of the initramfs that loads keys and the policy,
   dracut             and switches EVM on (see imaseal load)
   systemd            units that check the host and tell denials after each
                      boot, and a timer that verifies labels every week

What would be installed:
   imaseal integrate apt

Into the running system, and into an image that is being built:
   imaseal integrate apt --install
   imaseal integrate apt --install --root /mnt/root

And out of it again:
   imaseal integrate apt --remove`,
		Flags:  o.flags(),
		Action: action(o.plan, p.integrate),
	}
}

func (p Program) integrate(ctx context.Context, r integrateRequest) error {
	root, err := integrate.Open(r.root)
	if err != nil {
		return err
	}
	defer root.Close()
	program, err := p.integrated(root, r)
	if err != nil {
		return err
	}
	planned, err := root.Plan(r.list, program)
	if err != nil {
		return err
	}
	shown := &keeper{w: p.Stdout} // what is done does not depend on who reads of it
	if r.install || r.remove {
		p.Stdout = shown
	}
	told := integrateTeller{ctx, p, r.json}
	changes := !r.install || len(changed(planned)) > 0
	switch {
	case r.remove:
		err = root.Remove(r.list, planned, told.removed)
	case r.install:
		if err = p.print(told.text(changed(planned))); err == nil {
			err = root.Install(planned, told.installed)
		}
	default:
		err = told.printed(planned)
	}
	if errors.Is(err, unix.EROFS) {
		return &advisedError{err: errors.New(printable(err)), code: reason.ReadOnly, advice: "mount it read-write (mount -o remount,rw); --print shows the files"}
	}
	if err != nil {
		return err
	}
	if r.json {
		if err := p.printSummary(shownSummary{Command: "integrate"}); err != nil {
			return err
		}
	} else if changes {
		p.tellNext(r)
	}
	return unwritten(shown.err)
}

// integrated returns the path of imaseal in the system, and tells what is missing
// there.
func (p Program) integrated(root *integrate.Root, r integrateRequest) (string, error) {
	if r.remove {
		return "", nil
	}
	program, err := r.program, error(nil)
	if program == "" {
		var ok bool
		if program, ok = root.Program(); !ok {
			err = fmt.Errorf("imaseal is not installed in %s", report.Quote(r.root))
		}
	} else {
		err = root.CheckProgram(program)
	}
	if err != nil && r.install {
		return "", &advisedError{err: err, code: "no-program", advice: "install it there first, or name it: --program PATH"}
	}
	if err != nil {
		p.warn("no-program", "%v; the files are as for %s", err, program)
	}
	for _, in := range r.list {
		if !root.Has(in) {
			p.warn("not-installed", "%s is not installed in %s", in.With, report.Quote(r.root))
		}
	}
	if _, err := p.settings(configFile); r.root == "/" && is[*configError](err) {
		p.warn(codeSyntax, "nothing is labelled with such a file: %s", printable(err))
	}
	if slices.ContainsFunc(r.list, integrate.Integration.ReadsConfig) && !root.Exists(configFile) {
		p.warn("no-config-file", "there is no %s, and nothing is labelled or checked without it; imaseal config show has all it can say", report.Quote(filepath.Join(r.root, configFile)))
	}
	return program, nil
}

// tellNext says what is left to do by the user.
func (p Program) tellNext(r integrateRequest) {
	for _, in := range r.list {
		if in.Then != "" && (r.install || r.remove) {
			fmt.Fprintf(p.Stderr, "imaseal: hint: now run: %s\n", in.Then)
		}
	}
}

// An integrateTeller prints what integrate does.
type integrateTeller struct {
	ctx  context.Context // ends what is told about
	p    Program
	json bool
}

// A shownPiece is a file of an integration as JSON has it. Its fields only ever
// grow.
type shownPiece struct {
	shownPath
	Mode    string          `json:"mode,omitempty"` // of files
	Text    string          `json:"text,omitempty"`
	Link    string          `json:"link,omitempty"`
	State   integrate.State `json:"state,omitempty"` // before
	Reason  string          `json:"reason,omitempty"`
	Outcome string          `json:"outcome,omitempty"`
}

func showPiece(it integrate.Item) shownPiece {
	s := shownPiece{shownPath: showPath(it.Path), State: it.State, Reason: it.Why}
	if it.IsLink() {
		s.Link = string(it.Text)
	} else {
		s.Mode, s.Text = fmt.Sprintf("%04o", it.Mode), string(it.Text)
	}
	return s
}

// printed prints what would be installed.
func (t integrateTeller) printed(planned []integrate.Item) error {
	if !t.json {
		return t.p.print(t.text(planned))
	}
	for _, it := range planned {
		if err := t.p.printJSON(showPiece(it)); err != nil {
			return err
		}
	}
	return nil
}

// changed returns the items that are not there already.
func changed(planned []integrate.Item) []integrate.Item {
	return slices.DeleteFunc(slices.Clone(planned), func(it integrate.Item) bool { return it.State == integrate.Installed })
}

// text is what users see of files before they are installed.
func (t integrateTeller) text(planned []integrate.Item) string {
	var b strings.Builder
	for _, it := range planned {
		switch state := string(it.State) + strings.TrimRight(": "+it.Why, ": "); {
		case t.json: // each file has its object when it is installed
		case it.IsLink():
			fmt.Fprintf(&b, "==> %s (link to %s; %s) <==\n\n", it.Path, it.Text, state)
		default:
			fmt.Fprintf(&b, "==> %s (mode %04o; %s) <==\n%s\n", it.Path, it.Mode, state, it.Text)
		}
	}
	return b.String()
}

// installed tells that a file is installed.
func (t integrateTeller) installed(it integrate.Item) error {
	outcome := map[integrate.State]string{integrate.Absent: "installed", integrate.Older: "replaced", integrate.Installed: "unchanged"}[it.State]
	return t.done(it, outcome)
}

// removed tells that a file is removed, or kept for another integration.
func (t integrateTeller) removed(it integrate.Item, kept bool) error {
	if kept {
		return t.done(it, "kept")
	}
	return t.done(it, "removed")
}

func (t integrateTeller) done(it integrate.Item, outcome string) error {
	if t.ctx.Err() != nil {
		return context.Cause(t.ctx)
	}
	if !t.json {
		return t.p.print(fmt.Sprintf("%-9s %s\n", outcome, it.Path))
	}
	s := showPiece(it)
	if s.Outcome = outcome; outcome == "removed" || outcome == "kept" {
		s.Mode, s.Text, s.Link = "", "", ""
	}
	return t.p.printJSON(s)
}
