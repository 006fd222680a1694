package label

import (
	"imaseal/internal/imaevm"
	"imaseal/internal/labelfile"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/internal/tree"
)

// Record returns the labels of a file that came out as asked, and what they were
// made for. The Labeller must have Digests, and the file show the labels that it
// is to have: see tree.Overlay.
func (l *Labeller) Record(f tree.File, res report.Result) (labelfile.Record, error) {
	r := labelfile.Record{Path: f.Rel(), Class: res.Class, Digest: res.Digest}
	var err error
	if r.IMA, err = tree.Value(f, imaevm.AttrIMA); err != nil {
		return r, err
	}
	r.Verity = len(r.IMA) > 0 && imaevm.Type(r.IMA[0]) == imaevm.TypeVerity
	if l.Contexts != nil {
		if r.SELinux, err = tree.Value(f, imaevm.AttrSELinux); err != nil {
			return r, err
		}
	}
	if l.EVM == nil || l.EVM.Kinds[plan.Class(res.Class)] == 0 {
		return requested(r), nil
	}
	if r.EVMLabel, err = tree.Value(f, imaevm.AttrEVM); err != nil || len(r.EVMLabel) == 0 {
		return r, err
	}
	r.EVM, err = l.covered(f, imaevm.Type(r.EVMLabel[0]), r)
	return requested(r), err
}

// requested leaves out the labels that are made elsewhere.
func requested(r labelfile.Record) labelfile.Record {
	if isElsewhere(r.IMA) {
		r.IMA = nil
	}
	if isElsewhere(r.EVMLabel) {
		r.EVMLabel = nil
	}
	return r
}

// covered returns what the EVM label of a record covers.
func (l *Labeller) covered(f tree.File, kind imaevm.Type, r labelfile.Record) (*labelfile.EVM, error) {
	c, err := l.EVM.Covers.Cover(f, kind, r.IMA)
	if err != nil {
		return nil, err
	}
	e := &labelfile.EVM{Kind: kind, Attrs: c.Attrs, Meta: c.Meta, Word32: c.Layout.Word32, BigEndian: c.Layout.BigEndian}
	if kind != imaevm.TypePortable || len(l.EVM.Covers.Added) > 0 {
		e.Names = l.EVM.Covers.Covered(kind)
	}
	if s, err := imaevm.ParseSignature(r.EVMLabel); err == nil {
		e.Algo = s.Alg
	}
	for i, a := range e.Attrs {
		if a.Name == imaevm.AttrIMA {
			e.Attrs[i].Value = nil
		}
	}
	return e, nil
}
