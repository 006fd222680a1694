package plan

import "slices"

// Exporting says that labels go to a file, and nothing is written to a tree.
type Exporting struct {
	// LabelsTo is the file, "-" standard output, "" for none.
	LabelsTo string
	// Format is that of the file.
	Format string
	// As is who will own the files where they are going; nil for whose they are.
	As *Owner
}

// An Owner is a user and a group.
type Owner struct{ UID, GID uint32 }

// Exports reports whether labels go to a file.
func (e Exporting) Exports() bool { return e.LabelsTo != "" }

// perTree are the formats that name files by their path alone.
var perTree = []string{"setfattr", "squashfs"}

// checkExport returns a *ConflictError for what does not go together with a file of
// labels.
func (p Plan) checkExport() error {
	if !p.Exports() {
		return nil
	}
	for _, o := range []struct {
		name  string
		given bool
	}{
		{"--dry-run", p.DryRun}, {"--undo-log", p.UndoLog != ""}, {"--output", p.Output != ""}, {"--in-place", p.InPlace},
		{"--compress", p.Compression != ""}, {"--immutable", p.LiftImmutable}, {"--namespace", p.Namespace != "security"},
	} {
		if o.given {
			return &ConflictError{o.name + " is about what is written to trees, and --labels-to writes to none", "leave out one of them"}
		}
	}
	if !slices.Contains(perTree, p.Format) {
		return nil
	}
	if len(p.Paths) > 1 {
		return &ConflictError{"--labels-format " + p.Format + " names files by their path in one tree", "name one PATH, once for each run"}
	}
	if c, ok := p.Carrier(); ok && c.Kind != Tar && c.Kind != Ext4 {
		return &ConflictError{"--labels-format " + p.Format + " names files by their path, of which layers and packages may have several", "--labels-format json says of each what it is"}
	}
	return nil
}
