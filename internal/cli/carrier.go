package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/compress"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/internal/tree"
	"imaseal/internal/tree/ext4"
	"imaseal/internal/tree/oci"
	"imaseal/internal/tree/rpms"
	"imaseal/internal/tree/tarball"
)

// archiveOptions say how a command goes about an archive.
type archiveOptions struct{ plan.Archiving }

// flags are for commands that write.
func (o *archiveOptions) flags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "output", Destination: &o.Output, Category: archiveCategory, Usage: "write the new archive, ext4 image or package to `FILE`, several packages to a directory, - is standard output; a new image to oci:DIR, oci-archive:FILE or docker-archive:FILE"},
		&urfave.BoolFlag{Name: "in-place", Destination: &o.InPlace, Category: archiveCategory, Usage: "replace the archive, image or package, in one step when all is done"},
		&urfave.StringFlag{Name: "compress", Destination: &o.Compression, Category: archiveCategory, DefaultText: "as the old archive", Usage: "the new archive: none, gzip or zstd"},
		o.tempDirFlag(),
	}
}

// tempDirFlag is for all commands that read contents.
func (o *archiveOptions) tempDirFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "tmpdir", Destination: &o.TempDir, Category: archiveCategory, DefaultText: "TMPDIR, or /tmp", Usage: "`DIRECTORY` for large files of archives that are compressed or come through a pipe"}
}

func (o *archiveOptions) check() error {
	if o.Compression == "" {
		return nil
	}
	return checkWord("compress", o.Compression)
}

// compressions are the words of --compress.
func compressions() []string {
	return []string{compress.None.String(), compress.Gzip.String(), compress.Zstd.String()}
}

// refuseForArchive refuses what cannot be in an archive, or need not be said of
// one.
func refuseForArchive(s plan.Selection, o ...given) error {
	c, ok := s.Carrier()
	what := "an archive"
	if c.Kind == plan.Ext4 {
		what = "an image"
	}
	for _, g := range o {
		if ok && g.is {
			return conflict("--"+g.name+" is of no use with "+what, "leave it out")
		}
	}
	return nil
}

// checkArchiveOutput refuses a report where the archive goes.
func checkArchiveOutput(r plan.Plan, o outputOptions) error {
	if r.ToStd() && o.json {
		return conflict("--json and the archive both go to standard output", "--output FILE")
	}
	return nil
}

// A carrier is a tree that is read without being mounted.
type carrier interface {
	tree.Source
	tree.Counter
	// Countable reports whether Count counts.
	Countable() bool
	// Holds reports whether there is a file of one of the names.
	Holds(ctx context.Context, names []string) bool
	Close() error
}

// A carrierConfig says which files of a carrier are visited, and how: see
// tarball.Config, and oci.Config for what others do not have.
type carrierConfig struct {
	oci.Config
	// EveryName is ext4.Config's. Other carriers tell of hard links what they are.
	EveryName bool
}

// imageKinds are the kinds of images.
var imageKinds = map[plan.Kind]oci.Kind{plan.OCI: oci.Layout, plan.OCIArchive: oci.Archive, plan.DockerArchive: oci.Docker}

func imageRef(c plan.Carrier) oci.Ref {
	return oci.Ref{Kind: imageKinds[c.Kind], Path: c.Name, Tag: c.Tag}
}

// openCarrier opens what a PATH names. The caller closes it.
func (p Program) openCarrier(ctx context.Context, c plan.Carrier, cfg carrierConfig) (carrier, error) {
	switch {
	case c.Kind == plan.Ext4:
		return ext4.Open(c.Name, ext4.Config{Jobs: cfg.Jobs, Owner: cfg.Owner, Include: cfg.Include, Exclude: cfg.Exclude, Leave: cfg.Leave, TempDir: cfg.TempDir, EveryName: cfg.EveryName})
	case c.Kind.IsImage():
		return oci.Open(ctx, imageRef(c), p.Stdin, cfg.Config)
	case c.Kind == plan.RPM:
		return openPackages([]string{c.Name}, cfg.Config.Config, rpms.Config{})
	}
	return tarball.Open(c.Name, p.Stdin, cfg.Config.Config)
}

// openCarrier opens what holds the files of the run, and what is written.
func (s *session) openCarrier(ctx context.Context, named plan.Carrier) error {
	cfg := carrierConfig{Config: oci.Config{Flat: s.options.flat || s.plan.Exports()}, EveryName: s.options.everyName}
	cfg.Jobs, cfg.Leave, cfg.TempDir = max(s.plan.Jobs, s.options.inFlight), s.options.leave, s.plan.TempDir
	w := s.walking()
	cfg.Owner, cfg.Include, cfg.Exclude = w.Owner, w.Include, w.Exclude
	if s.options.oneFinder {
		cfg.Jobs = 1
	}
	var c carrier
	var err error
	if names, ok := s.plan.Packages(); ok {
		c, err = openPackages(names, cfg.Config.Config, rpms.Config{Content: s.options.packages.payloads, Mend: s.options.packages.mend})
	} else {
		c, err = s.program.openCarrier(ctx, named, cfg)
	}
	if err != nil {
		return err
	}
	if s.carrier = c; !s.plan.Writes() {
		return nil
	}
	switch c := c.(type) {
	case *tarball.Archive:
		s.written, err = s.newArchive(ctx, c)
	case *oci.Image:
		s.written, err = s.newImage(ctx, c)
	case *ext4.Image:
		s.written, err = s.newExt4(ctx, c)
	case *rpms.Packages:
		s.written, err = s.newPackages(ctx, c)
	}
	return err
}

// newExt4 opens the image of a file system that is written.
func (s *session) newExt4(ctx context.Context, old *ext4.Image) (tree.Sink, error) {
	sink, err := old.NewSink(ctx, ext4.Output{Path: s.plan.Output, InPlace: s.plan.Output == ""})
	if err != nil {
		return nil, err
	}
	return sink, nil
}

// newImage opens the image that is written.
func (s *session) newImage(ctx context.Context, old *oci.Image) (tree.Sink, error) {
	o := oci.Output{InPlace: s.plan.InPlace}
	if to, ok := plan.CarrierOf(s.plan.Output); ok {
		o.Ref = imageRef(to)
	}
	var err error
	if s.plan.ToStd() {
		if o.Stdout, err = s.stdout(); err != nil {
			return nil, err
		}
	}
	sink, err := old.NewSink(ctx, o)
	if err != nil {
		return nil, err
	}
	return sink, nil
}

// stdout returns standard output, if an archive may go there.
func (s *session) stdout() (*os.File, error) {
	stdout, ok := s.program.Stdout.(*os.File)
	if !ok || isTerminal(stdout) {
		return nil, errTerminal
	}
	return stdout, nil
}

// newArchive opens the archive that is written.
func (s *session) newArchive(ctx context.Context, old *tarball.Archive) (tree.Sink, error) {
	o := tarball.Output{Path: s.plan.Output, InPlace: s.plan.InPlace}
	if s.plan.Compression != "" {
		f, err := compress.Parse(s.plan.Compression)
		if err != nil {
			return nil, err
		}
		o.Compression = &f
	}
	if o.Path == "-" {
		var err error
		if o.Stdout, err = s.stdout(); err != nil {
			return nil, err
		}
	}
	sink, err := old.NewSink(ctx, o)
	if err != nil {
		return nil, err
	}
	return sink, nil
}

// errTerminal says that an archive would go to a terminal.
var errTerminal = &advisedError{err: errors.New("standard output is a terminal, and an archive is nothing to look at"), code: "terminal", advice: "--output FILE, or a pipe"}

// each prints what is to be said of files: what file returns of each name, and
// entry of each file of an archive, in the archive's order. Errors, which name the
// file, are printed too, and end nothing; what is wrong with an archive ends only
// what is said of that.
func (p Program) each(ctx context.Context, names []string, file func(name string) (string, error), entry func(tree.File) (string, error)) error {
	failed, hinted := false, make(map[string]bool)
	say := func(text string, err error) error {
		if err != nil {
			failed = true
			p.complain(err, hinted)
			return nil
		}
		return p.print(text)
	}
	of := func(f tree.Found) error {
		switch {
		case f.Err != nil:
			return say("", fmt.Errorf("%s: %w", report.Quote(f.Path), f.Err))
		case f.File == nil:
			return nil
		}
		defer f.File.Close()
		return say(entry(f.File))
	}
	for _, name := range names {
		c, ok := plan.CarrierOf(name)
		if !ok {
			if err := say(file(name)); err != nil {
				return err
			}
			continue
		}
		var unsaid error
		err := p.eachEntry(ctx, c, func(f tree.Found) error { unsaid = of(f); return unsaid })
		switch {
		case unsaid != nil:
			return unsaid
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			say("", err)
		}
	}
	if failed {
		return &verdictError{status: exitFiles}
	}
	return nil
}

func (p Program) eachEntry(ctx context.Context, named plan.Carrier, visit func(tree.Found) error) error {
	c, err := p.openCarrier(ctx, named, carrierConfig{Config: oci.Config{Config: tarball.Config{Jobs: 1}}})
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Walk(ctx, visit)
}
