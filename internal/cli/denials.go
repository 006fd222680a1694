package cli

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/logs"
)

// denialsOptions are the options of imaseal denials.
type denialsOptions struct {
	since                   string
	boot, follow, elsewhere bool
	policy                  string
	keys                    []string
	evmKey                  evmKeyOption
	page                    pageOption
	output                  outputOptions
}

func (o *denialsOptions) flags() []urfave.Flag {
	o.output.progress, o.output.jobs = "never", runtime.GOMAXPROCS(0)
	return []urfave.Flag{
		&urfave.StringFlag{Name: "since", Destination: &o.since, Category: logCategory, Usage: "no older records: `TIME` is today, yesterday, a date, a date and a time, or how long ago, such as 90m or 3d"},
		&urfave.BoolFlag{Name: "boot", Destination: &o.boot, Category: logCategory, Usage: "only records of this boot"},
		&urfave.BoolFlag{Name: "follow", Destination: &o.follow, Category: logCategory, Usage: "print each denial as it is recorded, from now on"},
		&urfave.BoolFlag{Name: "elsewhere", Destination: &o.elsewhere, Category: logCategory, Usage: "the logs are another machine's: look at no files of this one"},
		&urfave.StringFlag{Name: "policy", Destination: &o.policy, Category: policyCategory, DefaultText: "the loaded one", Usage: "`POLICY` by which the files are judged now: built-in ones by name, a file, or running"},
		&urfave.StringSliceFlag{Name: "key", Action: into(&o.keys), Category: labels, Usage: "certificates that the kernel will have, or public keys: a `FILE`, or a directory of them"},
		o.evmKey.flag(), o.page.flag(),
		jsonFlag(&o.output.json, "print one JSON object per group, then a summary object"),
		&urfave.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Destination: &o.output.verbose, Category: output, Usage: "print all groups and files, not only the first of them"},
		&urfave.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Destination: &o.output.quiet, Category: output, Usage: "print errors only: the exit status tells"},
	}
}

// A denialsRequest is what denials is asked for.
type denialsRequest struct {
	logs            []string // "" stands for those of this machine
	html            string   // file of a page, "" for none
	read            logs.Options
	boot, elsewhere bool
	output          outputOptions
	judge           checkRequest // how files are judged now
}

// Words for logs that are no files.
const (
	journalLog = "journal"
	kernelLog  = "dmesg"
)

func (o *denialsOptions) plan(args []string) (denialsRequest, error) {
	r := denialsRequest{logs: args, html: o.page.file, boot: o.boot, elsewhere: o.elsewhere, output: o.output}
	r.read = logs.Options{Boot: o.boot, Follow: o.follow}
	r.judge.policy.name, r.judge.keys, r.judge.evmKey = o.policy, o.keys, o.evmKey.file
	r.judge.target.HasHMACKey = o.evmKey.file != ""
	if len(args) == 0 {
		r.logs = []string{""}
	}
	var stdin []given
	for _, name := range args {
		if name == "" {
			return r, conflict("a LOG is empty", "a shell variable may be unset; without LOG those of this machine are read")
		}
		stdin = append(stdin, given{name, name == "-"})
	}
	var err error
	if o.since != "" {
		r.read.Since, err = parseSince(o.since, time.Now())
	}
	if err := firstError(err, o.output.check(), o.page.check(o.output), readStdinOnce(stdin...)); err != nil {
		return r, err
	}
	switch {
	case o.elsewhere:
		return r, refuseWith("elsewhere", given{"boot", o.boot}, given{"policy", o.policy != ""}, given{"key", o.keys != nil}, given{"evm-key", o.evmKey.file != ""})
	case o.follow && len(args) > 1:
		return r, conflict("--follow follows one LOG", "name one, or none for that of this machine")
	case o.follow:
		return r, refuseWith("follow", given{"since", o.since != ""}, given{"boot", o.boot}, given{"quiet", o.output.quiet}, given{"html", o.page.file != ""})
	}
	return r, nil
}

func (p Program) denialsCommand() *urfave.Command {
	o := new(denialsOptions)
	return p.configured(&urfave.Command{
		Name:      "denials",
		Usage:     "say what the kernel denied, why, and what mends it",
		ArgsUsage: "[LOG...]",
		Description: `Reads the kernel's integrity records, groups them by cause, program and
directory, looks at the files as they are now, and says which would still be
denied, and what to do. A LOG is a file, as auditd, journalctl and dmesg print
them, compressed or not; - is standard input, journal the journal, dmesg the
kernel's messages. Without LOG those of this machine are read. The exit status
is 4 if something was denied that is not mended.

What was denied since the machine was booted:
   imaseal denials --boot

Each denial as it happens:
   imaseal denials --follow

What was denied today, as a page to look at or to print:
   imaseal denials --since today --html denials.html

The logs of another machine:
   imaseal denials --elsewhere audit.log.1.gz audit.log
   ssh host journalctl -k -o json | imaseal denials --elsewhere -

All files that would still be denied:
   imaseal denials --json |
      jq -r '.files[]? | select(.now.outcome == "denied").path'`,
		Flags:  o.flags(),
		Action: action(o.plan, p.denials),
	}, denialsSources(), nil)
}

// A sinceError says that something is no time.
func sinceError(text string) error {
	return &cmdline.UsageError{
		Err:    fmt.Errorf("--since %q is not a time", text),
		Advice: "today, yesterday, 2026-11-26, \"2026-11-26 14:30\", or how long ago: 90m, 12h or 3d",
	}
}

// parseSince returns the time that a text stands for.
func parseSince(text string, now time.Time) (time.Time, error) {
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	switch text {
	case "today":
		return today, nil
	case "yesterday":
		return today.AddDate(0, 0, -1), nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil {
		if ago < 0 {
			return time.Time{}, sinceError(text)
		}
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, sinceError(text)
}

// denials reads, looks and prints.
func (p Program) denials(ctx context.Context, r denialsRequest) error {
	out, err := p.openPage(ctx, r.html, r.reads()...)
	if err != nil {
		return err
	}
	defer out.abort()
	p = out.beside(p)
	looker, err := p.newLooker(ctx, r)
	if err != nil {
		return err
	}
	reader := p.newLogReader(r, looker)
	if r.read.Follow {
		return reader.follow(ctx)
	}
	t, err := p.tellDenials(ctx, reader)
	if t == nil {
		return err
	}
	return out.write(err, t.writePage)
}

// tellDenials reads logs, and prints what is in them. The teller is nil if they could
// not be read, or not be told.
func (p Program) tellDenials(ctx context.Context, reader *logReader) (*denialTeller, error) {
	if err := reader.readAll(ctx); err != nil {
		return nil, err
	}
	r, looker := reader.request, reader.looker
	found := reader.collector.Report()
	looks, err := looker.look(ctx, found)
	if err != nil {
		return nil, err
	}
	t := &denialTeller{program: p, request: r, looker: looker, looks: looks, found: found, damaged: reader.damaged, damagedAt: reader.damagedAt}
	if r.html != "" {
		t.page = newDenialsPage(found, reader)
	}
	if err := t.print(); err != nil {
		return nil, err
	}
	switch {
	case t.unmended > 0:
		return t, &verdictError{status: exitVerdict}
	case reader.failed, reader.damaged > 0:
		return t, &verdictError{status: exitFiles}
	}
	return t, nil
}

// sources are the logs to read: what opens them, by the names that users know.
func (r *logReader) sources() []source {
	var all []source
	for _, name := range r.request.logs {
		switch name {
		case "":
			all = append(all, r.ours()...)
		case "-":
			all = append(all, source{name: "standard input", open: r.stdin})
		case journalLog:
			all = append(all, source{name: "the journal", open: logs.Journal})
		case kernelLog:
			all = append(all, source{name: "the kernel's messages", open: logs.Kernel, boot: r.program.Host.BootID()})
		default:
			all = append(all, fileSource(name))
		}
	}
	return all
}

// ours are the logs of this machine. auditd's do not tell what was lost, which the
// kernel's messages do, and the mode.
func (r *logReader) ours() []source {
	kernel := source{name: "the kernel's messages", open: logs.Kernel, boot: r.program.Host.BootID()}
	var all []source
	for _, name := range logs.Auditd(r.program.Host.Root, r.request.read) {
		all = append(all, fileSource(name))
	}
	switch {
	case all != nil && (r.request.read.Follow || r.program.Host.Root != ""): // of another root the kernel is another one
		return all
	case all != nil:
		kernel.besides = true
		return append(all, kernel)
	case logs.HasJournal():
		return []source{{name: "the journal", open: logs.Journal}}
	}
	return []source{kernel}
}

// fromHere reports whether the log may be one of this machine of which not all can
// be seen without privilege.
func (r *logReader) fromHere() bool { return slices.Contains(r.request.logs, "") }
