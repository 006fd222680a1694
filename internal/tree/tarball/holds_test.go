package tarball

import (
	"archive/tar"
	"context"
	"testing"
)

func TestHolds(t *testing.T) {
	link := func(name, to string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	file := func(name string) *tar.Header { return &tar.Header{Name: name} }
	for name, c := range map[string]struct {
		entries []*tar.Header
		want    bool
	}{
		"nothing":           {nil, false},
		"file":              {[]*tar.Header{file("./etc/x"), file("./bin/sh")}, true},
		"link":              {[]*tar.Header{link("sbin/init", "/lib/systemd/systemd")}, true},
		"elsewhere":         {[]*tar.Header{file("usr/bin/sh"), file("bin/shx"), file("x/bin/sh")}, false},
		"merged":            {[]*tar.Header{link("bin", "usr/bin"), file("usr/bin/sh")}, true},
		"merged before":     {[]*tar.Header{file("/usr/bin/sh"), link("./bin", "/usr/bin")}, true},
		"merged twice":      {[]*tar.Header{link("sbin", "usr/sbin"), link("usr/sbin", "bin"), file("usr/bin/init")}, true},
		"merged otherwise":  {[]*tar.Header{link("bin", "usr/lib"), file("usr/bin/sh")}, false},
		"links in a circle": {[]*tar.Header{link("bin", "sbin"), link("sbin", "bin")}, false},
		"out of the tree":   {[]*tar.Header{link("bin", "../../bin")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := Open(save(t, write(t, c.entries...)), nil, Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			if got := a.Holds(context.Background(), []string{"sbin/init", "bin/sh"}); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
