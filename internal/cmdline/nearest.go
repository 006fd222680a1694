package cmdline

import "strings"

// Nearest returns the word that was probably meant, or nothing: the one that
// the fewest typing errors lead away from, if they are few, or the only one
// that begins like it.
func Nearest(typed string, words []string) string {
	best, least := "", max(1, len(typed)/3)+1
	for _, w := range words {
		if d := distance(typed, w); d < least {
			best, least = w, d
		}
	}
	if best != "" || strings.Trim(typed, "-") == "" {
		return best
	}
	for _, w := range words {
		if !strings.HasPrefix(w, typed) && !strings.HasPrefix(typed, w) {
			continue
		}
		if best != "" {
			return ""
		}
		best = w
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with the
// next one.
func distance(a, b string) int {
	var before []int // the row above the one above
	above := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above[j]+cost, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}

// DidYouMean is the advice on a mistyped word: the one that was probably meant,
// if near is any, and what else helps.
func DidYouMean(near, otherwise string) string {
	switch {
	case near == "":
		return otherwise
	case otherwise == "":
		return "did you mean " + near + "?"
	}
	return "did you mean " + near + "? " + otherwise
}
