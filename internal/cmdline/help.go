package cmdline

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

const (
	// Width is that of a terminal that everybody has, in columns.
	Width = 80
	// maxLeft is how far options may push their explanations to the right.
	maxLeft = 30
	indent  = "   "
)

// Help returns what --help prints about the command of inv, or about the program
// if it has none. The parser's own help neither wraps lines nor keeps the order
// of options.
func (g Grammar) Help(inv Invocation) string {
	app := g.App
	var b strings.Builder
	if inv.Command == nil {
		section(&b, "NAME", app.Name+" - "+app.Usage)
		section(&b, "USAGE", app.UsageText)
		section(&b, "DESCRIPTION", app.Description)
		commandList(&b, "COMMANDS", app.Commands)
		table(&b, "OPTIONS", 0, [][2]string{{"-h, --help", "show this help"}, {"    --version", "print the version"}})
		return b.String()
	}
	c, name := inv.Command, join(app.Name, inv.Path)
	section(&b, "NAME", name+" - "+c.Usage)
	if len(c.Subcommands) > 0 {
		section(&b, "USAGE", name+" COMMAND [OPTIONS] ...")
		section(&b, "DESCRIPTION", c.Description)
		commandList(&b, "COMMANDS", c.Subcommands)
		return b.String()
	}
	usage(&b, name, c)
	section(&b, "DESCRIPTION", c.Description)
	g.flagList(&b, c.Flags)
	return b.String()
}

// usage prints how a command is called: the options it needs, then those it may
// have, then its arguments. Of several ways each has a line in c.UsageText, which
// has the options that are needed there.
func usage(b *strings.Builder, name string, c *cli.Command) {
	b.WriteString("\nUSAGE:\n")
	for line := range strings.Lines(c.UsageText + "\n") {
		way := join(join(join(name, strings.TrimSpace(line)), "[OPTIONS]"), c.ArgsUsage)
		b.WriteString(indent + way + "\n")
	}
}

// section prints a title and a text, its paragraphs wrapped.
func section(b *strings.Builder, title, text string) {
	if text == "" {
		return
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	fmt.Fprintf(b, "%s:\n", title)
	paragraph := ""
	flush := func() {
		if paragraph != "" {
			for _, line := range Wrap(paragraph, Width-len(indent)) {
				b.WriteString(indent + line + "\n")
			}
		}
		paragraph = ""
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" && line[0] != ' ' {
			paragraph += line + " "
			continue
		}
		flush() // an empty line, or an example, stands for itself
		b.WriteString(strings.TrimRight(indent+line, " ") + "\n")
	}
	flush()
}

func commandList(b *strings.Builder, title string, commands []*cli.Command) {
	var rows [][2]string
	for _, c := range commands {
		if !c.Hidden {
			rows = append(rows, [2]string{c.Name, c.Usage})
		}
	}
	table(b, title, 0, rows)
}

// flagList prints the flags by category, in the order they are defined in.
func (g Grammar) flagList(b *strings.Builder, flags []cli.Flag) {
	var order []string
	rows := make(map[string][][2]string)
	width := len("-h, --help")
	for _, f := range flags {
		width = max(width, utf8.RuneCountInString(g.syntax(f)))
		category := ""
		if c, ok := f.(cli.CategorizableFlag); ok {
			category = c.GetCategory()
		}
		if !slices.Contains(order, category) {
			order = append(order, category)
		}
		rows[category] = append(rows[category], [2]string{g.syntax(f), g.usage(f)})
	}
	if len(order) == 0 {
		order = []string{""}
	}
	last := order[len(order)-1]
	rows[last] = append(rows[last], [2]string{"-h, --help", "show this help"})
	for _, category := range order {
		title := strings.ToUpper(category)
		if title == "" {
			title = "OPTIONS"
		}
		table(b, title, width, rows[category])
	}
}

// syntax is how a flag is written: "-j, --jobs NUMBER".
func (g Grammar) syntax(f cli.Flag) string {
	short, long := "    ", ""
	for _, name := range f.Names() {
		if len(name) == 1 {
			short = "-" + name + ", "
		} else if long == "" {
			long = "--" + name
		}
	}
	if long == "" {
		short = strings.TrimSuffix(short, ", ")
	}
	value := ""
	if takesValue(f) {
		value, _ = g.placeholder(f)
		value = " " + value
	}
	return short + long + value
}

func (g Grammar) usage(f cli.Flag) string {
	_, usage := g.placeholder(f)
	var more []string
	if d, ok := f.(cli.DocGenerationFlag); ok && d.TakesValue() {
		if text := strings.Trim(d.GetDefaultText(), `"`); text != "" {
			more = append(more, "default: "+text)
		}
	}
	if _, ok := f.(*cli.StringSliceFlag); ok {
		more = append(more, "may be repeated")
	}
	if more == nil {
		return usage
	}
	return usage + " (" + strings.Join(more, "; ") + ")"
}

// placeholder returns the word for a flag's value, which is the word in
// backquotes or the choice there is, and the usage without backquotes.
func (g Grammar) placeholder(f cli.Flag) (value, usage string) {
	if d, ok := f.(cli.DocGenerationFlag); ok {
		usage = d.GetUsage()
	}
	if parts := strings.SplitN(usage, "`", 3); len(parts) == 3 {
		if before, ok := strings.CutSuffix(parts[0], " ("); ok && strings.HasPrefix(parts[2], ")") {
			return parts[1], before + parts[2][1:] // the word stands in no sentence
		}
		return parts[1], parts[0] + parts[1] + parts[2]
	}
	if words, ok := g.Options[f.Names()[0]]; ok {
		return strings.Join(words(), "|"), usage
	}
	return "VALUE", usage
}

// table prints two columns, the left one at least that wide if it is not too
// wide, and the right one wrapped.
func table(b *strings.Builder, title string, width int, rows [][2]string) {
	for _, row := range rows {
		width = max(width, utf8.RuneCountInString(row[0]))
	}
	width = min(width, maxLeft)
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, row := range rows {
		left := row[0]
		if utf8.RuneCountInString(left) > width {
			fmt.Fprintf(b, "   %s\n", left)
			left = ""
		}
		for _, line := range Wrap(row[1], Width-width-5) {
			fmt.Fprintf(b, "   %-*s  %s\n", width, left, line)
			left = ""
		}
	}
}

// Wrap breaks a text into lines of at most width columns, where it has blanks.
// Words that are longer stay whole. There is always a line.
func Wrap(text string, width int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}
