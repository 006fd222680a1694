package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"imaseal/internal/cmdline"
	"imaseal/internal/config"
	"imaseal/internal/report"
	"imaseal/internal/target"
	"imaseal/keys"
)

// configFile is the file that the hooks of other programs name.
const configFile = "/etc/imaseal/config"

// A configOption is one that a file of options can have, by the option's own name.
type configOption struct {
	name string
	kind config.Kind
	// example is a value as it stands in a file, use what it is, in words.
	example, use string
	// isFile reports whether a value names a file, which must not depend on where
	// a hook happens to run; nil for never.
	isFile func(value string) bool
	// isSecret says that the file is one that only its owner may read.
	isSecret bool
}

func always(string) bool { return true }

// configOptions are all that there are. --json, --include and what else is about one
// run are none of them; no value is a secret.
var configOptions = []configOption{
	{"policy", config.Text, `"/etc/ima/ima-policy"`, "the policy: a file, built-in ones by name, or running", target.IsPolicyFile, false},
	{"key", config.Text, `"/etc/keys/private/signing.key"`, "private key to sign with: a file, pkcs11:…, tpm:HANDLE, SCHEME://…", keys.IsFile, true},
	{"cert", config.Text, `"/etc/keys/ima/signing.der"`, "the key's certificate", always, false},
	{"keyid", config.Text, `"1234abcd"`, "key id to put into labels", nil, false},
	{"passphrase-file", config.Text, `"/etc/keys/private/passphrase"`, "file with the key's passphrase", always, true},
	{"tpm", config.Text, `"/dev/tpmrm0"`, "device or TCTI of the TPM with the key", nil, false},
	{"key-jobs", config.Number, `4`, "signatures that a device or program is asked for at once", nil, false},
	{"key-timeout", config.Text, `"90s"`, "time for a signature", nil, false},
	{"sig-version", config.Number, `2`, "version of signatures", nil, false},
	{"signatures", config.Text, `"/var/cache/imaseal"`, "store of signatures: a directory or URL", nil, false},
	{"trust", config.Texts, `["/etc/keys/ima"]`, "certificates whose signatures are kept as good", always, false},
	{"rules", config.Text, `"/etc/imaseal/rules"`, "file of rules: what to sign, to hash and to skip", always, false},
	{"algo", config.Text, `"sha256"`, "digest algorithm", nil, false},
	{"evm", config.Text, `"portable"`, "EVM labels: none, portable, signature, hmac, or portable,hmac", nil, false},
	{"evm-key", config.Text, `"/etc/keys/private/evm.key"`, "file with EVM's HMAC key", always, true},
	{"exclude", config.Texts, `["var/cache/**"]`, "no paths below a tree that match these", nil, false},
	{"allow-writers", config.Bool, `false`, "label files that are open for writing, too", nil, false},
	{"immutable", config.Text, `"lift"`, "chattr +i files: fail or lift", nil, false},
	{"kernel-version", config.Text, `"6.12"`, "kernel that the labels are for", nil, false},
	{"kernel-config", config.Text, `"/boot/config-6.12"`, "its configuration", always, false},
	{"target-arch", config.Text, `"amd64"`, "its architecture", nil, false},
	{"secure-boot", config.Text, `"off"`, "on or off", nil, false},
	{"namespace", config.Text, `"security"`, "security or user", nil, false},
	{"jobs", config.Number, `2`, "workers", nil, false},
}

// findConfigOption returns an option by its name.
func findConfigOption(name string) (configOption, bool) {
	i := slices.IndexFunc(configOptions, func(o configOption) bool { return o.name == name })
	if i < 0 {
		return configOption{}, false
	}
	return configOptions[i], true
}

func configNames() []string {
	names := make([]string, len(configOptions))
	for i, o := range configOptions {
		names[i] = o.name
	}
	return names
}

// A configError says what is wrong with a file of options.
type configError struct {
	file   string
	line   int // 0 for the file as a whole
	err    error
	advice string
}

func (e *configError) Error() string {
	if e.line == 0 {
		return report.Quote(e.file) + ": " + e.err.Error()
	}
	return fmt.Sprintf("%s:%d: %v", report.Quote(e.file), e.line, e.err)
}

func (e *configError) Unwrap() error { return e.err }

// readConfig reads a file of options. What is wrong with one of them is left to
// checkSetting.
func readConfig(name string) ([]config.Setting, fs.FileInfo, error) {
	// O_NONBLOCK, so that a fifo is told from a file.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("is not a regular file")}
	}
	text, err := io.ReadAll(io.LimitReader(f, config.MaxSize+1))
	if err != nil {
		return nil, nil, err
	}
	settings, err := config.Parse(text)
	if wrong, ok := errors.AsType[*config.Error](err); ok {
		err = &configError{name, wrong.Line, wrong.Err, wrong.Advice}
	}
	return settings, info, err
}

// checkSetting says what is wrong with a setting as such, nil for nothing. before
// are those of the lines above it.
func checkSetting(file string, s config.Setting, before []config.Setting) error {
	wrong := func(advice, format string, args ...any) error {
		return &configError{file, s.Line, fmt.Errorf(format, args...), advice}
	}
	o, ok := findConfigOption(s.Name)
	if !ok {
		return wrong(cmdline.DidYouMean(cmdline.Nearest(s.Name, configNames()), "imaseal config show lists what there is"), "%q is nothing that can be set", s.Name)
	}
	if i := slices.IndexFunc(before, func(b config.Setting) bool { return b.Name == s.Name }); i >= 0 {
		return wrong("leave out one of the lines", "%s is set in line %d already", s.Name, before[i].Line)
	}
	kind := s.Kind
	if o.kind == config.Texts && kind == config.Text {
		kind = config.Texts // of one
	}
	if kind != o.kind {
		return wrong("", "%s is %s, and must be %s", s.Name, s.Kind, o.kind)
	}
	for _, v := range s.Values {
		switch {
		case v == "":
			return wrong("leave out the line", "%s is empty", s.Name)
		case v == "-":
			return wrong("name a file", "%s is read from standard input, which hooks have for other things", s.Name)
		case o.isFile != nil && o.isFile(v) && !filepath.IsAbs(v):
			near := ""
			if s.Name == "policy" {
				near = cmdline.Nearest(v, target.PolicyNames())
			}
			return wrong(cmdline.DidYouMean(near, "write the whole path, from the first /"), "%s: %s is not absolute, and hooks run anywhere", s.Name, report.Quote(v))
		}
	}
	return nil
}

// A configSource says where an option of a command comes from in a file of options.
type configSource struct {
	names []string // in the file
	// unless says that the option is of no use with those that are set otherwise,
	// which is told by a function that returns the value of an option; nil for
	// never.
	unless func(value func(option string) string) bool
}

// isUnset returns whether none of the options is set.
func isUnset(options ...string) func(func(string) string) bool {
	return func(value func(string) string) bool {
		return !slices.ContainsFunc(options, func(o string) bool { return value(o) != "" })
	}
}

// labelSources are those of commands that write labels. What is about the key in the
// file is not taken for another one; see given below.
func labelSources() map[string]configSource {
	all := make(map[string]configSource)
	for _, name := range configNames() {
		all[name] = configSource{names: []string{name}}
	}
	for _, name := range aboutKeys {
		all[name] = configSource{[]string{name}, isUnset("key")}
	}
	all["evm-key"] = configSource{[]string{"evm-key"}, func(value func(string) string) bool { return !strings.Contains(value("evm"), "hmac") }}
	all["target-arch"] = configSource{[]string{"target-arch"}, func(value func(string) string) bool {
		return value("evm") == "" || value("evm") == "none"
	}}
	return all
}

// judgeSources are those of commands that judge labels: they take the certificates
// of the key, and those of --trust, where they have --key.
func judgeSources(names ...string) map[string]configSource {
	all := map[string]configSource{"key": {names: []string{"cert", "trust"}}}
	for _, name := range names {
		all[name] = configSource{names: []string{name}}
	}
	return all
}

func denialsSources() map[string]configSource {
	isElsewhere := func(value func(string) string) bool { return value("elsewhere") == "true" }
	return map[string]configSource{
		"policy": {[]string{"policy"}, isElsewhere}, "key": {[]string{"cert", "trust"}, isElsewhere}, "evm-key": {[]string{"evm-key"}, isElsewhere},
	}
}

func checkSources() map[string]configSource {
	return judgeSources("policy", "evm-key", "exclude", "kernel-version", "kernel-config", "target-arch", "secure-boot", "namespace", "jobs")
}

func verifySources() map[string]configSource {
	all := judgeSources("exclude", "namespace", "jobs")
	all["evm-key"] = configSource{[]string{"evm-key"}, func(value func(string) string) bool { return value("label") == "ima" }}
	for _, name := range []string{"kernel-config", "target-arch"} {
		all[name] = configSource{[]string{name}, isUnset("key", "evm-key")}
	}
	return all
}

// aboutKeys are options that are of no use without a key to sign with.
var aboutKeys = []string{"cert", "keyid", "passphrase-file", "tpm", "key-jobs", "key-timeout", "sig-version", "signatures"}

// ofTheKey are options that make no sense with another key than that beside them.
var ofTheKey = []string{"cert", "keyid", "passphrase-file", "tpm"}

// A chosenConfig is the file of options of a run, and what came of it.
type chosenConfig struct {
	file   string
	hasKey bool     // it names a key to sign with
	taken  []string // options, with the dashes
}

// configured lets a command take options from a file, which --config names. An
// option that is given counts instead of the file's. to is told about it, if it is
// not nil.
func (p Program) configured(c *urfave.Command, from map[string]configSource, to *chosenConfig) *urfave.Command {
	if to == nil {
		to = new(chosenConfig)
	}
	c.Flags = append(c.Flags, &urfave.StringFlag{Name: "config", Destination: &to.file, Category: output, Usage: "take options that are not given from `FILE`, as hooks do from " + configFile})
	c.Before = func(ctx *urfave.Context) error {
		if to.file == "" {
			return nil
		}
		settings, err := p.settings(to.file)
		if err != nil {
			return err
		}
		to.hasKey = slices.ContainsFunc(settings, func(s config.Setting) bool { return s.Name == "key" })
		to.taken, err = takeOptions(ctx, c.Flags, from, settings)
		return err
	}
	act := c.Action
	c.Action = func(ctx *urfave.Context) error {
		err := act(ctx)
		if usage, ok := errors.AsType[*cmdline.UsageError](err); ok && len(to.taken) > 0 {
			file := report.Quote(to.file)
			said := fmt.Sprintf("%s has %s; imaseal config check %s looks at it", file, strings.Join(to.taken, ", "), file)
			if usage.Advice != "" {
				said = usage.Advice + "; " + said
			}
			return &cmdline.UsageError{Err: usage.Err, Advice: said}
		}
		return err
	}
	return c
}

// settings are those of a file, if nothing is wrong with any as such.
func (p Program) settings(file string) ([]config.Setting, error) {
	if p.preset != nil {
		return p.preset, nil
	}
	settings, _, err := readConfig(file)
	if err != nil {
		return nil, err
	}
	for i, s := range settings {
		if err := checkSetting(file, s, settings[:i]); err != nil {
			return nil, err
		}
	}
	return settings, nil
}

// takeOptions sets the options of a command that are not given, and returns which of
// the file's it took.
func takeOptions(ctx *urfave.Context, flags []urfave.Flag, from map[string]configSource, settings []config.Setting) ([]string, error) {
	set := make(map[string][]string)
	for _, s := range settings {
		set[s.Name] = s.Values
	}
	given := make(map[string]bool)
	for _, f := range flags {
		given[f.Names()[0]] = ctx.IsSet(f.Names()[0])
	}
	values := func(option string) []string {
		var all []string
		for _, name := range from[option].names {
			all = append(all, set[name]...)
		}
		return all
	}
	var value func(string) string
	value = func(option string) string {
		unless := from[option].unless
		switch {
		case given[option]:
			return fmt.Sprint(ctx.Value(option))
		case unless != nil && unless(value):
			return ""
		}
		return strings.Join(values(option), " ")
	}
	var taken []string
	for _, f := range flags {
		name := f.Names()[0]
		if given[name] || value(name) == "" || given["key"] && slices.Contains(ofTheKey, name) {
			continue
		}
		for _, v := range values(name) {
			if err := ctx.Set(name, v); err != nil {
				return nil, &cmdline.UsageError{Err: fmt.Errorf("--%s %q is no value for it", name, v)}
			}
		}
		taken = append(taken, "--"+name)
	}
	return taken, nil
}
