package plan

import (
	"slices"
	"strings"
)

// A Kind is one of carriers that hold a tree besides mounted file systems, and
// the word that a PATH begins with, before a colon, which names one. A file of
// such a name is written ./tar:x, as with keys.
type Kind string

// The kinds.
const (
	// Tar is a tar archive.
	Tar Kind = "tar"
	// OCI is an image layout, OCIArchive an archive of one, and DockerArchive one
	// of docker save, as skopeo and podman call them.
	OCI           Kind = "oci"
	OCIArchive    Kind = "oci-archive"
	DockerArchive Kind = "docker-archive"
	// Ext4 is a file system in an image.
	Ext4 Kind = "ext4"
	// RPM is a package, or a directory of them.
	RPM Kind = "rpm"
)

// kinds are all that there are.
var kinds = []Kind{Tar, OCI, OCIArchive, DockerArchive, Ext4, RPM}

// IsImage reports whether it is a kind of container images.
func (k Kind) IsImage() bool { return slices.Contains([]Kind{OCI, OCIArchive, DockerArchive}, k) }

// A Carrier is what a PATH names that is no path of a mounted file system.
type Carrier struct {
	Kind Kind
	Name string // behind the colon; "-" is standard input, or output, but of OCI
	Tag  string // of an image, behind another colon; empty for none
}

// IsStd reports whether it is on standard input, or output.
func (c Carrier) IsStd() bool { return c.Name == "-" && c.Kind != OCI }

// CarrierOf returns what a PATH names, and false if that is a path of a mounted
// file system.
func CarrierOf(path string) (Carrier, bool) {
	word, name, ok := strings.Cut(path, ":")
	for _, k := range kinds {
		if ok && word == string(k) {
			c := Carrier{Kind: k, Name: name}
			if k.IsImage() {
				c.Name, c.Tag, _ = strings.Cut(name, ":")
			}
			return c, true
		}
	}
	return Carrier{}, false
}

// Carrier returns what holds the files of the run, and false if they are on
// mounted file systems.
func (s *Selection) Carrier() (Carrier, bool) {
	for _, path := range s.Paths {
		if c, ok := CarrierOf(path); ok {
			return c, true
		}
	}
	return Carrier{}, false
}

// Archiving says how a run on an archive goes about it.
type Archiving struct {
	// Output is the file that the new archive goes to, "-" standard output; of
	// several packages the directory.
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
			return &ConflictError{o.name + " is about archives, and no PATH names one", "tar:FILE is the archive in FILE, tar:- that on standard input, oci:DIR a container image, ext4:FILE a file system in an image"}
		}
	}
	return nil
}

// checkCarrier returns a *ConflictError for what does not go together with an
// archive, or with none.
func (p Plan) checkCarrier() error {
	c, ok := p.Carrier()
	if !ok {
		return p.Archiving.refuse()
	}
	if err := p.checkPackages(); err != nil {
		return err
	}
	if c.Kind == Ext4 {
		return p.checkExt4(c)
	}
	switch {
	case c.Name == "" && c.Kind.IsImage():
		return &ConflictError{string(c.Kind) + ": names no image", "oci:DIR[:TAG], oci-archive:FILE[:TAG] and docker-archive:FILE[:TAG] are images; a file of this name is written ./" + string(c.Kind) + ":"}
	case c.Name == "":
		return &ConflictError{"tar: names no archive", "tar:FILE is the archive in FILE, tar:- that on standard input; a file of this name is written ./tar:"}
	case len(p.Paths) > 1 && c.Kind != RPM, p.FilesFrom != "":
		return &ConflictError{"an archive is all that a run works on", "name it alone, once for each run"}
	case p.CrossFilesystems:
		return &ConflictError{"--cross-filesystems is of no use with an archive", "leave it out"}
	case p.UndoLog != "":
		return &ConflictError{"an archive needs no undo log: the old one is the way back", "leave out --undo-log, and write a new one with --output"}
	case p.Shard.IsGiven() && p.Writes():
		return &ConflictError{"an archive is written whole, and --shard takes a part of it", "leave out --shard; verify, check and --labels-to take it"}
	case p.LiftImmutable:
		return &ConflictError{"--immutable is of no use with an archive", "leave it out"}
	case p.Output != "" && p.InPlace:
		return &ConflictError{"--output and --in-place contradict each other", "leave out one of them"}
	case p.InPlace && c.IsStd():
		return &ConflictError{"standard input cannot be replaced", "--output FILE, or - for standard output"}
	case p.Writes() && p.Output == "" && !p.InPlace && c.Kind.IsImage():
		return &ConflictError{"an image is not changed where it is", "--output oci:DIR (or another kind of image) writes a new one, --in-place replaces it in one step"}
	case p.Writes() && p.Output == "" && !p.InPlace:
		return &ConflictError{"an archive is not changed where it is", "--output FILE writes a new one (- is standard output), --in-place replaces it in one step"}
	case p.Compression != "" && c.Kind.IsImage():
		return &ConflictError{"--compress is about archives; the layers of an image stay compressed as they are", "leave it out"}
	case p.Compression != "" && p.InPlace:
		return &ConflictError{"--compress would make another kind of file of the archive than its name says", "--output FILE writes a new one"}
	}
	return p.checkOutput(c)
}

// checkOutput returns a *ConflictError if what holds the files cannot be written as the
// output.
func (p Plan) checkOutput(c Carrier) error {
	if p.Output == "" {
		return nil
	}
	to, ok := CarrierOf(p.Output)
	isImage := ok && to.Kind.IsImage()
	switch {
	case c.Kind.IsImage() && !isImage:
		return &ConflictError{"--output does not say which kind of image it is", "--output oci:DIR, oci-archive:FILE or docker-archive:FILE"}
	case !c.Kind.IsImage() && isImage:
		return &ConflictError{"--output is an image, and what is labelled is none", "--output FILE; a file of such a name is written ./" + p.Output}
	case !isImage:
		return nil
	case to.Name == "":
		return &ConflictError{"--output names no image", "--output oci:DIR, oci-archive:FILE or docker-archive:FILE"}
	case (c.Kind == DockerArchive) != (to.Kind == DockerArchive):
		return &ConflictError{"an archive of docker save becomes no other kind of image, nor another kind such an archive", "skopeo copy converts them, before or after: skopeo copy docker-archive:FILE oci:DIR:TAG"}
	case to.Kind == DockerArchive && to.Tag != "":
		return &ConflictError{"an archive of docker save keeps the tags that it has", "leave out the tag of --output; docker tag gives the image another one"}
	}
	return nil
}

// ToStd reports whether the output goes to standard output.
func (a Archiving) ToStd() bool {
	to, ok := CarrierOf(a.Output)
	return a.Output == "-" || ok && to.Kind.IsImage() && to.IsStd()
}
