package advice

import (
	"errors"

	"golang.org/x/sys/unix"

	"imaseal/internal/compress"
	"imaseal/internal/reason"
	"imaseal/internal/stream"
	"imaseal/internal/tarfile"
	"imaseal/internal/tree/dump"
	"imaseal/internal/tree/tarball"
)

// ofArchive is about archives, and what is written of them.
func ofArchive(err error) (reason.Code, string) {
	foreign, isForeign := errors.AsType[*compress.ForeignError](err)
	truncated, isTruncated := errors.AsType[*tarfile.TruncatedError](err)
	switch {
	case errors.Is(err, tarball.ErrSameFile):
		return "same-file", "--in-place replaces the archive, --output names another file"
	case errors.Is(err, tarball.ErrNoFile):
		return "no-file", "--output FILE, or - for standard output"
	case errors.Is(err, stream.ErrWritten):
		return "changing", "wait until it is complete, or stop what has it open (fuser FILE names it), and run the same command again"
	case is[*tarball.LinkError](err):
		return "link-target", "select the other name, too; the label goes there"
	case isForeign && foreign.Program != "":
		return "foreign-format", foreign.Program + " -dc FILE | imaseal ... tar:-"
	case isForeign, is[*tarball.NestedError](err):
		return "foreign-format", "unpack it, and give what is a tar archive"
	case isTruncated && truncated.NoEnd:
		return "truncated", "it may not be complete; if it is, its program wrote no end: head -c 1024 /dev/zero >>FILE adds one"
	case isTruncated:
		return "truncated", "the archive is not complete: copy or make it again"
	case is[*dump.NameError](err):
		return "unwritable-name", "rename the file, or leave it out with --exclude; --labels-format json and setfattr write such names"
	case is[*stream.SpoolError](err):
		return "temporary-file", "--tmpdir names a directory with more room"
	case is[*stream.OutputError](err) && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)):
		return reason.NoSpace, "free some space, or name an --output elsewhere; nothing was left"
	case is[*stream.OutputError](err) && errors.Is(err, unix.EROFS):
		return reason.ReadOnly, ReadOnlyFile
	case is[*stream.OutputError](err):
		return "output", ""
	case is[*tarfile.UnsupportedError](err):
		return "unsupported-archive", "GNU tar or bsdtar make an archive of the same files that all programs read: --format=posix"
	case is[*tarfile.FormatError](err), is[*compress.DataError](err):
		return "damaged-archive", ""
	}
	return "", ""
}
