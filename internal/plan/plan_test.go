package plan

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseRules(t *testing.T) {
	tests := []struct {
		text, want string // want are the rules printed, or the error
	}{
		{"sign @any", "sign @any"},
		{"# comment\n\n  hash\t/etc/**  \r\nskip a b", "hash etc/**\nskip a b"},
		{"sign \tusr/bin/", "sign usr/bin"},
		{"sign\t@module\nsign @firmware\nsign @executable\nhash @any\nskip *.{a,b}", "sign @module\nsign @firmware\nsign @executable\nhash @any\nskip *.{a,b}"},
		{"", "there are no rules"},
		{"\n#\n", "there are no rules"},
		{"sign", "line 1: sign without a pattern"},
		{"sign #x", "sign #x"},
		{"\n\nSIGN x", `line 3: "SIGN" is none of sign, hash and skip`},
		{"sign @all", `line 1: "@all" is none of @executable, @module, @firmware and @any`},
		{"sign a[", `line 1: "a[" is not a pattern`},
		{"sign a{", `line 1: "a{" is not a pattern`},
		{"sign //", `line 1: "//" matches no file; @any matches all`},
		{"sign .", `line 1: "." matches no file; @any matches all`},
		{"sign ../x", `line 1: "../x" matches no file; @any matches all`},
		{"sign /@any", `line 1: "/@any" could be taken for another: put @ at its beginning, and blanks there or at its end, in brackets`},
		{"sign / a", `line 1: "/ a" could be taken for another: put @ at its beginning, and blanks there or at its end, in brackets`},
		{"sign [@]any/[ ]b", "sign [@]any/[ ]b"},
		{"sign x\n" + strings.Repeat("y", 1<<20), "line 2: longer than any rule"},
	}
	for _, tt := range tests {
		rules, err := ParseRules(strings.NewReader(tt.text))
		got := printed(rules)
		if err != nil {
			got = err.Error()
			var rule *RuleError
			if !errors.As(err, &rule) || rules != nil {
				t.Errorf("%q: %T with %v", tt.text, err, rules)
			}
		}
		if got != tt.want {
			t.Errorf("%.40q: %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

func printed(rules Rules) string {
	var lines []string
	for _, r := range rules {
		lines = append(lines, r.String())
	}
	return strings.Join(lines, "\n")
}

// What parses prints as what parses to the same.
func FuzzParseRules(f *testing.F) {
	f.Add("sign @any\nhash a/**\nskip b c")
	f.Add("sign /a//b/../c\n\xff \x00")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := ParseRules(strings.NewReader(text))
		if err != nil {
			if rules != nil {
				t.Errorf("%v and %v", rules, err)
			}
			return
		}
		again, err := ParseRules(strings.NewReader(printed(rules)))
		if err != nil || !slices.Equal(rules, again) {
			t.Errorf("%q, then %q, %v", rules, again, err)
		}
		rules.Class("usr/bin/ls", func() (bool, error) { return true, nil })
	})
}

func TestRulesClass(t *testing.T) {
	tests := []struct {
		rules, rel string
		want       Class
		asked      bool // whether it is executable
	}{
		{"sign @any", "a", Sign, false},
		{"hash b", "a", Skip, false},
		{"skip a\nsign @any", "a", Skip, false},
		{"sign @any\nskip a", "a", Sign, false},
		{"sign a", "a/b/c", Sign, false},
		{"sign a/*", "a/b/c", Sign, false},
		{"sign b", "a/b/c", Skip, false},
		{"sign **/b", "a/b/c", Sign, false},
		{"sign *.so", "usr/lib/x.so", Skip, false},
		{"sign **/*.so", "usr/lib/x.so", Sign, false},
		{"sign **/*.so", "x.so", Sign, false},
		{"sign @executable", "x", Sign, true},
		{"sign @executable", "plain", Skip, true},
		{"hash *\nsign @executable", "x", Hash, false},
		{"sign @module", "lib/modules/6.12/e1000.ko", Sign, false},
		{"sign @module", "e1000.ko.zst", Sign, false},
		{"sign @module", "e1000.ko.xz", Sign, false},
		{"sign @module", "e1000.ko.gz", Sign, false},
		{"sign @module", "e1000.ko.bz2", Skip, false},
		{"sign @module", "kok", Skip, false},
		{"sign @firmware", "lib/firmware/a/b", Sign, false},
		{"sign @firmware", "usr/lib/firmware/b", Sign, false},
		{"sign @firmware", "usr/lib/firmware", Skip, false},
		{"sign @firmware", "opt/lib/firmware/b", Skip, false},
	}
	for _, tt := range tests {
		rules, err := ParseRules(strings.NewReader(tt.rules))
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		got, err := rules.Class(tt.rel, func() (bool, error) { asked++; return tt.rel == "x", nil })
		if got != tt.want || err != nil || asked > 1 || (asked == 1) != tt.asked {
			t.Errorf("%q of %s: %s, %v, asked %d times", tt.rules, tt.rel, got, err, asked)
		}
	}
	broken := errors.New("broken")
	if _, err := (Rules{{Sign, Executable}}).Class("x", func() (bool, error) { return false, broken }); err != broken {
		t.Errorf("%v", err)
	}
}

func TestDefaultRules(t *testing.T) {
	if got := printed(DefaultRules(false)); got != "hash @any" {
		t.Errorf("without a key: %s", got)
	}
	if got := printed(DefaultRules(true)); got != "sign @module\nsign @firmware\nsign @executable\nhash @any" {
		t.Errorf("with a key: %s", got)
	}
	if rules := DefaultRules(true); !rules.Uses(Sign) || !rules.Uses(Hash) || rules.Uses(Skip) {
		t.Error("the classes that they use")
	}
}

func TestValidate(t *testing.T) {
	valid := Plan{Selection: Selection{Paths: []string{"/"}}}
	tests := []struct {
		name   string
		change func(*Plan)
		want   string // error, or nothing
	}{
		{"a path", func(*Plan) {}, ""},
		{"no path", func(p *Plan) { p.Paths = nil }, "no PATH is given"},
		{"a list", func(p *Plan) { p.Paths, p.FilesFrom = nil, "-" }, ""},
		{"an empty path", func(p *Plan) { p.Paths = []string{"a", ""} }, "a PATH is empty"},
		{"zeros without a list", func(p *Plan) { p.NUL = true }, "-0 is about the list of --files-from, and there is none"},
		{"a log of nothing", func(p *Plan) { p.DryRun, p.UndoLog = true, "x" }, "a dry run changes nothing, so there is nothing to log"},
		{"patterns", func(p *Plan) { p.Include, p.Exclude = []string{"/usr/"}, []string{"**/*.so"} }, ""},
		{"no pattern", func(p *Plan) { p.Exclude = []string{"["} }, `--exclude "[" is not a pattern`},
		{"an empty pattern", func(p *Plan) { p.Include = []string{""} }, `--include "" is not a pattern`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := valid
			tt.change(&p)
			got, err := p.Validate()
			var conflict *ConflictError
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want == "":
				if len(p.Include) > 0 && (!got.Included("usr") || got.Included("usr/x") || !got.Excluded("a/b.so")) {
					t.Errorf("patterns became %q and %q", got.Include, got.Exclude)
				}
			case !errors.As(err, &conflict) || err.Error() != tt.want || conflict.Advice == "":
				t.Errorf("%v", err)
			}
		})
	}
}
