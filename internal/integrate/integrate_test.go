package integrate

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// image makes a system with imaseal in it.
func image(t *testing.T) (string, *Root) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "usr/bin/imaseal"), "program", 0o755)
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return dir, r
}

func write(t *testing.T, name, text string, mode fs.FileMode) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), mode), os.Chmod(name, mode))
	if err != nil {
		t.Fatal(err)
	}
}

// tree lists what there is below a directory, with modes and texts.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch {
		case d.Type() == fs.ModeSymlink:
			to, _ := os.Readlink(name)
			text += " " + to
		case d.Type().IsRegular():
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text += " " + string(b)
		}
		all[strings.TrimPrefix(name, dir)] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sameTree(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, text := range got {
		if want[name] != text {
			t.Errorf("%s is %.60q, and was %.60q", name, text, want[name])
		}
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is gone", name)
		}
	}
}

func plan(t *testing.T, r *Root, list []Integration, program string) []Item {
	t.Helper()
	planned, err := r.Plan(list, program)
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

func nothing(Item) error           { return nil }
func nothingKept(Item, bool) error { return nil }

func install(t *testing.T, r *Root, list []Integration, program string) {
	t.Helper()
	if err := r.Install(plan(t, r, list, program), nothing); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, r *Root, list []Integration) {
	t.Helper()
	if err := r.Remove(list, plan(t, r, list, ""), nothingKept); err != nil {
		t.Fatal(err)
	}
}

// TestWhole sees that each integration leaves nothing behind, whatever was there.
func TestWhole(t *testing.T) {
	for _, in := range All {
		for _, before := range []string{"bare", "complete"} {
			t.Run(in.Name+"/"+before, func(t *testing.T) {
				old := unix.Umask(0o077)
				defer unix.Umask(old)
				dir, r := image(t)
				list := []Integration{in}
				if before == "complete" {
					for _, it := range items(list, "") {
						name := filepath.Join(dir, it.Path)
						if !strings.Contains(filepath.Base(filepath.Dir(name)), "imaseal") && !strings.HasSuffix(filepath.Dir(name), ".wants") {
							write(t, filepath.Join(filepath.Dir(name), "other"), "other", 0o600)
						}
					}
				}
				was := tree(t, dir)
				install(t, r, list, "/usr/bin/imaseal")
				for _, it := range plan(t, r, list, "/usr/bin/imaseal") {
					if it.State != Installed {
						t.Errorf("%s is %s after it was installed", it.Path, it.State)
					}
					info, err := os.Lstat(filepath.Join(dir, it.Path))
					if err != nil {
						t.Fatal(err)
					}
					if !it.IsLink() && info.Mode() != it.Mode {
						t.Errorf("%s has mode %s", it.Path, info.Mode())
					}
					if strings.Contains(string(it.Text), placeholder) {
						t.Errorf("%s does not name the program", it.Path)
					}
					if parent, err := os.Stat(filepath.Join(dir, path.Dir(it.Path))); err != nil || parent.Mode().Perm() != 0o755 && before == "bare" {
						t.Errorf("the directory of %s: %v %v", it.Path, parent.Mode(), err)
					}
				}
				remove(t, r, list)
				sameTree(t, tree(t, dir), was)
				remove(t, r, list) // nothing is there any more
			})
		}
	}
}

// TestUpgrade replaces files that were installed for another program, in place.
func TestUpgrade(t *testing.T) {
	dir, r := image(t)
	was := tree(t, dir)
	install(t, r, All, "/usr/bin/imaseal")
	first := tree(t, dir)
	for _, it := range plan(t, r, All, "/usr/local/bin/imaseal") {
		program := strings.Contains(string(it.Text), "/usr/local/bin/imaseal")
		if program != (it.State == Older) {
			t.Errorf("%s is %s", it.Path, it.State)
		}
	}
	install(t, r, All, "/usr/local/bin/imaseal")
	install(t, r, All, "/usr/bin/imaseal")
	sameTree(t, tree(t, dir), first)
	remove(t, r, All)
	sameTree(t, tree(t, dir), was)
}

// TestShared keeps what another integration still needs.
func TestShared(t *testing.T) {
	dir, r := image(t)
	was := tree(t, dir)
	apt, _ := Find("apt")
	pacman, _ := Find("pacman")
	install(t, r, []Integration{pacman}, "/usr/bin/imaseal")
	alone := tree(t, dir)
	install(t, r, []Integration{apt}, "/usr/bin/imaseal")
	remove(t, r, []Integration{apt})
	sameTree(t, tree(t, dir), alone)
	remove(t, r, []Integration{pacman})
	sameTree(t, tree(t, dir), was)
}

// TestChanged has nothing done where somebody changed one thing.
func TestChanged(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, name string)
	}{
		{"edited", func(t *testing.T, name string) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			write(t, name, "# mine\n"+string(b), 0o644)
		}},
		{"mark edited", func(t *testing.T, name string) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			write(t, name, strings.Replace(string(b), " made=", " made=1", 1), 0o644)
		}},
		{"without mark", func(t *testing.T, name string) { write(t, name, "mine\n", 0o644) }},
		{"empty", func(t *testing.T, name string) { write(t, name, "", 0o644) }},
		{"mode", func(t *testing.T, name string) { must(t, os.Chmod(name, 0o600)) }},
		{"link", func(t *testing.T, name string) { must(t, os.Remove(name), os.Symlink("/dev/null", name)) }},
		{"directory", func(t *testing.T, name string) { must(t, os.Remove(name), os.Mkdir(name, 0o755)) }},
		{"fifo", func(t *testing.T, name string) { must(t, os.Remove(name), unix.Mkfifo(name, 0o644)) }},
		{"huge", func(t *testing.T, name string) { must(t, os.Truncate(name, 1<<30)) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, r := image(t)
			apt, _ := Find("apt")
			list := []Integration{apt}
			install(t, r, list, "/usr/bin/imaseal")
			name := filepath.Join(dir, "etc/apt/apt.conf.d/90imaseal")
			tt.change(t, name)
			if tt.name == "fifo" || tt.name == "huge" {
				defer os.Remove(name)
			}
			planned := plan(t, r, list, "/usr/local/bin/imaseal")
			for what, err := range map[string]error{"install": r.Install(planned, nothing), "remove": r.Remove(list, planned, nothingKept)} {
				if changed, ok := errors.AsType[*ChangedError](err); !ok || len(changed.Files) != 1 || !strings.HasPrefix(changed.Files[0], name+" ") {
					t.Errorf("%s: %v", what, err)
				}
			}
			for _, it := range plan(t, r, list, "/usr/bin/imaseal") {
				if (it.State == Installed) == (path.Base(it.Path) == "90imaseal") {
					t.Errorf("%s is %s", it.Path, it.State)
				}
			}
		})
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestHostileRoot has links in an image that lead out of it.
func TestHostileRoot(t *testing.T) {
	dir, r := image(t)
	outside := t.TempDir()
	write(t, filepath.Join(outside, "apt.conf.d/kept"), "kept", 0o644)
	write(t, filepath.Join(outside, "imaseal"), "program", 0o755)
	was := tree(t, outside)
	must(t, os.Symlink(outside, filepath.Join(dir, "opt")),
		os.MkdirAll(filepath.Join(dir, "etc"), 0o755), os.Symlink("../../../../../../../../"+outside, filepath.Join(dir, "etc/apt")),
		os.Symlink(filepath.Join(outside, "imaseal"), filepath.Join(dir, "usr/bin/other")))
	apt, _ := Find("apt")
	planned := plan(t, r, []Integration{apt}, "/usr/bin/imaseal")
	wasIn := tree(t, dir)
	if err := r.Install(planned, nothing); err == nil || !strings.HasSuffix(err.Error(), "; what was installed before is undone") {
		t.Errorf("installed below a link to nowhere: %v", err)
	}
	sameTree(t, tree(t, dir), wasIn)
	sameTree(t, tree(t, outside), was)
	for _, program := range []string{"/usr/bin/other", "/opt/imaseal"} {
		if err := r.CheckProgram(program); err == nil {
			t.Errorf("%s was taken, which is outside", program)
		}
	}

	// What the system itself would find behind a link is used.
	must(t, os.MkdirAll(filepath.Join(dir, outside), 0o755))
	install(t, r, []Integration{apt}, "/usr/bin/imaseal")
	if _, err := os.Stat(filepath.Join(dir, outside, "apt.conf.d/90imaseal")); err != nil {
		t.Error(err)
	}
	sameTree(t, tree(t, outside), was)
	remove(t, r, []Integration{apt})
	sameTree(t, tree(t, outside), was)
}

// TestHalfDone goes on where a run was killed.
func TestHalfDone(t *testing.T) {
	dir, r := image(t)
	was := tree(t, dir)
	apt, _ := Find("apt")
	list := []Integration{apt}
	planned := plan(t, r, list, "/usr/bin/imaseal")
	stop := errors.New("killed")
	must(t, r.Install(planned[:1], nothing)) // and killed
	write(t, filepath.Join(dir, "usr/lib/imaseal", temporary("/x/apt-changed")), "half", 0o600)
	install(t, r, list, "/usr/bin/imaseal")
	write(t, filepath.Join(dir, "usr/lib/imaseal", temporary("/x/apt-changed")), "half", 0o600)
	planned = plan(t, r, list, "")
	if err := r.Remove(list, planned, func(Item, bool) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	remove(t, r, list)
	sameTree(t, tree(t, dir), was)
}

// TestInstallUndone puts back what an earlier imaseal installed.
func TestInstallUndone(t *testing.T) {
	dir, r := image(t)
	apt, _ := Find("apt")
	systemd, _ := Find("systemd")
	install(t, r, []Integration{apt}, "/usr/bin/imaseal")
	was := tree(t, dir)
	planned := plan(t, r, []Integration{apt, systemd}, "/opt/imaseal")
	n, stop := 0, errors.New("stopped")
	err := r.Install(planned, func(Item) error {
		if n++; n == len(planned) {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	sameTree(t, tree(t, dir), was)
}

func TestProgram(t *testing.T) {
	dir, r := image(t)
	if got, ok := r.Program(); got != "/usr/bin/imaseal" || !ok {
		t.Errorf("%s %v", got, ok)
	}
	write(t, filepath.Join(dir, "opt/open"), "", 0o777)
	write(t, filepath.Join(dir, "opt/data"), "", 0o644)
	for _, name := range []string{"", "imaseal", "/opt/open", "/opt/data", "/opt", "/opt/none", "/opt/../usr/bin/imaseal", "/a b", "/a;b", "/a\nb", "/é", "/%s", "/$x"} {
		if err := r.CheckProgram(name); err == nil {
			t.Errorf("%q was taken", name)
		} else if _, ok := errors.AsType[*ProgramError](err); !ok {
			t.Errorf("%q: %T", name, err)
		}
	}
	must(t, os.Remove(filepath.Join(dir, "usr/bin/imaseal")))
	if got, ok := r.Program(); got != "/usr/local/bin/imaseal" || ok {
		t.Errorf("%s %v", got, ok)
	}
}

func TestNoRoot(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "", 0o644)
	for _, name := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "file")} {
		if _, err := Open(name); err == nil {
			t.Errorf("%s was opened", name)
		}
	}
}

// TestScriptsParse has the shells look at the scripts.
func TestScriptsParse(t *testing.T) {
	for _, it := range items(All, "/usr/bin/imaseal") {
		shell, ok := strings.CutPrefix(strings.SplitN(string(it.Text), "\n", 2)[0], "#!")
		if !ok {
			continue
		}
		name := filepath.Join(t.TempDir(), "script")
		write(t, name, string(mark{mode: it.Mode}.seal(it.Text)), 0o644)
		if out, err := exec.Command(shell, "-n", name).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", it.Path, err, out)
		}
	}
}
