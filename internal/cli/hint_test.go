package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/advice"
	"imaseal/internal/cmdline"
	"imaseal/internal/host"
	"imaseal/internal/label"
	"imaseal/internal/run"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
	"imaseal/walk"
)

// failing is a standard output on a full file system.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, unix.ENOSPC }

func TestHint(t *testing.T) {
	tests := []struct {
		err  error
		want string // the beginning of it; empty for no hint
	}{
		{errors.New("anything"), ""},
		{fmt.Errorf("opening: %w", fs.ErrNotExist), ""},
		{&fs.PathError{Op: "open", Path: "x", Err: unix.EEXIST}, ""},
		{&cmdline.UsageError{Err: errors.New("x"), Advice: "so"}, "so"},
		{&advisedError{err: fmt.Errorf("--undo-log x: %w", unix.EACCES)}, ""},
		{&advisedError{err: errors.New("x"), advice: "so"}, "so"},
		{&mounted.ImmutableError{Err: unix.EPERM}, "--immutable lift"},
		{&host.PrivilegeError{}, "run as root; --namespace user"},
		{&host.PrivilegeError{Namespaced: true}, "run as root outside containers"},
		{fmt.Errorf("opening: %w", &walk.ChangedTypeError{To: "symbolic link"}), "somebody is changing the tree"},
		{fmt.Errorf("opening: %w", walk.ErrMoved), "somebody is changing the tree"},
		{run.ErrChanging, "stop what writes to the file"},
		{fmt.Errorf("%w: type 0x77", label.ErrUnknownLabel), "look at it with imaseal show FILE; --force"},
		{errReadOnly, "mount it read-write"},
		{fmt.Errorf("writing security.ima: %w", unix.EROFS), advice.ReadOnly},
		{&stream.OutputError{Path: "x", Err: unix.EROFS}, advice.ReadOnlyFile},
		{&stream.OutputError{Path: "x", Err: unix.EACCES}, ""},
		{fmt.Errorf("reading security.ima: %w", unix.EOPNOTSUPP), "ext4, xfs"},
		{fmt.Errorf("writing security.ima: %w", unix.ENOSPC), "free some space"},
		{&run.ReportError{Err: unix.ENOSPC, Last: true}, ""},
		{&run.ReportError{Err: unix.EPIPE}, "the run ended there"},
		{Program{Stdout: failing{}}.print("x"), ""},
		{&fs.PathError{Op: "open", Path: "x", Err: unix.EMFILE}, "raise the limit of open files"},
		{&tree.BlockError{}, "a P-256 or RSA-2048 key makes shorter signatures"},
		{walk.ErrNotListed, "make the list anew"},
	}
	for _, tt := range tests {
		_, got := hint(tt.err)
		if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("the hint on %q is %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{&fs.PathError{Op: "open", Path: "a\nb", Err: unix.ENOENT}, `"a\nb": no such file or directory`},
		{errors.Join(errors.New("one"), errors.New("two")), "one; two"},
		{errors.New("esc \x1b[31m, bidi \u202e, ü"), `esc \x1b[31m, bidi \u202e, ü`},
		{errors.New("\xff"), "\ufffd"},
	}
	for _, tt := range tests {
		if got := printable(tt.err); got != tt.want {
			t.Errorf("%q is printed as %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestLocale(t *testing.T) {
	tests := []struct {
		all, ctype, lang string
		want             bool
	}{
		{"", "", "", false},
		{"", "", "C", false},
		{"", "", "C.UTF-8", true},
		{"", "", "de_DE.utf8", true},
		{"C", "", "C.UTF-8", false},
		{"", "POSIX", "C.UTF-8", false},
		{"en_GB.UTF-8", "C", "C", true},
	}
	for _, tt := range tests {
		env := map[string]string{"LC_ALL": tt.all, "LC_CTYPE": tt.ctype, "LANG": tt.lang}
		p := Program{Getenv: func(name string) string { return env[name] }}
		if got := p.hasUTF8(); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}
