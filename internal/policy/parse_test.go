package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var (
	k61  = Kernel{Major: 6, Minor: 1}
	k612 = Kernel{Major: 6, Minor: 12}
	k72  = Kernel{Major: 7, Minor: 2}
)

const policies = "../../testdata/policies"

// TestKernelAnswers compares with what real kernels answered.
func TestKernelAnswers(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(policies, "kernel-answers.txt"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		text, err := strconv.Unquote(f[3])
		if err != nil {
			t.Fatal(err)
		}
		for i, k := range []Kernel{k61, k612, k72} {
			n++
			k.Config = Config{ModSig: False, LSMRules: True, MeasureKeys: True}
			want := map[string]string{"+": "", "-": "EINVAL", "r": "ERANGE"}[f[i]]
			_, errs := ParseAll(text+"\nmeasure\n", k)
			got := ""
			if len(errs) > 0 {
				got, _, _ = strings.Cut(errs[0].Says, " ")
			}
			if got != want {
				t.Errorf("%s: %s: answer %q, the kernel's is %q: %v", k, f[3], got, want, errs)
			}
		}
	}
	if n < 500 {
		t.Errorf("only %d answers", n)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name, text   string
		kernel       Kernel
		line, column int
		says         string
	}{
		{"empty", "", k612, 1, 1, "no rule"},
		{"one newline", "\n", k612, 1, 1, "no rule"},
		{"comments only", "# a\n  # b", k612, 2, 6, "no rule"},
		{"carriage return", "measure\r\n", k612, 1, 1, "carriage return"},
		{"blank line of a DOS file", "measure\n\r\n", k612, 2, 1, "carriage return"},
		{"carriage return behind a value", "appraise fowner=0\r\n", k612, 1, 10, "carriage return"},
		{"byte order mark", "\ufeffappraise\n", k612, 1, 1, "byte order mark"},
		{"path", "/etc/ima/other\n", k612, 1, 1, "a path"},
		{"no-break space", "appraise\u00a0fowner=0\n", k612, 1, 1, "another kind of space"},
		{"case of an action", "measure\nAppraise fowner=0", k612, 2, 1, "items are case sensitive, this one is appraise"},
		{"case of an option", "appraise PERMIT_DIRECTIO", k612, 1, 10, "this one is permit_directio"},
		{"case of a hook", "appraise func=Bprm_Check", k612, 1, 10, "this one is func=BPRM_CHECK"},
		{"value of an action", "appraise=1", k612, 1, 1, "appraise takes no value"},
		{"NUL", "measure\nmeas\x00ure\n", k612, 2, 5, "NUL byte"},
		{"UTF-16", "\xff\xfem\x00e\x00a\x00s\x00", k612, 1, 4, "NUL byte"},
		{"ELF", "\x7fELF\x02\x01\x01 abc", k612, 1, 1, "unknown item"},
		{"long line", "measure\nmeasure fsname=" + strings.Repeat("a", 64<<10) + "\n", k612, 2, MaxLine + 1, "reads at most 4095"},
		{"long item", "measure x" + strings.Repeat("a", 2000), k612, 1, 9, "unknown item"},
		{"case", "appraise FUNC=FILE_CHECK", k612, 1, 10, "items are case sensitive, this one is func"},
		{"trailing comment", "appraise # why", k612, 1, 10, "since 7.2"},
		{"second action", " appraise  fowner=0 measure", k612, 1, 21, "second action behind appraise"},
		{"no action", "fowner=0 uid=0", k612, 1, 1, "no action"},
		{"pcr", "appraise fowner=0 pcr=10", k612, 1, 19, "measure rules"},
		{"not there yet", "appraise fs_subtype=sshfs", k612, 1, 10, "since 7.2, not by 6.12"},
		{"comparison", "appraise fowner>=1", k612, 1, 10, "there is no fowner>="},
		{"verity", "appraise digest_type=verity", k72, 1, 10, "needs appraise_type=sigv3"},
		{"keyrings", "measure keyrings=.ima", k72, 1, 9, "a rule without func"},
		{"no modsig", "appraise func=MODULE_CHECK appraise_type=imasig|modsig",
			Kernel{Major: 7, Minor: 2, Config: Config{ModSig: False}}, 1, 28, "CONFIG_IMA_APPRAISE_MODSIG"},
		{"no LSM", "appraise obj_type=x", Kernel{Major: 7, Minor: 2, Config: Config{LSMRules: False}}, 1, 10, "CONFIG_IMA_LSM_RULES"},
		{"no keys", "measure func=KEY_CHECK", Kernel{Major: 7, Minor: 2, Config: Config{MeasureKeys: False}}, 1, 9, "ASYMMETRIC_KEYS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := Parse(c.text, c.kernel)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error is %v", err)
			}
			if len(p.Rules) != 0 {
				t.Errorf("rules beside an error: %v", p)
			}
			if e.Line != c.line || e.Column != c.column || !strings.Contains(e.Error(), c.says) {
				t.Errorf("error is %v, not at %d:%d with %q", e, c.line, c.column, c.says)
			}
			if len(e.Error()) > 300 {
				t.Errorf("the message has %d bytes", len(e.Error()))
			}
		})
	}
}

func TestParseAllGoesOn(t *testing.T) {
	p, errs := ParseAll("bogus\nmeasure\nappraise bogus\nappraise\n", k612)
	if len(p.Rules) != 2 || p.Rules[0].Line != 2 || p.Rules[1].Line != 4 || len(errs) != 2 || errs[1].Line != 3 {
		t.Errorf("rules %v, errors %v", p.Rules, errs)
	}
}

// TestParseShown: what 6.12 shows of a verity rule it would not take itself.
func TestParseShown(t *testing.T) {
	shown := "appraise func=BPRM_CHECK appraise_type=sigv3 digest_type=verity \n"
	if _, err := Parse(shown, k612); err == nil {
		t.Error("6.12 takes sigv3 before digest_type")
	}
	p, err := ParseShown(shown, k612)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.String(), "appraise func=BPRM_CHECK digest_type=verity appraise_type=sigv3\n"; got != want {
		t.Errorf("read as %q, want %q", got, want)
	}
	if p, err := ParseShown("", k612); err != nil || len(p.Rules) != 0 {
		t.Errorf("no active rule: %v, %v", p, err)
	}
}

func TestPrintCanonically(t *testing.T) {
	for in, want := range map[string]string{
		" fowner=0\tappraise ":                                            "appraise fowner=0",
		"measure func=FILE_MMAP":                                          "measure func=MMAP_CHECK",
		"measure func=PATH_CHECK":                                         "measure func=FILE_CHECK",
		"measure fsmagic=ef53":                                            "measure fsmagic=0xef53",
		"measure fsname=ext4 fsname=xfs":                                  "measure fsname=xfs",
		"measure template=d|n pcr=+07":                                    "measure pcr=7 template=ima",
		"appraise appraise_flag=x uid=+007":                               "appraise uid=7",
		"appraise appraise_algos=sha512,sha1,sha512":                      "appraise appraise_algos=sha1,sha512",
		"appraise appraise_type=imasig digest_type=verity":                "appraise appraise_type=imasig digest_type=verity",
		"measure mask=^MAY_READ obj_type=b subj_user=a egid<5 fgroup>3 #": "measure mask=^MAY_READ egid<5 fgroup>3 obj_type=b subj_user=a",
		"appraise fsuuid=00112233-4455-6677-8899-AABBCCDDEEFFx":           "appraise fsuuid=00112233-4455-6677-8899-aabbccddeeff",
		"appraise func=MODULE_CHECK appraise_type=imasig|modsig appraise_type=sigv3 permit_directio": "appraise func=MODULE_CHECK appraise_type=imasig|modsig appraise_type=sigv3 permit_directio",
	} {
		r, err := ParseRule(in, k72)
		if err != nil {
			t.Errorf("%q: %v", in, err)
		} else if r.String() != want {
			t.Errorf("%q prints as %q, want %q", in, r, want)
		}
	}
}

// FuzzParse: what parses prints to what parses to the same; what does not has
// an error inside the text.
func FuzzParse(f *testing.F) {
	data, err := os.ReadFile(filepath.Join(policies, "kernel-answers.txt"))
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if i := strings.IndexByte(line, '"'); i > 0 && line[0] != '#' {
			text, _ := strconv.Unquote(strings.TrimSuffix(line[i:], "\n"))
			f.Add(text, true)
			f.Add(text+"\n# x\nmeasure\n", false)
		}
	}
	f.Add("\x00\xff", false)
	f.Fuzz(func(t *testing.T, text string, old bool) {
		k := k72
		if old {
			k = k612
		}
		p, err := Parse(text, k)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || len(p.Rules) != 0 {
				t.Fatalf("error %v, rules %v", err, p.Rules)
			}
			lines := strings.Split(text, "\n")
			if e.Line < 1 || e.Line > len(lines) || e.Column < 1 || e.Column > len(lines[e.Line-1])+1 {
				t.Fatalf("error outside the text: %v", e)
			}
			return
		}
		for line := range strings.Lines(p.String()) {
			if len(line) > MaxLine {
				return // fsmagic=1 prints as fsmagic=0x1
			}
		}
		again, err := Parse(p.String(), k)
		if err != nil {
			t.Fatalf("%q printed as %q: %v", text, p, err)
		}
		if len(again.Rules) != len(p.Rules) {
			t.Fatalf("%d rules became %d", len(p.Rules), len(again.Rules))
		}
		for i, r := range p.Rules {
			r.Line = again.Rules[i].Line
			if r != again.Rules[i] {
				t.Fatalf("%q printed as %q means something else", text, r)
			}
		}
	})
}

// FuzzParseShown: what the kernel shows prints to what reads the same.
func FuzzParseShown(f *testing.F) {
	f.Add("appraise func=BPRM_CHECK appraise_type=sigv3 digest_type=verity \n")
	f.Add("dont_appraise fsmagic=0x9fa0 \nappraise fowner=0 \n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseShown(text, k612)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || len(p.Rules) != 0 {
				t.Fatalf("error %v, rules %v", err, p.Rules)
			}
			return
		}
		again, err := ParseShown(p.String(), k612)
		if err != nil && len(p.String()) <= MaxLine || err == nil && again.String() != p.String() {
			t.Fatalf("%q printed as %q: %v", text, p, err)
		}
	})
}

// FuzzParseKernel: a version prints to one that parses to the same.
func FuzzParseKernel(f *testing.F) {
	f.Add("6.12.9-amd64")
	f.Add("7.2")
	f.Fuzz(func(t *testing.T, version string) {
		k, err := ParseKernel(version)
		if err != nil {
			if k.Major != 0 || k.Minor != 0 {
				t.Fatalf("%q: %v beside an error", version, k)
			}
			return
		}
		if again, err := ParseKernel(k.String()); err != nil || again.Major != k.Major || again.Minor != k.Minor {
			t.Fatalf("%q is %v, and that %v, %v", version, k, again, err)
		}
	})
}
