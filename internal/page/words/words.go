// Package words prints what pages say: names that files and programs may have,
// numbers, and what is too long for a page.
package words

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"imaseal/internal/report"
)

// longestShown is how many letters are shown of a name, of which files have up to 255
// and paths thousands.
const longestShown = 120

// Shown returns a name as it can stand in a text: quoted where it has to be, and with
// its middle left out where it is very long.
func Shown(name string) string {
	if name == "" {
		return ""
	}
	name = report.Quote(name)
	n := utf8.RuneCountInString(name)
	if n <= longestShown {
		return name
	}
	letters := []rune(name)
	return string(letters[:longestShown/2]) + "…" + string(letters[n-longestShown/2+1:])
}

// longestText is how many letters are shown of a message.
const longestText = 400

// Clip shortens a message that is very long.
func Clip(s string) string { return Cut(s, longestText) }

// Scrub takes from a text what no browser should be given as it is: bytes that are no
// text, control characters, and those that turn the direction of writing. They are
// written as Go writes them.
func Scrub(b []byte) []byte {
	clean := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == '\n' || unicode.IsPrint(r) && (r != utf8.RuneError || size > 1):
			clean = append(clean, b[:size]...)
		case r == utf8.RuneError && size == 1:
			clean = fmt.Appendf(clean, `\x%02x`, b[0])
		default:
			clean = append(clean, strings.Trim(strconv.QuoteRuneToASCII(r), "'")...)
		}
		b = b[size:]
	}
	return clean
}

// Cut leaves out the end of a text that is longer than so many letters.
func Cut(s string, letters int) string {
	if utf8.RuneCountInString(s) <= letters {
		return s
	}
	return string([]rune(s)[:letters-1]) + "…"
}

// Number prints a number with its thousands set apart.
func Number(n any) string {
	digits := fmt.Sprint(n)
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return strings.Join(append([]string{digits}, groups...), ",")
}

// Plural prints a number of things.
func Plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Number(n) + " " + noun + "s"
}

// Percent prints a coordinate.
func Percent(f float64) string {
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(f, 'f', 2, 64), "0"), ".") + "%"
}
