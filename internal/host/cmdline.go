package host

import (
	"os"
	"path/filepath"
	"strings"

	"imaseal/internal/policy"
)

// A param is a word of the kernel's command line.
type param struct {
	name, value string
	hasValue    bool
}

// parseCommandLine cuts a command line into its words as the kernel does:
// double quotes keep blanks together, around a value or the whole word, and a
// word -- ends what is the kernel's. In names - and _ are the same. Kernel:
// next_arg() in lib/cmdline.c, parse_args() and parameq() in kernel/params.c.
func parseCommandLine(line string) []param {
	var params []param
	for {
		line = strings.TrimLeft(line, " \t\n\v\f\r")
		if line == "" {
			return params
		}
		word := nextWord(line)
		line = line[len(word):]
		if word == "--" {
			return params
		}
		if inner, ok := strings.CutPrefix(word, `"`); ok {
			word = strings.TrimSuffix(inner, `"`)
		}
		p := param{name: word}
		if i := strings.IndexByte(word, '='); i > 0 {
			p = param{name: word[:i], value: word[i+1:], hasValue: true}
			if inner, ok := strings.CutPrefix(p.value, `"`); ok {
				p.value = strings.TrimSuffix(inner, `"`)
			}
		}
		p.name = strings.ReplaceAll(p.name, "-", "_")
		params = append(params, p)
	}
}

// nextWord returns the first word of a line that does not begin with a blank.
func nextWord(line string) string {
	inQuotes := false
	for i := range len(line) {
		switch {
		case line[i] == '"':
			inQuotes = !inQuotes
		case !inQuotes && strings.IndexByte(" \t\n\v\f\r", line[i]) >= 0:
			return line[:i]
		}
	}
	return line
}

func (h Host) params() []param {
	b, err := os.ReadFile(filepath.Join(h.Root, "/proc/cmdline"))
	if err != nil {
		return nil
	}
	return parseCommandLine(string(b))
}

// Option returns the value of the last word NAME=VALUE of the kernel's
// command line.
func (h Host) Option(name string) (string, bool) {
	value, found := "", false
	for _, p := range h.params() {
		if p.hasValue && p.name == name {
			value, found = p.value, true
		}
	}
	return value, found
}

// PolicyWords returns the names of the built-in policies that the kernel was
// booted with: those of every ima_policy=, which add up, and the old parameters
// ima_tcb and ima_appraise_tcb. There is none without such a parameter.
// Kernel: policy_setup(), default_measure_policy_setup() and
// default_appraise_policy_setup(), security/integrity/ima/ima_policy.c.
func (h Host) PolicyWords() []string {
	var words []string
	for _, p := range h.params() {
		switch {
		case p.hasValue && p.name == "ima_policy":
			words = append(words, policy.SplitSets(p.value)...)
		case p.name == "ima_tcb" || p.name == "ima_appraise_tcb":
			words = append(words, p.name)
		}
	}
	return words
}
