package ext4

import (
	"context"

	"imaseal/internal/tree"
)

// CheckSpace returns a *tree.SpaceError if the labels that a run will write do not
// fit into the file system of the image, and a *tree.BlockError if a file's do not
// even in an empty one. That a block for each inode is free answers the first.
func (im *Image) CheckSpace(ctx context.Context, q tree.Space) error {
	var used struct {
		files int
		need  int64
		big   tree.BlockError
	}
	err := im.scan(ctx, im.leave(), func(found finding) error {
		f := found.file
		if f == nil || f.load() != nil {
			return nil
		}
		has, want := q.Labels(f)
		if has == want {
			return nil
		}
		room := f.attrs.Room()
		for _, label := range []struct {
			name string
			size int
		}{{q.IMA, want.IMA}, {q.EVM, want.EVM}} {
			if label.size > 0 && room.Set(label.name, label.size) != nil {
				if used.big.Files++; used.big.Files == 1 {
					used.big.Path, used.big.Labels, used.big.Room = f.Name(), want, room.Most()
				}
				return nil
			}
		}
		if need := room.Need(); need > 0 {
			used.files++
			used.need += need
		}
		return nil
	})
	switch {
	case err != nil: // the walk will report it
		return nil
	case used.need > im.fs.Free():
		return &tree.SpaceError{Path: im.name, Files: used.files, Need: uint64(used.need), Free: uint64(im.fs.Free())}
	case used.big.Files > 0:
		return &used.big
	}
	return nil
}
