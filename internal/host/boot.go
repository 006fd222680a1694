package host

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// BootID returns the id of this boot as the journal writes it, "" where there is none.
func (h Host) BootID() string {
	b, err := os.ReadFile(filepath.Join(h.Root, "/proc/sys/kernel/random/boot_id"))
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(strings.TrimSpace(string(b)), "-", "")
}

// Booted returns when the machine was booted, zero where that is not to be seen. It
// is computed from what the clock shows now.
func (h Host) Booted() time.Time {
	b, err := os.ReadFile(filepath.Join(h.Root, "/proc/stat"))
	if err != nil {
		return time.Time{}
	}
	for line := range strings.Lines(string(b)) {
		text, ok := strings.CutPrefix(line, "btime ")
		if !ok {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil {
			return time.Unix(n, 0)
		}
	}
	return time.Time{}
}
