package readiness

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"imaseal/internal/finding"
)

// left is the beginning of the names of the files in which hooks of package managers
// keep the names of what they could not have labelled: see package integrate.
const left = "/var/lib/imaseal/unlabelled-"

// hooks tells what hooks of package managers could not have labelled.
func (t *table) hooks() {
	files, err := filepath.Glob(filepath.Join(t.Host.Root, left) + "*")
	if err != nil {
		return
	}
	slices.Sort(files)
	for _, file := range files {
		who := strings.TrimPrefix(filepath.Base(file), filepath.Base(left))
		if strings.ContainsFunc(who, func(r rune) bool { return r < 'a' || r > 'z' }) {
			continue // a file that is being written, or none of the hooks'
		}
		name := left + who
		text, err := os.ReadFile(file)
		if err != nil {
			t.Add(finding.Warn, "package hooks", "", "%s, which names files that %s could not have labelled, cannot be read: %v", name, who, err)
			continue
		}
		t.Add(finding.Warn, "package hooks", "imaseal relabel --config /etc/imaseal/config --files-from "+name,
			"%s not labelled that %s changed (%s)", areFiles(bytes.Count(text, []byte("\n"))), who, name)
	}
}

func areFiles(n int) string {
	if n == 1 {
		return "1 file is"
	}
	return fmt.Sprintf("%d files are", n)
}
