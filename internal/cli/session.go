package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/advice"
	"imaseal/internal/attr"
	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/labelfile"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/tree"
	"imaseal/internal/tree/dump"
	"imaseal/internal/tree/mounted"
	"imaseal/internal/undo"
	"imaseal/walk"
)

// sessionOptions say what a walking command needs besides its plan.
type sessionOptions struct {
	output outputOptions
	// leave says which names are left out; nil leaves out none.
	leave func(tree.File) reason.Code
	// oneFinder keeps the order of files whatever the number of workers.
	oneFinder bool
	// bare takes trees on file systems that hold no labels, too.
	bare     bool
	packages packageOptions
	// countFiles is for a command that reads no contents: its bar counts files.
	countFiles bool
	// flat visits the files of an image as they are when it is unpacked.
	flat      bool
	everyName bool   // visits an inode under each of its names
	writes    string // a file that the run writes besides, "" for none
	// keep is run.Run's.
	keep func(tree.File, report.Result) error
	// inFlight is how many files are worked on at once if that is more than there
	// are workers: while a key is slow, others are read.
	inFlight int
	// perFile is what files cost besides reading them: see report.Bar.
	perFile int64
	// handler prints results; nil for what the options of the output say.
	handler report.Handler
	// late leaves it to the kernel to refuse what the process may not write.
	late bool
	// decorate is given what writes, and returns what stands before it; nil for nothing.
	decorate func(tree.Sink) tree.Sink
	// writers says what becomes of files that somebody has open for writing.
	writers run.Writers
	// signatures returns what came of a store of them; nil for none.
	signatures func() *report.Store
	// record returns the labels of a file, for runs that write them to a file.
	record func(tree.File, report.Result) (labelfile.Record, error)
}

// A session is a plan with everything opened that it needs.
type session struct {
	program Program
	plan    plan.Plan
	options sessionOptions
	header  report.Header
	report  report.Handler
	bar     *report.Bar   // nil for none
	tree    *mounted.Tree // nil for a run on another carrier
	carrier carrier       // nil for mounted file systems
	written tree.Sink     // of the carrier, nil for none
	dump    *dump.Sink    // of labels that go to a file, nil for none
	log     *undo.Log     // nil for none
	source  tree.Source
	sink    tree.Sink // nil for a command that writes nothing
}

// prepare opens what a walking command needs, and refuses what could not end
// well before anything is written.
func (p Program) prepare(ctx context.Context, request plan.Plan, o sessionOptions) (*session, error) {
	s := p.session(request, o)
	counter, err := s.open(ctx)
	if err != nil {
		s.close()
		return nil, err
	}
	if s.bar != nil && counter != nil {
		s.source = counted{Source: s.source, counter: counter, bar: s.bar}
	}
	if s.isRenamed() {
		s.source = userNamespace.Source(s.source)
	}
	if s.sink = s.newSink(); s.sink != nil && o.decorate != nil {
		s.sink = o.decorate(s.sink)
	}
	if request.Exports() {
		if err := s.openDump(ctx); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// session returns one with nothing opened.
func (p Program) session(request plan.Plan, o sessionOptions) *session {
	s := &session{program: p, plan: request, options: o}
	s.header = report.Header{Command: request.Command, Jobs: request.Jobs, Algo: request.Algo, DryRun: request.DryRun, ReadOnly: request.ReadOnly, Shard: request.Shard, LabelsTo: request.LabelsTo}
	s.bar = p.bar(o)
	if request.ToStd() || request.LabelsTo == "-" {
		p.Stdout = p.Stderr // that is where the archive or the labels go
	}
	if s.report = o.handler; s.report == nil {
		s.report = p.reporter(o.output, s.bar)
	}
	return s
}

// newSink returns what writes as the plan says.
func (s *session) newSink() tree.Sink {
	if s.plan.ReadOnly {
		return nil
	}
	if s.plan.DryRun {
		return tree.DryRun{}
	}
	var sink tree.Sink = &mounted.Sink{Lift: s.plan.LiftImmutable, Lazy: s.plan.Lazy}
	if s.carrier != nil {
		sink = s.written
	}
	if s.isRenamed() {
		sink = userNamespace.Sink(sink)
	}
	if s.log != nil {
		sink = undo.Logged{Sink: sink, Log: s.log}
	}
	return sink
}

// open opens what the files are in, and returns what counts them beforehand, nil
// where that cannot be.
func (s *session) open(ctx context.Context) (tree.Counter, error) {
	if c, ok := s.plan.Carrier(); ok {
		if err := s.openCarrier(ctx, c); err != nil {
			return nil, err
		}
		s.source = tree.Sharded(s.carrier, s.plan.Shard)
		if s.carrier.Countable() && !s.plan.Shard.Divides() {
			return s.carrier, nil
		}
		return nil, nil
	}
	err := s.openTree()
	if s.source = s.tree; err == nil && s.tree.Countable() {
		return s.tree, nil
	}
	return nil, err
}

func (s *session) openTree() error {
	if err := s.program.privileged(s.plan); err != nil && !s.options.late {
		return err
	}
	cfg := mounted.Config{Config: s.walking(), Leave: s.options.leave, Check: s.checkRoot, Lenient: s.plan.ReadOnly}
	if s.plan.FilesFrom != "" {
		cfg.Below = s.plan.Root
		var err error
		if cfg.List, err = mounted.OpenList(s.plan.FilesFrom, s.program.Stdin, s.plan.NUL); err != nil {
			return err
		}
		if s.plan.Shard.IsGiven() && !cfg.List.Again() {
			cfg.List.Close()
			return errListOnce
		}
	}
	if s.plan.UndoLog != "" {
		if err := s.createLog(); err != nil {
			return err
		}
	}
	cfg.Own = s.ownFiles()
	roots := s.plan.Paths
	if s.plan.Itself {
		roots, cfg.Itself = nil, roots
	}
	var err error
	if s.tree, err = mounted.Open(roots, cfg); err != nil {
		s.dropLog()
	}
	return err
}

// walking says which files of mounted trees are visited.
func (s *session) walking() walk.Config {
	cfg := walk.Config{
		Workers: max(s.plan.Jobs, s.options.inFlight), CrossFilesystems: s.plan.CrossFilesystems, Shard: s.plan.Shard,
		Pseudo: func(magic uint32) bool { _, ok := host.Pseudo(magic); return ok },
	}
	if s.options.oneFinder {
		cfg.Workers = 1
	}
	cfg.EveryName = s.options.everyName
	if owner := s.plan.Owner; owner != nil {
		cfg.Owner = func(uid uint32) bool { return s.ownerOf(uid) == *owner }
	}
	if len(s.plan.Include) > 0 {
		cfg.Include = s.plan.Included
	}
	if len(s.plan.Exclude) > 0 {
		cfg.Exclude = s.plan.Excluded
	}
	return cfg
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
	switch {
	case errors.Is(err, fs.ErrExist):
		advised.advice = "an undo log is never overwritten: name another file, or move that one away"
	case errors.Is(err, unix.EROFS):
		advised.advice = advice.ReadOnlyFile
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
	if s.plan.Exports() {
		files = append(files, named(s.plan.LabelsTo))
	}
	if s.options.writes != "" {
		files = append(files, named(s.options.writes))
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

// Errors about a tree as a whole.
var (
	errReadOnly = &advisedError{err: errors.New("file system is mounted read-only"), code: reason.ReadOnly, advice: advice.ReadOnly}
	errImage    = &advisedError{
		err: errors.New("is on a file system that is never written to"), code: reason.ReadOnly,
		advice: "label the tree before the image is made of it, or use --dry-run",
	}
	// errListOnce: the names of one inode are brought together before it is labelled.
	errListOnce = &advisedError{
		err: errors.New("--shard reads the list of files twice, and a pipe can be read once"), code: "list-once", advice: "write the list to a file, and name that with --files-from",
	}
	errNoXattr = &advisedError{err: errors.New("file system does not hold such attributes"), code: reason.NoAttributes, advice: advice.NoAttributes}
	// errHMACRefused: see host.HMACRefused.
	errHMACRefused = &advisedError{
		err: errors.New("the running kernel takes no EVM HMACs from user space"), code: "hmac-refused",
		advice: "before the EVM key is loaded, echo 4 >/sys/kernel/security/evm allows it; or label the file system from a kernel without EVM, or let this one make them (evm=fix)",
	}
)

// images are file systems that are made whole, and never written to. Kernel:
// include/uapi/linux/magic.h.
var images = []uint32{unix.SQUASHFS_MAGIC, unix.EROFS_SUPER_MAGIC_V1, unix.ISOFS_SUPER_MAGIC, unix.CRAMFS_MAGIC}

// A pseudoError says that a tree holds no files that could be labelled.
type pseudoError struct{ name string }

func (e *pseudoError) Error() string {
	return "is on " + e.name + ", a pseudo-filesystem that no built-in policy appraises"
}

// checkRoot refuses a tree that no file of could be labelled or judged.
func (s *session) checkRoot(root *walk.Root) error {
	if name, ok := host.Pseudo(root.Magic()); ok {
		if !host.InMemory(root.Magic()) {
			return &pseudoError{name: name}
		}
		s.program.warn(reason.PseudoFS, "%s is on a %s, which no built-in policy appraises: its labels count once the tree is copied with its attributes", report.Quote(root.Path()), name)
	}
	switch {
	case s.plan.Writes() && slices.Contains(images, root.Magic()):
		return errImage
	case s.plan.Writes() && root.ReadOnly():
		return errReadOnly
	}
	f, err := root.Reopen()
	if err != nil {
		return nil // the walk will report it
	}
	defer f.Close()
	if what := archive(root.Path(), f); !root.IsDir() && what != "" {
		s.program.warn(reason.Archive, "%s is %s: its label is that of the file itself, not of what is in it%s", report.Quote(root.Path()), what, spelling(what))
	}
	if root.IsDir() && isImageLayout(root.Path()) {
		s.program.warn(reason.Archive, "%s is an image layout: these labels are those of its blobs, not of what is in the image, which oci:DIR names", report.Quote(root.Path()))
	}
	if _, err := attr.Get(f, s.kept(imaevm.AttrIMA)); errors.Is(err, unix.EOPNOTSUPP) && !s.options.bare && !s.plan.Exports() {
		return errNoXattr
	}
	return nil
}

// do runs a job on the session's files, and returns what decides about the exit
// status.
func (s *session) do(ctx context.Context, job run.Job) error {
	sum, err := s.run(ctx, job)
	if err != nil {
		return err
	}
	return status(sum)
}

func (s *session) run(ctx context.Context, job run.Job) (report.Summary, error) {
	r := &run.Run{Source: s.source, Job: job, Sink: s.sink, Keep: s.options.keep, Writers: s.options.writers, Report: s.report, Header: s.header, Said: s.program.notes, Signatures: s.options.signatures}
	if s.dump != nil {
		r.Keep = s.keep
	}
	if s.bar != nil {
		r.Progress = s.bar
	}
	sum, err := r.Do(ctx)
	if s.log != nil {
		if closeErr := s.log.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("closing the undo log: %w", closeErr)
		}
		s.log = nil
	}
	return sum, s.unread(err)
}

// unread tells a report that nobody reads any more from other errors, unless that
// ended a run which changes files, of which users must know.
func (s *session) unread(err error) error {
	broken, ok := errors.AsType[*run.ReportError](err)
	if ok && errors.Is(err, unix.EPIPE) && (broken.Last || !s.plan.Writes()) {
		return errUnread
	}
	return err
}

func (s *session) close() {
	if s.tree != nil {
		s.tree.Close()
	}
	if s.written != nil {
		s.written.Abort() // after Commit, nothing
	}
	if s.carrier != nil {
		s.carrier.Close()
	}
	if s.dump != nil {
		s.dump.Abort() // after Commit, nothing
	}
	if s.log != nil {
		s.log.Close()
	}
}
