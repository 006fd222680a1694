package integrate

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Plan returns the files and links of integrations as they would be installed in
// the system, and says what there is of them. program is the path of imaseal there.
func (r *Root) Plan(list []Integration, program string) ([]Item, error) {
	planned := items(list, program)
	for i := range planned {
		if err := r.judge(&planned[i]); err != nil {
			return nil, r.pathError("open", planned[i].Path, err)
		}
	}
	return planned, nil
}

// judge finds out what there is of an item, and completes its text.
func (r *Root) judge(it *Item) error {
	there, err := r.look(it.Path)
	if err != nil {
		return err
	}
	if it.IsLink() {
		// There is no mark in a link. An empty directory of such links is of no use
		// to anybody, whoever made it.
		if strings.HasSuffix(path.Dir(it.Path), ".wants") {
			it.made = 1
		}
		it.State, it.Why = there.asLink(it.Text)
		return nil
	}
	m, marked := parseMark(there.text)
	marked = marked && there.kind == unix.S_IFREG
	it.made = m.made
	if !marked {
		it.made = r.lacking(it.Path)
	}
	it.Text = mark{it.Mode, it.made}.seal(it.Text)
	switch {
	case there.kind == 0:
		it.State = Absent
	case !marked:
		it.State, it.Why = Changed, there.describe()
	case there.mode != m.mode:
		it.State, it.Why = Changed, fmt.Sprintf("has the mode %04o, and was installed with %04o", there.mode, m.mode)
	case bytes.Equal(there.text, it.Text):
		it.State = Installed
	default:
		it.State = Older
	}
	return nil
}

// asLink judges what is in the place of a link to to.
func (f found) asLink(to []byte) (State, string) {
	switch {
	case f.kind == 0:
		return Absent, ""
	case f.kind == unix.S_IFLNK && bytes.Equal(f.text, to):
		return Installed, ""
	case f.kind == unix.S_IFLNK:
		return Changed, fmt.Sprintf("is a link to %q", f.text)
	}
	return Changed, "is no link"
}

// describe says why something is no file that imaseal wrote.
func (f found) describe() string {
	switch f.kind {
	case unix.S_IFREG:
		return "was changed, or is not imaseal's"
	case unix.S_IFLNK:
		return fmt.Sprintf("is a link to %q", f.text)
	case unix.S_IFDIR:
		return "is a directory"
	}
	return "is no regular file"
}

// A ChangedError says that there are files that imaseal did not write, or that
// somebody has changed since. Nothing was done.
type ChangedError struct {
	// Files are those, each as "NAME: why".
	Files []string
}

func (e *ChangedError) Error() string {
	return strings.Join(e.Files, "; ") + "; nothing was done"
}

// refuse returns a *ChangedError if there are such files.
func (r *Root) refuse(planned []Item) error {
	var files []string
	for _, it := range planned {
		if it.State == Changed {
			files = append(files, r.show(it.Path)+" "+it.Why)
		}
	}
	if files == nil {
		return nil
	}
	return &ChangedError{files}
}

// Remove removes what is planned, and nothing if there is a file that somebody
// changed, which is a *ChangedError. What belongs to another integration too, of
// which something else is installed, is kept. done is told about each item that was
// there, or is kept.
func (r *Root) Remove(list []Integration, planned []Item, done func(it Item, kept bool) error) error {
	if err := r.refuse(planned); err != nil {
		return err
	}
	kept, err := r.shared(list)
	if err != nil {
		return err
	}
	for _, it := range slices.Backward(planned) {
		if it.State != Absent && slices.Contains(kept, it.part) {
			if err := done(it, true); err != nil {
				return err
			}
			continue
		}
		if err := r.remove(&it); err != nil {
			return err
		}
		if it.State == Absent {
			continue
		}
		if err := done(it, false); err != nil {
			return err
		}
	}
	return nil
}

// shared returns the parts of integrations that others need, of which something
// else is installed.
func (r *Root) shared(list []Integration) ([]string, error) {
	var needed []string
	for _, other := range All {
		if slices.ContainsFunc(list, func(in Integration) bool { return in.Name == other.Name }) {
			continue
		}
		for _, part := range other.Parts {
			if isShared(part) {
				continue
			}
			for _, it := range partItems(part, "") {
				there, err := r.look(it.Path)
				if err != nil {
					return nil, r.pathError("open", it.Path, err)
				}
				if there.kind != 0 {
					needed = append(needed, other.Parts...)
				}
			}
		}
	}
	return needed, nil
}

// isShared reports whether several integrations have a part.
func isShared(part string) bool {
	n := 0
	for _, in := range All {
		if slices.Contains(in.Parts, part) {
			n++
		}
	}
	return n > 1
}

// places are where imaseal is looked for in a system.
var places = []string{"/usr/bin/imaseal", "/usr/local/bin/imaseal", "/usr/sbin/imaseal", "/usr/local/sbin/imaseal"}

// Program returns the path of imaseal in the system: the first of the usual places,
// or the fallback with false if it is in none.
func (r *Root) Program() (name string, ok bool) {
	for _, name := range places {
		if r.CheckProgram(name) == nil {
			return name, true
		}
	}
	return places[1], false
}

// A ProgramError says that a path cannot be that of imaseal.
type ProgramError struct{ Path, Why string }

func (e *ProgramError) Error() string { return fmt.Sprintf("%s %s", e.Path, e.Why) }

// plain is what a path may consist of that stands in scripts and units.
var plain = regexp.MustCompile(`^[A-Za-z0-9/._+-]+$`)

// CheckPath refuses a path that could not stand in scripts and units. The error is
// a *ProgramError.
func CheckPath(name string) error {
	switch {
	case !path.IsAbs(name):
		return &ProgramError{name, "is not absolute"}
	case path.Clean(name) != name || !plain.MatchString(name):
		return &ProgramError{name, "would not be understood by everything that calls it"}
	}
	return nil
}

// CheckProgram refuses a path at which there is no program, or one that anybody can
// write to. The error is a *ProgramError.
func (r *Root) CheckProgram(name string) error {
	if err := CheckPath(name); err != nil {
		return err
	}
	fd, err := r.open(name, unix.O_PATH)
	if err != nil {
		return &ProgramError{r.show(name), fmt.Sprintf("cannot be called: %v", err)}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &ProgramError{r.show(name), err.Error()}
	}
	mode := fs.FileMode(st.Mode & 0o777)
	switch {
	case uint32(st.Mode)&unix.S_IFMT != unix.S_IFREG || mode&0o111 == 0:
		return &ProgramError{r.show(name), "is no program"}
	case mode&0o002 != 0:
		return &ProgramError{r.show(name), "can be written to by anybody, and would be run by root"}
	}
	return nil
}

// Has reports whether one of the programs is there that the integration is with.
func (r *Root) Has(in Integration) bool {
	return in.Programs == nil || slices.ContainsFunc(in.Programs, r.Exists)
}

// Exists reports whether there is a file of the name in the system.
func (r *Root) Exists(name string) bool {
	fd, err := r.open(name, unix.O_PATH)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}
