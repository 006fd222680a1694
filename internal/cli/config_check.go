package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/config"
	"imaseal/internal/plan"
	"imaseal/internal/policy/lint"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/stream"
	"imaseal/internal/target"
	"imaseal/keys"
	"imaseal/keys/evmkey"
	"imaseal/keys/keyfile"
)

func (p Program) configCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "config",
		Usage: "check and print the file of options that hooks use",
		Description: `The hooks of package managers (see imaseal integrate --help) take their
options from ` + configFile + `, a file of lines such as
policy = "appraise_tcb". Other runs read it, or another one, if they are told:
--config FILE.`,
		Subcommands: []*urfave.Command{p.configCheckCommand(), p.configShowCommand()},
	}
}

// A configRequest is what a command about a file of options is asked for.
type configRequest struct {
	file   string
	chosen bool // the file was named
	json   bool
}

func planConfig(json *bool) func([]string) (configRequest, error) {
	return func(args []string) (configRequest, error) {
		r := configRequest{configFile, false, *json}
		switch {
		case len(args) > 1:
			return r, conflict(fmt.Sprintf("%q: one file at a time", args[1]), "")
		case len(args) == 1 && args[0] == "":
			return r, conflict("the name of the file is empty", "a variable of the shell may not be set")
		case len(args) == 1:
			r.file, r.chosen = args[0], true
		}
		return r, nil
	}
}

func (p Program) configCheckCommand() *urfave.Command {
	json := new(bool)
	return &urfave.Command{
		Name:      "check",
		Usage:     "find what is wrong with a file of options",
		ArgsUsage: "[FILE]",
		Description: `Prints what is wrong with the file, ` + configFile + ` if none is named:
names that there are not, values that are wrong or do not go together, keys and
certificates that do not open, secrets that others can read, a policy that a
kernel would refuse. The exit status is 4 if there is an error among it.

   imaseal config check
   imaseal config check --json new-config | jq -r 'select(.line)|.line'`,
		Flags:  []urfave.Flag{jsonFlag(json, "print one JSON object per finding, then a summary object")},
		Action: action(planConfig(json), p.configCheck),
	}
}

// Codes of findings about files of options.
const (
	codeSyntax  reason.Code = "bad-config"
	codeOption  reason.Code = "bad-option"
	codeFile    reason.Code = "bad-file"
	codePolicy  reason.Code = "bad-policy"
	codeWriters reason.Code = "writable-by-others"
)

// A configFinding is something wrong with a file of options.
type configFinding struct {
	line     int // 0 for the file as a whole
	severity lint.Severity
	code     reason.Code
	words    string
	advice   string
}

func (p Program) configCheck(ctx context.Context, r configRequest) error {
	c := configChecker{p: p, file: r.file}
	// What is questionable becomes a finding, and is no warning.
	c.p.mute, c.p.said = true, new(said)
	if err := c.check(ctx); err != nil {
		return err
	}
	slices.SortStableFunc(c.found, func(a, b configFinding) int { return cmp.Compare(a.line, b.line) })
	var err error
	if r.json {
		err = p.printConfigFindings(r.file, c.found)
	} else {
		err = p.print(c.text())
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(c.found, func(f configFinding) bool { return f.severity == lint.Error }) {
		return &verdictError{status: exitVerdict}
	}
	return nil
}

// A configChecker looks for what is wrong with a file of options.
type configChecker struct {
	p        Program
	file     string
	settings []config.Setting // those that nothing is wrong with as such
	found    []configFinding
}

// add adds what an error says about a line.
func (c *configChecker) add(line int, code reason.Code, err error) {
	found, advice := hint(err)
	if found == "usage" {
		found = code
	}
	f := configFinding{line, lint.Error, cmp.Or(found, code), printable(err), advice}
	if at, ok := errors.AsType[*configError](err); ok {
		f.line, f.code, f.words, f.advice = at.line, code, printable(at.err), at.advice
	}
	same := func(other configFinding) bool { return other.line == f.line && other.words == f.words }
	if !slices.ContainsFunc(c.found, same) {
		c.found = append(c.found, f)
	}
}

// check looks at all there is. The error is one about the file itself.
func (c *configChecker) check(ctx context.Context) error {
	all, info, err := readConfig(c.file)
	if is[*configError](err) {
		c.add(0, codeSyntax, err)
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &advisedError{err: errors.New(printable(err)), advice: "imaseal config show >FILE makes one, in which everything is a comment"}
	}
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		err := fmt.Errorf("can be written to by others, with mode %04o, and says what root does", mode)
		c.add(0, codeWriters, &advisedError{err: err, code: codeWriters, advice: "chmod go-w it"})
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		err := fmt.Errorf("belongs to user %d, and says what root does", st.Uid)
		c.add(0, codeWriters, &advisedError{err: err, code: codeWriters, advice: "chown it to root"})
	}
	for i, s := range all {
		if err := checkSetting(c.file, s, all[:i]); err != nil {
			c.add(s.Line, codeOption, err)
			continue
		}
		c.settings = append(c.settings, s)
	}
	if err := c.checkValues(ctx); err != nil {
		return err
	}
	c.checkFiles(ctx)
	return context.Cause(ctx) // nil but for a signal
}

// value returns a setting, of which there may be none.
func (c *configChecker) value(name string) (config.Setting, bool) {
	i := slices.IndexFunc(c.settings, func(s config.Setting) bool { return s.Name == name })
	if i < 0 {
		return config.Setting{Values: []string{""}}, false
	}
	return c.settings[i], true
}

// checkFiles opens what is named.
func (c *configChecker) checkFiles(ctx context.Context) {
	for _, s := range c.settings {
		if o, _ := findConfigOption(s.Name); o.isSecret && o.isFile(s.Values[0]) {
			c.checkSecret(s)
		}
	}
	c.checkKey(ctx)
	open := func(name string, read func(s config.Setting) error) {
		if s, ok := c.value(name); ok {
			c.addOpening(s.Line, read(s))
		}
	}
	open("trust", func(s config.Setting) error { _, err := readVerifiers(ctx, s.Values); return err })
	open("rules", func(s config.Setting) error { _, err := readFrom(ctx, c.p, s.Values[0], plan.ParseRules); return err })
	open("evm-key", func(s config.Setting) error {
		_, err := stream.Await(ctx, func() (any, error) {
			key, _, err := evmkey.Read(s.Values[0])
			clear(key)
			return nil, err
		})
		return err
	})
	if _, ok := c.value("key"); !ok {
		open("cert", func(s config.Setting) error { _, err := readVerifiers(ctx, s.Values); return err })
	}
	c.checkPolicy(ctx)
}

// checkSecret sees that nobody else reads a secret.
func (c *configChecker) checkSecret(s config.Setting) {
	info, err := os.Stat(s.Values[0])
	if err != nil {
		c.add(s.Line, codeFile, err)
		return
	}
	if who := keyfile.ReadableBy(info.Mode()); who != "" {
		err := fmt.Errorf("%s is secret, and can be read by %s", report.Quote(s.Values[0]), who)
		c.add(s.Line, reason.ReadableSecret, &advisedError{err: err, code: reason.ReadableSecret, advice: "chmod 600 it"})
	}
}

// checkKey opens the private key as a hook would, whom nobody types a passphrase.
func (c *configChecker) checkKey(ctx context.Context) {
	ref, ok := c.value("key")
	if !ok {
		return
	}
	cert, _ := c.value("cert")
	tpm, _ := c.value("tpm")
	file, _ := c.value("passphrase-file")
	given := c.p.givenPassphrase(ctx, file.Values[0])
	ask := func(string) ([]byte, error) {
		passphrase, err := given()
		if passphrase == nil && err == nil {
			err = errNotSet
		}
		return slices.Clone(passphrase), err
	}
	key, err := keys.Open(ctx, ref.Values[0], ask, c.p.complete(keys.Options{Certificate: cert.Values[0], TPM: tpm.Values[0]}))
	if err != nil {
		c.addOpening(ref.Line, err)
		return
	}
	defer key.Close()
	for _, w := range key.Warnings() {
		if w.Kind != keys.ReadableByOthers { // which is an error here
			c.found = append(c.found, configFinding{ref.Line, lint.Warning, reason.Key, printableText(w.String()), ""})
		}
	}
}

// errNotSet says that a key needs a passphrase, and hooks have none.
var errNotSet = &advisedError{
	err: errors.New("nobody types it for a hook, and passphrase-file is not set"), code: reason.NeedsPassphrase, advice: "passphrase-file names a file with it, of mode 0600",
}

// addOpening adds that something could not be opened, if that is not told already
// of a file that is not there.
func (c *configChecker) addOpening(line int, err error) {
	told := slices.ContainsFunc(c.found, func(f configFinding) bool { return f.line == line })
	if err != nil && !(told && errors.Is(err, fs.ErrNotExist)) {
		c.add(line, codeFile, err)
	}
}

// checkPolicy opens the kernel's configuration, and looks for errors in the policy.
func (c *configChecker) checkPolicy(ctx context.Context) {
	o := kernelOptions{}
	for name, to := range map[string]*string{"kernel-version": &o.version, "kernel-config": &o.config, "secure-boot": &o.secureBoot} {
		s, _ := c.value(name)
		*to = s.Values[0]
	}
	var t *target.Target
	options, err := o.plan()
	if err == nil {
		t, err = c.p.openTarget(ctx, options, true)
	}
	if err != nil {
		s, _ := c.value("kernel-config")
		c.add(s.Line, codeFile, err)
		return
	}
	s, ok := c.value("policy")
	if !ok {
		return
	}
	findings, _, err := lintPolicy(ctx, s.Values[0], t)
	if err != nil {
		c.add(s.Line, codeFile, err)
		return
	}
	for _, f := range findings {
		if f.Severity == lint.Error {
			words := fmt.Sprintf("%s%s: %s", report.Quote(s.Values[0]), place(f), printableText(f.Message))
			c.found = append(c.found, configFinding{s.Line, lint.Error, codePolicy, words, printableText(f.Advice)})
		}
	}
}

// text is what people are told.
func (c *configChecker) text() string {
	var b strings.Builder
	for _, f := range c.found {
		at := report.Quote(c.file)
		if f.line > 0 {
			at += fmt.Sprintf(":%d", f.line)
		}
		fmt.Fprintf(&b, "%s: %s: %s\n", at, f.severity, f.words)
		if f.advice != "" {
			b.WriteString("   " + f.advice + "\n")
		}
	}
	if c.found == nil {
		fmt.Fprintf(&b, "%s: nothing is wrong\n", report.Quote(c.file))
	}
	return b.String()
}

// A shownConfigFinding is a finding about a file of options as JSON has it. Its
// fields only ever grow.
type shownConfigFinding struct {
	shownPath
	Line     int         `json:"line,omitempty"`
	Severity string      `json:"severity"`
	Code     reason.Code `json:"code"`
	Reason   string      `json:"reason"`
	Hint     string      `json:"hint,omitempty"`
}

func (p Program) printConfigFindings(file string, found []configFinding) error {
	count := map[string]int{lint.Error.String(): 0, lint.Warning.String(): 0}
	for _, f := range found {
		count[f.severity.String()]++
		if err := p.printJSON(shownConfigFinding{showPath(file), f.line, f.severity.String(), f.code, f.words, f.advice}); err != nil {
			return err
		}
	}
	return p.printSummary(shownSummary{Command: "config check", Findings: count})
}
