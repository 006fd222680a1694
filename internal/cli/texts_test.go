package cli

import (
	"bytes"
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/cmdline"
	"imaseal/internal/host"
)

// texts are the strings in the program's sources, by where they stand. What is
// joined to one is ARG.
func texts(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, dir := range []string{"../../internal", "../../keys", "../../sign", "../../walk", "../../hash"} {
		err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
			forTests := regexp.MustCompile(`/(kernellab|bench|treetest|vectors|keytest|certtest|runtest|carriertest)/`).MatchString(name)
			if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || forTests {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, name, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				e, ok := n.(ast.Expr)
				if text, has := textOf(e); ok && has {
					found[set.Position(n.Pos()).String()] = text
					return false
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// textOf returns the text of a string, or of several that are joined.
func textOf(e ast.Expr) (text string, has bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		x, hasX := textOf(e.X)
		y, hasY := textOf(e.Y)
		if e.Op != token.ADD || !hasX && !hasY {
			return "", false
		}
		if !hasX {
			x = "ARG"
		}
		if !hasY {
			y = "ARG"
		}
		return x + y, true
	}
	return "", false
}

// commandsIn returns the commands of imaseal in a text, split into words: in an
// example all of them, and in a sentence the names of the command and what follows
// that looks like arguments: options, placeholders, and what is no word.
func commandsIn(g cmdline.Grammar, text string) [][]string {
	var found [][]string
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		isExample := strings.HasPrefix(line, "   imaseal ")
		for _, part := range strings.Split(line, "imaseal ")[1:] {
			if end := strings.IndexAny(part, "|;>"); end >= 0 {
				part = part[:end]
			}
			words := strings.Fields(part)
			command, flags, isWhole := commandOf(g, &words)
			switch {
			case !isWhole: // prose, or all commands of a kind
			case isExample:
				found = append(found, append(command, words...))
			default:
				found = append(found, append(command, arguments(flags, words)...))
			}
		}
	}
	return found
}

// commandOf takes the names of a command from words. It is not whole if that needs
// a command of its own, or is none.
func commandOf(g cmdline.Grammar, words *[]string) (command []string, flags []urfave.Flag, isWhole bool) {
	commands := g.App.Commands
	for len(*words) > 0 {
		bare := strings.TrimRight((*words)[0], ",.:)")
		i := slices.IndexFunc(commands, func(c *urfave.Command) bool { return c.Name == bare })
		if i < 0 {
			break
		}
		command, flags, commands = append(command, bare), commands[i].Flags, commands[i].Subcommands
		word := (*words)[0]
		if *words = (*words)[1:]; word != bare {
			*words = nil // the sentence goes on
		}
	}
	return command, flags, command != nil && len(commands) == 0
}

// isArgument recognises what is no word of a sentence.
var isArgument = regexp.MustCompile(`^(-.*|[a-z]+:[A-Z]+|[A-Z][A-Z0-9]*|.*[/._0-9].*)$`)

// arguments returns the words that are arguments of a command.
func arguments(flags []urfave.Flag, words []string) []string {
	var args []string
	isValue := false
	for _, word := range words {
		bare := strings.TrimRight(word, ",:)")
		if !isValue && !isArgument.MatchString(bare) {
			break
		}
		args = append(args, bare)
		if bare != word {
			break
		}
		i := slices.IndexFunc(flags, func(f urfave.Flag) bool { return "--"+f.Names()[0] == bare })
		isValue = !isValue && i >= 0 && takesValue(flags[i])
	}
	return args
}

// TestCommandsInTexts: every command of imaseal that help, advice and messages show
// is one that can be given. They are tried where there are no files.
func TestCommandsInTexts(t *testing.T) {
	all := texts(t)
	dir := t.TempDir()
	t.Chdir(dir)
	g := Program{}.grammar()
	tried := 0
	for at, text := range all {
		for _, args := range commandsIn(g, text) {
			tried++
			for i, arg := range args {
				if strings.HasPrefix(arg, "/") {
					args[i] = dir + "/none" + arg
				}
				args[i] = strings.Trim(args[i], "'")
			}
			var out, errs bytes.Buffer
			p := Program{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }, Host: host.Host{Root: t.TempDir()}}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second) // denials --follow never ends
			status := Main(ctx, p)
			cancel()
			if status == exitUsage {
				t.Errorf("%s: imaseal %q: %s", at, args, &errs)
			}
		}
	}
	if tried < 60 {
		t.Errorf("%d commands", tried)
	}
}

// ofOthers recognises commands of other programs: the program, and the word behind
// it that says what it does.
var ofOthers = regexp.MustCompile(`\b(fsverity|evmctl|openssl) [a-z][a-z0-9_]+|\bkeyctl p?add\b|\b(mount|mkfs\.\w+|dracut|update-initramfs|prelink) -[a-z]+|\bfuser FILE\b|\becho \d >/sys\S+`)

// others are the commands of other programs in texts, and the test that runs them.
var others = map[string]string{
	"dracut -f":                        "", // makes the initramfs anew,
	"update-initramfs -u":              "", // likewise
	"prelink -ua":                      "", // of a program that no distribution has any more
	"echo 1 >/sys/kernel/security/evm": "internal/kernellab/live_test.go",
	"echo 4 >/sys/kernel/security/evm": "internal/kernellab/live_test.go",
	"evmctl does":                      "", // prose
	"evmctl to":                        "", // likewise
	"evmctl ima_sign":                  "testdata/script/root-evmctl.txtar",
	"evmctl sign":                      "testdata/script/root-evmctl.txtar",
	"fsverity digest":                  "testdata/script/sign-digests.txtar",
	"evmctl import":                    "testdata/script/root-advice.txtar",
	"fsverity enable":                  "internal/kernellab/verity_test.go",
	"fuser FILE":                       "testdata/script/root-advice.txtar",
	"keyctl add":                       "testdata/script/root-advice.txtar",
	"keyctl padd":                      "testdata/script/root-advice.txtar",
	"mkfs.ext4 -b":                     "testdata/script/root-advice.txtar",
	"mount -o":                         "testdata/script/root-advice.txtar",
	"mount -t":                         "testdata/script/root-advice.txtar",
	"openssl pkey":                     "testdata/script/root-advice.txtar",
	"openssl pkcs8":                    "testdata/script/root-advice.txtar",
}

// TestCommandsOfOthersInTexts: what else users are told to run, a test runs.
func TestCommandsOfOthersInTexts(t *testing.T) {
	used := make(map[string]bool)
	for at, text := range texts(t) {
		for _, command := range ofOthers.FindAllString(text, -1) {
			used[command] = true
			test, ok := others[command]
			if !ok {
				t.Errorf("%s: %q, which no test runs", at, command)
			}
			if test == "" {
				continue
			}
			program, rest, _ := strings.Cut(command, " ")
			if strings.HasPrefix(rest, "FILE") {
				command = program + " "
			}
			b, err := os.ReadFile(filepath.Join("../..", test))
			if err != nil || !strings.Contains(string(b), command) {
				t.Errorf("%s: %q is not in %s: %v", at, command, test, err)
			}
		}
	}
	for command := range others {
		if !used[command] {
			t.Errorf("no text has %q", command)
		}
	}
}
