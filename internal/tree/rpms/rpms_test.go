package rpms

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/rpmfile"
	"imaseal/internal/rpmfile/rpmtest"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
	"imaseal/internal/verify"
	"imaseal/sign"
)

// built is a package of which the payload can be read.
func built(format int) rpmtest.Package {
	return rpmtest.Package{Format: format, Algorithm: 8, Files: []rpmtest.File{
		{Path: "/etc/"},
		{Path: "/etc/conf", Content: "a = b\n", Flags: 1},
		{Path: "/usr/bin/hard", Content: "program", Mode: 0o100755, Inode: 7},
		{Path: "/usr/bin/link", Content: "hard", Mode: 0o120777},
		{Path: "/usr/bin/prog", Content: "program", Mode: 0o100755, Inode: 7, User: "games"},
		{Path: "/usr/share/empty"},
		{Path: "/usr/share/large", Content: strings.Repeat("0123456789", 30000)},
		{Path: "/var/fifo", Mode: 0o010644},
		{Path: "/var/state", Flags: rpmtest.Ghost},
	}}
}

// signed are the files of it that have labels.
var signed = []string{"etc/conf", "usr/bin/hard", "usr/bin/prog", "usr/share/empty", "usr/share/large"}

func write(t testing.TB, path string, b []byte) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600)); err != nil {
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

func signer(t testing.TB) (*label.Labeller, sign.Verifiers) {
	t.Helper()
	key := runtest.Key(t, "p256")
	return &label.Labeller{Algo: hash.SHA256, Rules: plan.Only(plan.Sign), Key: &label.Key{Signer: key, Own: key, Version: 2}}, sign.Only(key)
}

// do runs a job on packages; nil is no output.
func do(ctx context.Context, t testing.TB, job run.Job, cfg Config, o *Output, names ...string) (map[string]report.Result, report.Summary, error) {
	t.Helper()
	p, err := Open(names, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := run.Run{Source: p, Job: job, Report: new(runtest.Recorder)}
	if o != nil {
		if r.Sink, err = p.NewSink(ctx, *o); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := r.Do(ctx)
	return byPath(t, r.Report.(*runtest.Recorder).Results), sum, err
}

func byPath(t testing.TB, results []report.Result) map[string]report.Result {
	t.Helper()
	all := make(map[string]report.Result)
	for _, res := range results {
		if _, twice := all[res.Path]; twice {
			t.Errorf("%s has two results", res.Path)
		}
		all[res.Path] = res
	}
	return all
}

// all returns outcomes of the files of a package.
func all(name string, o report.Outcome) map[string]string {
	want := map[string]string{name + ":usr/bin/link": "skipped", name + ":var/fifo": "skipped", name + ":var/state": "skipped"}
	for _, f := range signed {
		want[name+":"+f] = string(o)
	}
	return want
}

func TestSign(t *testing.T) {
	treetest.Leaks(t)
	for _, jobs := range []int{1, 4} {
		dir, out := t.TempDir(), t.TempDir()
		want, valid := make(map[string]string), make(map[string]string)
		before := make(map[string][]byte)
		for i, name := range []string{"four.rpm", "sub/six.rpm", "sub/stripped.rpm"} {
			p := built([]int{4, 6, 4}[i])
			p.Stripped = i == 2
			before[name] = p.Bytes()
			path := write(t, filepath.Join(dir, name), before[name])
			maps.Copy(want, all(path, report.Labelled))
			maps.Copy(valid, all(filepath.Join(out, name), report.Valid))
		}
		labels, keys := signer(t)
		got, _, err := do(t.Context(), t, labels, Config{Jobs: jobs}, &Output{Path: out}, dir)
		if err != nil {
			t.Fatal(err)
		}
		runtest.WantOutcomes(t, got, want)
		got, _, err = do(t.Context(), t, &verify.Verifier{Keys: keys}, Config{Jobs: jobs, Content: true}, nil, out)
		if err != nil {
			t.Fatal(err)
		}
		runtest.WantOutcomes(t, got, valid)
		labelled := make(map[string][]byte)
		for name, b := range before {
			labelled[name] = load(t, filepath.Join(out, name))
			if !bytes.Equal(load(t, filepath.Join(dir, name)), b) || bytes.Equal(labelled[name], b) {
				t.Errorf("%s was changed, or not", name)
			}
		}
		got, sum, err := do(t.Context(), t, labels, Config{Jobs: jobs}, &Output{InPlace: true}, out)
		if err != nil || sum.Count[report.Unchanged] != 15 {
			t.Errorf("a second run: %v, %v", got, err)
		}
		for name, b := range labelled {
			if !bytes.Equal(load(t, filepath.Join(out, name)), b) {
				t.Errorf("%s: a second run changed it", name)
			}
		}
		if _, sum, err = do(t.Context(), t, label.Clearer{Attrs: label.All()}, Config{Jobs: jobs, Mend: true}, &Output{InPlace: true}, out); err != nil || sum.Count[report.Cleared] != 15 {
			t.Errorf("%+v, %v", sum, err)
		}
		for name, b := range before {
			if !bytes.Equal(load(t, filepath.Join(out, name)), b) {
				t.Errorf("%s: without labels it is not what it was", name)
			}
		}
	}
}

// With one worker files come in order, and one package behind the other.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for _, name := range []string{"a.rpm", "b.rpm"} {
		path := write(t, filepath.Join(dir, name), built(4).Bytes())
		want = append(want, slices.Sorted(maps.Keys(all(path, "")))...)
	}
	write(t, filepath.Join(dir, "readme"), []byte("no package"))
	p, err := Open([]string{dir}, Config{Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := p.Walk(t.Context(), func(f tree.Found) error { got = append(got, f.Path); return nil }); err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

// What a file is, without its content and with it.
func TestFile(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "x.rpm"), built(4).Bytes())
	for _, content := range []bool{false, true} {
		p, err := Open([]string{path}, Config{Jobs: 1, Content: content})
		if err != nil {
			t.Fatal(err)
		}
		files := make(map[string]bool)
		if err := p.Walk(t.Context(), func(found tree.Found) error {
			f := found.File
			if f == nil {
				return nil
			}
			files[f.Rel()] = true
			if f.Name() != found.Path || f.Name() != path+":"+f.Rel() || f.Full() != "/"+f.Rel() || f.Meta().Mode>>12 != 8 {
				t.Errorf("%s, %s, %s, %+v", f.Name(), f.Rel(), f.Full(), f.Meta())
			}
			if uid := f.Meta().UID; (uid == 0) == (f.Rel() == "usr/bin/prog") {
				t.Errorf("%s is of user %d", f.Rel(), uid)
			}
			b := make([]byte, f.Meta().Size)
			n, err := f.ReadAt(b, 0)
			if content != (n == len(b) && (err == nil || n == 0)) && f.Meta().Size > 0 || !content && err != ErrPacked {
				t.Errorf("%s: %d bytes, %v", f.Rel(), n, err)
			}
			if number, sum := f.(tree.Digested).KnownDigest(); content {
				if is, err := hash.Sum(hash.SHA256, b); err != nil || number != 4 || !bytes.Equal(is.Bytes(), sum) {
					t.Errorf("%s: the digest is %d %x", f.Rel(), number, sum)
				}
			}
			if names, err := f.Attrs(); len(names) > 0 || err != nil {
				t.Errorf("%q, %v", names, err)
			}
			if v, err := f.Attr(imaevm.AttrIMA); v != nil || err != tree.ErrNoAttr {
				t.Errorf("%x, %v", v, err)
			}
			return nil
		}); err != nil || !slices.Equal(slices.Sorted(maps.Keys(files)), signed) {
			t.Errorf("%v, %v", files, err)
		}
	}
}

// The payload is no matter to who signs, and is to who verifies.
func TestPayload(t *testing.T) {
	labels, keys := signer(t)
	check := func(name string, change func([]byte) []byte) (map[string]report.Result, report.Summary) {
		path := write(t, filepath.Join(t.TempDir(), "x.rpm"), built(4).Bytes())
		p, err := rpmfile.Read(bytes.NewReader(load(t, path)), int64(len(load(t, path))))
		if err != nil {
			t.Fatal(err)
		}
		b := load(t, path)
		write(t, path, append(b[:p.Payload], change(b[p.Payload:])...))
		if got, sum, err := do(t.Context(), t, labels, Config{}, &Output{InPlace: true}, path); err != nil || sum.Count[report.Labelled] != 5 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		got, sum, err := do(t.Context(), t, &verify.Verifier{Keys: keys}, Config{Content: true}, nil, path)
		if err != nil {
			t.Fatal(err)
		}
		return got, sum
	}
	if got, sum := check("flipped", func(b []byte) []byte { return bytes.Replace(b, []byte("program"), []byte("Program"), 1) }); sum.Count[report.Invalid] != 2 || sum.Count[report.Valid] != 3 {
		t.Errorf("%+v", got)
	} else {
		for path, res := range got {
			if res.Outcome == report.Invalid && (res.Code != reason.WrongDigest || !strings.Contains(res.Reason, "and the package says sha256:")) {
				t.Errorf("%s: %s", path, res.Reason)
			}
		}
	}
	for name, change := range map[string]func([]byte) []byte{
		"cut": func(b []byte) []byte { return b[:1000] }, "gone": func([]byte) []byte { return nil },
		"gzip": func([]byte) []byte { return []byte("\x1f\x8b\x08") }, "lzip": func([]byte) []byte { return []byte("LZIP\x01") },
	} {
		got, sum := check(name, change)
		if sum.Count[report.Failed] < 1 || sum.Count[report.Valid] == 5 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// A file that is not there.
	_, sum := check("missing", func(b []byte) []byte { return b[bytes.Index(b, []byte("TRAILER"))-110:] })
	if sum.Count[report.Failed] != 5 || sum.Skipped[reason.Symlink] != 1 {
		t.Errorf("missing: %+v", sum)
	}
}

// A label in another file's place is found out.
func TestWrongSlot(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "x.rpm"), built(6).Bytes())
	labels, keys := signer(t)
	if _, _, err := do(t.Context(), t, labels, Config{}, &Output{InPlace: true}, path); err != nil {
		t.Fatal(err)
	}
	b := load(t, path)
	p, err := rpmfile.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	moved := make([][]byte, len(p.Files))
	moved[1], moved[2], moved[4], moved[5], moved[6] = p.Files[2].Label, p.Files[1].Label, p.Files[4].Label, nil, p.Files[6].Label
	head, err := p.Head(moved)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, append(head, b[p.Header:]...))
	got, _, err := do(t.Context(), t, &verify.Verifier{Keys: keys}, Config{Content: true}, nil, path)
	if err != nil {
		t.Fatal(err)
	}
	want := all(path, report.Valid)
	want[path+":etc/conf"], want[path+":usr/bin/hard"], want[path+":usr/share/empty"] = "invalid", "invalid", "unlabelled"
	runtest.WantOutcomes(t, got, want)
}

// Hard links have the same label, whichever rpm writes last.
func TestHardLinks(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "x.rpm"), built(4).Bytes())
	labels, _ := signer(t)
	got, _, err := do(t.Context(), t, labels, Config{}, &Output{InPlace: true}, path)
	if err != nil || !bytes.Equal(got[path+":usr/bin/hard"].IMA, got[path+":usr/bin/prog"].IMA) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestFilters(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "x.rpm"), built(4).Bytes())
	labels, _ := signer(t)
	cfg := Config{
		Include: func(rel string) bool { return rel == "usr" || rel == "etc/conf" }, Exclude: func(rel string) bool { return rel == "usr/share" },
		Leave: func(f tree.File) reason.Code {
			if f.Rel() == "usr/bin/hard" {
				return reason.ByRule
			}
			return ""
		},
	}
	got, sum, err := do(t.Context(), t, labels, cfg, &Output{InPlace: true}, path)
	if err != nil || sum.Skipped[reason.Filtered] != 4 || sum.Skipped[reason.ByRule] != 1 || sum.Count[report.Labelled] != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

// What is wrong with one package is no matter to the others, and it is not written.
func TestBadPackages(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	good := write(t, filepath.Join(dir, "good.rpm"), built(4).Bytes())
	write(t, filepath.Join(dir, "bad.rpm"), built(4).Bytes()[:2000])
	write(t, filepath.Join(dir, "none.rpm"), []byte("no package"))
	source := built(4)
	source.Header = func(tags []rpmtest.Tag) []rpmtest.Tag {
		return slices.DeleteFunc(tags, func(t rpmtest.Tag) bool { return t.Tag == 1044 })
	}
	src := write(t, filepath.Join(dir, "x.src.rpm"), source.Bytes())
	if err := os.Symlink(good, filepath.Join(dir, "link.rpm")); err != nil {
		t.Fatal(err)
	}
	labels, _ := signer(t)
	want := all(good, report.Labelled)
	want[filepath.Join(dir, "bad.rpm")], want[filepath.Join(dir, "none.rpm")], want[src] = "failed", "failed", "skipped"
	got, _, err := do(t.Context(), t, labels, Config{}, &Output{Path: out}, dir)
	if err != nil {
		t.Fatal(err)
	}
	runtest.WantOutcomes(t, got, want)
	if made := names(t, out); !slices.Equal(made, []string{"good.rpm"}) {
		t.Errorf("made %q", made)
	}
	if res := got[filepath.Join(dir, "none.rpm")]; !errors.Is(res.Err, rpmfile.ErrNoPackage) {
		t.Error(res.Err)
	}
	// One that is named itself is a failure.
	single := filepath.Join(out, "single.rpm")
	if got, _, err = do(t.Context(), t, labels, Config{}, &Output{Path: single}, src); err != nil || !errors.Is(got[src].Err, rpmfile.ErrSource) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := os.Lstat(single); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// Labels of which cannot be told which is of which file can be removed, and no more.
func TestGarbled(t *testing.T) {
	p := built(4)
	before := p.Bytes()
	p.Signature = func(tags []rpmtest.Tag) []rpmtest.Tag {
		return slices.Insert(tags, 2, rpmtest.Strings(274, "0302", "0302"), rpmtest.Int32(275, 2))
	}
	path := write(t, filepath.Join(t.TempDir(), "x.rpm"), p.Bytes())
	labels, keys := signer(t)
	for _, job := range []run.Job{labels, &verify.Verifier{Keys: keys}} {
		got, _, err := do(t.Context(), t, job, Config{}, &Output{InPlace: true}, path)
		if _, ok := errors.AsType[*rpmfile.LabelsError](got[path].Err); !ok || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
	if _, _, err := do(t.Context(), t, label.Clearer{Attrs: label.All()}, Config{Mend: true}, &Output{InPlace: true}, path); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(load(t, path), before) {
		t.Error("labels are not gone")
	}
}

// What a package cannot hold is refused, and changes nothing.
func TestRefuses(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "x.rpm"), built(4).Bytes())
	before := load(t, path)
	labels := &label.Labeller{Algo: hash.SHA256, Rules: plan.Only(plan.Hash)}
	got, sum, err := do(t.Context(), t, labels, Config{}, &Output{InPlace: true}, path)
	if err != nil || sum.Count[report.Failed] != 5 {
		t.Errorf("%v, %v", got, err)
	}
	if res := got[path+":etc/conf"]; !errors.Is(res.Err, errors.ErrUnsupported) || !strings.Contains(res.Err.Error(), "signatures alone") {
		t.Error(res.Err)
	}
	if !bytes.Equal(load(t, path), before) {
		t.Error("the package changed")
	}
	key := runtest.Key(t, "p256")
	d, _ := hash.Sum(hash.SHA256, nil)
	ok, err := sign.Label(t.Context(), key, imaevm.TypeSignature, 2, d)
	if err != nil {
		t.Fatal(err)
	}
	value, err := ok.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open([]string{path}, Config{Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.NewSink(t.Context(), Output{InPlace: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Walk(t.Context(), func(found tree.Found) error {
		if found.File == nil {
			return nil
		}
		err := s.Apply(found.File, []tree.Change{{Attr: imaevm.AttrIMA, New: value}, {Attr: imaevm.AttrEVM, New: []byte("x")}})
		if partial, ok := errors.AsType[*tree.PartialError](err); !ok || len(partial.Done) != 1 {
			t.Errorf("%v", err)
		}
		if v, err := found.File.Attr(imaevm.AttrIMA); err != nil || !bytes.Equal(v, value) {
			t.Errorf("%x, %v", v, err)
		}
		if err := s.Apply(found.File, []tree.Change{{Attr: imaevm.AttrEVM, New: []byte("x")}}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context()); err != nil || bytes.Equal(load(t, path), before) {
		t.Errorf("what was done is not there, %v", err)
	}
}

func TestDryRun(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "x.rpm"), built(4).Bytes())
	before := load(t, path)
	labels, _ := signer(t)
	p, err := Open([]string{path}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	rec := new(runtest.Recorder)
	if _, err := (&run.Run{Source: p, Job: labels, Sink: tree.DryRun{}, Report: rec}).Do(t.Context()); err != nil || runtest.Count(byPath(t, rec.Results), report.Labelled) != 5 || !bytes.Equal(load(t, path), before) {
		t.Errorf("%v, %v", rec.Results, err)
	}
}

// A run that is broken off leaves whole packages, old ones and new ones, and nothing
// else.
func TestInterrupted(t *testing.T) {
	treetest.Leaks(t)
	for _, content := range []bool{false, true} {
		for _, after := range []int{0, 3, 7, 12} {
			dir := t.TempDir()
			old := built(4).Bytes()
			for _, name := range []string{"a.rpm", "b.rpm", "c.rpm", "d.rpm"} {
				write(t, filepath.Join(dir, name), old)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			stopped := errors.New("stopped")
			labels, _ := signer(t)
			p, err := Open([]string{dir}, Config{Jobs: 2, Content: content})
			if err != nil {
				t.Fatal(err)
			}
			s, err := p.NewSink(ctx, Output{InPlace: true})
			if err != nil {
				t.Fatal(err)
			}
			var visited atomic.Int64
			counted := tree.WithFiles(p, func(f tree.File) tree.File {
				if visited.Add(1) > int64(after) {
					cancel(stopped)
				}
				return f
			})
			r := run.Run{Source: counted, Job: labels, Sink: s, Report: new(runtest.Recorder)}
			if _, err := r.Do(ctx); err != stopped {
				t.Errorf("%v", err)
			}
			if made := names(t, dir); len(made) != 4 {
				t.Errorf("there are %q", made)
			}
			whole := 0
			for _, name := range names(t, dir) {
				b := load(t, filepath.Join(dir, name))
				q, err := rpmfile.Read(bytes.NewReader(b), int64(len(b)))
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if !q.HasLabels() {
					if !bytes.Equal(b, old) {
						t.Errorf("%s is neither the old nor a new one", name)
					}
					continue
				}
				whole++
				for _, f := range q.Files {
					if !f.Digest.IsZero() && f.Label == nil {
						t.Errorf("%s: %s has no label, and others have", name, f.Path)
					}
				}
			}
			if whole == 4 {
				t.Error("nothing was broken off")
			}
			cancel(nil)
		}
	}
}

// So does one that the visitor ends.
func TestBroken(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "x.rpm"), built(4).Bytes())
	before := load(t, path)
	p, err := Open([]string{path}, Config{Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.NewSink(t.Context(), Output{InPlace: true})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	visits := 0
	err = p.Walk(t.Context(), func(found tree.Found) error {
		if visits++; visits == 3 {
			return broken
		}
		return s.Apply(found.File, []tree.Change{{Attr: imaevm.AttrIMA, Old: []byte("x")}})
	})
	if notes := p.Notes(); err != broken || visits != 3 || len(notes) != 1 || notes[0].Code != reason.NothingWritten {
		t.Errorf("%v after %d visits, %v", err, visits, notes)
	}
	if err := s.Abort(); err != nil || !bytes.Equal(load(t, path), before) {
		t.Errorf("the package changed, %v", err)
	}
}

// Outputs that cannot be are refused before anything is written.
func TestOutputs(t *testing.T) {
	dir := t.TempDir()
	one := write(t, filepath.Join(dir, "in", "one.rpm"), built(4).Bytes())
	two := write(t, filepath.Join(dir, "other", "one.rpm"), built(4).Bytes())
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		from []string
		to   string
		want error
	}{
		"itself":                    {[]string{one}, one, ErrSameFile},
		"its directory":             {[]string{one}, filepath.Dir(one), ErrSameFile},
		"the directory itself":      {[]string{filepath.Dir(one)}, filepath.Dir(one), ErrSameFile},
		"several to a file":         {[]string{one, two}, filepath.Join(dir, "new.rpm"), ErrNotDirectory},
		"a directory to a file":     {[]string{filepath.Dir(one)}, filepath.Join(dir, "new.rpm"), ErrNotDirectory},
		"several to a pipe":         {[]string{one, two}, "-", ErrNotDirectory},
		"no directory":              {[]string{one}, filepath.Join(dir, "none", "x"), fs.ErrNotExist},
		"two of the same name":      {[]string{one, two}, filepath.Join(dir, "out"), new(TwiceError)},
		"one, by its own name":      {[]string{one}, filepath.Join(dir, "out"), nil},
		"one, by a name":            {[]string{one}, filepath.Join(dir, "out", "x.rpm"), nil},
		"a place that takes a byte": {[]string{one}, "/dev/full", unix.ENOSPC},
	} {
		p, err := Open(tt.from, Config{Jobs: 1})
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.NewSink(t.Context(), Output{Path: tt.to})
		if err == nil {
			labels, _ := signer(t)
			_, err = (&run.Run{Source: p, Job: labels, Sink: s, Report: new(runtest.Recorder)}).Do(t.Context())
		}
		_, twice := errors.AsType[*TwiceError](err)
		_, wantTwice := tt.want.(*TwiceError)
		if wantTwice != twice || !wantTwice && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if _, isOutput := errors.AsType[*stream.OutputError](err); tt.want == unix.ENOSPC && !isOutput {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{filepath.Join(dir, "none.rpm"), filepath.Join(dir, "out", "sub"), "/dev/null"} {
		if _, err := Open([]string{name}, Config{}); err == nil {
			t.Errorf("%s is opened", name)
		}
	}
	empty := t.TempDir()
	if _, err := Open([]string{empty}, Config{}); !errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
}

// A package that somebody writes to is not taken for what it was.
func TestWritten(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "x.rpm"), built(4).Bytes())
	labels, keys := signer(t)
	for _, job := range []run.Job{labels, &verify.Verifier{Keys: keys}} {
		p, err := Open([]string{path}, Config{Jobs: 1, Content: job != run.Job(labels)})
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.NewSink(t.Context(), Output{Path: filepath.Join(dir, "new.rpm")})
		if err != nil {
			t.Fatal(err)
		}
		once := true
		touched := tree.WithFiles(p, func(f tree.File) tree.File {
			if once {
				b := load(t, path)
				write(t, path, append(b, 'x'))
				once = false
			}
			return f
		})
		rec := new(runtest.Recorder)
		_, err = (&run.Run{Source: touched, Job: job, Sink: s, Report: rec}).Do(t.Context())
		found := errors.Is(err, stream.ErrWritten)
		for _, res := range rec.Results {
			found = found || errors.Is(res.Err, stream.ErrWritten)
		}
		if !found {
			t.Errorf("%v", err)
		}
		if job == run.Job(labels) {
			if made := names(t, dir); len(made) != 1 {
				t.Errorf("there are %q", made)
			}
		}
	}
}
