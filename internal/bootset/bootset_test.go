package bootset

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imaseal/keys/evmkey"
)

// blob is one of a master key of a name.
func blob(t *testing.T, format, master string) string {
	t.Helper()
	b, err := evmkey.NewBlob(format, master, []byte(strings.Repeat("m", 32)), []byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// make makes a root with files of these contents.
func makeRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFind(t *testing.T) {
	user := blob(t, evmkey.FormatDefault, "user:kmk-user")
	other := blob(t, evmkey.FormatDefault, "user:other")
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  []string // in the order in which they are loaded
		wrong string   // in the errors
	}{
		{"nothing", nil, nil, ""},
		{"empty directories", map[string]string{"etc/keys/ima/.hidden": "", "etc/keys/evm/dir/file": ""}, nil, ""},
		{
			"all", map[string]string{
				"etc/keys/ima/b.der": "", "etc/keys/ima/a.der": "", "etc/keys/x509_ima.der": "", "etc/keys/evm/c.der": "", "etc/keys/x509_evm.der": "",
				"etc/keys/evm-user.blob": user, "etc/keys/kmk-user.blob": "m", "etc/ima/ima-policy": "",
			},
			[]string{
				"etc/keys/x509_ima.der", "etc/keys/ima/a.der", "etc/keys/ima/b.der", "etc/keys/x509_evm.der", "etc/keys/evm/c.der",
				"etc/keys/kmk-user.blob", "etc/keys/evm-user.blob", "etc/ima/ima-policy",
			}, "",
		},
		{"trusted goes first", map[string]string{"etc/keys/evm-user.blob": user, "etc/keys/evm-trusted.blob": other, "etc/keys/other.blob": "m"},
			[]string{"etc/keys/other.blob", "etc/keys/evm-trusted.blob"}, ""},
		{"the kind's master key", map[string]string{"etc/keys/evm-user.blob": other, "etc/keys/kmk-user.blob": "m"},
			[]string{"etc/keys/kmk-user.blob", "etc/keys/evm-user.blob"}, ""},
		{"no master key", map[string]string{"etc/keys/evm-user.blob": user}, []string{"etc/keys/evm-user.blob"}, "kmk-user.blob: file does not exist"},
		{"no blob", map[string]string{"etc/keys/evm-user.blob": "x"}, []string{"etc/keys/evm-user.blob"}, "evm-user.blob"},
		{"dracut's policy", map[string]string{"etc/sysconfig/ima-policy": ""}, []string{"etc/sysconfig/ima-policy"}, ""},
		{"systemd's policy goes first", map[string]string{"etc/sysconfig/ima-policy": "", "etc/ima/ima-policy": ""}, []string{"etc/ima/ima-policy"}, ""},
		{
			"settings", map[string]string{
				"etc/sysconfig/ima":       "# places\nIMAKEYSDIR=\"/keys/ima\"\nIMAPOLICY='/keys/policy'\n",
				"etc/sysconfig/evm":       "export EVMKEY=/keys/blob\nEVMX509=/keys/x.der\nEVMKEYSDIR=/keys/evm/\n",
				"etc/sysconfig/masterkey": "MASTERKEY=/keys/master", "etc/keys/ima/no.der": "", "etc/ima/ima-policy": "",
				"keys/ima/i.der": "", "keys/policy": "", "keys/blob": user, "keys/x.der": "", "keys/evm/e.der": "", "keys/master": "",
			},
			[]string{"keys/ima/i.der", "keys/x.der", "keys/evm/e.der", "keys/master", "keys/blob", "keys/policy"}, "",
		},
		{"a setting for a shell", map[string]string{"etc/sysconfig/ima": "\nIMAPOLICY=$(x)\nIMAKEYSDIR=/k", "k/a": "", "etc/ima/ima-policy": ""},
			[]string{"k/a", "etc/ima/ima-policy"}, "line 2: IMAPOLICY: "},
		{"a file for a directory", map[string]string{"etc/keys/ima": ""}, nil, "not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := makeRoot(t, tt.files)
			set, errs := Find(root)
			var want []string
			for _, name := range tt.want {
				want = append(want, filepath.Join(root, name))
			}
			if got := set.Files(); !slices.Equal(got, want) {
				t.Errorf("found %q, want %q", got, want)
			}
			if set.Empty() != (len(want) == 0) {
				t.Errorf("empty is %v", set.Empty())
			}
			var said []string
			for _, err := range errs {
				said = append(said, err.Error())
			}
			if all := strings.Join(said, "; "); (all == "") != (tt.wrong == "") || !strings.Contains(all, tt.wrong) {
				t.Errorf("errors %q, want %q", all, tt.wrong)
			}
		})
	}
}

// What is copied is found again, in the same order.
func TestCopyTo(t *testing.T) {
	root := makeRoot(t, map[string]string{
		"etc/sysconfig/ima": "IMAKEYSDIR=/k\nIMAPOLICY=/p\n", "etc/sysconfig/evm": "EVMX509=/k/b\nEVMKEYSDIR=/e\n", "etc/sysconfig/masterkey": "MASTERKEY=/m\n",
		"k/a": "1", "k/b": "2", "e/b": "3", "p": "policy", "m": "master", "etc/keys/x509_ima.der": "0",
		"etc/keys/evm-user.blob": blob(t, evmkey.FormatDefault, "user:some"),
	})
	set, errs := Find(root)
	if errs != nil {
		t.Fatal(errs)
	}
	dir := filepath.Join(t.TempDir(), "new", "dir")
	if err := set.CopyTo(dir); err != nil {
		t.Fatal(err)
	}
	again, errs := Find(dir)
	if errs != nil || again.MasterName != "user:some" {
		t.Errorf("%q, %v", again.MasterName, errs)
	}
	contents := func(s Set) string {
		var all []string
		for _, name := range s.Files() {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(b))
		}
		return strings.Join(all, "|")
	}
	if got, want := contents(again), contents(set); got != want || !strings.HasPrefix(want, "0|1|2|2|3|master|") {
		t.Errorf("found %q in the copy, want %q", got, want)
	}
	if info, err := os.Stat(again.Master); err != nil || info.Mode() != 0o600 {
		t.Errorf("the master key: %v, %v", info.Mode(), err)
	}
	if err := set.CopyTo(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a directory that is there: %v", err)
	}
	set.Policy = filepath.Join(root, "none")
	half := filepath.Join(t.TempDir(), "half")
	if err := set.CopyTo(half); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is gone: %v", err)
	}
	if _, err := os.Lstat(half); !os.IsNotExist(err) {
		t.Errorf("something is left: %v", err)
	}
}

func TestParseSettings(t *testing.T) {
	for _, tt := range []struct {
		text string
		want map[string]string
		ok   bool
	}{
		{"", nil, true},
		{"IMAPOLICY=/a", map[string]string{"IMAPOLICY": "/a"}, true},
		{"  export IMAPOLICY='/a b'", nil, false},
		{"IMAPOLICY=\"/a/../b/\"\n#EVMKEY=/x\nOTHER=$x\nnot an assignment\n", map[string]string{"IMAPOLICY": "/b"}, true},
		{"IMAPOLICY=/a # comment\nEVMKEY=/k", map[string]string{"EVMKEY": "/k"}, false},
		{"IMAPOLICY=relative", nil, false},
		{"IMAPOLICY=\nEVMKEY=''", nil, true}, // as if it were not set
		{"IMAPOLICY=\"", nil, false},
		{"IMAPOLICY=/a\nIMAPOLICY=/b", map[string]string{"IMAPOLICY": "/b"}, true},
	} {
		got, err := parseSettings(tt.text)
		if !maps.Equal(got, tt.want) || (err == nil) != tt.ok {
			t.Errorf("%q: %v, %v", tt.text, got, err)
		}
	}
}

func FuzzParseSettings(f *testing.F) {
	for _, s := range []string{"IMAPOLICY=/a", "export EVMKEY=\"/k\"\n", "MASTERKEY='/x'\\", "EVMX509=$(reboot)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		values, _ := parseSettings(text)
		for name, path := range values {
			if !slices.Contains(Settings, name) || !filepath.IsAbs(path) || filepath.Clean(path) != path {
				t.Errorf("%q: %s=%q", text, name, path)
			}
		}
	})
}
