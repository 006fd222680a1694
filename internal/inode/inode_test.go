package inode

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/treetest"
)

func TestParseUUID(t *testing.T) {
	const text = "11223344-5566-7788-99aa-bbccddeeff00"
	want := [16]byte{0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0}
	for _, s := range []string{text, strings.ToUpper(text), strings.ReplaceAll(text, "-", "")} {
		if got, err := ParseUUID(s); err != nil || got != want {
			t.Errorf("%s: %x, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "1122", text + "0", text + "00", "g" + text[1:], "A1B2-C3D4"} {
		if got, err := ParseUUID(s); err == nil || got != [16]byte{} {
			t.Errorf("%q: %x, %v", s, got, err)
		}
	}
}

// What the kernel tells of a file is what the tools of its file system were told.
func TestKernelTells(t *testing.T) {
	const uuid = "11223344-5566-7788-99aa-bbccddeeff00"
	want, err := ParseUUID(uuid)
	if err != nil {
		t.Fatal(err)
	}
	for fstype, option := range map[string]string{"ext4": "-U" + uuid, "xfs": "-muuid=" + uuid, "tmpfs": "mode=0755"} {
		t.Run(fstype, func(t *testing.T) {
			f, err := os.Create(filepath.Join(treetest.Mount(t, fstype, 320, option), "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, uuidErr := UUID(f)
			generation, err := Generation(f)
			if fstype == "tmpfs" { // which makes a UUID up at each mount, and no generations
				if !errors.Is(err, unix.ENOTTY) {
					t.Errorf("generation %d, %v", generation, err)
				}
				return
			}
			if uuidErr != nil || got != want {
				t.Errorf("UUID %x, %v", got, uuidErr)
			}
			if err != nil || generation == 0 {
				t.Errorf("generation %d, %v", generation, err)
			}
			if _, _, err := VerityDigest(f); err == nil {
				t.Error("a verity digest of a file without")
			}
			if err := SetFlags(f, Immutable); err != nil {
				t.Fatal(err)
			}
			if flags, err := Flags(f); err != nil || flags&Immutable == 0 {
				t.Errorf("flags %x, %v", flags, err)
			}
			if err := SetFlags(f, 0); err != nil {
				t.Fatal(err)
			}
		})
	}
}
