package integrate

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/treetest"
)

// TestUnits has systemd judge its units, which wants them where they are installed.
func TestUnits(t *testing.T) {
	analyze := treetest.Tool(t, "systemd-analyze")
	in, _ := Find("systemd")
	dir, r := image(t)
	install(t, r, []Integration{in}, "/bin/true")
	names, err := filepath.Glob(filepath.Join(dir, units, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range names {
		if strings.HasPrefix(filepath.Base(name), "imaseal-") {
			found = append(found, name)
		}
	}
	if len(found) != 4 {
		t.Fatalf("units are %q", found)
	}
	out, err := exec.Command(analyze, append([]string{"verify", "--man=no"}, found...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
