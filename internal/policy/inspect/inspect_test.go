package inspect

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/policy/match"
)

// elf is the beginning of an ELF file of a type, in either byte order.
func elf(typ byte, bigEndian bool) string {
	b := []byte("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x00\x00")
	b[16] = typ
	if bigEndian {
		b[5], b[16], b[17] = 2, 0, typ
	}
	return string(b)
}

func TestUses(t *testing.T) {
	for _, c := range []struct {
		name, path, content string
		mode                uint32
		want                []match.Operation
	}{
		{"empty", "etc/x", "", 0o644, nil},
		{"empty and executable", "etc/x", "", 0o755, []match.Operation{match.Script}},
		{"short", "etc/x", "\x7fELF", 0o644, nil},
		{"script", "bin/x", "#!/bin/sh\n", 0o100, []match.Operation{match.Script}},
		{"static program", "bin/x", elf(2, false), 0o755, []match.Operation{match.Exec}},
		{"program", "bin/x", elf(3, false), 0o755, []match.Operation{match.Exec, match.Map}},
		{"library", "lib/x.so", elf(3, false), 0o644, []match.Operation{match.Map}},
		{"library of another byte order", "lib/x.so", elf(3, true), 0o644, []match.Operation{match.Map}},
		{"loader", "lib64/ld-linux-x86-64.so.2", elf(3, false), 0o755, []match.Operation{match.Exec, match.Map, match.Interpreter}},
		{"module", "lib/modules/6.12/x.ko.xz", "xz", 0o644, []match.Operation{match.Module}},
		{"firmware", "usr/lib/firmware/x.bin", "", 0o644, []match.Operation{match.Firmware}},
		{"kernel", "/boot/vmlinuz-6.12", "MZ", 0o644, []match.Operation{match.KexecKernel}},
		{"kernel at home", "home/vmlinuz", "MZ", 0o644, nil},
		{"initramfs", "boot/initrd.img-6.12", "", 0o644, []match.Operation{match.KexecInitramfs}},
		{"policy", "etc/ima/ima-policy", "", 0o644, []match.Operation{match.LoadPolicy}},
		{"certificate", "etc/keys/x509_ima.der", "", 0o644, []match.Operation{match.LoadCertificate}},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := unix.Stat_t{Mode: unix.S_IFREG | c.mode, Size: int64(len(c.content))}
			got, err := Uses(bytes.NewReader([]byte(c.content)), &st, c.path)
			if err != nil || !slices.Equal(got, append([]match.Operation{match.Read}, c.want...)) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestTypeOfMount(t *testing.T) {
	const mounts = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:20 / /proc rw - proc proc rw
230 22 0:41 / /mnt/a\040b rw,user_id=0 shared:2 master:1 - fuse.sshfs host: rw
`
	for id, want := range map[uint64]string{22: "ext4", 23: "proc", 230: "fuse.sshfs", 2: ""} {
		got, err := typeOfMount(strings.NewReader(mounts), id)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("mount %d is of type %q, %v", id, got, err)
		}
	}
}

func TestFileOfTarget(t *testing.T) {
	uuid := [16]byte{1, 2}
	f := &Inspector{Type: "ext4", UUID: &uuid}
	got, err := f.File(nil, &unix.Stat_t{Uid: 3, Gid: 4})
	if err != nil || got.Magic != match.Is[uint32](0xef53) || got.FSName != match.Is("ext4") || got.Subtype != match.Is("") ||
		got.UUID.Value != uuid || got.Owner != match.Is[uint32](3) || got.Group != match.Is[uint32](4) {
		t.Errorf("got %+v, %v", got, err)
	}
}
