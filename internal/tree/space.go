package tree

import "fmt"

// A SpaceError says that the labels of a run do not fit on a file system.
type SpaceError struct {
	Path       string // a file on it
	Files      int    // that need more than they have
	Need, Free uint64 // bytes
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("the signatures of %d files need %d bytes on this file system, and %d are free", e.Files, e.Need, e.Free)
}

// A BlockError says that a file system has no room for the labels of one file,
// however much of it is free.
type BlockError struct {
	Path   string // a file whose labels do not fit
	Files  int    // that there are
	Labels Labels // of the file
	Room   int    // bytes, for all attributes of a file
}

func (e *BlockError) Error() string {
	return fmt.Sprintf("labels of %d and %d bytes do not fit: this file system has %d bytes for all attributes of a file, and %d files would get more",
		e.Labels.IMA, e.Labels.EVM, e.Room, e.Files)
}

// A Space is a question: do the labels of a run fit?
type Space struct {
	// Largest are the largest labels that a file may get.
	Largest Labels
	// Labels returns the sizes of the labels that a file has, and of those
	// that it would have.
	Labels func(File) (has, want Labels)
	// Names are those under which the attributes are kept.
	IMA, EVM string
	// DryRun writes nothing to find out.
	DryRun bool
}
