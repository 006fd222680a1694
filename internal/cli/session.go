package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/attr"
	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/relabel"
	"imaseal/internal/report"
	"imaseal/internal/undo"
	"imaseal/walk"
)

// sessionOptions say what a walking command needs besides its plan.
type sessionOptions struct {
	output outputOptions
	// oneFinder keeps the order of files whatever the number of workers.
	oneFinder bool
	// bare takes trees on file systems that hold no labels, too.
	bare bool
	// countFiles is for a command that reads no contents: its bar counts files.
	countFiles bool
}

// A session is a plan with everything opened that it needs.
type session struct {
	program Program
	plan    plan.Plan
	options sessionOptions
	header  report.Header
	report  report.Handler
	roots   []*walk.Root
	config  walk.Config
	list    *list // of --files-from, or nil
	log     *undo.Log
	bar     *report.Bar // nil for none
	source  relabel.Source
}

// prepare opens what a walking command needs, and refuses what could not end
// well before anything is written.
func (p Program) prepare(request plan.Plan, o sessionOptions) (*session, error) {
	s := &session{program: p, plan: request, options: o}
	s.header = report.Header{Command: request.Command, Jobs: request.Jobs, Algo: request.Algo, DryRun: request.DryRun}
	s.config = walk.Config{
		Workers: request.Jobs, CrossFilesystems: request.CrossFilesystems,
		Pseudo: func(magic uint32) bool { _, ok := host.Pseudo(magic); return ok },
	}
	if o.oneFinder {
		s.config.Workers = 1
	}
	if request.Owner != nil {
		s.config.Owner = func(uid uint32) bool { return uid == *request.Owner }
	}
	if len(request.Include) > 0 {
		s.config.Include = s.plan.Included
	}
	if len(request.Exclude) > 0 {
		s.config.Exclude = s.plan.Excluded
	}
	s.source = s.walk
	if err := s.open(); err != nil {
		s.close()
		return nil, err
	}
	s.bar = p.bar(o.output, o.countFiles)
	s.report = p.reporter(o.output, s.bar)
	return s, nil
}

func (s *session) open() error {
	if err := s.program.privileged(s.plan); err != nil {
		return err
	}
	for _, name := range s.plan.Paths {
		root, err := walk.Open(name)
		if err != nil {
			return err
		}
		s.roots = append(s.roots, root)
		if err := s.checkRoot(root); err != nil {
			return fmt.Errorf("%s: %w", report.Quote(name), err)
		}
	}
	if s.plan.FilesFrom != "" {
		var err error
		if s.list, err = openList(s.plan.FilesFrom, s.program.Stdin, s.plan.NUL); err != nil {
			return err
		}
	}
	if s.plan.UndoLog != "" {
		if err := s.createLog(); err != nil {
			return err
		}
	}
	s.config.Own = s.ownFiles()
	return nil
}

func (s *session) createLog() error {
	var err error
	s.log, err = undo.Create(s.plan.UndoLog, undo.Header{
		Namespace: s.plan.Namespace, Command: s.plan.Command, Started: time.Now().UTC().Truncate(time.Second),
	})
	if err == nil {
		return nil
	}
	advised := &advisedError{err: fmt.Errorf("--undo-log %s: %w", report.Quote(s.plan.UndoLog), pathless(err))}
	if errors.Is(err, fs.ErrExist) {
		advised.advice = "an undo log is never overwritten: name another file, or move that one away"
	}
	return advised
}

// dropLog removes a log that nothing was written to: the next run may have its
// name.
func (s *session) dropLog() {
	if s.log != nil {
		s.log.Close()
		os.Remove(s.plan.UndoLog)
		s.log = nil
	}
}

// ownFiles are the files that the run itself writes, which may be in the tree.
func (s *session) ownFiles() []walk.Inode {
	var own []walk.Inode
	files := []any{s.program.Stdout, s.program.Stderr}
	if s.log != nil {
		files = append(files, s.log)
	}
	for _, f := range files {
		statter, ok := f.(interface{ Stat() (os.FileInfo, error) })
		if !ok {
			continue
		}
		if info, err := statter.Stat(); err == nil && info.Mode().IsRegular() {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				own = append(own, walk.Inode{Dev: uint64(st.Dev), Ino: st.Ino})
			}
		}
	}
	return own
}

// privileged refuses a run that the kernel will refuse file by file.
func (p Program) privileged(request plan.Plan) error {
	if !request.Writes() || request.Namespace != "security" {
		return nil
	}
	if err := p.Host.MayWriteSecurity(); err != nil {
		return err
	}
	if state, ok := p.Host.EVM(); ok && state.Active() {
		p.warn("EVM is active on this kernel (state %d): it refuses to change labels of files whose security.evm it does not find right", state)
	}
	return nil
}

// Errors about a tree as a whole.
var (
	errReadOnly = errors.New("file system is mounted read-only")
	errNoXattr  = errors.New("file system does not hold such attributes")
	// errHMACRefused: see host.HMACRefused.
	errHMACRefused = errors.New("the running kernel takes no EVM HMACs from user space")
)

// A pseudoError says that a tree holds no files that could be labelled.
type pseudoError struct{ name string }

func (e *pseudoError) Error() string {
	return "is on " + e.name + ", a pseudo-filesystem that no built-in policy appraises"
}

func (s *session) checkRoot(root *walk.Root) error {
	if name, ok := host.Pseudo(root.Magic()); ok {
		if !host.InMemory(root.Magic()) {
			return &pseudoError{name: name}
		}
		s.program.warn("%s is on a %s, which no built-in policy appraises: its labels count once the tree is copied with its attributes", report.Quote(root.Path()), name)
	}
	if s.plan.Writes() && root.ReadOnly() {
		return errReadOnly
	}
	f, err := root.Reopen()
	if err != nil {
		return nil // the walk will report it
	}
	defer f.Close()
	if _, err := storeOf(s.plan).Get(f, imaevm.AttrIMA); errors.Is(err, unix.EOPNOTSUPP) && !s.options.bare {
		return errNoXattr
	}
	return nil
}

// storeOf returns what reads and writes attributes as the plan says.
func storeOf(p plan.Plan) attr.Store {
	var store attr.Store = attr.FS{}
	if p.DryRun {
		store = attr.DryRun{Store: store}
	}
	if p.Namespace == "user" {
		store = attr.Renamed{Store: store, From: "security.", To: "user."}
	}
	return store
}

func (s *session) writer() relabel.Writer {
	return relabel.Writer{Store: storeOf(s.plan), Log: s.log, Lift: s.plan.LiftImmutable, DryRun: s.plan.DryRun}
}

// walk finds the plan's files.
func (s *session) walk(ctx context.Context, visit walk.Visitor) error {
	if s.bar != nil && (s.list == nil || s.list.again()) {
		counted := s.count(ctx)
		defer counted()
	}
	return s.find(ctx, s.config, visit)
}

func (s *session) find(ctx context.Context, config walk.Config, visit walk.Visitor) error {
	config.Links = new(walk.Links)
	if s.list != nil {
		if err := walk.Files(ctx, s.list.names(ctx), config, visit); err != nil {
			return err
		}
	}
	return walk.Walk(ctx, s.roots, config, visit)
}

// count runs ahead of the walk and tells the bar how much there will be. It
// returns a function that ends it.
func (s *session) count(ctx context.Context) func() {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	config := s.config
	config.CountOnly, config.Workers = true, 1
	go func() {
		defer close(done)
		s.find(ctx, config, func(e walk.Entry) error { // what it cannot find, the walk reports
			if e.Skip == "" && e.Err == nil {
				s.bar.Expect(e.Stat.Size)
			}
			return nil
		})
		if ctx.Err() == nil {
			s.bar.Counted()
		}
	}()
	return func() { cancel(); <-done }
}

// do runs a job on the session's files, and returns what decides about the exit
// status.
func (s *session) do(ctx context.Context, job relabel.Job) error {
	sum, err := s.run(ctx, job)
	if err != nil {
		return err
	}
	return status(sum)
}

func (s *session) run(ctx context.Context, job relabel.Job) (report.Summary, error) {
	run := &relabel.Run{Source: s.source, Job: job, Report: s.report, Header: s.header}
	if s.bar != nil {
		run.Progress = s.bar
	}
	sum, err := run.Do(ctx)
	if s.log != nil {
		if closeErr := s.log.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("closing the undo log: %w", closeErr)
		}
		s.log = nil
	}
	if err == nil && sum.Selected() == 0 {
		s.program.warn("no file was selected: %s", nothing(sum))
	}
	return sum, err
}

// nothing says why no file was selected.
func nothing(sum report.Summary) string {
	if reasons := report.Skips(sum.Skipped); reasons != "" {
		return reasons
	}
	return "there are no files"
}

func (s *session) close() {
	for _, r := range s.roots {
		r.Close()
	}
	if s.list != nil {
		s.list.close()
	}
	if s.log != nil {
		s.log.Close()
	}
}
