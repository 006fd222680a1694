package explain

import (
	"testing"

	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
)

func explainer(t *testing.T, text string) *Explainer {
	k, err := policy.ParseKernel("6.12")
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse(text, k)
	if err != nil {
		t.Fatal(err)
	}
	return &Explainer{Policy: p, Kernel: k, Subject: match.Root()}
}

var onExt4 = match.File{
	Magic: match.Is[uint32](0xef53), FSName: match.Is("ext4"), Subtype: match.Is(""),
	Owner: match.Is[uint32](0), Group: match.Is[uint32](0),
}

// Rules that are alike take one line, from three on; what is asked twice with
// the same answers is told once.
func TestOperation(t *testing.T) {
	tests := []struct {
		name, policy, want string
		of                 match.Operation
	}{
		{"alike", "dont_appraise fsname=a\ndont_appraise fsname=b\n# three\ndont_appraise fsname=c\nappraise fowner=0\nappraise fowner=1\nappraise fowner=2\nappraise fowner=3\n", `  read, asked as FILE_CHECK with MAY_READ:
    appraised by line 5
      line 1 to 4: no, fsname is ext4: fsname=a fsname=b fsname=c
      line 5, appraise fowner=0: takes it
      line 6 to 8: not asked any more
`, match.Read},
		{"few", "dont_appraise fsname=a\ndont_appraise fsname=b\n", "  read, asked as FILE_CHECK with MAY_READ:\n    the policy has no rule that does anything\n", match.Read},
		{"two alike", "dont_appraise fsname=a\ndont_appraise fsname=b\nappraise fowner=1\n", `  read, asked as FILE_CHECK with MAY_READ:
    not appraised: no rule takes it
      line 1, dont_appraise fsname=a: no, fsname=a but it is ext4
      line 2, dont_appraise fsname=b: no, fsname=b but it is ext4
      line 3, appraise fowner=1: no, fowner=1 but it is 0
`, match.Read},
		{"accesses", "appraise func=MODULE_CHECK\n", `  module, asked as FILE_CHECK with MAY_READ:
    not appraised: no rule takes it
      line 1, appraise func=MODULE_CHECK: no, func=MODULE_CHECK but it is FILE_CHECK
  module, asked as MODULE_CHECK with MAY_READ:
    appraised by line 1
      line 1, appraise func=MODULE_CHECK: takes it
`, match.Module},
		{"same answers", "appraise fowner=0\n", `  module, asked as FILE_CHECK with MAY_READ, MODULE_CHECK with MAY_READ:
    appraised by line 1
      line 1, appraise fowner=0: takes it
`, match.Module},
		{"unknown", "appraise obj_type=x\n", `  read, asked as FILE_CHECK with MAY_READ:
    it depends on what is not known here whether it is appraised
      line 1, appraise obj_type=x: takes it if obj_type=x, which is not known here
`, match.Read},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := explainer(t, tt.policy).Operation(tt.of, onExt4, 0o644); got != tt.want {
				t.Errorf("%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

func TestFile(t *testing.T) {
	tests := []struct {
		file match.File
		want string
	}{
		{onExt4, "on ext4 (0xef53), owner 0, group 0"},
		{match.File{FSName: match.Is("fuse"), Subtype: match.Is("sshfs"), Owner: match.Is[uint32](5)}, "on fuse.sshfs, owner 5, group 0"},
		{match.File{Magic: match.Is[uint32](7)}, "on a file system of unknown type (0x7), owner 0, group 0"},
	}
	for _, tt := range tests {
		if got := File(tt.file); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
