package cli

import (
	"context"
	"io"

	"imaseal/internal/plan"
)

// reading is an option whose value names what is read, as "-" names standard
// input. Not every command has each option read that: it is for plan to know.
func reading(option, value string) given { return given{"--" + option + " -", value == "-"} }

// readStdinOnce refuses two of what reads standard input, which is there once. The
// names are as in the arguments.
func readStdinOnce(readers ...given) error {
	first := ""
	for _, r := range readers {
		switch {
		case !r.is:
		case first == "":
			first = r.name
		default:
			return conflict(first+" and "+r.name+" both read standard input", "name a file for one of them")
		}
	}
	return nil
}

// archivesReading are the PATHs that are archives on standard input.
func archivesReading(paths []string) []given {
	var readers []given
	for _, path := range paths {
		if c, ok := plan.CarrierOf(path); ok {
			readers = append(readers, given{path, c.IsStd()})
		}
	}
	return readers
}

// stdinUntil is standard input that ends with ctx, though who writes to it may never
// write again.
func (p Program) stdinUntil(ctx context.Context) *io.PipeReader {
	in, to := io.Pipe()
	go func() {
		_, err := io.Copy(to, p.Stdin)
		to.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { to.CloseWithError(context.Cause(ctx)) })
	return in
}
