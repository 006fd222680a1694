package tarball

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imaseal/internal/compress"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/stream"
	"imaseal/internal/tarfile"
	"imaseal/internal/tarfile/sparse"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
)

// alone fails the test if there is more beside the archive than there was.
func alone(t testing.TB, in string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.Dir(in), "*"))
	hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(in), ".*"))
	if err != nil || len(names)+len(hidden) != 1 {
		t.Errorf("left are %s %s", names, hidden)
	}
}

// broken runs tasks on an archive that is none, in every way it can come, and
// returns an error of each.
func broken(t *testing.T, archive []byte) []error {
	t.Helper()
	in := save(t, archive)
	var errs []error
	for _, k := range []task{{in: in}, {in: "-", stdin: io.MultiReader(bytes.NewReader(archive))}} {
		k.out, k.job = in+".out", hashes()
		_, err := k.do(t.Context())
		errs = append(errs, err)
		alone(t, in)
	}
	return errs
}

// TestTruncated cuts an archive at every block, and what it was packed into
// at many places.
func TestTruncated(t *testing.T) {
	treetest.Leaks(t)
	archive := sample(t)
	for n := 0; n < len(archive); n += 512 {
		for _, err := range broken(t, archive[:n]) {
			a, ok := errors.AsType[*ArchiveError](err)
			f, isFormat := errors.AsType[*tarfile.FormatError](err)
			_, isShort := errors.AsType[*tarfile.TruncatedError](err)
			if !ok || !isFormat || !isShort || a.Archive == "" || f.Offset > int64(n) {
				t.Errorf("%d of %d bytes: %v", n, len(archive), err)
			}
		}
	}
	for _, f := range []compress.Format{compress.Gzip, compress.Zstd} {
		whole := packed(t, f, archive)
		for n := 4; n < len(whole); n += 50 {
			for _, err := range broken(t, whole[:n]) {
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s, %d of %d bytes: %v", f, n, len(whole), err)
				}
			}
		}
	}
}

// TestBroken has what is no archive.
func TestBroken(t *testing.T) {
	treetest.Leaks(t)
	archive := sample(t)
	at := bytes.Index(archive, []byte("./home/file\x00"))
	changed := func(change func(b []byte)) []byte {
		b := bytes.Clone(archive)
		change(b[at : at+512])
		copy(b[at+148:], fmt.Sprintf("%06o\x00 ", sum(b[at:at+512])))
		return b
	}
	damaged := bytes.Clone(archive)
	damaged[at+110] = '7'
	for name, tt := range map[string]struct {
		archive []byte
		want    string
	}{
		"empty":               {nil, "at offset 0: the archive ends without the two blocks of zeros"},
		"text":                {bytes.Repeat([]byte("text "), 1000), "at offset 0: this is no header"},
		"damaged":             {damaged, fmt.Sprintf("at offset %d: the header has the checksum", at)},
		"size of letters":     {changed(func(b []byte) { copy(b[124:], "abc") }), fmt.Sprintf(`entry "./home/file" at offset %d: size`, at)},
		"negative size":       {changed(func(b []byte) { copy(b[124:], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") }), "is negative"},
		"huge size":           {changed(func(b []byte) { copy(b[124:], "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") }), "is too large"},
		"size beyond the end": {changed(func(b []byte) { copy(b[124:], "77777777777") }), "the archive ends in the content"},
		"size too small":      {changed(func(b []byte) { copy(b[124:], "00000000000") }), "this is no header"},
		"zip":                 {[]byte("PK\x03\x04" + strings.Repeat("x", 1000)), "it is in the format zip"},
		"xz":                  {[]byte("\xfd7zXZ\x00" + strings.Repeat("x", 1000)), "it is in the format xz"},
		"packed twice":        {packed(t, compress.Gzip, packed(t, compress.Gzip, archive)), "compressed with gzip, and holds no archive, but something in the format gzip"},
		"packed in two ways":  {packed(t, compress.Zstd, packed(t, compress.Gzip, archive)), "compressed with zstd, and holds no archive, but something in the format gzip"},
		"packed zip":          {packed(t, compress.Gzip, []byte("PK\x03\x04"+strings.Repeat("x", 1000))), "something in the format zip"},
		"packed text":         {packed(t, compress.Gzip, bytes.Repeat([]byte("text "), 1000)), "this is no header"},
		"rubbish behind gzip": {append(packed(t, compress.Gzip, archive), "rubbish"...), "reading gzip: "},
		"entry behind rubbish": {append(append(bytes.Clone(archive), bytes.Repeat([]byte("rubbish!"), 64)...), archive[:512]...),
			"the archive ends without"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, err := range broken(t, tt.archive) {
				if _, ok := errors.AsType[*ArchiveError](err); !ok || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("the error is %v, and should say %q", err, tt.want)
				}
			}
		})
	}
}

// TestUnusable has entries that no label can be made for, which go through as they
// are, while the others are labelled.
func TestUnusable(t *testing.T) {
	treetest.Leaks(t)
	pieces := func(list string) *tar.Header {
		return &tar.Header{Name: "bad", Size: 600, PAXRecords: map[string]string{"GNU.spars_.map": list, "GNU.spars_.size": "1000"}}
	}
	unknown := write(t, &tar.Header{Name: "bad", Size: 600}, &tar.Header{Name: "good", Size: 5})
	unknown[156] = 'Q'
	copy(unknown[148:], fmt.Sprintf("%06o\x00 ", sum(unknown[:512])))
	for name, tt := range map[string]struct {
		archive []byte
		is      func(error) bool
	}{
		"unknown type": {unknown, func(err error) bool { _, ok := errors.AsType[*tarfile.UnsupportedError](err); return ok }},
		"long name":    {write(t, &tar.Header{Name: strings.Repeat("n", 64<<10), Size: 3}, &tar.Header{Name: "good", Size: 5}), func(err error) bool { _, ok := errors.AsType[*tarfile.LimitError](err); return ok }},
		// archive/tar writes no sparse files: the records get their names behind its back.
		"sparse":       {bytes.ReplaceAll(write(t, pieces("0,999"), &tar.Header{Name: "good", Size: 5}), []byte("GNU.spars_"), []byte("GNU.sparse")), func(err error) bool { return errors.Is(err, sparse.ErrMisfit) }},
		"other values": {write(t, &tar.Header{Name: "bad", PAXRecords: map[string]string{"SCHILY.xattr.security.selinux": "a", "LIBARCHIVE.xattr.security.selinux": "Yg"}}, &tar.Header{Name: "good", Size: 5}), func(err error) bool { return strings.Contains(err.Error(), "say different values") }},
		"no base64":    {write(t, &tar.Header{Name: "bad", PAXRecords: map[string]string{"LIBARCHIVE.xattr.security.capability": "%%"}}, &tar.Header{Name: "good", Size: 5}), func(err error) bool { return strings.Contains(err.Error(), "no base64") }},
	} {
		t.Run(name, func(t *testing.T) {
			in := save(t, tt.archive)
			for _, k := range []task{{in: in}, {in: "-", stdin: io.MultiReader(bytes.NewReader(tt.archive))}} {
				k.out, k.job = in+".out", signatures(t)
				rec, err := k.do(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if rec.count(report.Failed) != 1 || rec.count(report.Labelled) != 1 || rec.of("good").Outcome != report.Labelled {
					t.Fatalf("%+v", rec.summary)
				}
				for _, res := range rec.results {
					if res.Outcome == report.Failed && !tt.is(res.Err) {
						t.Errorf("%.300v", res.Err)
					}
				}
				got := load(t, k.out)
				before, _, _ := bytes.Cut(tt.archive, []byte("good\x00"))
				if !bytes.HasPrefix(got, before) {
					t.Error("what could not be labelled did not go through as it is")
				}
				os.Remove(k.out)
			}
		})
	}
}

// TestAfterEnd labels what is behind the end of an archive, and keeps the rest.
func TestAfterEnd(t *testing.T) {
	treetest.Leaks(t)
	archive := sample(t)
	rubbish := []byte(strings.Repeat("rubbish ", 1000))
	for name, tt := range map[string]struct {
		archive []byte
		files   int
		noted   bool
	}{
		"rubbish":  {append(bytes.Clone(archive), rubbish...), 6, false},
		"two":      {append(bytes.Clone(archive), archive...), 12, true},
		"all":      {bytes.Join([][]byte{archive, rubbish[:1024], archive, rubbish}, nil), 12, true},
		"one zero": {bytes.Join([][]byte{archive[:len(archive)-512], archive}, nil), 12, true},
		"padding":  {append(bytes.Clone(archive), make([]byte, 1<<20+7)...), 6, false},
	} {
		in := save(t, tt.archive)
		for _, k := range []task{{in: in}, {in: "-", stdin: io.MultiReader(bytes.NewReader(tt.archive))}} {
			k.out, k.job = in+".out", hashes()
			rec := k.must(t)
			if rec.count(report.Labelled) != tt.files || rec.summary.Notes.Has(reason.AfterEnd) != tt.noted {
				t.Errorf("%s: %+v", name, rec.summary)
			}
			if !bytes.Equal(labelled(t, load(t, k.out), clearer()), tt.archive) {
				t.Errorf("%s: without labels it is not what it was", name)
			}
		}
	}
}

// TestGlobal says that not everybody reads global headers.
func TestGlobal(t *testing.T) {
	archive := globally(t, map[string]string{"uid": "7", "comment": "x"})
	var uid uint32
	in := save(t, archive)
	rec := task{in: in, out: in + ".out", job: hashes(), cfg: Config{Owner: func(u uint32) bool { uid = u; return true }}}.must(t)
	if uid != 7 || !rec.summary.Notes.Has(reason.GlobalHeader) {
		t.Errorf("the owner is %d, the notes are %v", uid, rec.summary.Notes)
	}
	plain := save(t, globally(t, map[string]string{"comment": "x"}))
	if rec := (task{in: plain, out: plain + ".out", job: hashes()}).must(t); len(rec.summary.Notes) > 0 {
		t.Errorf("the notes are %v", rec.summary.Notes)
	}
}

func globally(t testing.TB, records map[string]string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: records}), w.WriteHeader(&tar.Header{Name: "a", Mode: 0o644}), w.Close())
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestBlockedInput ends a run whose archive does not go on: at once, in a header,
// in a content, or packed.
func TestBlockedInput(t *testing.T) {
	treetest.Leaks(t)
	archive := sample(t)
	for _, begin := range [][]byte{nil, archive[:700], archive[:2000], packed(t, compress.Gzip, archive)[:100], packed(t, compress.Zstd, archive)[:100]} {
		r, w := treetest.Pipe(t)
		if _, err := w.Write(begin); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out")
		if _, err := (task{in: "-", stdin: r, out: out, job: hashes()}).do(treetest.StopSoon(t)); err != treetest.ErrStop {
			t.Errorf("after %d bytes: %v", len(begin), err)
		}
		if _, err := os.Stat(out); err == nil {
			t.Error("an output is left")
		}
		r.Close()
		w.Close()
	}
}

// large is an archive that no pipe holds.
func large(t testing.TB) []byte {
	return write(t, &tar.Header{Name: "a", Size: 1 << 20}, &tar.Header{Name: "b", Size: 3 << 20, Uid: 1}, &tar.Header{Name: "c", Size: 1 << 20})
}

// TestOutputPipe ends a run whose output nobody takes, or nobody can take any
// more.
func TestOutputPipe(t *testing.T) {
	treetest.Leaks(t)
	root := Config{Owner: func(uid uint32) bool { return uid == 0 }}
	for _, archive := range [][]byte{large(t), packed(t, compress.Gzip, large(t)), packed(t, compress.Zstd, large(t))} {
		in := save(t, archive)
		for _, name := range []string{in, "-"} {
			r, w := treetest.Pipe(t)
			k := task{in: name, stdin: bytes.NewReader(archive), out: "-", stdout: w, job: hashes(), cfg: root}
			if _, err := k.do(treetest.StopSoon(t)); err != treetest.ErrStop && len(archive) > 1<<20 {
				t.Errorf("nobody reads: %v", err)
			}
			r.Close()
			k.stdin = bytes.NewReader(archive)
			_, err := k.do(t.Context())
			if _, ok := errors.AsType[*stream.OutputError](err); !ok || !errors.Is(err, unix.EPIPE) {
				t.Errorf("nobody can read: %v", err)
			}
			w.Close()
		}
	}
}

// TestBrokenStdout lets nobody take for whole what is not.
func TestBrokenStdout(t *testing.T) {
	treetest.Leaks(t)
	archive := large(t)
	archive = archive[:len(archive)-512]
	for _, in := range [][]byte{archive, packed(t, compress.Gzip, archive), packed(t, compress.Zstd, archive)} {
		r, w := treetest.Pipe(t)
		var got []byte
		done := make(chan struct{})
		go func() { got, _ = io.ReadAll(r); close(done) }()
		if _, err := (task{in: "-", stdin: bytes.NewReader(in), out: "-", stdout: w, job: hashes()}).do(t.Context()); err == nil {
			t.Error("no error")
		}
		w.Close()
		<-done
		z, err := compress.NewReader(bytes.NewReader(got))
		if err == nil {
			_, err = io.Copy(io.Discard, tarReader(z))
			z.Close()
		}
		if err == nil {
			t.Error("what came out seems to be a whole archive")
		}
		r.Close()
	}
}

// tarReader reads all of an archive.
func tarReader(in io.Reader) io.Reader {
	r, w := io.Pipe()
	go func() {
		var err error
		for t := tar.NewReader(in); err == nil; {
			if _, err = t.Next(); err == nil {
				_, err = io.Copy(w, t)
			}
		}
		if err == io.EOF { // to archive/tar the end of the input is one of the archive, too
			if n, _ := io.Copy(io.Discard, in); n == 0 {
				err = io.ErrUnexpectedEOF
			}
		}
		w.CloseWithError(err)
	}()
	return r
}

// TestWritten notices that somebody writes to the archive.
func TestWritten(t *testing.T) {
	treetest.Leaks(t)
	archive := large(t)
	in := save(t, archive)
	f, err := os.OpenFile(in, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	k := task{in: in, out: in + ".out", job: hashes()}
	if _, err := k.do(t.Context()); !errors.Is(err, stream.ErrWritten) {
		t.Errorf("somebody has it open for writing: %v", err)
	}
	a, err := Open(in, nil, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	wrote := false
	a.cfg.Jobs = 1
	if err := a.Walk(t.Context(), func(tree.Found) error {
		if !wrote {
			f.WriteAt([]byte("x"), 600)
			wrote = true
		}
		return nil
	}); !errors.Is(err, stream.ErrWritten) {
		t.Errorf("somebody writes to it: %v", err)
	}
	f.Close()
	if err := os.Truncate(in, int64(len(archive)-4096)); err != nil {
		t.Fatal(err)
	}
	if _, err := k.do(t.Context()); err == nil {
		t.Error("it was cut, and no error")
	}
	alone(t, in)
}

// TestInterrupted ends runs at many moments. What is left is nothing, or all.
func TestInterrupted(t *testing.T) {
	treetest.Leaks(t)
	archive := large(t)
	want := labelled(t, archive, hashes())
	for i := range 40 {
		for _, in := range [][]byte{archive, packed(t, compress.Gzip, archive)} {
			ctx, cancel := context.WithCancelCause(t.Context())
			timer := time.AfterFunc(time.Duration(i)*250*time.Microsecond, func() { cancel(treetest.ErrStop) })
			name := save(t, in)
			_, err := task{in: name, out: name + ".out", job: hashes()}.do(ctx)
			timer.Stop()
			cancel(nil)
			if err == nil {
				if got := load(t, name+".out"); !bytes.Equal(unpacked(t, got), want) {
					t.Errorf("it ended well, with another result: %d bytes, want %d", len(unpacked(t, got)), len(want))
				}
				continue
			}
			if err != treetest.ErrStop {
				t.Error(err)
			}
			alone(t, name)
		}
	}
}

// TestFullDisk fills the file system of the output, and that of what is held.
func TestFullDisk(t *testing.T) {
	small := treetest.Mount(t, "tmpfs", 2)
	treetest.Leaks(t)
	for _, archive := range [][]byte{large(t), packed(t, compress.Gzip, large(t))} {
		k := task{in: save(t, archive), out: filepath.Join(small, "out"), job: hashes()}
		none := compress.None
		k.inner.Compression = &none
		_, err := k.do(t.Context())
		if _, ok := errors.AsType[*stream.OutputError](err); !ok || !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%v", err)
		}
		if names, _ := os.ReadDir(small); len(names) > 0 {
			t.Errorf("left are %v", names)
		}
	}
	huge := write(t, &tar.Header{Name: "a", Size: memory + 1})
	k := task{in: "-", stdin: bytes.NewReader(huge), out: filepath.Join(t.TempDir(), "out"), job: hashes(), cfg: Config{TempDir: small}}
	_, err := k.do(t.Context())
	if _, ok := errors.AsType[*stream.SpoolError](err); !ok || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v", err)
	}
	if names, _ := os.ReadDir(small); len(names) > 0 {
		t.Errorf("left are %v", names)
	}
}

// TestHeld passes contents of all sizes through a stream: those that are held in
// memory, in files, or taken as they come.
func TestHeld(t *testing.T) {
	treetest.Leaks(t)
	var headers []*tar.Header
	for i, size := range []int64{0, 1, small - 1, small, small + 1, memory / 4, memory/4 + 1, memory, memory + 1, 1} {
		for uid := range 2 {
			headers = append(headers, &tar.Header{Name: fmt.Sprint(i, "-", uid), Size: size, Uid: uid})
		}
	}
	archive := write(t, headers...)
	root := Config{Owner: func(uid uint32) bool { return uid == 0 }}
	in := save(t, archive)
	task{in: in, out: in + ".file", job: hashes(), cfg: root}.must(t)
	task{in: "-", stdin: bytes.NewReader(archive), out: in + ".stream", job: hashes(), cfg: root}.must(t)
	want := load(t, in+".file")
	if !bytes.Equal(load(t, in+".stream"), want) {
		t.Error("a stream gives other bytes than a file")
	}
	if rec := (task{in: "-", stdin: bytes.NewReader(want), dry: true, job: hashes(), cfg: root}).must(t); rec.count(report.Unchanged) != 10 {
		t.Errorf("%+v", rec.summary)
	}
}

// endless gives an archive of many entries, without having it.
type endless struct {
	block []byte // an entry
	n     int    // entries to come
	at    int
}

func (e *endless) Read(b []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n := copy(b, e.block[e.at:])
	if e.at += n; e.at == len(e.block) {
		if e.at, e.n = 0, e.n-1; e.n == 1 {
			e.block = make([]byte, 1024)
		}
	}
	return n, nil
}

// TestMemory passes many entries, and what unpacks to very much, through in little
// memory.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: takes seconds")
	}
	entry := write(t, &tar.Header{Name: "empty"})[:512]
	block := write(t, &tar.Header{Name: "zeros", Size: 1 << 20})
	block = block[:len(block)-1024]
	clear(block[512:])
	var bomb bytes.Buffer
	z, err := compress.NewWriter(&bomb, compress.Header{Format: compress.Gzip})
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(z, &endless{block: block, n: 500})
	z.Close()
	for name, in := range map[string]io.Reader{
		"entries": &endless{block: entry, n: 300_000},
		"bomb":    &bomb,
	} {
		out, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		a, err := Open("-", in, Config{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := a.NewSink(t.Context(), Output{Path: "-", Stdout: out})
		if err != nil {
			t.Fatal(err)
		}
		label := []byte("label of some size, such as a signature has")
		if err := a.Walk(t.Context(), func(f tree.Found) error {
			return s.Apply(f.File, []tree.Change{{Attr: "security.ima", New: label}})
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s.Commit(t.Context())
		out.Close()
		runtime.ReadMemStats(&after)
		if got := int64(after.HeapSys) - int64(before.HeapSys); got > 24<<20 {
			t.Errorf("%s: the heap has grown by %d MiB", name, got>>20)
		}
	}
}
