// Package sigfile is about detached signatures: a whole label in a file beside
// the signed one, named like that with .sig behind it, as evmctl's --sigfile
// writes and reads it.
package sigfile

import (
	"io"
	"path"
	"strings"

	"imaseal/internal/imaevm"
	"imaseal/internal/tree"
)

const suffix = ".sig"

// Is reports whether the file is a signature of another one. By the name alone it
// may be one of another program, and needs a label like all files.
func Is(f tree.File) bool {
	rel := f.Rel()
	if !strings.HasSuffix(rel, suffix) || path.Base(rel) == suffix {
		return false
	}
	var first [1]byte
	n, err := f.ReadAt(first[:], 0)
	return (err == nil || err == io.EOF) && Holds(first[:n])
}

// Holds reports whether a detached signature begins like that. One that a crash
// left empty is one.
func Holds(b []byte) bool {
	return len(b) == 0 || imaevm.Type(b[0]) == imaevm.TypeSignature || imaevm.Type(b[0]) == imaevm.TypeVerity
}

// Read returns the signature beside a file. The error is tree.ErrNoAttr if there
// is none, or the carrier has no such files.
func Read(f tree.File) ([]byte, error) {
	beside, ok := tree.As[tree.Sidecar](f)
	if !ok {
		return nil, tree.ErrNoAttr
	}
	return beside.Sidecar()
}
