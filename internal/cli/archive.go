package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
)

// An archiveKind is a kind of file that holds other files. A label of such a file
// is that of the file itself, which who names one on the command line seldom
// means.
type archiveKind struct {
	name  string
	magic string
	at    int64
}

// archiveKinds are known by their content. Sources: tar(5) of libarchive, RFC 1952,
// RFC 8878, Documentation/filesystems/squashfs.rst, fs/erofs/erofs_fs.h,
// fs/ext4/ext4.h, APPNOTE.TXT of zip, rpm's lib/rpmlead.h.
var archiveKinds = []archiveKind{
	{"a " + tarKind, "ustar", 257},
	{"a squashfs image", "hsqs", 0},
	{"an erofs image", "\xe2\xe1\xf5\xe0", 1024},
	{ext4Kind, "\x53\xef", 1080},
	{"an xfs image", "XFSB", 0},
	{diskKind, "EFI PART", 512},
	{"an ISO 9660 image", "CD001", 0x8001},
	{"a cpio archive", "070701", 0},
	{rpmKind, "\xed\xab\xee\xdb", 0},
	{"a Debian package", "!<arch>\ndebian-binary", 0},
	{"a zip archive", "PK\x03\x04", 0},
}

// What can be labelled without being unpacked or mounted.
const (
	tarKind  = "tar archive"
	ext4Kind = "an ext4 image"
	diskKind = "a disk image"
	rpmKind  = "an RPM package"
)

// packedNames are how archives end that are compressed as a whole: of what is in
// them the first bytes tell nothing.
var packedNames = []string{".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tar.bz2"}

// archive says what kind of archive or image a file is, "" if it is none.
func archive(name string, content io.ReaderAt) string {
	for _, suffix := range packedNames {
		if strings.HasSuffix(strings.ToLower(name), suffix) {
			return "a compressed " + tarKind
		}
	}
	for _, k := range archiveKinds {
		b := make([]byte, len(k.magic))
		if n, _ := content.ReadAt(b, k.at); n == len(b) && string(b) == k.magic {
			return k.name
		}
	}
	return ""
}

// spelling says how the files in such a thing are named, where they can be.
func spelling(what string) string {
	switch {
	case strings.HasSuffix(what, tarKind):
		return ", which tar:FILE names"
	case what == ext4Kind:
		return ", which ext4:FILE names"
	case what == rpmKind:
		return ", which rpm:FILE names"
	case what == diskKind:
		return "; ext4:FILE@pNUMBER names a partition"
	}
	return ""
}

// isImageLayout reports whether a directory is one of a container image: see
// image-layout.md of the OCI image specification.
func isImageLayout(dir string) bool {
	info, err := os.Lstat(filepath.Join(dir, "oci-layout"))
	return err == nil && info.Mode().IsRegular()
}
