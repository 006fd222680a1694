package advice

import (
	"errors"

	"imaseal/internal/reason"
	"imaseal/internal/rpmdb"
	"imaseal/internal/rpmfile"
	"imaseal/internal/tree/rpms"
)

// ofPackage is about RPM packages.
func ofPackage(err error) (reason.Code, string) {
	switch {
	case is[*rpmfile.LabelsError](err):
		return "garbled-labels", "imaseal clear --in-place rpm:FILE removes them, and imaseal sign --key KEY --in-place rpm:FILE makes others"
	case is[*rpmfile.DigestError](err), is[*rpmfile.FormatError](err):
		return "damaged-package", "copy or build it again; rpm -Kv FILE says what rpm makes of it"
	case errors.Is(err, rpmfile.ErrNoPackage):
		return "no-package", ""
	case errors.Is(err, rpmfile.ErrFormat3):
		return "old-package", "rpmbuild of this century makes packages of format 4 or 6 of the same sources"
	case errors.Is(err, rpmfile.ErrSource):
		return reason.SourcePackage, "label the packages that are built of it"
	case errors.Is(err, rpmfile.ErrDelta):
		return "delta-package", "applydeltarpm makes the whole package of it"
	case errors.Is(err, rpmfile.ErrNoDigests):
		return "no-digests", "rpmbuild makes a package with digests of the same sources; or label the files where it is installed"
	case is[*rpmfile.LimitError](err):
		return "too-large", "a P-256 key makes shorter signatures; --include or --rules sign fewer files"
	case is[*rpms.CompressorError](err):
		return "foreign-format", "sign, show and clear do not read the payload; rpmbuild --define '_binary_payload w19.zstdio' makes one that is read"
	case errors.Is(err, rpms.ErrNone):
		return "no-package", "name the directory that they are in; a package of another name is named itself"
	case errors.Is(err, rpms.ErrSameFile):
		return "same-file", "--in-place replaces packages, --output names another file or directory"
	case errors.Is(err, rpms.ErrNotDirectory):
		return "no-directory", "make the directory, and name it with --output; or replace the packages, with --in-place"
	case is[*rpms.TwiceError](err):
		return "same-file", "have one of them in a run of its own"
	case errors.Is(err, rpmdb.ErrNone):
		return "no-database", "rpmdb:DIR names the root directory of the system that has it"
	case errors.Is(err, rpmdb.ErrChanging):
		return "changing", "wait until rpm is done, and run the same command again"
	case errors.Is(err, rpmdb.ErrProgram):
		return "no-program", "install it (Debian: apt-get install rpm), or run this where it is"
	case is[*rpmdb.RPMError](err):
		return "rpm-failed", "rpm --dbpath DIR -qa shows the same; a database of another kind needs the rpm of its system"
	case is[*rpms.AttrError](err):
		return "no-place", "imaseal sign --key KEY --in-place rpm:FILE makes the signatures that a package can hold"
	}
	return "", ""
}
