package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"unicode"

	"imaseal/internal/advice"
	"imaseal/internal/cmdline"
	"imaseal/internal/reason"
	"imaseal/internal/report"
	"imaseal/internal/tree"
	"imaseal/internal/tree/mounted"
)

// An advisedError carries its own code and advice, which may be none: what package
// advice would say of its cause is beside the point.
type advisedError struct {
	err    error
	code   reason.Code
	advice string
}

func (e *advisedError) Error() string { return e.err.Error() }
func (e *advisedError) Unwrap() error { return e.err }

// hint returns the code of an error, and what the user can do about it, or
// nothing.
func hint(err error) (reason.Code, string) {
	if usage, ok := errors.AsType[*cmdline.UsageError](err); ok {
		return "usage", usage.Advice
	}
	if advised, ok := errors.AsType[*advisedError](err); ok {
		return advised.code, advised.advice
	}
	if wrong, ok := errors.AsType[*configError](err); ok {
		return codeSyntax, wrong.advice
	}
	return advice.Of(err)
}

// hintOn is hint for results: for those without an error it goes by the code.
func hintOn(r report.Result) (reason.Code, string) {
	if r.Err != nil {
		return hint(r.Err)
	}
	return r.Code, advice.OfCode(r.Code)
}

// printable prints an error in one line, its path quoted where it has to be.
func printable(err error) string {
	if file, ok := errors.AsType[*passphraseFileError](err); ok {
		return printableText(file.Error())
	}
	switch e := err.(type) {
	case *fs.PathError:
		return fmt.Sprintf("%s: %v", report.Quote(e.Path), e.Err)
	case *tree.SpaceError:
		return fmt.Sprintf("%s: the signatures of %d files need %s on this file system, and %s are free",
			report.Quote(e.Path), e.Files, report.Size(int64(e.Need)), report.Size(int64(e.Free)))
	case *tree.BlockError:
		return report.Quote(e.Path) + ": " + e.Error()
	case *mounted.ListError:
		if e.Name != "" {
			return fmt.Sprintf("--files-from %s: %v", report.Quote(e.Name), e.Err)
		}
	}
	return printableText(err.Error())
}

// printableText makes one line of a text that may hold what users typed.
func printableText(s string) string {
	var b strings.Builder
	for _, r := range strings.ReplaceAll(s, "\n", "; ") {
		if !unicode.IsPrint(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// pathless drops from an error the name of a file that is not the user's
// matter, such as /dev/stdout.
func pathless(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
