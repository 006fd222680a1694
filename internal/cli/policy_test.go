package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/host"
)

// onHost runs the program on a host of files.
func onHost(t *testing.T, files map[string]string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	p := Program{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Host: host.Host{Root: root}}
	return Main(context.Background(), p), out.String(), errs.String()
}

func TestRunningPolicy(t *testing.T) {
	release := map[string]string{"proc/sys/kernel/osrelease": "6.12.9-amd64\n"}
	with := func(name, content string) map[string]string {
		return map[string]string{"proc/sys/kernel/osrelease": "6.12.9-amd64\n", name: content}
	}
	for _, c := range []struct {
		name           string
		files          map[string]string
		status         int
		stdout, stderr string
	}{
		{"shown", with("sys/kernel/security/ima/policy", "appraise fowner=0 \nmeasure func=BPRM_CHECK \n"), 0, "appraise fowner=0\nmeasure func=BPRM_CHECK\n", ""},
		{"empty", with("sys/kernel/security/ima/policy", ""), 0, "", "has no rules on the running kernel 6.12"},
		{"hidden", with("sys/kernel/security/ima/violations", "0"), 1, "", "does not show its policy\nimaseal: hint: it needs CONFIG_IMA_READ_POLICY"},
		{"no IMA", release, 1, "", "shows no IMA"},
		{"not understood", with("sys/kernel/security/ima/policy", "appraise func=NEW\n"), 1, "", `line 1, column 10: "func=NEW": unknown hook`},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, stdout, stderr := onHost(t, c.files, "policy", "show", "running")
			if status != c.status || stdout != c.stdout || !strings.Contains(stderr, c.stderr) {
				t.Errorf("status %d, %q, %q", status, stdout, stderr)
			}
		})
	}
}

func TestRunningKernelDecides(t *testing.T) {
	files := map[string]string{
		"proc/sys/kernel/osrelease": "6.12.9\n",
		"boot/config-6.12.9":        "CONFIG_IMA=y\nCONFIG_IMA_APPRAISE_SIGNED_INIT=y\n",
	}
	const signed = "appraise fowner=0 appraise_type=imasig\n"
	if _, stdout, _ := onHost(t, files, "policy", "show", "appraise_tcb"); !strings.HasSuffix(stdout, signed) {
		t.Errorf("the configuration does not count: %q", stdout)
	}
	if _, stdout, _ := onHost(t, files, "policy", "show", "--kernel-version", "6.12", "appraise_tcb"); strings.HasSuffix(stdout, signed) {
		t.Errorf("it counts for another kernel: %q", stdout)
	}
	files["boot/config-6.12.9"] = "CONFIG_SMP=y\n"
	if status, _, stderr := onHost(t, files, "policy", "show", "appraise_tcb"); status != 0 {
		t.Errorf("a kernel without IMA: status %d, %q", status, stderr)
	}
}
