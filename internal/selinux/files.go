package selinux

import (
	"fmt"
	"path"
	"strings"

	"imaseal/internal/tree"
)

// Files says which context the files of trees get. It is not changed once it is
// used, and safe for concurrent use.
type Files struct {
	Contexts *Contexts
	// Root is the absolute path of the directory that will be the root of the
	// policy's system; "" for that of the carrier, as for an archive and for
	// the running system.
	Root string
}

// An OutsideError says that a file does not lie in the root.
type OutsideError struct{ Root string }

func (e *OutsideError) Error() string {
	return fmt.Sprintf("is not in %q, so that there is no context for it", e.Root)
}

// Context returns the context that the policy has for a file of a tree, "" if it
// has none. The error is an *OutsideError.
func (f Files) Context(file tree.File) (string, error) {
	in, ok := strings.CutPrefix(path.Clean(file.Full()), strings.TrimSuffix(path.Clean("/"+f.Root), "/"))
	if !ok || !strings.HasPrefix(in, "/") {
		return "", &OutsideError{Root: f.Root}
	}
	context, _ := f.Contexts.Lookup(in, KindOf(file.Meta().Mode))
	return context, nil
}
