package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"imaseal/internal/page"
	"imaseal/internal/report"
	"imaseal/internal/stream"
)

// A pageOption names the file of a page to look at.
type pageOption struct{ file string }

func (o *pageOption) flag() urfave.Flag {
	return &urfave.StringFlag{Name: "html", Destination: &o.file, Category: output, Usage: "write a page to look at, to `FILE`; - is standard output, and all else goes to standard error then"}
}

func (o *pageOption) check(out outputOptions) error {
	if o.file == "-" && out.json {
		return conflict("--json and the page both go to standard output", "--html FILE")
	}
	return nil
}

// A pageOut is where a page goes; nil for none.
type pageOut struct {
	name string
	out  *stream.Out
}

// openPage opens what a page will be written to, which must be none of the files that
// are read; for no name it returns nil.
func (p Program) openPage(ctx context.Context, name string, read ...string) (*pageOut, error) {
	if name == "" {
		return nil, nil
	}
	if f, ok := p.Stdout.(*os.File); name == "-" && ok && isTerminal(f) {
		return nil, &advisedError{err: errors.New("standard output is a terminal, and a page is for a browser"), code: "terminal", advice: "--html FILE"}
	}
	if info, err := os.Stat(name); err == nil && name != "-" && info.Mode().IsRegular() {
		for _, other := range read {
			if is, err := os.Stat(other); err == nil && os.SameFile(info, is) {
				return nil, conflict(fmt.Sprintf("--html %s would replace %s, which is read", report.Quote(name), report.Quote(other)), "name another file for the page")
			}
		}
	}
	out, err := p.openOutput(ctx, name)
	if err != nil {
		return nil, pageError(err)
	}
	return &pageOut{name, out}, nil
}

// beside returns the program as it is while there is a page: where that goes to
// standard output, all else goes to standard error; and if nobody reads what a pipe has
// of the rest, as behind head(1), the page is made all the same.
func (o *pageOut) beside(p Program) Program {
	if o == nil {
		return p
	}
	f, ok := p.Stdout.(*os.File)
	if o.name == "-" {
		p.Stdout = p.Stderr
	} else if ok {
		if info, err := f.Stat(); err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0 {
			p.Stdout = &leaky{pipe: f}
		}
	}
	return p
}

// A leaky is a pipe that somebody may read, or not.
type leaky struct {
	pipe io.Writer
	gone bool // who read it
}

// Write implements io.Writer.
func (l *leaky) Write(b []byte) (int, error) {
	if l.gone {
		return len(b), nil
	}
	n, err := l.pipe.Write(b)
	if l.gone = errors.Is(err, unix.EPIPE); l.gone {
		return len(b), nil
	}
	return n, err
}

// pageError is an error of writing a page, which advice about labels would not help.
func pageError(err error) error {
	failed, ok := errors.AsType[*stream.OutputError](err)
	switch {
	case !ok:
		return err
	case errors.Is(err, unix.EPIPE):
		return errUnread
	}
	return &advisedError{err: fmt.Errorf("writing the page to %s: %w", report.Quote(failed.Path), failed.Err), code: "page", advice: "name a file with --html in a directory that can be written to, or - for standard output"}
}

// write writes a page, whole or not at all. Err is what the command has come to, which
// is also what this returns if there is no other error: only of a run that went to its
// end there is a page.
func (o *pageOut) write(err error, make func(out *stream.Out, status int) error) error {
	if o == nil {
		return err
	}
	defer o.out.Abort() // after Commit, nothing
	status := exitOK
	if verdict, ok := errors.AsType[*verdictError](err); ok {
		status = verdict.status
	} else if err != nil {
		return err
	}
	if failed := make(o.out, status); failed != nil {
		return pageError(failed)
	}
	if failed := o.out.Commit(); failed != nil {
		return pageError(failed)
	}
	return err
}

// abort leaves nothing of a page that was not written.
func (o *pageOut) abort() {
	if o != nil {
		o.out.Abort()
	}
}

// frame is what pages of all commands say.
func (p Program) frame(status int, facts []page.Fact) page.Frame {
	host, _ := os.Hostname()
	return page.Frame{
		Version: versionText(), Host: host, Made: time.Now(), Status: status, Notes: p.notes(),
		Facts: slices.DeleteFunc(facts, func(f page.Fact) bool { return f.Value == "" }),
	}
}
