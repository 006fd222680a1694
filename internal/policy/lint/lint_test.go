package lint

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/policy"
	"imaseal/internal/policy/builtin"
	"imaseal/internal/policy/match"
)

var update = flag.Bool("update", false, "write the golden files")

var k612 = policy.Kernel{Major: 6, Minor: 12, DefaultHash: hash.SHA256}

func show(findings []Finding) string {
	var b strings.Builder
	for _, f := range findings {
		column := ""
		if f.Column > 0 {
			column = fmt.Sprintf("column %d: ", f.Column)
		}
		fmt.Fprintf(&b, "%d: %s: %s%s\n\t-> %s\n", f.Line, f.Severity, column, f.Message, f.Advice)
	}
	return b.String()
}

// TestPublished reads the sample policies: they parse on both kernels, print to
// what parses to the same, and have the findings of their golden file.
func TestPublished(t *testing.T) {
	files, err := filepath.Glob("../../../testdata/policies/*.policy")
	if err != nil || len(files) < 7 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".policy")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range []policy.Kernel{k612, {Major: 7, Minor: 2}} {
				p, errs := policy.ParseAll(string(text), k)
				if len(errs) > 0 && name != "lockout" {
					t.Errorf("%s: %v", k, errs)
				}
				again, err := policy.Parse(p.String(), k)
				if err != nil || again.String() != p.String() {
					t.Errorf("%s: printed and parsed: %v", k, err)
				}
			}
			got, golden := show(Text(string(text), k612)), strings.TrimSuffix(path, ".policy")+".lint"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("findings:\n%swant:\n%s", got, want)
			}
		})
	}
}

// TestBuiltin: the kernel's own policies have no errors.
func TestBuiltin(t *testing.T) {
	for _, k := range []policy.Kernel{k612, {Major: 7, Minor: 2}} {
		for _, w := range builtin.Words() {
			p, err := builtin.Policy(k, w)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range Policy(p, k) {
				if f.Severity == Error || f.Line != 0 || f.Rule < 0 {
					t.Errorf("%s, %s: %+v", k, w, f)
				}
			}
		}
	}
}

func TestFindings(t *testing.T) {
	for _, c := range []struct {
		name, policy string
		want         string // "severity part of the message"; none: nothing but notes
	}{
		{"bad text", "\x00", "error NUL byte"},
		{"empty", "", "error the policy has no rule"},
		{"carriage return", "dont_appraise fsname=tmpfs\r;appraise fsname=ext4", "warning a carriage return is part of the last item"},
		{"shadowed", "measure fowner<5;measure func=FILE_CHECK fowner=3", "warning line 1 (measure fowner<5) takes everything"},
		{"shadowed by a dont_ rule", "dont_measure fsname=ext4;measure fsname=ext4 uid=0", "warning can never match"},
		{"shadowed mask", "measure mask=^MAY_READ;measure mask=MAY_READ", "warning can never match"},
		{"not shadowed: mask", "measure mask=MAY_READ;measure mask=^MAY_READ", ""},
		{"not shadowed: another action", "audit;measure", ""},
		{"not shadowed: narrower", "measure fowner=3;measure fowner<5", ""},
		{"not shadowed: euid", "measure euid=0;measure uid=0", ""},
		{"not shadowed: keys", "measure;measure func=KEY_CHECK;measure func=CRITICAL_DATA", ""},
		{"not shadowed: setxattr", "appraise fowner=0 fsname=ext4;appraise func=SETXATTR_CHECK appraise_algos=sha256", ""},
		{"second setxattr", "appraise func=SETXATTR_CHECK appraise_algos=sha256;appraise func=SETXATTR_CHECK appraise_algos=sha256,sha512", "warning never counts"},
		{"impossible id", "measure uid>4294967294", "warning no id fulfils"},
		{"impossible mask", "measure func=MODULE_CHECK mask=MAY_EXEC", "warning MODULE_CHECK asks for MAY_READ only"},
		{"append alone", "measure mask=MAY_APPEND", "warning MAY_APPEND never comes alone"},
		{"append", "measure mask=^MAY_APPEND", ""},
		{"long magic", "measure fsmagic=0x10000ef53", "warning 32 bits"},
		{"no effect", "measure;dont_measure fsname=ext4", "warning no measure rule behind it"},
		{"default hash", "appraise fsname=ext4 appraise_algos=sha512", "warning labels new and changed files with sha256"},
		{"gid of keys", "measure func=KEY_CHECK gid=0", "warning ignore gid"},
		{"verity and not", "appraise fsname=ext4 func=BPRM_CHECK digest_type=verity appraise_type=sigv3;appraise fsname=ext4", "warning cannot meet both"},
		{"verity on another file system", "appraise fsname=ext4 func=BPRM_CHECK digest_type=verity appraise_type=sigv3;appraise fsname=xfs", ""},
		{"measured by verity", "measure digest_type=verity;appraise fsname=xfs", "warning flags of all matching rules add up"},
		{"signed modules", "appraise func=MODULE_CHECK appraise_type=imasig", "warning modules in the initramfs"},
		{"programs", "dont_appraise fsname=tmpfs;appraise func=BPRM_CHECK", "warning are denied: ramfs"},
		{"programs, by name and number", "dont_appraise fsname=tmpfs;dont_appraise fsmagic=858458f6;appraise func=BPRM_CHECK", ""},
		{"pseudo file systems", "appraise fowner=0", "error proc, sysfs, debugfs, tmpfs"},
		{"pseudo file systems, users", "appraise fowner=1000", "warning proc, sysfs, debugfs, tmpfs"},
		{"bounded", "appraise fowner=0 fsuuid=11111111-1111-1111-1111-111111111111", ""},
		{"half an exclusion", "dont_appraise fsmagic=0x9fa0 fowner=0;appraise", "error proc, sysfs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.ReplaceAll(c.policy, ";", "\n")
			if text != "" {
				text += "\n"
			}
			severity, words, _ := strings.Cut(c.want, " ")
			found := false
			for _, f := range Text(text, k612) {
				if f.Severity == Note {
					continue
				}
				found = found || f.Severity.String() == severity && strings.Contains(f.Message, words)
				if c.want == "" {
					t.Errorf("%+v", f)
				}
			}
			if !found && c.want != "" {
				t.Errorf("nothing about %q:\n%s", c.want, show(Text(text, k612)))
			}
		})
	}
}

func TestNotes(t *testing.T) {
	text := "appraise func=MODULE_CHECK appraise_type=imasig|modsig\nmeasure func=KEY_CHECK\nmeasure obj_type=x mask=MAY_READ fsmagic=1 # \n"
	got := show(Text(text, policy.Kernel{Major: 7, Minor: 2}))
	for _, want := range []string{"CONFIG_IMA_APPRAISE_MODSIG", "CONFIG_IMA_MEASURE_ASYMMETRIC_KEYS", "obj_type=x must be known",
		"mask=MAY_READ does not match", "0x1 is the magic number of no", "init_module(2)"} {
		if !strings.Contains(got, want) {
			t.Errorf("no note %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "error") || strings.Contains(got, "warning") {
		t.Errorf("more than notes:\n%s", got)
	}
}

// TestRepeated: what is said of one rule is said of others in short.
func TestRepeated(t *testing.T) {
	got := show(Text("appraise fowner=0\nappraise func=FILE_CHECK fowner=0 uid=1\n", k612))
	if strings.Count(got, "fsmagic=0x9fa0 (proc)") != 1 || strings.Count(got, "denied without a record") != 1 ||
		strings.Count(got, "error: files on pseudo file systems") != 2 || !strings.Contains(got, "-> as for line 1 (appraise fowner=0)\n") {
		t.Error(got)
	}
	if got := show(Text("# no rule\n", k612)); !strings.Contains(got, "imaseal policy show appraise_tcb") {
		t.Error(got)
	}
}

// TestSound: a rule that is said never to match is never the one that takes a
// file, whatever the file and the task.
func TestSound(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(values ...string) string { return values[r.IntN(len(values))] }
	never := 0
	for range 1500 {
		var b strings.Builder
		for range 2 + r.IntN(4) {
			b.WriteString(pick("appraise", "dont_appraise"))
			b.WriteString(pick("", "", " func=FILE_CHECK", " func=BPRM_CHECK", " func=MODULE_CHECK"))
			b.WriteString(pick("", "", " mask=MAY_READ", " mask=^MAY_READ", " mask=MAY_EXEC", " mask=^MAY_EXEC"))
			b.WriteString(pick("", "", " fsname=ext4", " fsname=xfs"))
			b.WriteString(pick("", "", " fowner=0", " fowner<1", " fowner<2", " fowner>0", " fowner>1", " fowner<0"))
			b.WriteString(pick("", "", " uid=0", " uid>0", " euid<2", " euid=0"))
			b.WriteByte('\n')
		}
		p, err := policy.Parse(b.String(), k612)
		if err != nil {
			t.Fatal(err)
		}
		dead := make(map[int]bool)
		for _, f := range Policy(p, k612) {
			if strings.Contains(f.Message, "can never match") {
				dead[f.Rule] = true
			}
		}
		never += len(dead)
		for range 30 {
			id := func() match.Maybe[uint32] { return match.Is(uint32(r.IntN(3))) }
			op := match.Operations()[r.IntN(len(match.Operations()))]
			for _, a := range op.Accesses(k612) {
				q := match.Query{Access: a, File: match.File{FSName: match.Is(pick("ext4", "xfs")), Owner: id()},
					Subject: match.Subject{UID: id(), EUID: id(), SUID: id(), SetUID: policy.Of(r.IntN(2) == 0)}}
				if o := match.Appraisal(p, q); len(o) != 1 || dead[o[0].Rule] {
					t.Fatalf("policy\n%s%+v\n%+v", p, q, o)
				}
			}
		}
	}
	if never < 400 {
		t.Errorf("only %d rules that never match", never)
	}
}

func FuzzText(f *testing.F) {
	f.Add("appraise fowner=0\n")
	f.Add("appraise func=MODULE_CHECK appraise_type=imasig\ndont_appraise fsmagic=1")
	f.Fuzz(func(t *testing.T, text string) {
		for _, finding := range Text(text, k612) {
			if finding.Message == "" || finding.Advice == "" || finding.Line < 1 || finding.Severity == 0 || strings.Contains(finding.Message, "\n") {
				t.Errorf("%+v", finding)
			}
		}
	})
}
