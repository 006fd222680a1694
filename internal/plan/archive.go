package plan

import "strings"

// archivePrefix is what a PATH begins with that names a tar archive. A file of
// such a name is written ./tar:x, as with keys.
const archivePrefix = "tar:"

// Archiving says how a run on an archive goes about it.
type Archiving struct {
	// Output is the file that the new archive goes to, "-" standard output.
	Output string
	// InPlace replaces the archive that is read.
	InPlace bool
	// Compression is that of the new archive: none, gzip or zstd, "" for that
	// of the old one.
	Compression string
	// TempDir is where contents are kept that wait for their labels, "" for
	// where the system has such files.
	TempDir string
}

// refuse returns a *ConflictError if something is said of an archive.
func (a Archiving) refuse() error {
	for _, o := range []struct {
		name  string
		given bool
	}{{"--output", a.Output != ""}, {"--in-place", a.InPlace}, {"--compress", a.Compression != ""}, {"--tmpdir", a.TempDir != ""}} {
		if o.given {
			return &ConflictError{o.name + " is about archives, and no PATH names one", "tar:FILE is the archive in FILE, tar:- that on standard input"}
		}
	}
	return nil
}

// IsArchive reports whether a PATH names an archive, and returns its file, which
// may be "-" for standard input.
func IsArchive(path string) (file string, ok bool) { return strings.CutPrefix(path, archivePrefix) }

// Archive returns the file of the archive that the run is on, and false if it is
// on none.
func (s *Selection) Archive() (file string, ok bool) {
	for _, path := range s.Paths {
		if file, ok = IsArchive(path); ok {
			return file, true
		}
	}
	return "", false
}

// checkArchive returns a *ConflictError for what does not go together with an
// archive, or with none.
func (p Plan) checkArchive() error {
	file, ok := p.Archive()
	if !ok {
		return p.Archiving.refuse()
	}
	switch {
	case file == "":
		return &ConflictError{"tar: names no archive", "tar:FILE is the archive in FILE, tar:- that on standard input; a file of this name is written ./tar:"}
	case len(p.Paths) > 1, p.FilesFrom != "":
		return &ConflictError{"an archive is all that a run works on", "name it alone, once for each run"}
	case p.CrossFilesystems:
		return &ConflictError{"--cross-filesystems is of no use with an archive", "leave it out"}
	case p.UndoLog != "":
		return &ConflictError{"an archive needs no undo log: the old one is the way back", "leave out --undo-log, and write a new one with --output"}
	case p.LiftImmutable:
		return &ConflictError{"--immutable is of no use with an archive", "leave it out"}
	case p.Output != "" && p.InPlace:
		return &ConflictError{"--output and --in-place contradict each other", "leave out one of them"}
	case p.InPlace && file == "-":
		return &ConflictError{"standard input cannot be replaced", "--output FILE, or - for standard output"}
	case p.Writes() && p.Output == "" && !p.InPlace:
		return &ConflictError{"an archive is not changed where it is", "--output FILE writes a new one (- is standard output), --in-place replaces it in one step"}
	case p.Compression != "" && p.InPlace:
		return &ConflictError{"--compress would make another kind of file of the archive than its name says", "--output FILE writes a new one"}
	}
	return nil
}
