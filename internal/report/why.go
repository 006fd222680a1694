package report

import (
	"strings"

	"imaseal/internal/reason"
)

// A Why is what a verdict about a use of a file rests on.
type Why struct {
	// Causes are the kernel's words for why it denies the use: one, or several if
	// it is one of them. Of what is undecided they are those that a denial may
	// have. An empty one stands for a denial that the kernel gives no word for.
	Causes []string
	// Reasons say more of a denial, or what is missing for a verdict.
	Reasons reason.List
}

// text is why something is so in words.
func (w Why) text(o Outcome) string {
	if o != Denied {
		return w.Reasons.String()
	}
	return join(": ", join(" or ", w.Causes...), w.Reasons.String())
}

// join joins those that are not empty.
func join(separator string, words ...string) string {
	var all []string
	for _, word := range words {
		if word != "" {
			all = append(all, word)
		}
	}
	return strings.Join(all, separator)
}
