package policy

import (
	"strings"
	"testing"
)

// excluded is the number of appraise_tcb's exclusions.
const excluded = 14

func TestFilesystems(t *testing.T) {
	seen := make(map[string]bool)
	for i, fs := range Filesystems() {
		if seen[fs.Name] {
			t.Errorf("%s is there twice", fs.Name)
		}
		seen[fs.Name] = true
		if magic, ok := MagicOf(fs.Name); !ok || magic != fs.Magic {
			t.Errorf("%s: %#x", fs.Name, magic)
		}
		if name, ok := NameOf(fs.Magic); !ok || name != strings.NewReplacer("ext2", "ext4", "ext3", "ext4").Replace(fs.Name) {
			t.Errorf("%#x: %s", fs.Magic, name)
		}
		if fs.Option != "" && (fs.Bare || !strings.HasPrefix(fs.Option, "CONFIG_")) {
			t.Errorf("%s: option %s", fs.Name, fs.Option)
		}
		if fs.Excluded != (i < excluded) {
			t.Errorf("%s: excluded %v", fs.Name, fs.Excluded)
		}
	}
	if name, ok := NameOf(1); ok {
		t.Errorf("1 is %s", name)
	}
}

func TestParseKernel(t *testing.T) {
	for in, want := range map[string]string{
		"6.12": "6.12", "7.2.13+deb14-cloud-amd64": "7.2", "6.1-rc3": "6.1",
		"6": "", "": "", "v6.1": "", "6.x": "", "99999999.1": "",
	} {
		k, err := ParseKernel(in)
		if err != nil != (want == "") || err == nil && k.String() != want {
			t.Errorf("%q: %v, %v", in, k, err)
		}
	}
	c := NewConfig(func(name string) Truth { return Of(name == "CONFIG_IMA_WRITE_POLICY") })
	if c.WritePolicy != True || c.ModSig != False {
		t.Errorf("%+v", c)
	}
}

func TestTruth(t *testing.T) {
	for _, c := range []struct{ a, b, and, or Truth }{
		{True, True, True, True}, {True, False, False, True}, {False, False, False, False},
		{True, Unknown, Unknown, True}, {Unknown, False, False, Unknown}, {Unknown, Unknown, Unknown, Unknown},
	} {
		if c.a.And(c.b) != c.and || c.b.And(c.a) != c.and || c.a.Or(c.b) != c.or || c.b.Or(c.a) != c.or {
			t.Errorf("%s, %s", c.a, c.b)
		}
	}
}
