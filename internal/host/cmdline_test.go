package host

import (
	"slices"
	"strings"
	"testing"
)

func TestParseCommandLine(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"", ""},
		{" \n", ""},
		{"quiet root=/dev/vda\n", "quiet,root=/dev/vda"},
		{`ima_policy="tcb appraise_tcb" x`, "ima_policy=tcb appraise_tcb,x"},
		{`"ima_policy=tcb appraise_tcb" x`, "ima_policy=tcb appraise_tcb,x"},
		{`ima-policy=tcb a-b`, "ima_policy=tcb,a_b"},
		{`a=b=c d="e f`, "a=b=c,d=e f"},
		{`a=x"y z" =b`, `a=x"y z",=b`},
		{"a -- ima_policy=tcb", "a"},
	} {
		var got []string
		for _, p := range parseCommandLine(c.line) {
			if p.hasValue {
				p.name += "=" + p.value
			}
			got = append(got, p.name)
		}
		if strings.Join(got, ",") != c.want {
			t.Errorf("%q is %q, want %s", c.line, got, c.want)
		}
	}
}

func TestPolicyWords(t *testing.T) {
	for line, want := range map[string]string{
		"quiet": "",
		`ima_policy="tcb|appraise_tcb" ima_policy=fail_securely`: "tcb appraise_tcb fail_securely",
		"ima_appraise_tcb ima_tcb":                               "ima_appraise_tcb ima_tcb",
		"ima_policy xima_policy=tcb":                             "",
	} {
		h := fake(t, map[string]string{"proc/cmdline": line + "\n"})
		if got := h.PolicyWords(); strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %s", line, got, want)
		}
	}
}

// FuzzParseCommandLine: a word that is found is in the line, and the line of a
// word alone holds that word.
func FuzzParseCommandLine(f *testing.F) {
	f.Add(`root=/dev/vda ima_policy="tcb|appraise_tcb" "a b=c" -- x`)
	f.Fuzz(func(t *testing.T, line string) {
		params := parseCommandLine(line)
		for _, p := range params {
			if !strings.Contains(strings.ReplaceAll(line, "-", "_"), p.name) || !strings.Contains(line, p.value) || !p.hasValue && p.value != "" {
				t.Fatalf("%q holds %+v", line, p)
			}
		}
		if again := parseCommandLine(line + " last=1"); !strings.Contains(line, `"`) && !strings.Contains(line, "--") &&
			!slices.Equal(again, append(params, param{"last", "1", true})) {
			t.Fatalf("%q: %+v, and with another word %+v", line, params, again)
		}
	})
}

// FuzzReadConfig: every option of a configuration is a line of its text.
func FuzzReadConfig(f *testing.F) {
	f.Add([]byte("# a comment\nCONFIG_EVM=y\nCONFIG_NAME=\"a=b\"\n# CONFIG_X is not set\n"))
	f.Add([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := readConfig(strings.NewReader(string(data)))
		if err != nil && c != nil || err == nil && len(c) == 0 {
			t.Fatalf("%v, %v", c, err)
		}
		for name, value := range c {
			if !strings.HasPrefix(name, "CONFIG_") || strings.ContainsAny(name+value, "\n") || strings.Contains(name, "=") {
				t.Fatalf("%q=%q", name, value)
			}
			line := name + "=" + value
			if value == "n" && !strings.Contains(string(data), line) {
				line = "# " + name + " is not set"
			}
			if data[0] != 0x1f && !strings.Contains(string(data), line) {
				t.Fatalf("%q=%q is not in the text", name, value)
			}
		}
	})
}
