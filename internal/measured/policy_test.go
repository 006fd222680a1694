package measured

import (
	"fmt"
	"strings"
	"testing"

	"imaseal/internal/policy"
	"imaseal/internal/policy/lint"
)

func fact(name string, uid, magic int64) Fact {
	f := Fact{Path: name, Code: IsCode(name, 0o644)}
	if uid >= 0 {
		n := uint32(uid)
		f.UID = &n
	}
	if magic >= 0 {
		n := uint32(magic)
		f.Magic = &n
	}
	return f
}

const ext4, tmpfs = 0xef53, 0x01021994

// TestCover pins the text, which has to be one that lint has nothing to say about,
// except that there is nothing of root's.
func TestCover(t *testing.T) {
	for _, test := range []struct {
		name  string
		facts []Fact
		rules string
	}{
		{"root's", []Fact{fact("/usr/bin/x", 0, ext4), fact("/usr/lib/y.so.1", 0, ext4)}, "appraise fsmagic=0xef53 fowner=0"},
		{"of users", []Fact{fact("/home/u/x.so", 1000, ext4)}, "appraise func=BPRM_CHECK fsmagic=0xef53 fowner=1000\nappraise func=MMAP_CHECK fsmagic=0xef53 fowner=1000"},
		{"read of users", []Fact{fact("/home/u/x", 1000, ext4)}, "appraise func=FILE_CHECK mask=^MAY_READ fsmagic=0xef53 euid=0 fowner=1000"},
		{"in memory", []Fact{fact("/run/x", 0, tmpfs), fact("/run/y", 5, tmpfs), fact("/usr/bin/x", 0, ext4)}, "dont_appraise fsmagic=0x1021994\nappraise fsmagic=0xef53 fowner=0"},
		{"of another machine", []Fact{fact("/usr/bin/x", 0, -1), fact("/run/x", 0, tmpfs)}, excluded() + "\nappraise fowner=0"},
		{"gone", []Fact{fact("/tmp/x\n", -1, -1), fact("/usr/bin/x", 0, ext4)}, "appraise fsmagic=0xef53 fowner=0"},
	} {
		var c Cover
		for _, f := range test.facts {
			c.Add(f)
		}
		text := c.Text()
		for _, k := range []policy.Kernel{{Major: 6, Minor: 1}, {Major: 7, Minor: 2}} {
			pol, err := policy.Parse(text, k)
			if err != nil {
				t.Fatalf("%s: %v\n%s", test.name, err, text)
			}
			if got := strings.TrimSpace(pol.String()); got != test.rules {
				t.Errorf("%s: %s\nwant %s", test.name, got, test.rules)
			}
			for _, f := range lint.Text(text, k) {
				if f.Code == lint.NoneOfRoot && !c.HasRoot() {
					continue
				}
				t.Errorf("%s: lint: %+v\n%s", test.name, f, text)
			}
		}
	}
	for _, facts := range [][]Fact{nil, {fact("/run/x", 0, tmpfs)}, {fact("/gone", -1, -1)}} {
		var c Cover
		for _, f := range facts {
			c.Add(f)
		}
		if !c.IsEmpty() {
			t.Errorf("%v can be appraised", facts)
		}
	}
}

// excluded are the rules for what holds no labels that last: that of what was seen first.
func excluded() string {
	rules := []string{"dont_appraise fsmagic=0x1021994"}
	for _, fs := range policy.Filesystems() {
		if (fs.Excluded || fs.Bare) && fs.Magic != tmpfs {
			rules = append(rules, fmt.Sprintf("dont_appraise fsmagic=0x%x", fs.Magic))
		}
	}
	return strings.Join(rules, "\n")
}

// TestCoverComments has counts and directories, and nothing that ends a comment.
func TestCoverComments(t *testing.T) {
	var c Cover
	for _, name := range []string{"/a", "/usr/bin/x", "/usr/bin/y", "/usr/lib/x86/z.so", "/etc/x", "/1/2/3", "/2/2/3", "/3/2/3", "/4/2/3", "/new\nline/x"} {
		c.Add(fact(name, 0, ext4))
	}
	c.Add(fact("/tmp/gone", -1, -1))
	text := c.Text()
	for _, want := range []string{
		"\n# Appraises what was measured: 11 files.", "\n# 10 files on ext4, owner 0, 1 of them code: /usr/bin 2, / 1, /1/2 1, /2/2 1, /3/2 1, /4/2 1, elsewhere 3.\n",
		"\n# Not covered: 1 file ",
	} {
		if !strings.Contains("\n"+text, want) {
			t.Errorf("%s\nlacks %s", text, want)
		}
	}
	c = Cover{}
	c.Add(fact("/new\nline/x", 0, ext4))
	if text := c.Text(); !strings.Contains(text, `"/new\nline" 1`) {
		t.Error(text)
	}
}
