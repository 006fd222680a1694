package measure

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/pcr"
)

func readFile(t testing.TB, name string) []byte {
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// records reads a list to its end, without errors.
func records(t testing.TB, list []byte, l Layout) []Record {
	t.Helper()
	r, err := Open(bytes.NewReader(list), l)
	if err != nil {
		t.Fatal(err)
	}
	var all []Record
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rec)
	}
}

// kernelLists are lists that kernels made, without their ends .bin and .ascii.
func kernelLists(t testing.TB) []string {
	names, err := filepath.Glob("testdata/*.bin")
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	for i, name := range names {
		names[i] = strings.TrimSuffix(filepath.Base(name), ".bin")
	}
	return names
}

func TestKernelLists(t *testing.T) {
	for _, name := range kernelLists(t) {
		t.Run(name, func(t *testing.T) {
			bin, ascii := readFile(t, name+".bin"), readFile(t, name+".ascii")
			inBin, inASCII := records(t, bin, Layout{}), records(t, ascii, Layout{})
			if len(inBin) < 2 || len(inBin) != len(inASCII) || !inBin[0].IsBootAggregate() {
				t.Fatalf("%d and %d records", len(inBin), len(inASCII))
			}
			if l := inBin[0].Layout; l.Form != Binary || "."+l.Bank.String() != filepath.Ext(name) || l.Order != binary.LittleEndian {
				t.Errorf("layout %+v", l)
			}
			var bin2, ascii2 []byte
			for i, rec := range inBin {
				if err := rec.Verify(); err != nil || rec.Fields == nil {
					t.Errorf("record %d: %v", i+1, err)
				}
				if err := inASCII[i].Verify(); err != nil {
					t.Errorf("line %d: %v", i+1, err)
				}
				if !reflect.DeepEqual(rec.Fields, inASCII[i].Fields) || rec.PCR != inASCII[i].PCR || inASCII[i].Line < int64(i+1) { // names have newlines
					t.Errorf("record %d is %s, the line %s", i+1, rec.Name(), inASCII[i].Name())
				}
				var err error
				if bin2, err = rec.AppendBinary(bin2); err != nil {
					t.Error(err)
				}
				if ascii2, err = rec.AppendASCII(ascii2); err != nil {
					t.Error(err)
				}
			}
			if !bytes.Equal(bin, bin2) || !bytes.Equal(ascii, ascii2) {
				t.Error("records are written differently from how they were read")
			}
		})
	}
}

// TestReplay has the values of the specification.
func TestReplay(t *testing.T) {
	p := NewReplay(hash.SHA1, hash.SHA256)
	for _, rec := range records(t, readFile(t, "ima-sigv2.sha1.bin"), Layout{}) {
		p.Add(rec)
	}
	for bank, want := range map[hash.Algorithm]string{
		hash.SHA1:   "sha1:6a5d32a64926d5a9d5e93e2a7071623cedafff24",
		hash.SHA256: "sha256:74d56c35c09aa4d4a1a3f0a0adca6faf6b13a765e87c47fa511101f58b964a0e",
	} {
		if got, ok := p.Value(bank, 10); !ok || got.String() != want || p.Err(bank) != nil {
			t.Errorf("PCR 10 is %s, want %s", got, want)
		}
	}
	if _, ok := p.Value(hash.SHA1, 11); ok {
		t.Error("PCR 11 was not extended")
	}
}

// TestBuffers compares digests in the list with those of what the list has itself.
func TestBuffers(t *testing.T) {
	found := 0
	for _, name := range kernelLists(t) {
		for _, rec := range records(t, readFile(t, name+".bin"), Layout{}) {
			buf, ok := rec.Field("buf")
			if !ok {
				continue
			}
			found++
			d, ok := rec.FileDigest()
			if got, err := hash.Sum(d.Digest.Algorithm(), buf); !ok || err != nil || got != d.Digest {
				t.Errorf("%s: %s: %v, %v", name, rec.Name(), d, got)
			}
		}
	}
	if found == 0 {
		t.Error("no buffers")
	}
}

func TestDamagedExample(t *testing.T) {
	r, err := Open(bytes.NewReader(readFile(t, "rhel8-example.ascii")), Layout{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		rec, err := r.Next()
		// The document shows a digest of the TPM with the template digest of zeros.
		if wrong := rec.Verify(); err != nil || (wrong != nil) != (i == 0) {
			t.Errorf("record %d: %v, %v", i+1, err, wrong)
		}
	}
	rec, err := r.Next()
	const want = "record 5 (line 5, column 81): field d-ng: 's' is no hexadecimal digit"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if rec.PCR != 10 || rec.Template != "ima-ng" || hex.EncodeToString(rec.Digest) != "a4c7964b6581dcf3aa5495dc94a17bb7ee82554c" {
		t.Errorf("%+v", rec)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
}

// make is a record with right digests.
func makeRecord(t testing.TB, l Layout, template string, values ...string) Record {
	r := &Reader{layout: l}
	rec := Record{Layout: l, PCR: 10, Template: template}
	ids := FieldIDs(template)
	var all [][]byte
	for i, v := range values {
		b, _, err := r.parseField(ids[i], v)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	rec.setFields(ids, all)
	d, err := rec.TemplateDigest(l.Bank)
	if err != nil {
		t.Fatal(err)
	}
	rec.Digest = d.Bytes()
	return rec
}

func appendRecord(t testing.TB, list []byte, rec Record) []byte {
	write := rec.AppendBinary
	if rec.Layout.Form == ASCII {
		write = rec.AppendASCII
	}
	list, err := write(list)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

const (
	sum1   = "sha1:ddee6004dc3bd4ee300406cd93181c5a2187b59b"
	sum256 = "sha256:1dc631c999cab4588e57c216e46cd10a8e6302520d7961deda605a3c87b2cba4"
)

// TestLayouts has lists of all forms, banks and orders found out by themselves.
func TestLayouts(t *testing.T) {
	for _, form := range []Form{Binary, ASCII} {
		for _, bank := range pcr.Banks() {
			for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
				l := Layout{form, bank, order}
				t.Run(fmt.Sprint(form, bank, order), func(t *testing.T) {
					var list []byte
					for _, rec := range []Record{
						makeRecord(t, l, "ima-ng", sum256, "boot_aggregate"),
						makeRecord(t, l, "ima", strings.TrimPrefix(sum1, "sha1:"), "/bin/x"),
						makeRecord(t, l, "ima-sigv2", "verity:"+sum256, "/bin/x", ""),
						makeRecord(t, l, "d-ng|n-ng|imode|iuid", sum256, "/bin/x", "33188", "1000"),
					} {
						list = appendRecord(t, list, rec)
					}
					all := records(t, list, Layout{})
					if len(all) != 4 || all[0].Layout != l {
						t.Fatalf("%d records, layout %v", len(all), all[0].Layout)
					}
					var again []byte
					for _, rec := range all {
						if err := rec.Verify(); err != nil {
							t.Error(err)
						}
						again = appendRecord(t, again, rec)
					}
					if !bytes.Equal(list, again) {
						t.Errorf("%q\n%q", list, again)
					}
					if mode, ok := all[3].Uint("imode"); !ok || mode != 33188 {
						t.Error(mode)
					}
					if d, ok := all[2].FileDigest(); !ok || d.Kind != KindVerity || d.Digest.String() != sum256 {
						t.Error(d)
					}
					if d, ok := all[1].FileDigest(); !ok || d.Digest.String() != sum1 || all[1].Name() != "/bin/x" {
						t.Error(d)
					}
				})
			}
		}
	}
}

func TestGivenLayout(t *testing.T) {
	want := Layout{Binary, hash.SM3, binary.BigEndian}
	list := appendRecord(t, nil, makeRecord(t, want, "ima-ng", sum256, "/x"))
	for _, given := range []Layout{{}, want, {Bank: hash.SM3}, {Order: binary.BigEndian}, {Form: Binary}} {
		if got := records(t, list, given)[0]; got.Layout != want || got.Verify() != nil {
			t.Errorf("%v gives %v", given, got.Layout)
		}
	}
	for _, given := range []Layout{{Form: ASCII}, {Bank: hash.SHA1}, {Order: binary.LittleEndian}, {Bank: hash.SHA224}} {
		r, err := Open(bytes.NewReader(list), given)
		if format := new(FormatError); !errors.As(err, &format) {
			t.Errorf("%v: %v, %v", given, r, err)
		}
	}
}

func TestNotLists(t *testing.T) {
	for _, text := range []string{"x", "\n", "hello, world\n", "\x7fELF\x02\x01\x01\x00", strings.Repeat("\x00", 100), strings.Repeat("\xff", 100), "10 00 ima-ng\n", "\x1f\x8b\x08\x00"} {
		r, err := Open(strings.NewReader(text), Layout{})
		if text == "\n" && err == nil { // as good as empty
			continue
		}
		if format := new(FormatError); !errors.As(err, &format) {
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
	if got := records(t, nil, Layout{}); len(got) != 0 {
		t.Error("an empty list has records")
	}
}

// TestCut cuts lists at each byte.
func TestCut(t *testing.T) {
	whole := readFile(t, "ima.sha1.bin")
	all := records(t, whole, Layout{})
	starts := make(map[int]int)
	for i, rec := range all {
		starts[int(rec.Offset)] = i
	}
	l := all[0].Layout
	for n := range len(whole) {
		if n > 2000 && n%7 != 0 {
			continue
		}
		r := &Reader{in: newBuffer(whole[:n]), layout: l}
		count := 0
		var err error
		for err == nil {
			if _, err = r.Next(); err == nil {
				count++
			}
		}
		if i, ok := starts[n]; ok {
			if err != io.EOF || count != i {
				t.Errorf("cut at %d: %d records, %v", n, count, err)
			}
			continue
		}
		end := new(EndError)
		wrong := new(RecordError)
		if !errors.As(err, &end) || !errors.As(err, &wrong) || !wrong.Last || wrong.Number != int64(count+1) {
			t.Errorf("cut at %d: %d records, %v", n, count, err)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("behind the end: %v", err)
		}
	}
}

// TestLies has binary records that are wrong.
func TestLies(t *testing.T) {
	le := binary.LittleEndian
	u := func(n uint32) string { return string(le.AppendUint32(nil, n)) }
	sum := strings.Repeat("d", 20)
	head := u(10) + sum + u(6) + "ima-ng"
	dng := func(v string) string { return u(uint32(len(v))) + v }
	good := dng("sha1:\x00"+sum) + dng("/x\x00")
	for _, c := range []struct {
		list, want string
		last       bool
	}{
		{u(64), "PCR index 64, and the highest is 63", true},
		{u(10) + sum + u(0), "a template's name of 0 bytes; it has 1 to 255", true},
		{u(10) + sum + u(256), "a template's name of 256 bytes", true},
		{u(10) + sum + u(3) + "a\x00b", "is no template's name", true},
		{head + u(MaxData+1), "data of 16777217 bytes", true},
		{head + u(MaxData) + "x", "the list ends in the middle of its data", true},
		{head + dng(""), "the data end before field d-ng", false},
		{head + dng(u(50)+"x"), "field d-ng is to have 50 bytes, and there are 1", false},
		{head + dng(good+"x"), "1 bytes behind the last field", false},
		{head + dng(dng("sha1:\x00"+sum+"x")+dng("/x\x00")), "field d-ng: a digest of sha1 with 21 bytes, not 20", false},
		{head + dng(dng("sha1"+sum)+dng("/x\x00")), "field d-ng: a digest has the name of its algorithm in front", false},
		{head + dng(dng("sha1:\x00"+sum)+dng("/x")), "field n-ng: a text ends with its first zero byte", false},
		{head + dng(dng("sha1:\x00"+sum)+dng("/x\x00y\x00")), "field n-ng: a text ends with its first zero byte", false},
		{u(10) + sum + u(5) + "imode" + dng(dng("xyz")), "field imode: a number of 3 bytes, not 2", false},
		{u(10) + sum + u(1) + "d" + dng(dng("xyz")), "field d: a digest of 3 bytes", false},
		{u(10) + sum + u(3) + "ima" + sum + u(256), "a name of 256 bytes, and the longest has 255", true},
		{u(10) + sum + u(3) + "ima" + sum + u(2) + "a\x00", "field n: a zero byte in the name", false},
	} {
		r := &Reader{in: newBuffer([]byte(c.list)), layout: Layout{Binary, hash.SHA1, le}}
		rec, err := r.Next()
		wrong := new(RecordError)
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.want) || wrong.Last != c.last || c.last != (rec.Digest == nil) || rec.Fields != nil {
			t.Errorf("%q: %+v, %v, want %s", c.list, rec, err, c.want)
		}
	}
}

// TestWrongLines has ASCII records that are wrong.
func TestWrongLines(t *testing.T) {
	const d = "1d8d532d463c9f8c205d0df7787669a85f93e260"
	for _, c := range []struct {
		line, want string
		head       bool
	}{
		{"x", `column 1): a record begins with the number of a PCR, not with "x"`, false},
		{"10", `column 1): a record begins with the number of a PCR, not with "10"`, false},
		{" 64 " + d + " ima-ng x y", "column 2): PCR index 64, and the highest is 63", false},
		{"10 1d8g " + d, "column 7): template digest: 'g' is no hexadecimal digit", false},
		{"10 1d8 " + d, "column 7): template digest: 3 hexadecimal digits, which are no whole bytes", false},
		{"10 1d8d ima-ng", "column 4): a template digest of 2 bytes, and those of sha1 have 20", false},
		{"10 " + d, "column 45): the line ends before the name of the template", false},
		{"10 " + d + " ", "column 45): the line ends before the name of the template", false},
		{"10 " + d + " \x1b[31m x", `column 45): "\x1b[31m" is no template's name`, false},
		{"10 " + d + " " + strings.Repeat("t", 256) + " x", `column 45): "tttt`, false},
		{"10 " + d + " ima-ng", "column 52): the line ends before field n-ng", true},
		{"10 " + d + " ima-ng " + sum1, "column 98): the line ends before field n-ng", true},
		{"10 " + d + " ima-ng sha1 /x", `column 52): field d-ng: "sha1" is no digest`, true},
		{"10 " + d + " ima-ng sha1:0 /x", "column 58): field d-ng: 1 hexadecimal digits", true},
		{"10 " + d + " ima-ng sha1:00 /x", "column 52): field d-ng: a digest of sha1 with 1 bytes, not 20", true},
		{"10 " + d + " ima-sig " + sum1 + " /x 0303 y", `column 107): "y" behind the last field`, true},
		{"10 " + d + " imode 65536", `column 51): field imode: "65536" is no number of 16 bits`, true},
	} {
		r := &Reader{in: newBuffer([]byte(c.line + "\n10 " + d + " ima-ng " + sum1 + " boot_aggregate\n")), layout: Layout{ASCII, hash.SHA1, nil}}
		rec, err := r.Next()
		if err == nil || !strings.HasSuffix(strings.SplitAfter(err.Error(), c.want)[0], c.want) || c.head != (rec.Digest != nil) || rec.Fields != nil {
			t.Errorf("%q: %+v, %v, want %s", c.line, rec, err, c.want)
		}
		if rec, err := r.Next(); err != nil || rec.Name() != BootAggregateName || rec.Line != 2 {
			t.Errorf("behind %q: %+v, %v", c.line, rec, err)
		}
	}
}

// TestNames has names that ASCII lists do not show as they are.
func TestNames(t *testing.T) {
	l := Layout{ASCII, hash.SHA256, binary.LittleEndian}
	names := []string{"/a\nb", "/\n", "/a\n\n\nb", "/a_b", "/ä\xff\x01", "/a b c", "/tmp/x_(deleted)", "/a\n10 x", strings.Repeat("/\n", 300)}
	var list []byte
	for _, name := range names {
		list = appendRecord(t, list, makeRecord(t, l, "ima-ng", sum256, name))
	}
	all := records(t, list, Layout{})
	if len(all) != len(names) {
		t.Fatalf("%d records", len(all))
	}
	for i, rec := range all {
		if rec.Name() != names[i] || rec.Verify() != nil {
			t.Errorf("%q: %v", rec.Name(), rec.Verify())
		}
	}
	if all[1].Line != 3 {
		t.Errorf("the second record is in line %d", all[1].Line)
	}
	if got := EscapeName("/a b_c"); got != "/a_b_c" {
		t.Error(got)
	}
}

// TestUnknownTemplate keeps what it cannot read.
func TestUnknownTemplate(t *testing.T) {
	l := Layout{Binary, hash.SHA1, binary.LittleEndian}
	rec := makeRecord(t, l, "ima-ng", sum1, "/x")
	rec.Template = "of-the-future"
	list := appendRecord(t, nil, rec)
	got := records(t, list, Layout{})[0]
	if got.Fields != nil || got.Verify() != nil || got.Name() != "" || !bytes.Equal(got.Data, rec.Data) {
		t.Errorf("%+v: %v", got, got.Verify())
	}
	got.Data[5]++
	if wrong := new(DigestError); !errors.As(got.Verify(), &wrong) {
		t.Error(got.Verify())
	}
	line := fmt.Sprintf("10 %x of-the-future a b\n", rec.Digest)
	if got := records(t, []byte(line), Layout{})[0]; got.Verify() == nil || got.Data != nil {
		t.Errorf("%+v", got)
	}
}

// TestFlips changes each byte that digests cover.
func TestFlips(t *testing.T) {
	for _, name := range kernelLists(t) {
		for _, rec := range records(t, readFile(t, name+".bin"), Layout{}) {
			if rec.IsViolation() || rec.Template == plain {
				continue
			}
			for i := range rec.Data {
				if i > 200 && i%11 != 0 {
					continue
				}
				rec.Data[i] ^= 1
				if rec.Verify() == nil {
					t.Errorf("%s: record %d: byte %d can be changed", name, rec.Number, i)
				}
				rec.Data[i] ^= 1
			}
		}
	}
}

func TestExtended(t *testing.T) {
	l := Layout{Binary, hash.SHA1, binary.LittleEndian}
	rec := makeRecord(t, l, "ima-ng", sum1, "/x")
	one := hex.EncodeToString(rec.Digest)
	two, err := hash.Sum(hash.SHA256, rec.Data)
	if err != nil {
		t.Fatal(err)
	}
	violation := makeRecord(t, l, "ima-ng", "sha1:"+strings.Repeat("00", 20), "/x")
	clear(violation.Digest)
	for _, c := range []struct {
		rec  Record
		bank hash.Algorithm
		want string
	}{
		{rec, hash.SHA1, one},
		{rec, hash.SHA256, hex.EncodeToString(two.Bytes())},
		{rec, hash.SHA3_256, one + strings.Repeat("0", 24)},
		{violation, hash.SHA1, strings.Repeat("f", 40)},
		{violation, hash.SHA384, strings.Repeat("f", 96)},
		{violation, hash.SHA3_384, strings.Repeat("f", 40) + strings.Repeat("0", 56)},
	} {
		if got, err := c.rec.Extended(c.bank); err != nil || got.String() != c.bank.String()+":"+c.want {
			t.Errorf("%s: %s, %v, want %s", c.bank, got, err, c.want)
		}
	}
	if !violation.IsViolation() || violation.Verify() != nil || violation.IsPadded() {
		t.Error("a violation is one")
	}
	padded := rec
	padded.Layout.Bank = hash.SHA256
	padded.Digest = append(bytes.Clone(rec.Digest), make([]byte, 12)...)
	if !padded.IsPadded() || padded.Verify() != nil || rec.IsPadded() {
		t.Error(padded.Verify())
	}
	rec.Data = nil
	p := NewReplay(hash.SHA1, hash.SHA256)
	p.Add(rec)
	if p.Err(hash.SHA1) != nil || p.Err(hash.SHA256) == nil {
		t.Error(p.Err(hash.SHA1), p.Err(hash.SHA256))
	}
}

func TestXattrs(t *testing.T) {
	found := false
	for _, rec := range records(t, readFile(t, "evm-sig.sha1.bin"), Layout{}) {
		all, err := rec.Xattrs()
		if rec.Template != "evm-sig" {
			continue
		}
		if err != nil {
			t.Errorf("record %d: %v", rec.Number, err)
		}
		for _, x := range all {
			found = found || x.Name == "security.ima" && len(x.Value) > 20
		}
		if len(all) > 0 {
			rec.Fields[4].Value = rec.Fields[4].Value[1:]
			if _, err := rec.Xattrs(); err == nil {
				t.Error("lengths of half a number")
			}
		}
	}
	if !found {
		t.Error("no security.ima")
	}
}

func TestBankOfName(t *testing.T) {
	for name, want := range map[string]hash.Algorithm{
		"/sys/kernel/security/ima/binary_runtime_measurements_sha256": hash.SHA256,
		"ascii_runtime_measurements_sha1":                             hash.SHA1,
		"x/ascii_runtime_measurements_tpm_alg_27":                     hash.SHA3_256,
		"ascii_runtime_measurements_tpm_alg_99":                       0,
		"ascii_runtime_measurements_md5":                              0,
		"binary_runtime_measurements":                                 0,
		"list":                                                        0,
	} {
		if got, ok := BankOfName(name); got != want && (ok || want != 0) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestStream has more records than fit into memory that a Reader may take.
func TestStream(t *testing.T) {
	list := appendRecord(t, nil, makeRecord(t, Layout{Binary, hash.SHA256, binary.LittleEndian}, "ima-ng", sum256, "/usr/bin/true"))
	const count = 200_000
	r, err := Open(io.LimitReader(&repeated{of: list}, int64(count*len(list))), Layout{})
	if err != nil {
		t.Fatal(err)
	}
	p := NewReplay(hash.SHA256)
	for i := 0; ; i++ {
		rec, err := r.Next()
		if err == io.EOF {
			if i != count {
				t.Errorf("%d records", i)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		p.Add(rec)
	}
}

type repeated struct {
	of []byte
	at int
}

func (r *repeated) Read(b []byte) (int, error) {
	n := copy(b, r.of[r.at:])
	r.at = (r.at + n) % len(r.of)
	return n, nil
}

// TestJoinedLines has lists whose lines could all be parts of names.
func TestJoinedLines(t *testing.T) {
	head := "10 " + strings.Repeat("11", 20) + " ima-ng sha256:" + strings.Repeat("22", 32) + " /x\n"
	for name, list := range map[string]string{
		"long":  strings.Repeat(head+strings.Repeat(strings.Repeat("y", 2000)+"\n", 4000), 4),
		"short": strings.Repeat(head+strings.Repeat("y\n", 4000), 50),
		"first": strings.Repeat(strings.TrimSpace(head)+strings.Repeat("x", 1<<20)+"\n"+strings.Repeat("\n", 4000), 4),
	} {
		r, err := Open(strings.NewReader(list), Layout{Form: ASCII, Bank: hash.SHA1})
		if err != nil {
			t.Fatal(err)
		}
		for err != io.EOF {
			_, err = r.Next()
		}
		if r.joined > maxJoined+(maxJoinedEach+1)*int64(len(list)) {
			t.Errorf("%s: %d bytes were joined, of a list of %d", name, r.joined, len(list))
		}
	}
}
