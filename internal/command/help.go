package command

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

const (
	// helpWidth is the width of a terminal that everybody has.
	helpWidth = 80
	// maxLeft is how far options may push their explanations to the right.
	maxLeft = 30
	indent  = "   "
)

// help returns what --help prints about a command, or about the program if
// inv has none. The parser's own help neither wraps lines nor keeps the order
// of options.
func help(app *cli.App, inv invocation) string {
	var b strings.Builder
	if inv.command == nil {
		section(&b, "NAME", app.Name+" - "+app.Usage)
		section(&b, "USAGE", app.UsageText)
		section(&b, "DESCRIPTION", app.Description)
		commandList(&b, "COMMANDS", app.Commands)
		table(&b, "OPTIONS", 0, [][2]string{{"-h, --help", "show this help"}, {"    --version", "print the version"}})
		return b.String()
	}
	c := inv.command
	section(&b, "NAME", "imaseal "+inv.path+" - "+c.Usage)
	if len(c.Subcommands) > 0 {
		section(&b, "USAGE", "imaseal "+inv.path+" COMMAND [OPTIONS] ...")
		section(&b, "DESCRIPTION", c.Description)
		commandList(&b, "COMMANDS", c.Subcommands)
		return b.String()
	}
	section(&b, "USAGE", join(join("imaseal "+inv.path, "[OPTIONS]"), c.ArgsUsage))
	section(&b, "DESCRIPTION", c.Description)
	flagList(&b, c.Flags)
	return b.String()
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
			for _, line := range wrap(paragraph, helpWidth-len(indent)) {
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
func flagList(b *strings.Builder, flags []cli.Flag) {
	var order []string
	rows := make(map[string][][2]string)
	width := len("-h, --help")
	for _, f := range flags {
		width = max(width, utf8.RuneCountInString(flagSyntax(f)))
		category := ""
		if c, ok := f.(cli.CategorizableFlag); ok {
			category = c.GetCategory()
		}
		if !slices.Contains(order, category) {
			order = append(order, category)
		}
		rows[category] = append(rows[category], [2]string{flagSyntax(f), flagUsage(f)})
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

// flagSyntax is how a flag is written: "-j, --jobs NUMBER".
func flagSyntax(f cli.Flag) string {
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
		value, _ = placeholder(f)
		value = " " + value
	}
	return short + long + value
}

func flagUsage(f cli.Flag) string {
	_, usage := placeholder(f)
	if _, ok := f.(*cli.StringSliceFlag); ok {
		return usage + " (may be repeated)"
	}
	if d, ok := f.(cli.DocGenerationFlag); ok && d.TakesValue() {
		if text := strings.Trim(d.GetDefaultText(), `"`); text != "" {
			usage += " (default: " + text + ")"
		}
	}
	return usage
}

// placeholder returns the word for a flag's value, which is the word in
// backquotes or the choice there is, and the usage without backquotes.
func placeholder(f cli.Flag) (value, usage string) {
	if d, ok := f.(cli.DocGenerationFlag); ok {
		usage = d.GetUsage()
	}
	if parts := strings.SplitN(usage, "`", 3); len(parts) == 3 {
		if before, ok := strings.CutSuffix(parts[0], " ("); ok && strings.HasPrefix(parts[2], ")") {
			return parts[1], before + parts[2][1:] // the word stands in no sentence
		}
		return parts[1], parts[0] + parts[1] + parts[2]
	}
	if words, ok := enumerated[f.Names()[0]]; ok {
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
		for _, line := range wrap(row[1], helpWidth-width-5) {
			fmt.Fprintf(b, "   %-*s  %s\n", width, left, line)
			left = ""
		}
	}
}

func wrap(text string, width int) []string {
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
