package partition

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imaseal/internal/treetest"
)

// disk makes an image with a table of partitions by sfdisk, and returns its bytes.
func disk(t testing.TB, script string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	treetest.Sparse(t, path, 8<<20)
	cmd := exec.Command(treetest.Tool(t, "sfdisk"), "-q", path)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func list(b []byte) ([]Partition, error) { return List(bytes.NewReader(b), int64(len(b))) }

func TestList(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		want         []Partition
	}{
		{"gpt", "label: gpt\nstart=2048, size=2048\nstart=4096, size=1024\n7: start=8192, size=100\n", []Partition{{1, 1 << 20, 1 << 20}, {2, 2 << 20, 1 << 19}, {7, 4 << 20, 51200}}},
		{"empty gpt", "label: gpt\n", nil},
		{"gpt of three", "label: gpt\ntable-length: 3\nstart=2048, size=2048\n", []Partition{{1, 1 << 20, 1 << 20}}},
		{"gpt of 4 KiB sectors", "label: gpt\nsector-size: 4096\nstart=256, size=256\n", []Partition{{1, 1 << 20, 1 << 20}}},
		{"mbr", "label: dos\nstart=2048, size=2048, type=83\nstart=4096, size=1000, type=c\n", []Partition{{1, 1 << 20, 1 << 20}, {2, 2 << 20, 512000}}},
		{"mbr with more inside", "label: dos\nstart=2048, size=2048\nstart=4096, size=4096, type=5\n", []Partition{{1, 1 << 20, 1 << 20}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := disk(t, tt.script)
			if tt.name == "gpt of 4 KiB sectors" {
				b = largeSectors()
			}
			got, err := list(b)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("%v, %v", got, err)
			}
			for _, p := range tt.want {
				if got, err := Find(bytes.NewReader(b), int64(len(b)), p.Number); err != nil || got != p {
					t.Errorf("%v, %v", got, err)
				}
			}
			_, err = Find(bytes.NewReader(b), int64(len(b)), 99)
			var number *NumberError
			if !errors.As(err, &number) || len(number.Has) != len(tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// largeSectors makes a disk with sectors of 4 KiB, which sfdisk does not make in a
// file, and a partition of 1 MiB.
func largeSectors() []byte {
	const sector = 4096
	b := make([]byte, 4<<20)
	e := b[2*sector:]
	e[0] = 1
	binary.LittleEndian.PutUint64(e[32:], 256)
	binary.LittleEndian.PutUint64(e[40:], 511)
	h := b[sector:]
	copy(h, gptSignature)
	binary.LittleEndian.PutUint32(h[8:], gptRevision)
	binary.LittleEndian.PutUint32(h[12:], gptHeader)
	binary.LittleEndian.PutUint64(h[24:], 1)
	binary.LittleEndian.PutUint64(h[72:], 2)
	binary.LittleEndian.PutUint32(h[80:], 4)
	binary.LittleEndian.PutUint32(h[84:], gptEntry)
	sum(b, sector)
	return b
}

// sum makes the checksums right.
func sum(b []byte, sector int) {
	h := b[sector:]
	at, size := int(binary.LittleEndian.Uint64(h[72:]))*sector, int(binary.LittleEndian.Uint32(h[80:])*binary.LittleEndian.Uint32(h[84:]))
	if at >= 0 && size >= 0 && at+size <= len(b) {
		binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(b[at:at+size]))
	}
	binary.LittleEndian.PutUint32(h[16:], 0)
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:gptHeader]))
}

func TestTablesThatLie(t *testing.T) {
	gpt := disk(t, "label: gpt\nstart=2048, size=2048\n")
	mbr := disk(t, "label: dos\nstart=2048, size=2048\n")
	const h, e = 512, 1024
	put := func(at int, v uint64) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint64(b[at:], v); sum(b, 512) }
	}
	put32 := func(at int, v uint32) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], v); sum(b, 512) }
	}
	for _, tt := range []struct {
		name   string
		disk   []byte
		change func([]byte)
		want   string
	}{
		{"header", gpt, func(b []byte) { b[h+40]++ }, "(GPT): the checksum of its header"},
		{"entry", gpt, func(b []byte) { b[e+100]++ }, "(GPT): the checksum of its entries"},
		{"entry that is not used", gpt, func(b []byte) { b[e+127*128]++ }, "(GPT): the checksum of its entries"},
		{"revision", gpt, put32(h+8, 2), "revision 0x2"},
		{"header size", gpt, func(b []byte) { b[h+12] = 8 }, "a header of 8 bytes"},
		{"huge header", gpt, func(b []byte) { binary.LittleEndian.PutUint32(b[h+12:], 1<<31) }, "a header of 2147483648 bytes"},
		{"place", gpt, put(h+24, 2), "says that it is in sector 2"},
		{"entry size", gpt, put32(h+84, 100), "entries of 100 bytes"},
		{"no entries", gpt, put32(h+80, 0), "0 entries"},
		{"many entries", gpt, put32(h+80, 1<<31), "2147483648 entries"},
		{"entries before", gpt, put(h+72, 1), "at sector 1, are not on the disk"},
		{"entries behind", gpt, put(h+72, 1<<60), "are not on the disk"},
		{"end first", gpt, put(e+40, 1), "sectors 2048 to 1"},
		{"end outside", gpt, put(e+40, 1<<20), "partition 1 has the sectors 2048 to 1048576"},
		{"far outside", gpt, put(e+40, 1<<63), "partition 1"},
		{"no header", gpt, func(b []byte) { clear(b[512:1024]) }, "only what protects it is there"},
		{"mbr outside", mbr, func(b []byte) { binary.LittleEndian.PutUint32(b[446+8:], 1<<31) }, "(MBR): partition 1"},
		{"mbr long", mbr, func(b []byte) { binary.LittleEndian.PutUint32(b[446+12:], 1<<31) }, "(MBR): partition 1"},
		{"mbr of nothing", mbr, func(b []byte) { binary.LittleEndian.PutUint32(b[446+12:], 0) }, "(MBR): partition 1"},
		{"boot code", mbr, func(b []byte) { b[446] = 0x12 }, "there is no partition table"},
		{"no signature", mbr, func(b []byte) { b[511] = 0 }, "there is no partition table"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := bytes.Clone(tt.disk)
			tt.change(b)
			if _, err := list(b); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	for size := 0; size < 20000; size += 511 {
		if got, err := list(gpt[:size]); err == nil {
			t.Errorf("%d bytes of a disk have %v", size, got)
		}
	}
}

// FuzzGPT reads tables with right checksums.
func FuzzGPT(f *testing.F) {
	b := largeSectors()
	f.Add(b[4096:4096+gptHeader], b[8192:8192+512])
	f.Fuzz(func(t *testing.T, header, entries []byte) {
		b := make([]byte, 64<<10)
		copy(b[512:1024], header)
		copy(b[1024:], entries)
		copy(b[512:], gptSignature)
		sum(b, 512)
		all, err := list(b)
		if err != nil && all != nil {
			t.Error("an error, and partitions")
		}
		for _, p := range all {
			if p.Offset < 0 || p.Size <= 0 || p.Offset+p.Size > int64(len(b)) {
				t.Errorf("%+v is not on the disk", p)
			}
		}
	})
}
