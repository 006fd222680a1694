package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/config"
	"imaseal/internal/treetest"
)

// TestConfigOptions sees that each option of the file is one of a command that takes
// it, of the same kind, that what config show prints is a file, and that an example
// of each passes.
func TestConfigOptions(t *testing.T) {
	used := make(map[string]bool)
	commands := map[string]map[string]configSource{
		"relabel": labelSources(), "sign": labelSources(), "check": checkSources(), "verify": verifySources(), "denials": denialsSources(),
		"load": {"policy": {names: []string{"policy"}}},
	}
	leaves(Program{}.grammar().App, func(path string, inv cmdline.Invocation) {
		sources, ok := commands[path]
		has := slices.ContainsFunc(inv.Command.Flags, func(f urfave.Flag) bool { return f.Names()[0] == "config" })
		if ok != has {
			t.Errorf("%s has --config: %v", path, has)
		}
		for _, f := range inv.Command.Flags {
			for _, name := range sources[f.Names()[0]].names {
				used[name] = true
				o, ok := findConfigOption(name)
				if !ok {
					t.Errorf("%s takes %s, which there is not", path, name)
				}
				kinds := map[config.Kind]bool{config.Text: true}
				switch f.(type) {
				case *urfave.BoolFlag:
					kinds = map[config.Kind]bool{config.Bool: true}
				case *urfave.IntFlag:
					kinds = map[config.Kind]bool{config.Number: true}
				case *urfave.StringSliceFlag:
					kinds[config.Texts] = true
				}
				if !kinds[o.kind] {
					t.Errorf("%s takes %s, which is %s, for %T", path, name, o.kind, f)
				}
			}
		}
	})
	for i, o := range configOptions {
		if !used[o.name] {
			t.Errorf("no command takes %s", o.name)
		}
		settings, err := config.Parse([]byte(o.name + " = " + o.example))
		if err != nil || len(settings) != 1 {
			t.Fatalf("%s: %v", o.name, err)
		}
		if err := checkSetting("file", settings[0], nil); err != nil {
			t.Error(err)
		}
		if slices.ContainsFunc(configOptions[:i], func(other configOption) bool { return other.name == o.name }) {
			t.Errorf("%s is there twice", o.name)
		}
	}
}

// TestTakeOptions sees which options of a file count beside those that are given.
func TestTakeOptions(t *testing.T) {
	tests := []struct {
		command string
		file    string
		want    string // what is taken, or a part of an error
	}{
		{"relabel", ``, ""},
		{"relabel", `policy = "tcb"`, "--policy"},
		{"relabel --policy appraise_tcb", `policy = "tcb"`, ""},
		{"relabel", `evm-key = "/k"`, ""}, // of no use, but for check
		{"relabel --evm hmac", `evm-key = "/k"`, "--evm-key"},
		{"relabel --evm none", "evm = \"hmac\"\nevm-key = \"/k\"", ""},
		{"relabel", "evm = \"hmac\"\nevm-key = \"/k\"\ntarget-arch = \"arm\"", "--evm --evm-key --target-arch"},
		{"relabel", `target-arch = "arm"`, ""},
		{"relabel", `cert = "/c"`, ""},
		{"relabel", "key = \"/k\"\ncert = \"/c\"\nsig-version = 2", "--key --cert --sig-version"},
		{"relabel --key other", "key = \"/k\"\ncert = \"/c\"\nkeyid = \"12\"\npassphrase-file = \"/p\"\nsig-version = 2", "--sig-version"},
		{"relabel", `trust = ["/a", "/b"]`, "--trust"},
		{"sign --key k", "policy = \"tcb\"\nalgo = \"sha512\"", "--algo"},
		{"check", "key = \"/k\"\ncert = \"/c\"\ntrust = \"/t\"", "--key"},
		{"check --key x", "cert = \"/c\"", ""},
		{"check", "evm = \"portable\"\nrules = \"/r\"\nsecure-boot = \"off\"", "--secure-boot"},
		{"verify", `kernel-config = "/c"`, ""}, // EVM labels are not checked
		{"verify", "kernel-config = \"/c\"\ncert = \"/x\"", "--key --kernel-config"},
		{"verify --label ima", "evm-key = \"/k\"\nkernel-config = \"/c\"", ""},
		{"denials", "policy = \"tcb\"\ncert = \"/x\"\nevm-key = \"/k\"", "--policy --key --evm-key"},
		{"denials --elsewhere", "policy = \"tcb\"\ncert = \"/x\"\nevm-key = \"/k\"", ""},
		{"relabel", `key-jobs = 3000000000000`, ""},
		{"relabel", "key = \"/k\"\nkey-jobs = 30000000000000000000", "is too large"},
		{"relabel", "key = \"/k\"\nkey-timeout = \"soon\"", `--key-timeout "soon" is no value for it`},
		{"relabel", `polcy = "x"`, "is nothing that can be set"},
		{"relabel", "algo = \"sha1\"\nalgo = \"md5\"", "is set in line 1 already"},
		{"relabel", `key = "-"`, "is read from standard input"},
		{"relabel", `key = "pkcs11:object=x?pin-value=1"`, "pin-value would show the PIN"},
		{"relabel", `rules = "rules"`, "is not absolute"},
		{"relabel", `policy = "ima-policy"`, "is not absolute"},
		{"relabel", `policy = ["tcb"]`, "must be a text"},
		{"relabel", `[relabel]`, "there are no tables here"},
	}
	for _, tt := range tests {
		t.Run(tt.command+" "+tt.file, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(file, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			args := strings.Fields(tt.command)
			before, err := flagsSet(args, "")
			if err != nil {
				t.Fatal(err)
			}
			after, err := flagsSet(args, file)
			if err != nil {
				if tt.want == "" || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v", err)
				}
				return
			}
			var taken []string
			for _, name := range after {
				if !slices.Contains(before, name) && name != "--config" {
					taken = append(taken, name)
				}
			}
			want := strings.Fields(tt.want)
			slices.Sort(taken)
			slices.Sort(want)
			if !slices.Equal(taken, want) {
				t.Errorf("%q are taken, want %q", taken, want)
			}
		})
	}
}

// flagsSet returns the names of the options that a command has in the end, with a
// file of options unless its name is empty.
func flagsSet(args []string, file string) ([]string, error) {
	app := Program{Getenv: func(string) string { return "" }}.app()
	var names []string
	for _, c := range app.Commands {
		if c.Name != args[0] {
			continue
		}
		act := c.Action
		c.Action = func(ctx *urfave.Context) error {
			for _, f := range c.Flags {
				if ctx.IsSet(f.Names()[0]) {
					names = append(names, "--"+f.Names()[0])
				}
			}
			return act(ctx)
		}
	}
	app.Metadata = map[string]any{planOnly: true}
	args = slices.Clone(args)
	if file != "" {
		args = append(args, "--config", file)
	}
	if args[0] != "denials" {
		args = append(args, "--", "/")
	}
	err := app.RunContext(context.Background(), append([]string{"imaseal"}, args...))
	if err != nil && file == "" {
		err = nil // what is missing may be in the file
	}
	return names, err
}

// TestConfigFile reads files that are none.
func TestConfigFile(t *testing.T) {
	dir := treetest.Make(t, `file large size=70000
dir directory
fifo pipe`)
	for name, want := range map[string]string{
		"large": "this is no configuration", "directory": "is not a regular file", "pipe": "is not a regular file", "none": "no such file",
	} {
		_, _, err := readConfig(filepath.Join(dir, name))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestConfigCheckInterrupted ends with the signal.
func TestConfigCheckInterrupted(t *testing.T) {
	ctx, stop := context.WithCancelCause(context.Background())
	stop(&InterruptedError{os.Interrupt})
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("algo = \"sha256\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	status := Main(ctx, Program{Args: []string{"config", "check", file}, Stdout: &out, Stderr: &errs})
	if status != exitInterrupted {
		t.Errorf("status %d: %s%s", status, &out, &errs)
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		t.Error("the cause is lost")
	}
}
