package rpms

import (
	"path/filepath"
	"testing"

	"imaseal/internal/rpmfile/rpmtest"
	"imaseal/internal/tree"
	"imaseal/internal/tree/carriertest"
)

// A carrier is a package of the suite of carriers.
type carrier struct{ path string }

// Open implements carriertest.Tree.
func (c carrier) Open(t *testing.T, workers int) (tree.Source, tree.Sink) {
	p, err := Open([]string{c.path}, Config{Jobs: workers, Content: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.NewSink(t.Context(), Output{InPlace: true})
	if err != nil {
		t.Fatal(err)
	}
	return struct{ tree.Source }{p}, s // it counts nothing
}

// Dump implements carriertest.Tree.
func (c carrier) Dump(t *testing.T) map[string]string {
	return map[string]string{"package": string(load(t, c.path))}
}

// TestConform runs what of the suite a package can be asked for: there is one
// attribute, and signatures alone.
func TestConform(t *testing.T) {
	for name, p := range map[string]rpmtest.Package{"format 4": {Format: 4}, "format 6": {Format: 6}} {
		t.Run(name, func(t *testing.T) {
			carriertest.FindsAndReads(t, carriertest.Carrier{New: func(t *testing.T, files []carriertest.File) carriertest.Tree {
				p.Algorithm = 8
				p.Files = []rpmtest.File{{Path: "/nothing/"}, {Path: "/link", Content: "link", Mode: 0o120777}, {Path: "/state", Flags: rpmtest.Ghost}}
				for _, f := range files {
					p.Files = append(p.Files, rpmtest.File{Path: "/" + f.Name, Content: f.Content, Mode: 0o100000 | uint16(f.Mode), User: "games"})
				}
				return carrier{write(t, filepath.Join(t.TempDir(), "x.rpm"), p.Bytes())}
			}})
		})
	}
}
