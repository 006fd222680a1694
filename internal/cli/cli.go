// Package cli is the program: it turns arguments into requests, carries them out,
// and turns what came of it into messages and an exit status.
//
// Each command has a file, and in it a struct of options. Its flags method binds
// the command's flags to the fields; its plan method checks them, without opening
// anything, and makes a request of them, which is a plain value. What carries the
// request out is a method of Program, which knows no flags. Groups of options that
// several commands have are structs of their own, in files named after them.
//
// The package is larger than others because there are many commands: none of its
// files needs another command's.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"sync"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"imaseal/internal/cmdline"
	"imaseal/internal/config"
	"imaseal/internal/host"
	"imaseal/internal/integrate"
	"imaseal/internal/reason"
	"imaseal/internal/report"
)

// Exit statuses, a documented contract.
const (
	exitOK          = 0   // every selected file is as asked
	exitFailure     = 1   // the run could not be carried out
	exitUsage       = 2   // wrong usage
	exitFiles       = 3   // finished, but some files failed
	exitVerdict     = 4   // at least one file is unlabelled, wrong or would be denied
	exitInterrupted = 130 // ended by a signal
	exitUnread      = 141 // nobody reads the output any more; what a shell says of SIGPIPE
)

// A Program is what the program sees of the world.
type Program struct {
	Args           []string // without the program's name
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Host           host.Host

	said *said // warnings so far
	mute bool  // warnings are not printed
	// preset are the options of --config, whatever the file has.
	preset []config.Setting
}

// An InterruptedError is the cause of a context that a signal ended.
type InterruptedError struct{ Signal os.Signal }

func (e *InterruptedError) Error() string { return "interrupted: " + e.Signal.String() }

// version is set when linking a release: -X imaseal/internal/cli.version=1.2.
var version = ""

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// Main runs the program and returns its exit status. When ctx ends, the files
// in hand are finished first.
func Main(ctx context.Context, p Program) int {
	p.said = new(said)
	if len(p.Args) > 0 && p.Args[0] == evmctlName {
		return p.evmctl(ctx, p.Args[1:])
	}
	g := p.grammar()
	if len(p.Args) > 0 && p.Args[0] == completeCommand {
		for _, word := range g.Complete(p.Args[1:]) {
			fmt.Fprintln(p.Stdout, word)
		}
		return exitOK
	}
	inv, err := g.Parse(p.Args)
	switch {
	case err != nil:
	case inv.Version:
		err = p.print("imaseal " + g.App.Version + "\n")
	case inv.Help:
		err = p.print(g.Help(inv))
	default:
		err = g.App.RunContext(ctx, append([]string{g.App.Name}, inv.Args...))
	}
	return p.exit(err)
}

// grammar is what the arguments may be.
func (p Program) grammar() cmdline.Grammar {
	return cmdline.Grammar{
		App: p.app(), Options: enumerated,
		Arguments: map[string]func() []string{"completion": completionShells, "integrate": integrate.Names},
	}
}

func (p Program) print(text string) error {
	_, err := io.WriteString(p.Stdout, text)
	return unwritten(err)
}

// unwritten says that standard output could not be written to.
func unwritten(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPIPE):
		return errUnread
	}
	return &advisedError{err: fmt.Errorf("writing to standard output: %w", pathless(err))}
}

// errUnread says that nobody reads the output any more, as behind a pipe to
// head(1), and that nothing is lost by it: there is nothing to say, and nobody to
// say it to. Other programs die of SIGPIPE there.
var errUnread = errors.New("nobody reads the output")

func (p Program) app() *urfave.App {
	app := &urfave.App{
		Name:      "imaseal",
		HelpName:  "imaseal",
		Usage:     "prepare Linux file systems for IMA appraisal and EVM",
		UsageText: "imaseal COMMAND [OPTIONS] PATH...",
		Description: `imaseal labels the files of a tree so that a kernel that enforces appraisal
opens them, and checks such labels. To prepare a mounted root file system
for ima_policy=appraise_tcb ima_appraise=enforce:

   imaseal hash /mnt/root
   imaseal verify /mnt/root

"imaseal COMMAND --help" explains a command by examples; imaseal(8) has it
all.`,
		Version:                   versionText(),
		Writer:                    p.Stdout,
		ErrWriter:                 p.Stderr,
		Reader:                    p.Stdin,
		HideHelp:                  true, // package cmdline does better
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*urfave.Context, error) {},
		OnUsageError:              func(_ *urfave.Context, err error, _ bool) error { return &cmdline.UsageError{Err: err} },
		Commands: []*urfave.Command{
			p.hashCommand(), p.signCommand(), p.signDigestsCommand(), p.relabelCommand(), p.verifyCommand(), p.checkCommand(), p.denialsCommand(), p.measurementsCommand(), p.bootAggregateCommand(), p.showCommand(),
			p.requestCommand(), p.answerCommand(), p.applyCommand(), p.clearCommand(), p.undoCommand(), p.reportCommand(), p.policyCommand(), p.loadCommand(), p.evmctlCommand(), p.keysCommand(), p.integrateCommand(), p.configCommand(), p.completionCommand(),
		},
	}
	quieten(app.Commands, app.OnUsageError)
	return app
}

// quieten takes from the parser what it would print by itself.
func quieten(commands []*urfave.Command, wrong urfave.OnUsageErrorFunc) {
	for _, c := range commands {
		c.OnUsageError = wrong
		c.HideHelp = true
		quieten(c.Subcommands, wrong)
	}
}

// A verdictError carries what a finished run found into the exit status. It
// has been reported already.
type verdictError struct{ status int }

func (e *verdictError) Error() string { return fmt.Sprintf("exit status %d", e.status) }

// exit prints what is left to say about err and returns the exit status.
func (p Program) exit(err error) int {
	if err == nil {
		return exitOK
	}
	if verdict, ok := errors.AsType[*verdictError](err); ok {
		return verdict.status
	}
	if is[*InterruptedError](err) {
		return exitInterrupted
	}
	if errors.Is(err, errUnread) {
		return exitUnread
	}
	p.complain(err, make(map[string]bool))
	if is[*cmdline.UsageError](err) {
		return exitUsage
	}
	return exitFailure
}

// is reports whether err wraps an error of type E.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// complain prints an error and, if hinted does not have it, what can be done
// about it.
func (p Program) complain(err error, hinted map[string]bool) {
	fmt.Fprintf(p.Stderr, "imaseal: error: %s\n", printable(err))
	if _, advice := hint(err); advice != "" && !hinted[advice] {
		hinted[advice] = true
		fmt.Fprintf(p.Stderr, "imaseal: hint: %s\n", advice)
	}
}

// warn prints what the user should know of the run as a whole, and keeps it for
// the summary in JSON.
func (p Program) warn(c reason.Code, format string, args ...any) {
	w := reason.New(c, format, args...)
	if !p.mute {
		fmt.Fprintf(p.Stderr, "imaseal: warning: %s\n", w.Words)
	}
	if p.said != nil {
		p.said.add(w)
	}
}

// A said keeps what was said. It is safe for concurrent use: keys warn while files
// are signed.
type said struct {
	mu   sync.Mutex
	list reason.List
}

func (s *said) add(w reason.Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, w)
}

// notes are the warnings so far.
func (p Program) notes() reason.List {
	if p.said == nil {
		return nil
	}
	p.said.mu.Lock()
	defer p.said.mu.Unlock()
	return slices.Clone(p.said.list)
}

// status turns a finished run into an error that carries the exit status.
func status(s report.Summary) error {
	c := s.Count
	switch {
	case c[report.Invalid]+c[report.Unlabelled]+c[report.Unverifiable]+c[report.Denied] > 0:
		return &verdictError{status: exitVerdict}
	case c[report.Failed]+c[report.Undecided] > 0:
		return &verdictError{status: exitFiles}
	}
	return nil
}
