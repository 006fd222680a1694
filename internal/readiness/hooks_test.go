package readiness

import (
	"testing"

	"imaseal/internal/finding"
	"imaseal/internal/host"
	"imaseal/internal/treetest"
)

// TestHooks: what hooks of package managers could not have labelled is told.
func TestHooks(t *testing.T) {
	dir := treetest.Make(t, `dir var/lib/imaseal
file var/lib/imaseal/unlabelled-apt content="/usr/bin/a\n/usr/bin/b\n"
file var/lib/imaseal/unlabelled-dnf content="/usr/bin/a\n"
file var/lib/imaseal/unlabelled-apt.new content="/usr/bin/c\n"
dir var/lib/imaseal/unlabelled-pacman
file var/lib/imaseal/apt-packages content="a\n"`)
	var table table
	table.Host = host.Host{Root: dir}
	table.hooks()
	want := []string{
		"2 files are not labelled that apt changed (/var/lib/imaseal/unlabelled-apt)",
		"1 file is not labelled that dnf changed (/var/lib/imaseal/unlabelled-dnf)",
		"/var/lib/imaseal/unlabelled-pacman, which names files that pacman could not have labelled, cannot be read: read " + dir + "/var/lib/imaseal/unlabelled-pacman: is a directory",
	}
	if len(table.Findings) != len(want) {
		t.Fatalf("%+v", table.Findings)
	}
	for i, f := range table.Findings {
		if f.Why != want[i] || f.Level != finding.Warn || f.Topic != "package hooks" {
			t.Errorf("%+v, want %s", f, want[i])
		}
	}
	if got := table.Findings[0].Do; got != "imaseal relabel --config /etc/imaseal/config --files-from /var/lib/imaseal/unlabelled-apt" {
		t.Error(got)
	}
	table.Findings, table.Host.Root = nil, t.TempDir()
	if table.hooks(); table.Findings != nil {
		t.Errorf("%+v", table.Findings)
	}
}
