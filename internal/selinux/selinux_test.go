package selinux

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"imaseal/internal/selinux/pcre"
)

// policy has each rule of what decides once.
var policy = map[string]string{
	"": `# comment
	# another
/.*			u:r:default:s0
/proc/.*		<<none>>
/usr(/.*)?		u:r:usr:s0
/usr/bin/.*	--	u:r:bin:s0
/usr/bin/a	--	u:r:a:s0 trailing words
/usr/bin/[ab]	--	u:r:ab:s0
/usr/bin/exact	-d	u:r:dir:s0
/usr/lib/c\+\+	--	u:r:cpp:s0
/usr/lib/a\.b	--	u:r:escaped:s0
/usr/lib/aXb	--	u:r:plain:s0
/dev/tty[0-9]+	-c	u:r:tty:s15:c0.c1023
/dev/disk	-b	u:r:disk:s0
/dev/sock	-s	u:r:sock:s0
/dev/pipe	-p	u:r:pipe:s0
/dev/link	-l	u:r:link:s0
/srv/a|/srv/b	--	u:r:free:s0
/srv/x[^/]?y	--	u:r:byte:s0
/srv/caf..	--	u:r:bytes:s0
/twice		--	u:r:first:s0
/twice		--	u:r:second:s0
/old/kept	--	u:r:kept:s0
/old/.*		--	u:r:old:s0
`,
	".homedirs":  "/home/[^/]+/.+\tu:r:home:s0\n/usr/bin/exact\t--\tu:r:homely:s0\n/home/x\\.y\t--\tu:r:xy:s0",
	".local":     "/usr/bin/b\t--\tu:r:local:s0\r\n/usr/local/.*\t<<none>>\r\n/usr/bin/a.c\t--\tu:r:abc:s0\n/twice\t--\t<<none>>\n",
	".subs":      "# who  is\n/mine /srv\n/loop /loop2\n/chain /dist\n  /blank\t/usr  more\n/top /\n",
	".subs_dist": "/bin /usr/bin\n/run/lock /var/lock\n/dist /usr/bin\n/bin/deep /srv\n",
}

var lookups = []struct {
	path string
	kind Kind
	want string
}{
	{"/", Directory, "u:r:default:s0"},
	{"/x", Regular, "u:r:default:s0"},
	{"/x\ny", Regular, "u:r:default:s0"},
	{"/proc", Directory, "u:r:default:s0"},
	{"/proc/1", Directory, None},
	{"/usr", Directory, "u:r:usr:s0"},
	{"/usr/", Directory, "u:r:usr:s0"},
	{"/usr\n", Regular, "u:r:usr:s0"}, // $ matches before a newline at the end
	{"/usr\n\n", Regular, "u:r:default:s0"},
	{"/usrx", Regular, "u:r:default:s0"},
	{"/usr/bin/a", Regular, "u:r:a:s0"}, // a path goes before a later expression
	{"/usr/bin/a", Link, "u:r:usr:s0"},
	{"/usr/bin/b", Regular, "u:r:local:s0"},
	{"/usr/bin/c", Regular, "u:r:bin:s0"},
	{"/usr/bin/abc", Regular, "u:r:abc:s0"},
	{"//usr///bin//a/", Regular, "u:r:a:s0"},
	{"/usr/bin/exact", Directory, "u:r:dir:s0"},
	{"/usr/bin/exact", Regular, "u:r:homely:s0"},
	{"/usr/bin/exact", Socket, "u:r:usr:s0"},
	{"/usr/lib/c++", Regular, "u:r:cpp:s0"},
	{"/usr/lib/ccc", Regular, "u:r:usr:s0"},
	{"/usr/lib/a.b", Regular, "u:r:escaped:s0"},
	{"/usr/lib/aXb", Regular, "u:r:plain:s0"},
	{"/dev/tty0", Character, "u:r:tty:s15:c0.c1023"},
	{"/dev/tty12", Character, "u:r:tty:s15:c0.c1023"},
	{"/dev/tty12", Block, "u:r:default:s0"},
	{"/dev/tty", Character, "u:r:default:s0"},
	{"/dev/disk", Block, "u:r:disk:s0"},
	{"/dev/disk", Character, "u:r:default:s0"},
	{"/dev/sock", Socket, "u:r:sock:s0"},
	{"/dev/pipe", Pipe, "u:r:pipe:s0"},
	{"/dev/link", Link, "u:r:link:s0"},
	{"/dev/link", Any, "u:r:link:s0"},
	{"/srv/a", Regular, "u:r:free:s0"},
	{"/srv/a/and/more", Regular, "u:r:free:s0"}, // the $ is behind /srv/b alone
	{"/srv/c/srv/b", Regular, "u:r:free:s0"},
	{"/other/srv/b", Regular, "u:r:default:s0"}, // not in /srv
	{"/srv/xy", Regular, "u:r:byte:s0"},
	{"/srv/x\xe9y", Regular, "u:r:byte:s0"},
	{"/srv/x\xc3\xa9y", Regular, "u:r:default:s0"}, // bytes count, not characters
	{"/srv/caf\xc3\xa9", Regular, "u:r:bytes:s0"},
	{"/twice", Regular, None},
	{"/twice", Any, None},
	{"/old/kept", Regular, "u:r:kept:s0"},
	{"/old/x", Regular, "u:r:old:s0"},
	{"/home/x/y", Regular, "u:r:home:s0"},
	{"/home/x", Directory, "u:r:default:s0"},
	{"/home/x.y", Regular, "u:r:xy:s0"},
	{"/usr/local/x", Regular, None},
	{"/mine/a", Regular, "u:r:free:s0"},
	{"/minex/a", Regular, "u:r:default:s0"},
	{"/bin/a", Regular, "u:r:a:s0"},
	{"/bin", Regular, "u:r:usr:s0"},
	{"/bin/deep/xy", Regular, "u:r:byte:s0"}, // a later alias goes first
	{"/chain/a", Regular, "u:r:a:s0"},        // one of each file
	{"/blank/bin/a", Regular, "u:r:a:s0"},
	{"/top/usr/bin/a", Regular, "u:r:a:s0"},
	{"/top", Directory, "u:r:default:s0"},
}

func TestLookup(t *testing.T) {
	c, err := Load(write(t, policy))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lookups {
		got, ok := c.Lookup(l.path, l.kind)
		if !ok {
			got = None
		}
		if got != l.want {
			s, _ := c.Match(l.path, l.kind)
			t.Errorf("%q %s: %s, want %s; by %+v", l.path, l.kind, got, l.want, s)
		}
	}
}

// TestLookupIsThatOfLibselinux has libselinux answer what TestLookup expects.
func TestLookupIsThatOfLibselinux(t *testing.T) {
	file := write(t, policy)
	newOracle(t)
	var questions []question
	for _, l := range lookups {
		questions = append(questions, question{modeOf(l.kind), l.path})
	}
	for i, answer := range ask(t, database{file, questions})[0] {
		if l := lookups[i]; answer != l.want {
			t.Errorf("%q %s: libselinux says %s, and the test %s", l.path, l.kind, answer, l.want)
		}
	}
}

func modeOf(k Kind) uint32 {
	for _, mode := range modes {
		if KindOf(mode) == k {
			return mode
		}
	}
	return 0
}

func TestMatchSaysWhere(t *testing.T) {
	file := write(t, policy)
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	want := Spec{File: file + ".local", Line: 1, Pattern: "/usr/bin/b", Kind: Regular, Context: "u:r:local:s0"}
	if s, ok := c.Match("/usr/bin/b", Regular); !ok || s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
	if s, ok := c.Match("/proc/1", Directory); !ok || s.Context != None || s.Line != 4 {
		t.Errorf("%+v, want line 4", s)
	}
	if s, ok := c.Match("relative", Regular); ok {
		t.Errorf("%+v, want none", s)
	}
	if s, ok := c.Match("", Regular); ok {
		t.Errorf("%+v, want none", s)
	}
}

func TestKind(t *testing.T) {
	for mode, want := range map[uint32]string{
		0o100644: "--", 0o040755: "-d", 0o020600: "-c", 0o060600: "-b", 0o140755: "-s", 0o010644: "-p", 0o120777: "-l", 0: "", 0o644: "", 0o160000: "",
	} {
		k := KindOf(mode)
		if k.String() != want {
			t.Errorf("%o is %q, want %q", mode, k, want)
		}
		if want != "" && kindOf(want) != k {
			t.Errorf("%q is %q", want, kindOf(want))
		}
	}
}

func TestLineErrors(t *testing.T) {
	long := "/" + strings.Repeat("x", maxPattern)
	for _, test := range []struct {
		name, suffix, text string
		line               int
		want               error
	}{
		{"no context", "", "/a u:r:t\n\n/b\n", 3, ErrFields},
		{"a type and no context", "", "/a --\n", 1, ErrContext}, // libselinux takes it for the context
		{"unknown type", "", "/a -x u:r:t\n", 1, ErrKind},
		{"comment behind two fields", "", "/a u:r:t # why\n", 1, ErrKind},
		{"empty type", "", "/a - u:r:t\n", 1, ErrKind},
		{"two parts", "", "/a u:r\n", 1, ErrContext},
		{"empty part", "", "/a u::t:s0\n", 1, ErrContext},
		{"empty range", "", "/a u:r:t:\n", 1, ErrContext},
		{"none misspelt", "", "/a <none>\n", 1, ErrContext},
		{"context too long", "", "/a u:r:" + strings.Repeat("t", maxContext) + "\n", 1, ErrContext},
		{"not ASCII", "", "/caf\xc3\xa9 u:r:t\n", 1, ErrASCII},
		{"not ASCII context", "", "/a u:r:t\xff\n", 1, ErrASCII},
		{"control character", "", "/a\x00 u:r:t\n", 1, ErrASCII},
		{"blank of Unicode", "", "/a\u00a0 u:r:t\n", 1, ErrASCII},
		{"too long", "", "\n" + long + " u:r:t\n", 2, ErrTooLong},
		{"in the second file", ".homedirs", "# x\n/a u\n", 2, ErrContext},
		{"in the third file", ".local", "/a", 1, ErrFields},
		{"alias of nothing", ".subs", "/a /b\n/a\n", 2, ErrAlias},
		{"long alias", ".subs_dist", "/" + strings.Repeat("a", maxAlias) + " /b", 1, ErrTooLong},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{"": "/ok u:r:t\n"}
			files[test.suffix] = test.text
			file := write(t, files)
			c, err := Load(file)
			l, ok := errors.AsType[*LineError](err)
			if c != nil || !ok || !errors.Is(err, test.want) || l.Line != test.line || l.File != file+test.suffix {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestLongestLines(t *testing.T) {
	c, err := Load(write(t, map[string]string{
		"":      "/" + strings.Repeat("x", maxPattern-1) + " u:r:" + strings.Repeat("t", maxContext-4) + "\n",
		".subs": "/" + strings.Repeat("a", maxAlias-4) + " /x\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if context, _ := c.Lookup("/"+strings.Repeat("x", maxPattern-1), Regular); len(context) != maxContext {
		t.Errorf("a context of %d bytes", len(context))
	}
}

func TestPatternErrors(t *testing.T) {
	_, err := Parse(Sources{FileContexts: Source{"fc", []byte("\n/a(b u:r:t\n")}})
	l, isLine := errors.AsType[*LineError](err)
	p, isPattern := errors.AsType[*pcre.Error](err)
	if !isLine || !isPattern || l.Line != 2 || p.Pattern != "/a(b" || p.Offset != 2 || p.Unknown {
		t.Errorf("%v", err)
	}
}

func TestLoadErrors(t *testing.T) {
	file := write(t, map[string]string{".local": "/a u:r:t\n"})
	if _, err := Load(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without file_contexts: %v", err)
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		b := make([]byte, 64)
		order.PutUint32(b, 0xf97cff8a)
		file := write(t, map[string]string{"": string(b)})
		if p, ok := errors.AsType[*fs.PathError](second(Load(file))); !ok || p.Path != file || p.Err != ErrCompiled {
			t.Errorf("of a compiled file: %v", p)
		}
	}
	file = write(t, map[string]string{"": "/a u:r:t\n", ".local": ""})
	if err := os.Truncate(file+".local", maxFile+1); err != nil {
		t.Fatal(err)
	}
	if p, ok := errors.AsType[*fs.PathError](second(Load(file))); !ok || p.Path != file+".local" {
		t.Errorf("of a file that is too large: %v", p)
	}
	dir := write(t, map[string]string{"": "/a u:r:t\n"})
	if err := os.Mkdir(dir+".subs", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a directory is read as a file of aliases")
	}
}

func second(_ *Contexts, err error) error { return err }

// FuzzParse has every policy parsed or refused with a line that it has. What is
// parsed compiles, and each pattern matches what it describes.
func FuzzParse(f *testing.F) {
	f.Add(policy[""], policy[".subs"], uint64(1))
	f.Add("/a|b u:r:t\n/[^]a-c[:digit:]]{2,3}(x|y$) -- <<none>>\n", "/a /\n", uint64(2))
	for _, p := range pieces {
		f.Add("/"+p+"x u:r:t\n", "", uint64(3))
	}
	f.Fuzz(func(t *testing.T, text, aliases string, seed uint64) {
		c, err := Parse(Sources{FileContexts: Source{"fc", []byte(text)}, Subs: Source{"subs", []byte(aliases)}})
		if err != nil {
			l, isLine := errors.AsType[*LineError](err)
			switch {
			case c != nil:
				t.Fatal("an error, and a policy")
			case isLine && (l.Line < 1 || l.Line > strings.Count(text+aliases, "\n")+1):
				t.Fatalf("%v", err)
			}
			return
		}
		r := rand.New(rand.NewPCG(seed, 0))
		for i := range c.specs {
			s := &c.specs[i]
			c.Lookup(s.Pattern, s.Kind)
			path, ok := grown(t, r, s.Pattern)
			if ok && !s.isPath && !s.matches(path) {
				t.Errorf("%q does not match %q: prefix %q, form %d, expression %s", s.Pattern, path, s.prefix, s.rest, s.expr())
			}
		}
	})
}
