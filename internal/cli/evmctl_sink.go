package cli

import (
	"errors"
	"slices"
	"sync"

	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/internal/tree"
)

// An evmctlSink writes the detached signature before the attributes, as evmctl does:
// who may set none gets it all the same. With -n it is all that is written.
type evmctlSink struct {
	tree.Sink
	onlyDetached bool
	made         *evmctlLabels
}

// evmctlLabels are labels that could not be set, by the names of files. evmctl prints
// them before it tries.
type evmctlLabels struct{ byName sync.Map }

// take adds the labels that were made for a file.
func (l *evmctlLabels) take(res *report.Result) {
	changes, _ := l.byName.LoadAndDelete(res.Path)
	all, _ := changes.([]tree.Change)
	for _, c := range all {
		switch c.Attr {
		case imaevm.AttrIMA:
			res.IMA = c.New
		case imaevm.AttrEVM:
			res.EVM = c.New
		}
	}
}

// Apply implements tree.Sink.
func (s evmctlSink) Apply(f tree.File, changes []tree.Change) error {
	err := s.apply(f, changes)
	if err != nil {
		s.made.byName.Store(f.Name(), changes)
	}
	return err
}

func (s evmctlSink) apply(f tree.File, changes []tree.Change) error {
	isDetached := func(c tree.Change) bool { return c.Attr == tree.SidecarAttr }
	i := slices.IndexFunc(changes, isDetached)
	if i < 0 {
		if s.onlyDetached {
			return nil
		}
		return s.Sink.Apply(f, changes)
	}
	err := s.Sink.Apply(f, changes[i:i+1])
	if err != nil || s.onlyDetached {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(changes), isDetached)
	if len(rest) == 0 {
		return nil
	}
	err = s.Sink.Apply(f, rest)
	if partial, ok := errors.AsType[*tree.PartialError](err); ok {
		partial.Done = slices.Insert(slices.Clone(partial.Done), 0, changes[i])
	}
	return err
}
