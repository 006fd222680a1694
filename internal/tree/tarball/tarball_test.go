package tarball

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"imaseal/hash"
	"imaseal/internal/compress"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/target"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
	"imaseal/internal/verify"
	"imaseal/keys"
	"imaseal/sign"
)

// A recorder is a report.Handler that keeps everything.
type recorder struct {
	results []report.Result
	summary report.Summary
}

func (*recorder) Start(report.Header) error        { return nil }
func (r *recorder) Result(res report.Result) error { r.results = append(r.results, res); return nil }
func (r *recorder) Finish(s report.Summary) error  { r.summary = s; return nil }
func (r *recorder) count(o report.Outcome) int     { return r.summary.Count[o] }
func (r *recorder) of(rel string) *report.Result {
	for i := range r.results {
		if _, name, _ := strings.Cut(r.results[i].Path, ":"); name == rel {
			return &r.results[i]
		}
	}
	return &report.Result{}
}

// A task is a run on an archive.
type task struct {
	in     string // path, or "-" for stdin
	stdin  io.Reader
	out    string // path, "-" for stdout, or empty for a run that writes nothing
	stdout *os.File
	inner  Output // the rest of it
	dry    bool
	cfg    Config
	job    run.Job
}

// do runs a task.
func (k task) do(ctx context.Context) (*recorder, error) {
	rec := new(recorder)
	a, err := Open(k.in, k.stdin, k.cfg)
	if err != nil {
		return rec, err
	}
	defer a.Close()
	r := &run.Run{Source: a, Job: k.job, Report: rec}
	if k.dry {
		r.Sink = tree.DryRun{}
	}
	if k.out != "" || k.inner.InPlace {
		o := k.inner
		o.Path, o.Stdout = k.out, k.stdout
		sink, err := a.NewSink(ctx, o)
		if err != nil {
			return rec, err
		}
		r.Sink = sink
	}
	_, err = r.Do(ctx)
	return rec, err
}

// must runs a task of which no file fails.
func (k task) must(t testing.TB) *recorder {
	t.Helper()
	rec, err := k.do(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range rec.results {
		if res.Outcome == report.Failed {
			t.Errorf("%s: %v", res.Path, res.Err)
		}
	}
	return rec
}

func hashes() run.Job { return &label.Labeller{Algo: hash.SHA256, Rules: plan.Only(plan.Hash)} }

func clearer() run.Job { return label.Clearer{Attrs: label.All()} }

// everywhere is EVM as kernels of distributions have it.
func everywhere(t testing.TB) target.EVM {
	t.Helper()
	var e target.EVM
	for _, p := range imaevm.Protected() {
		e.Attrs = append(e.Attrs, target.Attr{Name: p.Name})
	}
	return e
}

var newKey = sync.OnceValues(func() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
})

// p256 returns a key, which is the same in all tests, and the file it is in.
func p256(t testing.TB) (*keys.Key, string) {
	t.Helper()
	text, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := keys.Open(t.Context(), path, nil, keys.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { key.Close() })
	return key, path
}

// signatures makes P-256 signatures, and portable ones for EVM.
func signatures(t testing.TB) run.Job {
	key, _ := p256(t)
	return &label.Labeller{
		Algo: hash.SHA256, Rules: plan.Only(plan.Sign),
		Key: &label.Key{Signer: sign.NewCache(key), Own: key, Version: 2},
		EVM: &label.EVM{Covers: everywhere(t), Kinds: map[plan.Class]imaevm.Type{plan.Sign: imaevm.TypePortable}},
	}
}

func verifier(t testing.TB) run.Job {
	key, _ := p256(t)
	return &verify.Verifier{Keys: key, Covers: everywhere(t), NeedEVM: true, NeedSignature: true}
}

// write makes an archive with archive/tar. The content of each file is its name,
// again and again.
func write(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content(h)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func content(h *tar.Header) []byte {
	return bytes.Repeat([]byte(h.Name), int(h.Size)/len(h.Name)+1)[:h.Size]
}

func sample(t testing.TB) []byte {
	return write(t,
		&tar.Header{Name: "./bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		&tar.Header{Name: "./bin/prog", Mode: 0o4755, Size: 3000, Format: tar.FormatGNU},
		&tar.Header{Name: "./bin/hard", Typeflag: tar.TypeLink, Linkname: "./bin/prog"},
		&tar.Header{Name: "./bin/sym", Typeflag: tar.TypeSymlink, Linkname: "prog"},
		&tar.Header{Name: "./empty"},
		&tar.Header{Name: "./home/file", Size: 512, Uid: 1000, Gid: 1000},
		&tar.Header{Name: "./etc/labelled", Size: 100, PAXRecords: map[string]string{"SCHILY.xattr.security.selinux": "system_u:object_r:etc_t:s0\x00", "comment": "mine"}},
		&tar.Header{Name: "./etc/twice", Size: 10},
		&tar.Header{Name: "./null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
		&tar.Header{Name: "./etc/twice", Size: 20},
	)
}

func save(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.tar")
	if err := os.WriteFile(path, b, 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// labelled runs a job on an archive and returns what comes out.
func labelled(t testing.TB, archive []byte, job run.Job) []byte {
	t.Helper()
	in := save(t, archive)
	task{in: in, out: in + ".out", job: job}.must(t)
	return load(t, in+".out")
}

// an entry is what archive/tar makes of one.
type entry struct {
	tar.Header
	content []byte
}

// entries reads an archive with archive/tar. Labels are no part of the entries;
// they come beside them.
func entries(t testing.TB, archive []byte) (all []entry, labels []map[string]string) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all, labels
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]string)
		e := entry{content: b}
		e.Name, e.Linkname, e.Typeflag, e.Size, e.Mode = h.Name, h.Linkname, h.Typeflag, h.Size, h.Mode
		e.Uid, e.Gid, e.Uname, e.Gname, e.ModTime = h.Uid, h.Gid, h.Uname, h.Gname, h.ModTime
		e.Devmajor, e.Devminor, e.AccessTime, e.ChangeTime = h.Devmajor, h.Devminor, h.AccessTime, h.ChangeTime
		e.PAXRecords = make(map[string]string)
		for key, value := range h.PAXRecords {
			if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok && (name == imaevm.AttrIMA || name == imaevm.AttrEVM) {
				found[name] = value
			} else {
				e.PAXRecords[key] = value
			}
		}
		all, labels = append(all, e), append(labels, found)
	}
}

// checkHashes compares an archive with the one that it was made from: nothing but
// labels has come to it, and those are right.
func checkHashes(t testing.TB, was, is []byte) {
	t.Helper()
	before, _ := entries(t, was)
	after, labels := entries(t, is)
	if len(before) != len(after) {
		t.Fatalf("%d entries were there, and are %d", len(before), len(after))
	}
	for i, e := range after {
		if fmt.Sprint(before[i]) != fmt.Sprint(e) {
			t.Errorf("entry %d was %+v and is %+v", i, before[i].Header, e.Header)
		}
		want := ""
		if e.Typeflag == tar.TypeReg || e.Typeflag == tar.TypeGNUSparse || e.Typeflag == tar.TypeCont {
			sum := sha256.Sum256(e.content)
			want = "\x04\x04" + string(sum[:])
		}
		if labels[i][imaevm.AttrIMA] != want {
			t.Errorf("%s has the label %x, want %x", e.Name, labels[i][imaevm.AttrIMA], want)
		}
	}
}

func TestHash(t *testing.T) {
	treetest.Leaks(t)
	archive := sample(t)
	got := labelled(t, archive, hashes())
	checkHashes(t, archive, got)
	if again := labelled(t, got, hashes()); !bytes.Equal(again, got) {
		t.Error("a second run changes bytes")
	}
	if back := labelled(t, got, clearer()); !bytes.Equal(back, archive) {
		t.Error("without labels it is not what it was")
	}
}

func TestSign(t *testing.T) {
	treetest.Leaks(t)
	archive := sample(t)
	got := labelled(t, archive, signatures(t))
	if again := labelled(t, got, signatures(t)); !bytes.Equal(again, got) {
		t.Error("a second run changes bytes")
	}
	if back := labelled(t, got, clearer()); !bytes.Equal(back, archive) {
		t.Error("without labels it is not what it was")
	}
	rec := task{in: save(t, got), job: verifier(t)}.must(t)
	if n := rec.count(report.Valid); n != 6 {
		t.Errorf("%d files are valid: %+v", n, rec.results)
	}
	if rec.summary.HardLinks != 1 || rec.summary.Skipped[reason.Symlink] != 1 || rec.summary.Skipped[reason.Special] != 1 {
		t.Errorf("skipped are %v, %d hard links", rec.summary.Skipped, rec.summary.HardLinks)
	}
	for what, spoil := range map[string]func(b []byte){
		"content": func(b []byte) { b[bytes.Index(b, []byte("./home/file./home"))] ^= 1 },
		"mode": func(b []byte) {
			at := bytes.Index(b, []byte("./home/file\x00"))
			copy(b[at+100:], "0000744")
			copy(b[at+148:], fmt.Sprintf("%06o\x00 ", sum(b[at:at+512])))
		},
	} {
		bad := bytes.Clone(got)
		spoil(bad)
		rec := task{in: save(t, bad), job: verifier(t)}.must(t)
		if res := rec.of("home/file"); res.Outcome != report.Invalid || rec.count(report.Valid) != 5 {
			t.Errorf("with another %s: %+v", what, res)
		}
	}
}

func sum(block []byte) int {
	n := 8 * int(' ')
	for i, c := range block {
		if i < 148 || i >= 156 {
			n += int(c)
		}
	}
	return n
}

// packed compresses an archive.
func packed(t testing.TB, f compress.Format, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := compress.NewWriter(&out, compress.Header{Format: f})
	if err != nil {
		t.Fatal(err)
	}
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unpacked(t testing.TB, b []byte) []byte {
	t.Helper()
	r, err := compress.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestWays labels the same archive in every way that it can come and go.
func TestWays(t *testing.T) {
	treetest.Leaks(t)
	archive := sample(t)
	want := labelled(t, archive, hashes())
	none, zipped := compress.None, compress.Gzip
	for _, f := range []compress.Format{compress.None, compress.Gzip, compress.Zstd} {
		for _, jobs := range []int{1, 4} {
			in := save(t, packed(t, f, archive))
			wantPacked := packed(t, f, want)
			k := task{in: in, out: in + ".out", job: hashes(), cfg: Config{Jobs: jobs}}
			k.must(t)
			if got := load(t, k.out); !bytes.Equal(got, wantPacked) {
				t.Errorf("%s, a file, %d jobs: other bytes", f, jobs)
			}
			again := k
			again.in, again.out = k.out, k.out+".again"
			again.must(t)
			if got := load(t, again.out); !bytes.Equal(got, wantPacked) {
				t.Errorf("%s, a file, %d jobs, a second run: other bytes", f, jobs)
			}
			k.in, k.stdin = "-", io.MultiReader(bytes.NewReader(load(t, in)))
			k.must(t)
			if got := load(t, k.out); !bytes.Equal(got, wantPacked) {
				t.Errorf("%s, a reader, %d jobs: other bytes", f, jobs)
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			k.stdin = r
			go func() { w.Write(load(t, in)); w.Close() }()
			k.must(t)
			r.Close()
			if got := load(t, k.out); !bytes.Equal(got, wantPacked) {
				t.Errorf("%s, a pipe, %d jobs: other bytes", f, jobs)
			}
			k.in, k.inner.Compression = in, &none
			k.must(t)
			if got := load(t, k.out); !bytes.Equal(got, want) {
				t.Errorf("%s, to be unpacked, %d jobs: other bytes", f, jobs)
			}
			k.inner.Compression = &zipped
			k.must(t)
			if got := load(t, k.out); !bytes.Equal(unpacked(t, got), want) || !bytes.HasPrefix(got, []byte("\x1f\x8b")) {
				t.Errorf("%s, to be gzip, %d jobs: other bytes", f, jobs)
			}
		}
	}
}

// TestForeignCompression keeps the compression of another program where nothing
// changes, and unpacks and packs where something does.
func TestForeignCompression(t *testing.T) {
	want := labelled(t, sample(t), hashes())
	for _, program := range []string{"gzip", "zstd"} {
		in := save(t, want)
		treetest.Tool(t, program)
		if out, err := command(t, "", program, "-9", "-q", in); err != nil {
			t.Fatal(err, out)
		}
		name := in + map[string]string{"gzip": ".gz", "zstd": ".zst"}[program]
		task{in: name, out: in + ".out", job: hashes()}.must(t)
		if !bytes.Equal(load(t, in+".out"), load(t, name)) {
			t.Errorf("%s: nothing was to be done, and the bytes are others", program)
		}
		task{in: name, out: in + ".out", job: clearer()}.must(t)
		if !bytes.Equal(unpacked(t, load(t, in+".out")), sample(t)) {
			t.Errorf("%s: without labels it is not what it was", program)
		}
	}
}

// TestInPlace replaces the archive, if there is something to change.
func TestInPlace(t *testing.T) {
	treetest.Leaks(t)
	for _, f := range []compress.Format{compress.None, compress.Gzip} {
		archive := packed(t, f, sample(t))
		in := save(t, archive)
		k := task{in: in, inner: Output{InPlace: true}, job: hashes()}
		k.must(t)
		got := load(t, in)
		checkHashes(t, sample(t), unpacked(t, got))
		before, _ := os.Stat(in)
		if before.Mode() != 0o640 {
			t.Errorf("the mode is %v", before.Mode())
		}
		k.must(t)
		if after, err := os.Stat(in); err != nil || !os.SameFile(before, after) || !bytes.Equal(load(t, in), got) {
			t.Errorf("%s: there was nothing to change, and the file is another", f)
		}
		if names, _ := filepath.Glob(filepath.Join(filepath.Dir(in), "*")); len(names) != 1 {
			t.Errorf("left are %s", names)
		}
	}
	if _, err := (task{in: "-", stdin: bytes.NewReader(sample(t)), inner: Output{InPlace: true}, job: hashes()}).do(t.Context()); err != ErrNoFile {
		t.Errorf("standard input: %v", err)
	}
}

// TestSameFile refuses to write into what is read.
func TestSameFile(t *testing.T) {
	in := save(t, sample(t))
	link, hard := in+".link", in+".hard"
	if err := errors.Join(os.Symlink(in, link), os.Link(in, hard)); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(in, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, k := range map[string]task{
		"same": {in: in, out: in}, "link": {in: in, out: link}, "of a link": {in: link, out: in}, "hard link": {in: in, out: hard},
		"standard input": {in: "-", stdin: f, out: in}, "standard output": {in: in, out: "-", stdout: f},
	} {
		k.job = hashes()
		if _, err := k.do(t.Context()); err != ErrSameFile {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !bytes.Equal(load(t, in), sample(t)) {
		t.Error("the archive was written to")
	}
}

// TestFiles looks at what a file is.
func TestFiles(t *testing.T) {
	in := save(t, sample(t))
	a, err := Open(in, nil, Config{Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var got []string
	err = a.Walk(t.Context(), func(f tree.Found) error {
		if f.File == nil {
			got = append(got, fmt.Sprintf("%s: %s%v", f.Path[len(in):], f.Skip, f.Err))
			return nil
		}
		for _, is := range []bool{has[tree.Bound](f.File), has[tree.Live](f.File), has[tree.Placed](f.File), has[tree.Verity](f.File), has[tree.Sidecar](f.File)} {
			if is {
				t.Errorf("%s has what an entry of an archive cannot have", f.Path)
			}
		}
		m, names := f.File.Meta(), []string(nil)
		names, err := f.File.Attrs()
		got = append(got, fmt.Sprintf("%s %s %s %o %d:%d %d %s", f.File.Name()[len(in):], f.File.Rel(), f.File.Full(), m.Mode, m.UID, m.GID, m.Size, names))
		if f.Path != f.File.Name() {
			t.Errorf("the path is %s, the name %s", f.Path, f.File.Name())
		}
		if _, none := f.File.Attr("user.none"); none != tree.ErrNoAttr {
			t.Errorf("no attribute: %v", none)
		}
		return errors.Join(err, f.File.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		":bin/prog bin/prog /bin/prog 104755 0:0 3000 []",
		":bin/hard: hard-link<nil>",
		":bin/sym: symbolic-link<nil>",
		":empty empty /empty 100644 0:0 0 []",
		":home/file home/file /home/file 100644 1000:1000 512 []",
		":etc/labelled etc/labelled /etc/labelled 100644 0:0 100 [security.selinux]",
		":etc/twice etc/twice /etc/twice 100644 0:0 10 []",
		":null: special-file<nil>",
		":etc/twice etc/twice /etc/twice 100644 0:0 20 []",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func has[T any](f tree.File) bool { _, ok := tree.As[T](f); return ok }

// TestApply changes attributes of a file more than once.
func TestApply(t *testing.T) {
	in := save(t, sample(t))
	a, err := Open(in, nil, Config{Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	s, err := a.NewSink(t.Context(), Output{Path: in + ".out"})
	if err != nil {
		t.Fatal(err)
	}
	err = a.Walk(t.Context(), func(f tree.Found) error {
		if f.File == nil || f.File.Rel() != "etc/labelled" {
			return nil
		}
		set := func(changes ...tree.Change) {
			if err := s.Apply(f.File, changes); err != nil {
				t.Error(err)
			}
		}
		set(tree.Change{Attr: "security.ima", New: []byte("one")}, tree.Change{Attr: "security.evm", New: []byte{}})
		set(tree.Change{Attr: "security.ima", New: []byte("two")}, tree.Change{Attr: "security.selinux"})
		value, err := f.File.Attr("security.ima")
		empty, emptyErr := f.File.Attr("security.evm")
		if string(value) != "two" || err != nil || empty == nil || len(empty) != 0 || emptyErr != nil {
			t.Errorf("%q, %v; %q, %v", value, err, empty, emptyErr)
		}
		if _, err := f.File.Attr("security.selinux"); err != tree.ErrNoAttr {
			t.Errorf("a removed attribute: %v", err)
		}
		names, err := f.File.Attrs()
		if slices.Sort(names); !slices.Equal(names, []string{"security.evm", "security.ima"}) || err != nil {
			t.Errorf("the attributes are %s, %v", names, err)
		}
		if err := s.Apply(f.File, []tree.Change{{Attr: tree.SidecarAttr, New: []byte("x")}}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a file beside it: %v", err)
		}
		if err := s.Apply(f.File, []tree.Change{{Attr: "security.ima", New: make([]byte, maxAttr+1)}}); err == nil {
			t.Error("a huge value is not refused")
		}
		return nil
	})
	if err == nil {
		err = s.Commit(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	all, labels := entries(t, load(t, in+".out"))
	if labels[6]["security.ima"] != "two" || len(all[6].PAXRecords) != 1 || all[6].PAXRecords["comment"] != "mine" {
		t.Errorf("%q, labels %q", all[6].PAXRecords, labels[6])
	}
}

// TestSELinux gives a SELinux label to those who do not know GNU tar's record.
func TestSELinux(t *testing.T) {
	archive := write(t,
		&tar.Header{Name: "a", Size: 5, PAXRecords: map[string]string{"RHT.security.selinux": "u:r:t:s0"}},
		&tar.Header{Name: "b/", Typeflag: tar.TypeDir, PAXRecords: map[string]string{"RHT.security.selinux": "u:r:d:s0"}})
	in := save(t, archive)
	rec := task{in: in, out: in + ".out", job: signatures(t)}.must(t)
	if !rec.summary.Notes.Has(reason.SELinuxRecord) {
		t.Errorf("the notes are %v", rec.summary.Notes)
	}
	all, _ := entries(t, load(t, in+".out"))
	if got := all[0].PAXRecords; len(got) != 1 || got["SCHILY.xattr.security.selinux"] != "u:r:t:s0\x00" {
		t.Errorf("the records are %q", got)
	}
	if got := all[1].PAXRecords; len(got) != 1 || got["RHT.security.selinux"] != "u:r:d:s0" {
		t.Errorf("those of a directory are %q", got)
	}
	if rec := (task{in: in + ".out", job: verifier(t)}).must(t); rec.count(report.Valid) != 1 {
		t.Errorf("%+v", rec.results)
	}
	if rec := (task{in: in, dry: true, job: signatures(t)}).must(t); rec.summary.Notes.Has(reason.SELinuxRecord) {
		t.Error("nothing was written, and there is a note about it")
	}
}
