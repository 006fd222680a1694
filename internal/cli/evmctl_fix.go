package cli

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"imaseal/internal/evmctl"
	"imaseal/internal/host"
	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/walk"
)

// evmctlFix opens files for reading, which has a kernel in fix mode label them.
func (p Program) evmctlFix(ctx context.Context, r evmctl.Request) (int, error) {
	var failed atomic.Bool
	var mu sync.Mutex // files are come to by several workers
	fail := func(path string, err error) {
		failed.Store(true)
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(p.Stderr, "%s: %v\n", report.Quote(path), pathless(err))
	}
	said := evmctl.Report{Err: p.Stderr}
	fix := func(path string) {
		mu.Lock()
		said.Comes(path)
		mu.Unlock()
		if err := fixFile(path, r); err != nil {
			fail(path, err)
		}
	}
	if !r.Recursive {
		for _, path := range r.Paths {
			fix(path)
		}
		return fixStatus(&failed), nil
	}
	var roots []*walk.Root
	for _, path := range r.Paths {
		root, err := walk.Open(path)
		if err != nil {
			fail(path, err)
			continue
		}
		defer root.Close()
		roots = append(roots, root)
	}
	cfg := walk.Config{
		Workers: runtime.GOMAXPROCS(0), CrossFilesystems: !r.SameFilesystem, CountOnly: true,
		Pseudo: func(magic uint32) bool { _, ok := host.Pseudo(magic); return ok },
	}
	err := walk.Walk(ctx, roots, cfg, func(e walk.Entry) error {
		switch {
		case e.Err != nil:
			fail(e.Path, e.Err)
		case e.Skip == "":
			fix(e.Path)
		}
		return nil
	})
	return fixStatus(&failed), err
}

func fixStatus(failed *atomic.Bool) int {
	if failed.Load() {
		return evmctl.StatusError
	}
	return evmctl.StatusOK
}

// fixFile opens a file, unless it is to be left that has both labels.
func fixFile(path string, r evmctl.Request) error {
	if r.SkipLabelled {
		names := []string{imaevm.AttrIMA, imaevm.AttrEVM}
		if r.UserXattrs {
			names = []string{userNamespace.Kept(names[0]), userNamespace.Kept(names[1])}
		}
		there := 0
		for _, name := range names {
			if _, err := unix.Lgetxattr(path, name, nil); err == nil {
				there++
			}
		}
		if there == len(names) {
			return nil
		}
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	return unix.Close(fd)
}
