package readiness

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"imaseal/internal/active"
	"imaseal/internal/finding"
	"imaseal/internal/policy"
)

func (t *table) read(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(t.Host.Root, name))
	return string(b), err
}

// ownPolicy looks at the rules that systemd loads, and reports whether there
// are any.
func (t *table) ownPolicy() bool {
	const file = active.PolicyFile
	text, err := t.read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		t.Add(finding.Warn, "policy file", "run as root", "%s cannot be read", file)
		return true
	}
	if strings.HasPrefix(text, "/") {
		t.Add(finding.Pass, "policy file", "", "%s names another file", file)
		return true
	}
	if _, err := policy.Parse(text, t.Kernel); err != nil {
		t.Add(finding.Fail, "policy file", "imaseal policy lint "+file, "kernel %s would refuse %s: %v", t.Kernel, file, err)
		return true
	}
	t.Add(finding.Pass, "policy file", "imaseal policy lint "+file+" says what is unwise about it", "%s is one that kernel %s takes", file, t.Kernel)
	return true
}

// writers looks for what makes labels stale, or wants more than to read.
func (t *table) writers() {
	t.openFiles()
	swaps, _ := t.read("/proc/swaps")
	for line := range strings.Lines(swaps) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == "file" {
			t.Add(finding.Warn, "swap file", "use a partition", "%s is written behind the file system: its label will be wrong at the next swapon", f[0])
		}
	}
	if _, err := t.read("/etc/prelink.cache"); err == nil {
		t.Add(finding.Warn, "prelink", "prelink -ua, and remove it", "it rewrites programs in place, signed ones too")
	}
}
