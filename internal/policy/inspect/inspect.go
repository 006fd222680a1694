// Package inspect looks at a file for what a policy asks about it: the file system
// that it is on, its owner, what it is there to be used for, and what of its
// content decides besides its digest. Package match decides with that which rule
// takes the file.
package inspect

import (
	"imaseal/internal/policy"
	"imaseal/internal/policy/match"
	"imaseal/internal/tree"
)

// A Place is the file system that files will be on, where it is not the one that
// they are on now. The zero value says nothing.
type Place struct {
	Type string    // such as ext4
	UUID *[16]byte // nil for none
}

// Facts returns what conditions of rules look at in a file: all but labels of
// security modules, which depend on the module's own policy. Of a file that lies
// in no file system yet, what the place does not say is unknown.
func (p Place) Facts(f tree.File) (match.File, error) {
	meta := f.Meta()
	m := match.File{Owner: match.Is(meta.UID), Group: match.Is(meta.GID)}
	if p.UUID != nil {
		m.UUID = match.Is(policy.UUID(*p.UUID))
	}
	if p.Type != "" {
		m.FSName, m.Subtype = match.Is(p.Type), match.Is("")
		if fs, ok := policy.ByName(p.Type); ok {
			m.Magic = match.Is(fs.Magic)
			if p.UUID == nil && fs.NoUUID {
				m.UUID = match.Is(policy.UUID{})
			}
		}
		return m, nil
	}
	placed, ok := tree.As[tree.Placed](f)
	if !ok {
		return m, nil
	}
	fs, err := placed.Filesystem()
	if err != nil {
		return match.File{}, err
	}
	m.Magic = match.Is(fs.Magic)
	if fs.Type != "" {
		m.FSName, m.Subtype = match.Is(fs.Type), match.Is(fs.Subtype)
	}
	if p.UUID == nil && fs.UUID != nil {
		m.UUID = match.Is(policy.UUID(*fs.UUID))
	}
	return m, nil
}
