package tarball

import (
	"context"
	"io"
	"path"
	"slices"
	"strings"

	"imaseal/internal/line"
	"imaseal/internal/tarfile"
)

// maxFollowed is how many links one behind the other are followed from a name to a
// file: /sbin is a link to /usr/sbin, which may be one to /usr/bin.
const maxFollowed = 4

// Holds reports whether one of the names, which are relative, leads to something
// once the archive is unpacked: links among its directories are followed. It looks
// at the headers, of a Countable archive only. What cannot be read, the walk reports.
func (a *Archive) Holds(ctx context.Context, names []string) bool {
	for range maxFollowed {
		holds, links := false, make(map[string]string)
		a.each(ctx, func(e *tarfile.Entry) bool {
			name := clean(e.Name)
			if slices.Contains(names, name) {
				holds = true
			}
			if e.Kind == tarfile.Symlink && slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, name+"/") }) {
				links[name] = e.Link
			}
			return !holds
		})
		if holds || len(links) == 0 {
			return holds
		}
		var led []string
		for _, name := range names {
			led = append(led, follow(name, links))
		}
		names = led
	}
	return false
}

// follow returns where a name leads by the first link among its directories.
func follow(name string, links map[string]string) string {
	for i, c := range name {
		if c != '/' {
			continue
		}
		if to, ok := links[name[:i]]; ok {
			if !path.IsAbs(to) {
				to = path.Dir(name[:i]) + "/" + to
			}
			return clean(to + name[i:])
		}
	}
	return name
}

// each calls do with the entries until that returns false, or one cannot be read.
func (a *Archive) each(ctx context.Context, do func(*tarfile.Entry) bool) {
	if !a.Countable() {
		return
	}
	for r := tarfile.NewReader(newSeeker(ctx, a.all(), a.size)); ; {
		if e, err := r.Next(); err != nil || !do(e) {
			return
		}
	}
}

// Each calls do with the entries, by their numbers, until that returns an error, which
// is returned, too. The archive is read from its beginning to its end: one that is no
// file cannot be walked any more. The error is an *ArchiveError where the archive is
// damaged.
func (a *Archive) Each(ctx context.Context, do func(number int, e *tarfile.Entry) error) error {
	end := line.NewEnd(ctx)
	defer end.Release()
	w := &walker{End: end, a: a}
	close, _, err := w.open()
	if err != nil {
		return a.error(ctx, err)
	}
	defer close()
	for n := 0; ; n++ {
		e, err := w.in.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = do(n, e)
		}
		if err != nil {
			return a.error(ctx, err)
		}
	}
}
