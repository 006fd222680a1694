// Package page makes one HTML page of what imaseal check and imaseal denials found, to
// look at, to keep and to print.
//
// The page needs nothing but itself: no script, style or picture from elsewhere, which
// its content security policy would not let in either, and no script at all: zooming
// into the map is following a link. The script in it only sorts, filters and copies.
// What files and programs are called gets into it as text (html/template), as package
// report quotes it.
//
// Neither the page nor the memory that it takes to make it grow with the number of
// files: package treemap merges the smallest of too many directories with those that
// they are in; lists end with a count of what they leave out.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"io"
	"strings"
	"time"

	"imaseal/internal/page/treemap"
	"imaseal/internal/page/words"
	"imaseal/internal/reason"
)

//go:embed page.css page.js *.html
var files embed.FS

// A Frame is what is said of any run.
type Frame struct {
	Version string // of the program
	Host    string // that it ran on, "" if it is not to be told
	Made    time.Time
	// Facts are by what was judged.
	Facts []Fact
	// Notes are the warnings about the run as a whole.
	Notes reason.List
	// Status is the exit status.
	Status int
	// Summary is what a terminal shows at the end, in lines.
	Summary []string
}

// A Fact is what is known of a target, or was asked for.
type Fact struct{ Name, Value string }

// A level says what a page's answer is.
type level string

// The levels of answers.
const (
	good    level = "good"
	bad     level = "bad"
	unclear level = "unclear"
)

// An answer is what a page says first.
type answer struct {
	Level        level
	Title, Words string
}

// statuses say what the exit statuses of check and denials mean.
var statuses = map[int]string{
	0: "all is as asked",
	1: "the run could not be carried out",
	3: "some files could not be judged, or are undecided",
	4: "something is or would be denied, or the host is not ready",
}

// shownNotes are listed.
const shownNotes = 100

// advised are the lines of advice, of which some are commands.
type advised struct {
	Text    string
	Command bool
}

// longestCommand bounds commands on the page in bytes: they name files, of which paths
// have up to 4096 bytes each.
const longestCommand = 12 << 10

// advice makes lines of those that package advice has.
func advice(lines []string) []advised {
	var all []advised
	for _, line := range lines {
		a := advised{Text: words.Clip(line), Command: strings.HasPrefix(line, "imaseal ") || strings.HasPrefix(line, "dont_appraise ")}
		if a.Command {
			a.Text = line
		}
		if a.Command && len(line) > longestCommand {
			a = advised{Text: "the command is too long for this page: what is printed has it"}
		}
		all = append(all, a)
	}
	return all
}

// A document is what the templates are given.
type document struct {
	Frame
	Command string
	Answer  answer
	Policy  string // of content security
	Style   template.CSS
	Script  template.JS
	Check   *checkView
	Denied  *deniedView
	// MoreNotes are not shown.
	MoreNotes int
}

// A namedRows is a table of counts.
type namedRows struct {
	Name string
	Rows []rowView
}

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"clip": words.Clip, "number": words.Number, "percent": words.Percent, "plural": words.Plural, "shown": words.Shown,
	"meaning": func(status int) string { return statuses[status] },
	"when":    func(t time.Time) string { return t.Format("2006-01-02 15:04 MST") },
	"machine": func(t time.Time) string { return t.Format(time.RFC3339) },
	"rowsOf":  func(name string, rows []rowView) any { return namedRows{name, rows} },
	"layouts": func() []treemap.Layout { return treemap.Layouts },
	"verdicts": func() []treemap.Verdict {
		return []treemap.Verdict{treemap.Allowed, treemap.Denied, treemap.Undecided, treemap.Failed}
	},
}).ParseFS(files, "*.html"))

// write writes a document.
func (d document) write(w io.Writer) error {
	if n := len(d.Notes) - shownNotes; n > 0 {
		d.MoreNotes, d.Notes = n, d.Notes[:shownNotes]
	}
	style, script := content("page.css"), content("page.js")
	d.Style, d.Script = template.CSS(style), template.JS(script)
	d.Policy = "default-src 'none'; style-src " + source(style) + "; script-src " + source(script) + "; base-uri 'none'; form-action 'none'"
	var b bytes.Buffer // html/template may fail in the middle
	if err := templates.ExecuteTemplate(&b, "page.html", d); err != nil {
		return err
	}
	_, err := w.Write(words.Scrub(b.Bytes()))
	return err
}

func content(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is part of the program
	}
	return string(b)
}

// source is what a content security policy calls a text.
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
