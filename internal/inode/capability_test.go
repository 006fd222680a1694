package inode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

// capability is a value of a revision, effective, with one capability.
func capability(revision uint32, root ...uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, revision|1)
	b = binary.LittleEndian.AppendUint32(b, 1<<13)
	b = append(b, make([]byte, 12)...)
	for _, r := range root {
		b = binary.LittleEndian.AppendUint32(b, r)
	}
	return b
}

// TestCapability writes values that getxattr shows as they are, and one that it
// does not, beside attributes that leave no room for them in the inode.
func TestCapability(t *testing.T) {
	const small = 1024 // what blocks hold of all attributes together
	v2, v3, foreign := capability(capRevision2), capability(capRevision3, 0), capability(capRevision3, 1000)
	for name, fs := range map[string]struct {
		fstype    string
		mebibytes int
		options   []string
	}{
		"ext4":                        {"ext4", 32, []string{"-I 256 -b 4096"}},
		"ext4, inodes of one block":   {"ext4", 32, []string{"-I 1024 -b 1024"}},
		"ext4, no room in the inodes": {"ext4", 32, []string{"-I 128 -b 4096"}},
		"xfs":                         {"xfs", 320, nil},
		"btrfs":                       {"btrfs", 128, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := treetest.Mount(t, fs.fstype, fs.mebibytes, fs.options...)
			n := 0
			for _, want := range [][]byte{v2, v3, foreign} {
				for _, beside := range []int{0, 20, 60, 100, 300, 600, 1500} {
					if 2*beside > small && strings.Contains(name, "one block") {
						continue
					}
					name := filepath.Join(dir, fmt.Sprint(n))
					n++
					set := func(attr string, value []byte) {
						if err := unix.Setxattr(name, attr, value, 0); err != nil {
							t.Fatalf("%s: %v", attr, err)
						}
					}
					if err := os.WriteFile(name, []byte("x"), 0o755); err != nil {
						t.Fatal(err)
					}
					if beside > 0 { // some of these come first, and some behind
						set("user.a", bytes.Repeat([]byte{1}, beside))
						set("user.capability", make([]byte, 24))
					}
					set("security.capability", want)
					if beside > 0 {
						set("security.selinux", bytes.Repeat([]byte{2}, beside))
					}
					f, err := os.Open(name)
					if err != nil {
						t.Fatal(err)
					}
					shown := make([]byte, 64)
					size, err := unix.Fgetxattr(int(f.Fd()), "security.capability", shown)
					if err != nil {
						t.Fatal(err)
					}
					got, err := Capability(f, shown[:size])
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bytes beside: shown %x, held %x, %v; want %x", beside, shown[:size], got, err, want)
					}
					if bytes.Equal(want, v3) && size != capSize2 {
						t.Errorf("this kernel shows %x", shown[:size])
					}
					f.Close()
				}
			}
			bare := filepath.Join(dir, "bare")
			if err := os.WriteFile(bare, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(bare)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got, err := Capability(f, v2); !errors.Is(err, ErrUnseen) || got != nil { // it was removed since
				t.Errorf("without capabilities: %x, %v", got, err)
			}
		})
	}
}

// TestCapabilityElsewhere: of other file systems only what getxattr shows as it is.
func TestCapabilityElsewhere(t *testing.T) {
	dir := treetest.Mount(t, "tmpfs", 1)
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := Capability(f, capability(capRevision2)); !errors.Is(err, ErrUnseen) || got != nil {
		t.Errorf("%x, %v", got, err)
	}
	for _, shown := range [][]byte{nil, {}, {1, 2}, capability(capRevision3, 7), capability(0x01000000)[:12]} {
		if got, err := Capability(f, shown); err != nil || !bytes.Equal(got, shown) {
			t.Errorf("%x: %x, %v", shown, got, err)
		}
	}
}

func FuzzExt4Find(f *testing.F) {
	area := []byte{0, 0, 2, 0xea, 10, 6, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0}
	f.Add(append(append(area, "capability"...), 0, 0, 0, 0, 0, 0), 4)
	f.Add([]byte{0, 0, 2, 0xea}, 32)
	f.Fuzz(func(t *testing.T, area []byte, header int) {
		if header != ext4InodeHeader && header != ext4BlockHeader {
			return
		}
		if size, err := ext4Find(area, header); err != nil && size != 0 {
			t.Fatalf("%d with %v", size, err)
		}
	})
}
