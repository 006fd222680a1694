package extfs

import "fmt"

// features is one of the three sets of features.
type features uint32

func (f features) has(bit features) bool { return f&bit != 0 }

// What the code looks at.
const (
	compatExtAttr      features = 0x8
	compatSparseSuper2 features = 0x200

	incompatFiletype   features = 0x2
	incompatRecover    features = 0x4
	incompatMetaBG     features = 0x10
	incompat64Bit      features = 0x80
	incompatEAInode    features = 0x400
	incompatCsumSeed   features = 0x2000
	incompatLargeDir   features = 0x4000
	incompatInlineData features = 0x8000

	roSparseSuper   features = 0x1
	roGDTCsum       features = 0x10
	roBigalloc      features = 0x200
	roMetadataCsum  features = 0x400
	roOrphanPresent features = 0x10000

	// Those of ext2 and ext3.
	oldIncompat = incompatFiletype | incompatRecover | incompatMetaBG
	oldRoCompat = roSparseSuper | 0x2
)

// A feature is one that has a name.
type feature struct {
	name string
	// unread says that files cannot be read with it; unwritten that attributes
	// cannot be changed.
	unread, unwritten bool
}

// Features have the names of e2fsprogs (lib/e2p/feature.c).
var (
	compatNames = map[features]feature{
		0x1: {name: "dir_prealloc"}, 0x2: {name: "imagic_inodes", unread: true}, 0x4: {name: "has_journal"}, 0x8: {name: "ext_attr"},
		0x10: {name: "resize_inode"}, 0x20: {name: "dir_index"}, 0x40: {name: "lazy_bg", unread: true}, 0x100: {name: "snapshot_bitmap", unread: true},
		0x200: {name: "sparse_super2"}, 0x400: {name: "fast_commit"}, 0x800: {name: "stable_inodes"}, 0x1000: {name: "orphan_file"},
	}
	incompatNames = map[features]feature{
		0x1: {name: "compression", unread: true}, 0x2: {name: "filetype"}, 0x4: {name: "needs_recovery"}, 0x8: {name: "journal_dev", unread: true},
		0x10: {name: "meta_bg"}, 0x40: {name: "extent"}, 0x80: {name: "64bit"}, 0x100: {name: "mmp", unwritten: true}, 0x200: {name: "flex_bg"},
		0x400: {name: "ea_inode"}, 0x1000: {name: "dirdata", unread: true}, 0x2000: {name: "metadata_csum_seed"}, 0x4000: {name: "large_dir"},
		0x8000: {name: "inline_data"}, 0x10000: {name: "encrypt"}, 0x20000: {name: "casefold"},
	}
	roCompatNames = map[features]feature{
		0x1: {name: "sparse_super"}, 0x2: {name: "large_file"}, 0x8: {name: "huge_file"}, 0x10: {name: "uninit_bg"}, 0x20: {name: "dir_nlink"},
		0x40: {name: "extra_isize"}, 0x80: {name: "snapshot", unread: true}, 0x100: {name: "quota", unwritten: true}, 0x200: {name: "bigalloc"},
		0x400: {name: "metadata_csum"}, 0x800: {name: "replica", unread: true}, 0x1000: {name: "read-only", unwritten: true}, 0x2000: {name: "project"},
		0x4000: {name: "shared_blocks", unwritten: true}, 0x8000: {name: "verity"}, 0x10000: {name: "orphan_present"},
	}
)

// list returns the names of the features in a set that are as asked for. Those
// without a name have one by their number, as e2fsprogs prints it.
func (f features) list(names map[features]feature, letter byte, want func(feature) bool) []string {
	var found []string
	for n := range 32 {
		bit := features(1) << n
		if !f.has(bit) {
			continue
		}
		known, ok := names[bit]
		if !ok {
			known = feature{name: fmt.Sprintf("FEATURE_%c%d", letter, n), unread: true}
		}
		if want(known) {
			found = append(found, known.name)
		}
	}
	return found
}

func (s *super) list(want func(feature) bool) []string {
	found := s.compat.list(compatNames, 'C', want)
	found = append(found, s.incompat.list(incompatNames, 'I', want)...)
	return append(found, s.roCompat.list(roCompatNames, 'R', want)...)
}

// checkFeatures refuses features with which files cannot be read.
func (s *super) checkFeatures() error {
	if names := s.list(func(f feature) bool { return f.unread }); names != nil {
		return &FeatureError{Names: names}
	}
	return nil
}

// CheckWritable returns a *FeatureError if attributes cannot be changed with the
// features that the file system has, or has not.
func (fs *FS) CheckWritable() error {
	if names := fs.super.list(func(f feature) bool { return f.unwritten }); names != nil {
		return &FeatureError{Names: names, Writing: true}
	}
	if !fs.super.compat.has(compatExtAttr) && !fs.super.incompat.has(incompatInlineData) {
		return ErrNoAttrs
	}
	return nil
}
