// Package finding has the lines of a table about a host: what was looked at, how it
// is, why, and what to do.
package finding

import (
	"fmt"
	"strings"
)

// A Level says how bad a finding is.
type Level string

// The levels.
const (
	Pass Level = "pass"
	Warn Level = "warn" // to be thought about
	Fail Level = "fail" // the host would not work under enforcement, or nothing would be enforced
)

// A Finding is one line of the table.
type Finding struct {
	Level Level  `json:"status"`
	Topic string `json:"check"`
	Why   string `json:"why"`
	Do    string `json:"do,omitempty"`
	// Data is the same for programs, of some topics.
	Data any `json:"data,omitempty"`
}

// A List is a table that is being made.
type List struct{ Findings []Finding }

// Add adds a line; why is a format.
func (l *List) Add(level Level, topic, do, why string, args ...any) {
	l.AddData(nil, level, topic, do, why, args...)
}

// AddData adds a line that has data.
func (l *List) AddData(data any, level Level, topic, do, why string, args ...any) {
	l.Findings = append(l.Findings, Finding{Level: level, Topic: topic, Why: fmt.Sprintf(why, args...), Do: do, Data: data})
}

// Some names some of many.
func Some(names []string) string {
	const most = 3
	text := strings.Join(names[:min(len(names), most)], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Count is a number of things.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
