package labelfile

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
)

func digest(t testing.TB, content string) hash.Digest {
	d, err := hash.Sum(hash.SHA256, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// records are of all sorts.
func records(t testing.TB, k Kind) []Record {
	hashed, err := imaevm.NewHash(digest(t, "hashed")).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	uuid := [16]byte{1, 2, 15: 16}
	portable := &EVM{
		Kind: imaevm.TypePortable, Algo: hash.SHA256, Meta: imaevm.Meta{UID: 0, GID: 1<<32 - 1, Mode: 0o104755},
		Attrs: []imaevm.Attr{{Name: imaevm.AttrSELinux, Value: []byte("t\x00")}, {Name: imaevm.AttrIMA}, {Name: "security.capability", Value: []byte{}}},
	}
	bound := &EVM{
		Kind: imaevm.TypeSignature, Algo: hash.SHA512, Names: []string{imaevm.AttrIMA, "security.capability", "security.mine"}, Word32: true, BigEndian: true,
		Meta:  imaevm.Meta{Inode: 1 << 40, Generation: 1 << 31, UUID: &uuid, Mode: 0o100000},
		Attrs: []imaevm.Attr{{Name: imaevm.AttrIMA}, {Name: "security.mine", Value: []byte("<&>")}},
	}
	hmac := &EVM{Kind: imaevm.TypeHMAC, Names: []string{imaevm.AttrIMA}, Meta: imaevm.Meta{Inode: 1, Mode: 0o100600}, Attrs: []imaevm.Attr{{Name: imaevm.AttrIMA}}}
	all := []Record{
		{Path: "hashed", Class: "hash", Digest: digest(t, "hashed"), IMA: hashed},
		{Path: "a b/\n\"\\<>&\u00e4", Class: "sign", Digest: digest(t, ""), Version: 3},
		{Path: "not\xffutf-8", Class: "sign", Digest: digest(t, "x"), EVM: portable, SELinux: []byte("t\x00")},
		{Path: "verity", Class: "sign", Digest: digest(t, "v"), Verity: true, Version: 3, EVM: bound},
		{Path: "own", Class: "hash", Digest: digest(t, "own"), IMA: hashed, EVM: hmac},
	}
	for i := range all {
		if k == Labels {
			all[i].Answers = Sum{byte(i)}
			if all[i].IMA == nil {
				all[i].IMA = []byte{3, 2, 4, 0}
			}
			if all[i].EVM != nil {
				all[i].EVMLabel = []byte{5, 2}
			}
		}
	}
	return all
}

// write returns a file of records.
func write(t testing.TB, k Kind, all []Record, answered *Total) string {
	var b bytes.Buffer
	w := NewWriter(&b, k)
	for _, r := range all {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.End(answered); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// read reads a file, and says whether it is whole.
func read(k Kind, text string) ([]Record, error) {
	r := NewReader(strings.NewReader(text), k)
	var all []Record
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return all, r.Whole()
		}
		if err != nil {
			return all, err
		}
		all = append(all, rec)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, k := range []Kind{Labels, Requests} {
		want := records(t, k)
		var answered *Total
		if k == Labels {
			answered = new(Total)
			for _, r := range want {
				if r.Answers != (Sum{}) {
					answered.Add(r.Answers)
				}
			}
		}
		got, err := read(k, write(t, k, want, answered))
		if err != nil || len(got) != len(want) {
			t.Fatalf("%s: %d records, %v", k, len(got), err)
		}
		for i := range got {
			if got[i].Sum == (Sum{}) {
				t.Error("no sum")
			}
			if got[i].Sum = (Sum{}); !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("%+v\nwant %+v", got[i], want[i])
			}
			if e := want[i].EVM; e != nil {
				wantInput, wantErr := e.Input([]byte("ima"))
				input, err := got[i].EVM.Input([]byte("ima"))
				if err != nil || wantErr != nil || !bytes.Equal(input, wantInput) {
					t.Errorf("%s: EVM covers %x, %v; want %x, %v", want[i].Path, input, err, wantInput, wantErr)
				}
			}
		}
	}
}

// TestInput compares with a worked example of the kernel's.
func TestInput(t *testing.T) {
	e := EVM{
		Kind: imaevm.TypePortable, Algo: hash.SHA256, Meta: imaevm.Meta{UID: 1000, GID: 1000, Mode: 0o100644},
		Attrs: []imaevm.Attr{{Name: imaevm.AttrIMA}},
	}
	label := []byte("\x04\x04\x1d\xc6\x31")
	got, err := e.Input(label)
	want := string(label) + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xe8\x03\x00\x00\xe8\x03\x00\x00\xa4\x81\x00\x00"
	if err != nil || string(got) != want {
		t.Errorf("%x, %v; want %x", got, err, want)
	}
}

// TestJoinSortSplit: the order of lines is no matter, nor how many runs they are
// of; what is missing, too much or from elsewhere is noticed.
func TestJoinSortSplit(t *testing.T) {
	all := records(t, Requests)
	a, b, none := write(t, Requests, all[:2], nil), write(t, Requests, all[2:], nil), write(t, Requests, nil, nil)
	lines := slices.Collect(strings.Lines(a + none + b))
	sorted := slices.Sorted(slices.Values(lines))
	shuffled := slices.Clone(lines)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for name, text := range map[string]string{
		"one": a, "none": none, "joined": a + none + b, "the other way": b + a, "sorted": strings.Join(sorted, ""),
		"shuffled": strings.Join(shuffled, ""), "twice": a + a,
	} {
		if _, err := read(Requests, text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range lines {
		left := strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "")
		if i == slices.Index(lines, none) {
			continue // an end of nothing is nothing
		}
		if _, err := read(Requests, left); !isPart(err) {
			t.Errorf("without line %d: %v", i+1, err)
		}
		if _, err := read(Requests, strings.Join(lines, "")+lines[i]); !isPart(err) {
			t.Errorf("line %d twice: %v", i+1, err)
		}
	}
	// A record in the place of another one, and parts.
	foreign := write(t, Requests, []Record{{Path: "x", Class: "sign", Digest: digest(t, "x")}}, nil)
	other := slices.Clone(lines)
	other[0], _, _ = strings.Cut(foreign, "\n")
	for name, text := range map[string]string{
		"replaced": strings.Join(other, ""), "part": strings.Join(lines[:2], ""), "rest": strings.Join(lines[2:], ""), "records alone": lines[0],
	} {
		if _, err := read(Requests, strings.Replace(text, "}{", "}\n{", 1)); !isPart(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := read(Requests, ""); err != ErrForeign {
		t.Errorf("an empty file: %v", err)
	}
}

func isPart(err error) bool {
	_, ok := errors.AsType[*PartError](err)
	return ok
}

// TestAnswered: labels tell whether all requests were answered.
func TestAnswered(t *testing.T) {
	labels := records(t, Labels)
	var whole Total
	for i := range labels {
		labels[i].Answers = Sum{1, 31: byte(200 + i)}
		whole.Add(labels[i].Answers)
	}
	a, b := write(t, Labels, labels[:2], nil), write(t, Labels, labels[2:], &whole)
	if _, err := read(Labels, a+b); err != nil {
		t.Error(err)
	}
	for _, part := range []string{a, b} {
		_, err := read(Labels, part)
		if e, ok := errors.AsType[*PartError](err); !ok || !e.Answered {
			t.Errorf("%v", err)
		}
	}
	if whole.Files != uint64(len(labels)) {
		t.Errorf("%+v", whole)
	}
}

// TestFlippedByte: no changed byte goes unnoticed.
func TestFlippedByte(t *testing.T) {
	for _, k := range []Kind{Labels, Requests} {
		text := []byte(write(t, k, records(t, k)[:4], nil))
		for i := range text {
			for _, bit := range []byte{1, 0x20} {
				text[i] ^= bit
				if k == Requests {
					if all, err := read(k, string(text)); err == nil {
						t.Fatalf("byte %d of %q: %d records", i, text, len(all))
					}
				} else if _, err := NewReader(bytes.NewReader(text), k).readAll(); err == nil {
					t.Fatalf("byte %d of %q", i, text)
				}
				text[i] ^= bit
			}
		}
		for n := range text[:len(text)-1] {
			if _, err := read(k, string(text[:n])); err == nil {
				t.Fatalf("the first %d bytes", n)
			}
		}
	}
}

func (r *Reader) readAll() (n int, err error) {
	for {
		if _, err = r.Next(); err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n++
	}
}

// signedLine makes a line of a body that no Writer would write.
func signedLine(body string) string {
	b, _ := appendSum([]byte(body))
	return string(b) + "\n"
}

func TestErrors(t *testing.T) {
	good := `"path":"a","class":"sign","digest":"` + digest(t, "").String() + `"`
	evm := func(more string) string { return `{"imaseal_request":1,` + good + `,"evm":{` + more + `}}` }
	for _, tt := range []struct{ text, want string }{
		{"x\n", "line 1: it is none of imaseal's"},
		{signedLine(`{"imaseal_undo":1}`), "line 1: it is none of imaseal's"},
		{signedLine(`{"imaseal_label":1,` + good + `}`), "line 1: these are labels"},
		{signedLine(`{"imaseal_request":2,` + good + `}`), "line 1: requests of version 2, and only version 1 is known"},
		{strings.TrimSuffix(signedLine(`{"imaseal_request":1,`+good+`}`), "\n"), "line 1: the file ends in the middle of a line"},
		{strings.Repeat("x", maxLine) + "\n", "line 1: longer than any line of such a file"},
		{signedLine(`{"imaseal_request":1,"class":"sign"}`), "line 1: no path"},
		{signedLine(`{"imaseal_request":1,"path":"a\u0000","class":"sign","digest":"none"}`), "line 1: no path"},
		{signedLine(`{"imaseal_request":1,` + strings.Replace(good, "sign", "skip", 1) + `}`), `line 1: "skip" is no class`},
		{signedLine(`{"imaseal_request":1,` + strings.Replace(good, "sign", "hash", 1) + `}`), `line 1: labels that do not belong together`},
		{signedLine(`{"imaseal_request":1,` + strings.Replace(good, "sha256", "sha257", 1) + `}`), `line 1: unknown digest algorithm "sha257"; there are md4, md5, rmd160, sha1, sha224, sha256, sha3-256, sha3-384, sha3-512, sha384, sha512, sm3`},
		{signedLine(`{"imaseal_request":1,` + good + `,"version":4}`), "line 1: there are no signatures of version 4"},
		{signedLine(`{"imaseal_request":1,` + good + `,"colour":"red"}`), "line 1: not as imaseal writes it"},
		{signedLine(`{"imaseal_request":1, ` + good + `}`), "line 1: not as imaseal writes it"},
		{signedLine(`{"imaseal_request":1,` + good + `,"digest":"` + digest(t, "x").String() + `"}`), "line 1: not as imaseal writes it"},
		{signedLine(evm(`"kind":"bogus"`)), `line 1: EVM: "" is no mode`},
		{signedLine(evm(`"kind":"portable","uid":0,"gid":0,"mode":"0100644","attributes":[{"name":"security.ima"}]`)), "line 1: EVM: a signature has an algorithm, and an HMAC none"},
		{signedLine(evm(`"kind":"portable","algorithm":"sha256","uid":0,"gid":0,"mode":"0644","attributes":[{"name":"security.ima"}]`)), "line 1: EVM: mode 0644 is no inode's"},
		{signedLine(evm(`"kind":"portable","algorithm":"sha256","uid":0,"gid":0,"mode":"0100644","attributes":[]`)), "line 1: EVM: a portable signature needs security.ima on the file"},
		{signedLine(evm(`"kind":"portable","algorithm":"sha256","uid":0,"gid":0,"mode":"0100644","attributes":[{"name":"user.x"}]`)), "line 1: EVM: user.x is not covered, or not in this order"},
		{signedLine(evm(`"kind":"portable","algorithm":"sha256","uid":0,"gid":0,"mode":"0100644","attributes":[{"name":"security.ima"},{"name":"security.ima"}]`)), "line 1: EVM: security.ima is not covered, or not in this order"},
		{signedLine(evm(`"kind":"portable","algorithm":"sha256","uid":0,"gid":0,"mode":"0100644","attributes":[{"name":"security.ima","value":"AA=="}]`)), "line 1: EVM: the value of security.ima"},
		{signedLine(evm(`"kind":"signature","algorithm":"sha256","uid":0,"gid":0,"mode":"0100644","attributes":[{"name":"security.ima"}],"uuid":"11"`)), `line 1: EVM: "11" is no UUID`},
	} {
		_, err := read(Requests, tt.text)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%.200q: %v\nwant %s", tt.text, err, tt.want)
		}
	}
	if _, err := read(Labels, signedLine(`{"imaseal_label":1,`+good+`}`)); err == nil || !errors.Is(err, errIncomplete) {
		t.Errorf("a label without one: %v", err)
	}
}

// TestWriterFails: an error is told, and what was not written does not count.
func TestWriterFails(t *testing.T) {
	w := NewWriter(broken{}, Labels)
	if err := w.Write(records(t, Labels)[0]); !errors.Is(err, io.ErrClosedPipe) || w.total.Files != 0 {
		t.Errorf("%v, %+v", err, w.total)
	}
	if err := w.End(nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// FuzzParse: what parses is what is written of it.
func FuzzParse(f *testing.F) {
	for _, k := range []Kind{Labels, Requests} {
		for line := range strings.Lines(write(f, k, records(f, k), &Total{Files: 3})) {
			body, _, _ := cutSum([]byte(strings.TrimSuffix(line, "\n")))
			f.Add(k == Labels, body)
		}
	}
	f.Fuzz(func(t *testing.T, isLabels bool, body []byte) {
		if len(body) == 0 {
			return
		}
		k := Requests
		if isLabels {
			k = Labels
		}
		b, _ := appendSum(slices.Clone(body))
		r, end, err := parse(k, b)
		if err != nil {
			if r.Path != "" || end != nil {
				t.Errorf("%+v and %v", r, err)
			}
			return
		}
		if end == nil {
			if again, _, err := encode(lineOf(k, r)); err != nil || string(again) != string(b)+"\n" {
				t.Errorf("%s\nof %s", again, b)
			}
			if r.EVM != nil {
				if _, err := r.EVM.Input([]byte{4}); err != nil {
					t.Errorf("%s: %v", b, err)
				}
			}
		}
	})
}
