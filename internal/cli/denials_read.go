package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"imaseal/internal/audit"
	"imaseal/internal/denials"
	"imaseal/internal/logs"
	"imaseal/internal/reason"
	"imaseal/internal/report"
)

// A source is a log, and how it is opened.
type source struct {
	name    string
	open    func(context.Context, logs.Options) (io.ReadCloser, error)
	boot    string // the id of the boot that all of it is of; "" where it is of several
	besides bool   // it only adds to another one
}

func fileSource(name string) source {
	return source{name: report.Quote(name), open: func(ctx context.Context, o logs.Options) (io.ReadCloser, error) {
		f, err := logs.File(ctx, name, o)
		if errors.Is(err, logs.ErrBinary) {
			return nil, &advisedError{err: pathless(err), code: reason.BinaryJournal, advice: "journalctl --file FILE -o json | imaseal denials -"}
		}
		return f, pathless(err)
	}}
}

// A logReader reads logs into a Collector.
type logReader struct {
	program   Program
	request   denialsRequest
	looker    *looker
	collector *denials.Collector
	hinted    map[string]bool
	failed    bool // a log could not be read, or not to its end
	read      int  // logs
	lines     int64
	damaged   int64  // records
	damagedAt string // where the first of them is
}

func (p Program) newLogReader(r denialsRequest, l *looker) *logReader {
	o := denials.Options{Since: r.read.Since, Mode: l.modeAt, Times: r.html != ""}
	if r.boot {
		o.Boot, o.Booted = p.Host.BootID(), p.Host.Booted()
	}
	return &logReader{program: p, request: r, looker: l, collector: denials.New(o), hinted: make(map[string]bool)}
}

// stdin is the log on standard input. It ends with ctx, though who writes to it may
// never write again.
func (r *logReader) stdin(ctx context.Context, o logs.Options) (io.ReadCloser, error) {
	in := r.program.stdinUntil(ctx)
	if o.Follow {
		return in, nil
	}
	plain, err := logs.Stream(in)
	return struct {
		io.Reader
		io.Closer
	}{plain, in}, err
}

// readAll reads all logs. What is wrong with one of them is printed, and ends only
// that one.
func (r *logReader) readAll(ctx context.Context) error {
	if r.fromHere() && os.Geteuid() != 0 {
		r.program.warn(reason.PartialLogs, "not run as root: logs that are not shown to everybody are not read")
	}
	for _, s := range r.sources() {
		err := r.each(ctx, s, func(l *denials.Log, e audit.Entry) error { l.Add(e); return nil })
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && s.besides:
		case err != nil:
			r.failed = true
			r.program.complain(fmt.Errorf("%s: %w", s.name, err), r.hinted)
		}
	}
	switch {
	case r.read == 0:
		return &verdictError{status: exitFailure} // each was complained about
	case r.lines == 0:
		r.program.warn(reason.EmptyLogs, "there is nothing in the logs%s", r.ownNames())
	}
	return nil
}

// ownNames names the logs of this machine that were read, if nobody has.
func (r *logReader) ownNames() string {
	if !r.fromHere() {
		return ""
	}
	var names []string
	for _, s := range r.sources() {
		names = append(names, s.name)
	}
	return ": " + strings.Join(names, ", ")
}

// each calls do with all that a log says.
func (r *logReader) each(ctx context.Context, s source, do func(*denials.Log, audit.Entry) error) error {
	in, err := s.open(ctx, r.request.read)
	if err != nil {
		return err
	}
	defer in.Close()
	entries, log := audit.NewReader(in), r.collector.Log(s.boot)
	defer func() {
		r.lines += entries.Lines()
		r.damaged += entries.Damaged()
		r.noteDamage(s.name, entries.DamagedAt())
		if entries.Lines() > 0 && entries.Logged() == 0 && ctx.Err() == nil {
			r.program.warn(reason.OtherLines, "%s: no line in it is known to be the kernel's, auditd's or the journal's", s.name)
		}
	}()
	r.read++
	for n := 0; ; n++ {
		e, err := entries.Next()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if r.isDamaged(e) {
			r.damaged++
			r.noteDamage(s.name, entries.Lines())
		}
		if err := do(log, e); err != nil {
			return err
		}
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// isDamaged reports whether a log has only a part of what might have been counted.
func (r *logReader) isDamaged(e audit.Entry) bool {
	return e.Record != nil && denials.IsDamaged(e.Record) && (e.Record.Time.IsZero() || !e.Record.Time.Before(r.request.read.Since))
}

// noteDamage keeps where the first damaged record is; line is 0 for none.
func (r *logReader) noteDamage(name string, line int64) {
	if line > 0 && r.damagedAt == "" {
		r.damagedAt = fmt.Sprintf("line %d of %s", line, name)
	}
}

// follow prints each denial of a log as it comes, until ctx ends.
func (r *logReader) follow(ctx context.Context) error {
	s := r.sources()[0]
	if !r.request.output.silent() {
		fmt.Fprintf(r.program.Stderr, "imaseal: following %s\n", s.name)
	}
	err := r.each(ctx, s, func(_ *denials.Log, e audit.Entry) error { return r.tell(ctx, e) })
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && !errors.Is(err, errUnread):
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return err
}

// tell prints what a log says if it is a denial, with what the file is like now.
func (r *logReader) tell(ctx context.Context, e audit.Entry) error {
	if e.Loss != nil {
		r.program.warn(reason.LostRecords, "records are lost: %s", printableText(e.Loss.Message))
		return nil
	}
	one := denials.New(denials.Options{Mode: r.looker.modeAt})
	if _, _, ok := one.Log("").Add(e); !ok {
		return nil
	}
	found := one.Report()
	looks, err := r.looker.look(ctx, found)
	if err != nil {
		return err
	}
	t := &denialTeller{program: r.program, request: r.request, looker: r.looker, looks: looks, found: found, hinted: r.hinted}
	return t.printOne(cmp.Or(e.Record.Time, time.Now()))
}
