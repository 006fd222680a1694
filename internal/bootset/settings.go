package bootset

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Settings are the variables of dracut's modules that name other places.
var Settings = []string{"IMAKEYSDIR", "IMAPOLICY", "EVMKEY", "EVMX509", "EVMKEYSDIR", "MASTERKEY"}

// parseSettings reads assignments of a shell, NAME=VALUE, one a line, with or
// without quotation marks. Variables other than those of Settings are passed over.
// What only a shell can tell the value of is an error; the others are returned
// with it.
func parseSettings(text string) (map[string]string, error) {
	values := make(map[string]string)
	var wrong error
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		name, value, ok := strings.Cut(line, "=")
		if !ok || !slices.Contains(Settings, name) {
			continue
		}
		path, err := parseValue(value)
		if err != nil {
			if wrong == nil {
				wrong = fmt.Errorf("line %d: %s: %w", n, name, err)
			}
			continue
		}
		if path != "" {
			values[name] = path
		}
	}
	return values, wrong
}

// parseValue returns the path that the right side of an assignment stands for.
func parseValue(value string) (string, error) {
	path := value
	if len(value) > 1 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
		path = value[1 : len(value)-1]
	}
	switch {
	case path == "":
		return "", nil // as if it were not set
	case strings.ContainsAny(path, "\"'\\$`*?[;&|<>() \t#~\x00"):
		return "", fmt.Errorf("%q needs a shell to tell what it is; write a plain path", value)
	case !filepath.IsAbs(path):
		return "", fmt.Errorf("%q is not an absolute path", value)
	}
	return filepath.Clean(path), nil
}
