package inspect

import (
	"io"
	"slices"
	"strings"
	"testing"

	"imaseal/internal/policy/match"
	"imaseal/internal/tree"
)

// memory is a file without attributes, and with no more than that.
type memory struct {
	tree.File
	io.ReaderAt
	full string
	meta tree.Meta
}

func (m memory) Full() string                            { return m.full }
func (m memory) Meta() tree.Meta                         { return m.meta }
func (m memory) ReadAt(b []byte, off int64) (int, error) { return m.ReaderAt.ReadAt(b, off) }

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
			meta := tree.Meta{Mode: 0o100000 | c.mode, Size: int64(len(c.content))}
			got, err := Uses(memory{ReaderAt: strings.NewReader(c.content), full: c.path, meta: meta})
			if err != nil || !slices.Equal(got, append([]match.Operation{match.Read}, c.want...)) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestFactsOfPlace(t *testing.T) {
	uuid := [16]byte{1, 2}
	p := Place{Type: "ext4", UUID: &uuid}
	got, err := p.Facts(memory{meta: tree.Meta{UID: 3, GID: 4}})
	if err != nil || got.Magic != match.Is[uint32](0xef53) || got.FSName != match.Is("ext4") || got.Subtype != match.Is("") ||
		got.UUID.Value != uuid || got.Owner != match.Is[uint32](3) || got.Group != match.Is[uint32](4) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Of a file that lies in no file system, and will lie in none that is named,
// nothing is known but its owner.
func TestFactsOfNoPlace(t *testing.T) {
	got, err := Place{}.Facts(memory{meta: tree.Meta{UID: 3}})
	if err != nil || got.Magic.Known || got.FSName.Known || got.Subtype.Known || got.UUID.Known || got.Owner != match.Is[uint32](3) {
		t.Errorf("got %+v, %v", got, err)
	}
}
