package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/pcr"
)

func read(t testing.TB, name string) []byte {
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFirmware replays what a firmware has logged, and compares that with the PCRs.
func TestFirmware(t *testing.T) {
	got, err := Replay(bytes.NewReader(read(t, "seabios.events")))
	if err != nil {
		t.Fatal(err)
	}
	want, err := pcr.ParseText(read(t, "seabios.pcrs"), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, bank := range []hash.Algorithm{hash.SHA1, hash.SHA256} {
		for i := range 10 {
			have, _ := got.Value(bank, i)
			if value, ok := want.Value(bank, i); !ok || value != have {
				t.Errorf("PCR %d is %s, want %s", i, have, value)
			}
		}
	}
}

var le = binary.LittleEndian

// legacy is an event of the old form.
func legacy(index, kind uint32, data string) []byte {
	d, _ := hash.Sum(hash.SHA1, []byte(data))
	b := le.AppendUint32(le.AppendUint32(nil, index), kind)
	b = le.AppendUint32(d.AppendTo(b), uint32(len(data)))
	return append(b, data...)
}

// agile is an event of the new form, with digests of SHA-256 and of an unknown algorithm.
func agile(index, kind uint32, data string) []byte {
	d, _ := hash.Sum(hash.SHA256, []byte(data))
	b := le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, index), kind), 2)
	b = d.AppendTo(le.AppendUint16(b, 0x0b))
	b = append(le.AppendUint16(b, 0x77), "xyz"...)
	b = le.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

const header = specID + "\x00\x00\x00\x00\x00\x02\x00\x02" + "\x02\x00\x00\x00" + "\x0b\x00\x20\x00" + "\x77\x00\x03\x00" + "\x00"

func extended(bank hash.Algorithm, start byte, all ...string) hash.Digest {
	b := make([]byte, bank.Size())
	b[len(b)-1] = start
	d, _ := hash.NewDigest(bank, b)
	for _, data := range all {
		with, _ := hash.Sum(bank, []byte(data))
		d, _ = pcr.Extend(d, with)
	}
	return d
}

func TestForms(t *testing.T) {
	for _, c := range []struct {
		name string
		log  [][]byte
		bank hash.Algorithm
		want hash.Digest // of PCR 0
	}{
		{"legacy", [][]byte{legacy(0, 1, "a"), legacy(4, 5, "b"), legacy(0, 3, "not"), legacy(0, 8, "c")}, hash.SHA1, extended(hash.SHA1, 0, "a", "c")},
		{"agile", [][]byte{legacy(0, 3, header), agile(0, 1, "a"), agile(0xffffffff, 3, "not"), agile(0, 8, "c"), agile(18, 8, "d")}, hash.SHA256, extended(hash.SHA256, 0, "a", "c")},
		{"locality", [][]byte{legacy(0, 3, header), agile(0, 3, startupLocality+"\x03"), agile(0, 1, "a")}, hash.SHA256, extended(hash.SHA256, 3, "a")},
		{"nothing", [][]byte{legacy(0, 3, header)}, hash.SHA256, extended(hash.SHA256, 0)},
	} {
		v, err := Replay(bytes.NewReader(bytes.Join(c.log, nil)))
		if got, ok := v.Value(c.bank, 0); err != nil || !ok || got != c.want || len(v.Banks()) != 1 {
			t.Errorf("%s: %s, %v, want %s", c.name, got, err, c.want)
		}
	}
}

func TestDamage(t *testing.T) {
	start := legacy(0, 3, header)
	two := append(append([]byte(nil), start...), agile(0, 1, "a")...)
	for n := range two {
		v, err := Replay(bytes.NewReader(two[:n]))
		wrong, ok := errors.AsType[*EventError](err)
		switch {
		case n == 0 && err != nil && v == nil, n == len(start) && err == nil:
		case !ok || v != nil || (wrong.Number == 2) != (n > len(start)):
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	change := func(at int, with string) []byte {
		b := append([]byte(nil), two...)
		copy(b[at:], with)
		return b
	}
	list := 32 + len(specID) // the sizes and versions, and then the algorithms
	for want, log := range map[string][]byte{
		"event 1 (at byte 0): 0 algorithms":                      change(list+8, "\x00"),
		"17 algorithms, which its 9 bytes cannot have":           change(list+8, "\x11"),
		"digests of algorithm 0xb with 31 bytes":                 change(list+14, "\x1f"),
		"digests of algorithm 0x77 with 0 bytes":                 change(list+18, "\x00\x00"),
		"PCR index 24, and the highest is 23":                    change(len(start), "\x18"),
		"3 digests, and the log has 2 algorithms":                change(len(start)+8, "\x03"),
		"a digest of algorithm 0xc, which the log does not have": change(len(start)+12, "\x0c"),
		"an event of 4278190081 bytes, which is more than":       change(len(two)-2, "\xff"),
		"a StartupLocality that is no byte":                      append(two, agile(0, 3, startupLocality+"\x03")...),
		"event 1 (at byte 0): the list of its algorithms is cut": legacy(0, 3, specID+"\x00"),
		"event 3 (at byte ":                                      append(two, 1),
		"event 1 (at byte 0): the log ends in the middle of it":  []byte("hello"),
		"event 1 (at byte 0): an event of 1701995880 bytes":      []byte(strings.Repeat("other words here", 10)),
	} {
		if v, err := Replay(bytes.NewReader(log)); err == nil || v != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func FuzzReplay(f *testing.F) {
	f.Add(read(f, "seabios.events"))
	f.Add(append(legacy(0, 3, header), agile(0, 1, "a")...))
	f.Fuzz(func(t *testing.T, log []byte) {
		v, err := Replay(bytes.NewReader(log))
		if (err == nil) != (len(v) > 0) && err == nil && bytes.Contains(log, []byte(specID)) {
			return // only algorithms that are not known
		} else if (err == nil) != (len(v) > 0) {
			t.Fatalf("%v, %v", v, err)
		}
	})
}
