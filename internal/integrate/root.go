package integrate

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/walk"
)

// A Root is the root directory of a system. Names are looked up in it as the system
// itself would: neither links nor ".." lead out of it.
type Root struct {
	name string // for messages; "" if it is this system's
	fd   int

	madeDir func(name string) // is told of directories that are made; nil for nobody
}

// Open opens the root directory of a system. The caller closes it. Where names
// cannot be looked up safely, the error wraps walk.ErrNoOpenat2.
func Open(name string) (*Root, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	r := &Root{fd: fd}
	if path.Clean(name) != "/" {
		r.name = name
	}
	dir, err := r.open(".", unix.O_PATH)
	if err == nil {
		unix.Close(dir)
		return r, nil
	}
	unix.Close(fd)
	if err == unix.ENOSYS || err == unix.EPERM {
		err = walk.ErrNoOpenat2
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: err}
}

// Close closes the root directory.
func (r *Root) Close() error { return unix.Close(r.fd) }

// show returns the name of a file of the system for messages.
func (r *Root) show(name string) string {
	if r.name == "" {
		return name
	}
	return path.Join(r.name, name)
}

// pathError is an error about a file of the system.
func (r *Root) pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: r.show(name), Err: err}
}

// open opens a name in the system.
func (r *Root) open(name string, flags int) (int, error) {
	if flags&unix.O_PATH == 0 {
		flags |= unix.O_LARGEFILE // which openat2 takes for nothing else
	}
	how := &unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(r.fd, name, how)
	for tries := 0; err == unix.EINTR || err == unix.EAGAIN && tries < 100; tries++ { // somebody renames directories
		fd, err = unix.Openat2(r.fd, name, how)
	}
	return fd, err
}

// openDir opens the directory that a file is in, which is made if it is not there
// and make is set, as are those above it.
func (r *Root) openDir(name string, make bool) (int, error) {
	dir := path.Dir(name)
	fd, err := r.open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != unix.ENOENT || !make || dir == "/" {
		return fd, err
	}
	above, err := r.openDir(dir, true)
	if err != nil {
		return -1, err
	}
	defer unix.Close(above)
	err = unix.Mkdirat(above, path.Base(dir), 0o755)
	if err == nil && r.madeDir != nil {
		r.madeDir(dir)
	}
	if err == nil { // whatever the umask
		err = errors.Join(unix.Fchmodat(above, path.Base(dir), 0o755, 0), unix.Fsync(above))
	}
	if err != nil && err != unix.EEXIST {
		return -1, err
	}
	return r.open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
}

// lacking returns how many of the directories that a file is in are not there.
func (r *Root) lacking(name string) int {
	n := 0
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		fd, err := r.open(dir, unix.O_PATH|unix.O_DIRECTORY)
		if err == nil {
			unix.Close(fd)
			break
		}
		n++
	}
	return n
}

// maxText bounds a file that imaseal may have written.
const maxText = 1 << 20

// A found is what there is of a name.
type found struct {
	kind uint32 // of unix.S_IFMT, 0 for nothing
	mode fs.FileMode
	text []byte // of a file or link
}

// look returns what there is of a name; a link is not followed.
func (r *Root) look(name string) (found, error) {
	fd, err := r.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err == unix.ENOENT {
		return found{}, nil
	}
	if err != nil {
		return found{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return found{}, err
	}
	f := found{kind: uint32(st.Mode) & unix.S_IFMT, mode: fs.FileMode(st.Mode & 0o7777)}
	switch f.kind {
	case unix.S_IFLNK:
		b := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", b)
		if err != nil {
			return found{}, err
		}
		f.text = b[:n]
	case unix.S_IFREG:
		f.text, err = r.read(name, &st)
	}
	return f, err
}

// read reads a file that was looked at.
func (r *Root) read(name string, seen *unix.Stat_t) ([]byte, error) {
	fd, err := r.open(name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Ino != seen.Ino || st.Dev != seen.Dev {
		return nil, unix.EAGAIN
	}
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	return b, err
}

// temporary is the name of a file while it is written: hidden, which all the
// directories' readers leave out, and always the same, so that one that was left
// behind is found.
func temporary(name string) string { return "." + path.Base(name) + ".imaseal-new" }

// write puts an item in its place, whole and durable.
func (r *Root) write(it *Item) error {
	dir, err := r.openDir(it.Path, true)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	temp, base := temporary(it.Path), path.Base(it.Path)
	if err := unix.Unlinkat(dir, temp, 0); err != nil && err != unix.ENOENT {
		return err
	}
	if it.IsLink() {
		err = unix.Symlinkat(string(it.Text), dir, temp)
	} else {
		err = writeAt(dir, temp, it)
	}
	if err == nil {
		err = rename(dir, temp, base, it.State == Older)
	}
	if err != nil {
		unix.Unlinkat(dir, temp, 0)
		return err
	}
	return unix.Fsync(dir)
}

// writeAt writes a new file.
func writeAt(dir int, name string, it *Item) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(it.Text)
	if err == nil {
		err = f.Chmod(it.Mode)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// rename gives a file its name. Where something must not be replaced, it is not,
// even if it has come there just now, as far as the file system knows how.
func rename(dir int, temp, name string, replace bool) error {
	if !replace {
		err := unix.Renameat2(dir, temp, dir, name, unix.RENAME_NOREPLACE)
		if err != unix.EINVAL && err != unix.ENOSYS {
			return err
		}
	}
	return unix.Renameat(dir, temp, dir, name)
}

// remove removes an item, what is left of one that was not finished, and the
// directories that were made for it.
func (r *Root) remove(it *Item) error {
	made := it.made
	if it.State == Absent {
		made = 0 // what is there now was made by others
	}
	if err := r.unlink(it); err != nil {
		return r.pathError("remove", it.Path, err)
	}
	return r.prune(it.Path, made)
}

func (r *Root) unlink(it *Item) error {
	dir, err := r.openDir(it.Path, false)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	unix.Unlinkat(dir, temporary(it.Path), 0)
	if it.State == Absent {
		return nil
	}
	if err := unix.Unlinkat(dir, path.Base(it.Path), 0); err != nil {
		return err
	}
	return unix.Fsync(dir)
}

// prune removes the directories that a file was in, from the inmost: the first made
// ones, and those with imaseal in their name, as long as they are empty.
func (r *Root) prune(name string, made int) error {
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		made--
		if made < 0 && !strings.Contains(path.Base(dir), "imaseal") {
			return nil
		}
		switch err := r.removeDir(dir); err {
		case nil, unix.ENOENT:
		case unix.ENOTEMPTY, unix.EEXIST, unix.EBUSY, unix.ENOTDIR:
			return nil
		default:
			return r.pathError("remove", dir, err)
		}
	}
	return nil
}

// removeDir removes a directory that is empty.
func (r *Root) removeDir(name string) error {
	above, err := r.openDir(name, false)
	if err != nil {
		return err
	}
	defer unix.Close(above)
	if err := unix.Unlinkat(above, path.Base(name), unix.AT_REMOVEDIR); err != nil {
		return err
	}
	return unix.Fsync(above)
}
