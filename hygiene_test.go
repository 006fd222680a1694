package main

import (
	"bytes"
	"context"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"imaseal/internal/cli"
	"imaseal/internal/treetest"
)

// tracked returns the names of the files that are part of the project.
func tracked(t *testing.T) []string {
	out, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		t.Skipf("git ls-files, which tells the project's files from others: %v", err)
	}
	names := strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	return slices.DeleteFunc(names, func(name string) bool {
		_, err := os.Stat(name)
		return err != nil // removed, and not committed yet
	})
}

func TestFormat(t *testing.T) {
	for _, name := range tracked(t) {
		if !strings.HasSuffix(name, ".go") {
			continue
		}
		have := read(t, name)
		want, err := format.Source(have)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(have, want) {
			t.Errorf("%s is not formatted: run gofmt -w", name)
		}
	}
}

func TestVet(t *testing.T) { runs(t, "go", "vet", "./...") }

func TestTidy(t *testing.T) { runs(t, "go", "mod", "tidy", "-diff") }

func runs(t *testing.T, program string, args ...string) {
	if testing.Short() {
		t.Skip("-short: takes seconds")
	}
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
}

func read(t *testing.T, name string) []byte {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unwanted is what no tracked file holds. The patterns are written so that
// they do not find themselves.
var unwanted = map[string]*regexp.Regexp{
	"work left over":       regexp.MustCompile(`\b(TO[D]O|FIX[M]E|X[X]X)\b`),
	"a path of a machine":  regexp.MustCompile(`/wor[k]/|/root/g[o]\b|/hom[e]/[a-z]+/(go|src)\b`),
	"a registry":           regexp.MustCompile(`GOPROX[Y]|GOSUMD[B]|prox[y]\.golang\.org|sum[.]golang\.org|//[a-z0-9.-]*:[0-9]{4,5}/`),
	"a conflict of merges": regexp.MustCompile(`(?m)^(<{7}|>{7}) `),
}

func TestNothingUnwanted(t *testing.T) {
	for _, name := range tracked(t) {
		b := read(t, name)
		for what, pattern := range unwanted {
			if found := pattern.Find(b); found != nil {
				t.Errorf("%s holds %s: %q", name, what, found)
			}
		}
	}
}

const (
	maxFunction = 60
	maxFile     = 400
)

// mayBeLong lists files and functions that are longer than the rule, each with
// the reason.
var mayBeLong = map[string]string{}

func TestSize(t *testing.T) {
	long := make(map[string]bool)
	for _, file := range sources(t) {
		end := file.set.Position(file.tree.FileEnd)
		if end.Line > maxFile {
			long[file.name] = true
			if mayBeLong[file.name] == "" {
				t.Errorf("%s has %d lines, which is more than %d", file.name, end.Line, maxFile)
			}
		}
		for _, d := range file.tree.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := file.set.Position(f.End()).Line - file.set.Position(f.Pos()).Line + 1
			name := file.name + " " + f.Name.Name
			if lines > maxFunction {
				long[name] = true
				if mayBeLong[name] == "" {
					t.Errorf("%s has %d lines, which is more than %d", name, lines, maxFunction)
				}
			}
		}
	}
	for name := range mayBeLong {
		if !long[name] {
			t.Errorf("%s need not be in mayBeLong any more", name)
		}
	}
}

// A source is a parsed file that is no test.
type source struct {
	name string
	set  *token.FileSet
	tree *ast.File
}

func sources(t *testing.T) []source {
	var found []source
	for _, name := range tracked(t) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, source{name: name, set: set, tree: tree})
	}
	return found
}

func TestExportedIsDocumented(t *testing.T) {
	for _, file := range sources(t) {
		for _, d := range file.tree.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%s: %s has no comment", file.name, name)
			}
		}
	}
}

// undocumented returns the exported names of a declaration without a comment.
// That of a group of constants or variables stands for all of them.
func undocumented(d ast.Decl) []string {
	var names []string
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || needsComment(d)) {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
					names = append(names, s.Name.Name)
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					if n.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return names
}

// needsComment reports whether a method is one of an exported type, and not
// one that every reader knows from the standard library.
func needsComment(d *ast.FuncDecl) bool {
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	name, ok := t.(*ast.Ident)
	return ok && name.IsExported() && !slices.Contains([]string{"Error", "Unwrap", "Is"}, d.Name.Name)
}

const manual = "doc/imaseal.8"

// manualText is the manual as a reader sees it, or so.
func manualText(t *testing.T) string {
	b, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(`\-`, "-", `\&`, "", `\fB`, "", `\fI`, "", `\fR`, "", `\fP`, "", `\e`, `\`).Replace(string(b))
	return strings.ReplaceAll(text, "\"", "")
}

func TestManualHasCommandsAndOptions(t *testing.T) {
	text := manualText(t)
	for _, path := range commands(t, "") {
		if !has(text, "imaseal "+path) {
			t.Errorf("%s does not have the command %q", manual, path)
		}
		for _, option := range options(t, path) {
			if !has(text, option) {
				t.Errorf("%s does not have the option %s of %s", manual, option, path)
			}
		}
	}
}

var manualOption = regexp.MustCompile(`(?m)^\.B[IR]? (-\w)?[ ,]*(--[a-z][\w-]*)?`)

// TestManualHasNoOtherOptions compares what OPTIONS defines with the help: a
// short name is that of the long one next to it.
func TestManualHasNoOtherOptions(t *testing.T) {
	known := make(map[string]bool)
	for _, path := range append(commands(t, ""), "") {
		for _, m := range optionLine.FindAllStringSubmatch(helpOf(t, path), -1) {
			known[m[1]+" "+m[2]+m[3]] = true
		}
	}
	_, section, ok := strings.Cut(manualText(t), ".SH OPTIONS\n")
	section, _, end := strings.Cut(section, "\n.SH ")
	if !ok || !end {
		t.Fatalf("%s has no section OPTIONS", manual)
	}
	found := 0
	for _, entry := range strings.Split(section, "\n.TP\n")[1:] {
		m := manualOption.FindStringSubmatch(entry)
		if m == nil || m[1]+m[2] == "" {
			continue
		}
		if found++; !known[m[1]+" "+m[2]] {
			t.Errorf("%s defines %s %s, which no help has", manual, m[1], m[2])
		}
	}
	if found < 20 {
		t.Errorf("%d options found", found)
	}
}

// has reports whether text has the words, not as part of longer ones.
func has(text, words string) bool {
	return regexp.MustCompile(`(^|[^\w-])` + regexp.QuoteMeta(words) + `($|[^\w-])`).MatchString(text)
}

// helpOf runs the program for its help.
func helpOf(t *testing.T, path string) string {
	var out, errs bytes.Buffer
	p := cli.Program{Args: append(strings.Fields(path), "--help"), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}
	if status := cli.Main(context.Background(), p); status != 0 || errs.Len() > 0 {
		t.Fatalf("imaseal %s --help: status %d: %s", path, status, &errs)
	}
	return out.String()
}

var (
	commandLine = regexp.MustCompile(`(?m)^   ([a-z][a-z-]*)  +\S`)
	optionLine  = regexp.MustCompile(`(?m)^   (?:(-\w)(?:, (--[\w-]+))?|    (--[\w-]+))(?: |$)`)
)

// commands returns the paths of all commands, as help lists them.
func commands(t *testing.T, path string) []string {
	_, list, ok := strings.Cut(helpOf(t, path), "\nCOMMANDS:\n")
	if !ok {
		return nil
	}
	list, _, _ = strings.Cut(list, "\n\n")
	var paths []string
	for _, m := range commandLine.FindAllStringSubmatch(list, -1) {
		p := strings.TrimSpace(path + " " + m[1])
		paths = append(append(paths, p), commands(t, p)...)
	}
	return paths
}

// options returns the options of a command, as help lists them.
func options(t *testing.T, path string) []string {
	var found []string
	for _, m := range optionLine.FindAllStringSubmatch(helpOf(t, path), -1) {
		for _, option := range m[1:] {
			if option != "" {
				found = append(found, option)
			}
		}
	}
	return found
}

func TestHelpIsUnderstood(t *testing.T) {
	if got := commands(t, ""); !slices.Contains(got, "hash") || !slices.Contains(got, "completion") {
		t.Errorf("commands are %q", got)
	}
	if got := options(t, "hash"); !slices.Contains(got, "-0") || !slices.Contains(got, "-n") || !slices.Contains(got, "--undo-log") {
		t.Errorf("options of hash are %q", got)
	}
}

// TestManualHasFields looks for the JSON fields, which are those of the files
// that print JSON.
func TestManualHasFields(t *testing.T) {
	text := manualText(t)
	for _, file := range sources(t) {
		if file.name != "internal/report/json.go" && !strings.HasPrefix(file.name, "internal/cli/") {
			continue
		}
		ast.Inspect(file.tree, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			tag, err := strconv.Unquote(field.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			if name != "" && !has(text, name) {
				t.Errorf("%s does not have the JSON field %s of %s", manual, name, file.name)
			}
			return true
		})
	}
}

// TestManualHasStatuses looks for the exit statuses, which are the constants
// that begin with exit.
func TestManualHasStatuses(t *testing.T) {
	_, section, ok := strings.Cut(manualText(t), ".SH EXIT STATUS\n")
	if !ok {
		t.Fatalf("%s has no section EXIT STATUS", manual)
	}
	section, _, _ = strings.Cut(section, "\n.SH ")
	found := 0
	for _, file := range sources(t) {
		if file.name != "internal/cli/cli.go" {
			continue
		}
		ast.Inspect(file.tree, func(n ast.Node) bool {
			s, ok := n.(*ast.ValueSpec)
			if !ok || !regexp.MustCompile(`^exit[A-Z]`).MatchString(s.Names[0].Name) || len(s.Values) != 1 {
				return true
			}
			found++
			if value := s.Values[0].(*ast.BasicLit).Value; !has(section, value) {
				t.Errorf("%s does not explain the exit status %s", manual, value)
			}
			return true
		})
	}
	if found < 6 {
		t.Errorf("found %d exit statuses", found)
	}
}

func TestManualIsRoff(t *testing.T) {
	for _, name := range []string{manual, "doc/imaseal-key.7"} {
		out, err := exec.Command(treetest.Tool(t, "mandoc"), "-W", "warning", "-T", "lint", name).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("mandoc says: %v\n%s", err, out)
		}
	}
}
