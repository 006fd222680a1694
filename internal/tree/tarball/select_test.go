package tarball

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/tree"
)

func globs(patterns ...string) func(string) bool {
	s := plan.Selection{Include: patterns}
	return s.Included
}

func tree3(t testing.TB) []byte {
	return write(t,
		&tar.Header{Name: "a/", Typeflag: tar.TypeDir, Mode: 0o755},
		&tar.Header{Name: "a/one", Size: 1},
		&tar.Header{Name: "a/b/two", Size: 2},
		&tar.Header{Name: "a/b/theirs", Size: 2, Uid: 1000},
		&tar.Header{Name: "./c/hard", Typeflag: tar.TypeLink, Linkname: "./a/b/two"},
		&tar.Header{Name: "./c/sym", Typeflag: tar.TypeSymlink, Linkname: "../a"},
		&tar.Header{Name: "/c/three", Size: 3},
		&tar.Header{Name: "top", Size: 4},
	)
}

func TestSelection(t *testing.T) {
	in := save(t, tree3(t))
	root := func(uid uint32) bool { return uid == 0 }
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"all":                {Config{}, "a/one a/b/two a/b/theirs c/three top; hard-link c/hard, symbolic-link c/sym"},
		"owner":              {Config{Owner: root}, "a/one a/b/two c/three top; other-owner a/b/theirs, hard-link c/hard, symbolic-link c/sym"},
		"exclude file":       {Config{Exclude: globs("a/one")}, "a/b/two a/b/theirs c/three top; filtered a/one, hard-link c/hard, symbolic-link c/sym"},
		"exclude directory":  {Config{Exclude: globs("c")}, "a/one a/b/two a/b/theirs top; filtered c/hard, filtered c/sym, filtered c/three"},
		"exclude above link": {Config{Exclude: globs("a/b")}, "a/one c/three top; filtered a/b/two, filtered a/b/theirs, symbolic-link c/sym; c/hard: it is a hard link to a/b/two, which has the content, and is not selected"},
		"include":            {Config{Include: globs("a/b")}, "a/b/two a/b/theirs; filtered a/one, filtered c/hard, filtered c/sym, filtered c/three, filtered top"},
		"include pattern":    {Config{Include: globs("**/t*")}, "a/b/two a/b/theirs c/three top; filtered a/one, filtered c/hard, filtered c/sym"},
		"include link":       {Config{Include: globs("c/*")}, "c/three; filtered a/one, filtered a/b/two, filtered a/b/theirs, symbolic-link c/sym, filtered top; c/hard: it is a hard link to a/b/two, which has the content, and is not selected"},
		"both":               {Config{Include: globs("a"), Exclude: globs("a/b")}, "a/one; filtered a/b/two, filtered a/b/theirs, filtered c/hard, filtered c/sym, filtered c/three, filtered top"},
		"leave": {Config{Leave: func(f tree.File) reason.Code {
			if strings.HasPrefix(f.Rel(), "a/") && f.Meta().Size > 1 {
				return reason.ByRule
			}
			return ""
		}}, "a/one c/three top; rule a/b/two, rule a/b/theirs, hard-link c/hard, symbolic-link c/sym"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.cfg.Jobs = 1
			a, err := Open(in, nil, tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			var files, skipped, failed []string
			var sizes int64
			err = a.Walk(t.Context(), func(f tree.Found) error {
				rel := f.Path[len(in)+1:]
				switch {
				case f.File != nil:
					files = append(files, rel)
					sizes += f.File.Meta().Size
				case f.Skip != "":
					skipped = append(skipped, fmt.Sprintf("%s %s", f.Skip, rel))
				default:
					if _, ok := errors.AsType[*LinkError](f.Err); !ok {
						t.Errorf("%s: %v", rel, f.Err)
					}
					failed = append(failed, fmt.Sprintf("%s: %v", rel, f.Err))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(files, " ") + "; " + strings.Join(skipped, ", ")
			if len(failed) > 0 {
				got += "; " + strings.Join(failed, ", ")
			}
			if got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
			if tt.cfg.Leave != nil {
				return // which is not asked to count
			}
			var counted int64
			if err := a.Count(t.Context(), func(size int64) { counted += size }); err != nil || counted != sizes {
				t.Errorf("counted are %d bytes, %v; want %d", counted, err, sizes)
			}
		})
	}
}

// TestNames has names that must be nothing but names.
func TestNames(t *testing.T) {
	names := map[string]string{
		"../../etc/passwd": "etc/passwd", "/etc/shadow": "etc/shadow", "a/./b//c": "a/b/c", "new\nline": "new\nline",
		"\xff\xfe": "\xff\xfe", "a/../..": ".", "-rf": "-rf", " ": " ", "esc\x1b[31m": "esc\x1b[31m",
	}
	var headers []*tar.Header
	for name := range names {
		headers = append(headers, &tar.Header{Name: name, Size: 10, Format: tar.FormatGNU})
	}
	archive := write(t, headers...)
	got := labelled(t, archive, hashes())
	checkHashes(t, archive, got)
	var rels []string
	a, err := Open(save(t, got), nil, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	a.cfg.Jobs = 1
	if err := a.Walk(t.Context(), func(f tree.Found) error { rels = append(rels, f.File.Rel()); return nil }); err != nil {
		t.Fatal(err)
	}
	for i, h := range headers {
		if rels[i] != names[h.Name] {
			t.Errorf("%q is %q, want %q", h.Name, rels[i], names[h.Name])
		}
	}
}

// TestDeepNames has names that would take ages if filters looked at every
// directory of them.
func TestDeepNames(t *testing.T) {
	deep := strings.Repeat("a/", 32<<10)
	var headers []*tar.Header
	for i := range 20 {
		headers = append(headers, &tar.Header{Name: fmt.Sprint(deep, i), Size: 1})
	}
	headers = append(headers, &tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: deep + "1"}, &tar.Header{Name: deep + "sym", Typeflag: tar.TypeSymlink, Linkname: deep})
	in := save(t, write(t, headers...))
	rec, err := task{in: in, out: in + ".out", job: hashes(), cfg: Config{Exclude: globs("**/x/**/y")}}.do(t.Context())
	if err != nil || rec.count(report.Failed) != 20 || rec.summary.HardLinks != 1 || rec.summary.Skipped[reason.Symlink] != 1 {
		t.Errorf("%v, %+v", err, rec.summary)
	}
	if !slices.Equal(load(t, in+".out"), load(t, in)) {
		t.Error("what could not be labelled does not go through as it is")
	}
}

// TestVisitError ends a walk.
func TestVisitError(t *testing.T) {
	errVisit := errors.New("no more")
	for _, jobs := range []int{1, 3} {
		a, err := Open(save(t, sample(t)), nil, Config{Jobs: jobs})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		n := 0
		if err := a.Walk(t.Context(), func(tree.Found) error {
			if jobs == 1 {
				n++
			}
			return errVisit
		}); err != errVisit || n > 1 {
			t.Errorf("%d jobs: %v, after %d visits", jobs, err, n)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errVisit)
		if err := a.Walk(ctx, func(tree.Found) error { t.Error("visited"); return nil }); err != errVisit {
			t.Errorf("%d jobs, of a run that has ended: %v", jobs, err)
		}
	}
}
