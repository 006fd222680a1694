package selinux

import (
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

// Context returns the context that the policy has for a file of a tree, and
// false if it has none, or if the file does not lie in Root.
func (f Files) Context(file tree.File) (string, bool) {
	path, ok := strings.CutPrefix(clean(file.Full()), strings.TrimSuffix(clean(f.Root), "/"))
	if !ok || !strings.HasPrefix(path, "/") {
		return "", false
	}
	return f.Contexts.Lookup(path, KindOf(file.Meta().Mode))
}
