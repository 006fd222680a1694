package cli

import (
	"context"
	"io"
	"os"
	"strings"

	"imaseal/internal/apply"
	"imaseal/internal/labelfile"
	"imaseal/internal/plan"
	"imaseal/internal/reason"
	"imaseal/internal/rpmdb"
	"imaseal/internal/stream"
	"imaseal/internal/tree"
)

// rpmdbPrefix is what LABELS begins with that are in an RPM database. A file of such
// a name is written ./rpmdb:x.
const rpmdbPrefix = "rpmdb:"

// fromRPM takes LABELS that are in an RPM database. Anybody can put a signature into
// a package: only those count that somebody made who is trusted.
func (r *applyRequest) fromRPM() error {
	root, ok := strings.CutPrefix(r.labels, rpmdbPrefix)
	if !ok {
		return nil
	}
	if root == "" {
		root = "/"
	}
	r.system, r.partial = root, true
	r.keys = append(r.keys, r.trust...)
	if len(r.keys) == 0 {
		return conflict("signatures of an RPM database are written that certificates verify, and none is given", "--trust CERT names those of the vendors")
	}
	return nil
}

// openLabels opens the file of labels. The caller closes it.
func (p Program) openLabels(ctx context.Context, r applyRequest, a *apply.Applier) (*os.File, error) {
	if r.system == "" {
		return p.openAgain(ctx, r.labels, r.TempDir)
	}
	root, err := rpmdb.OpenRoot(r.system)
	if err != nil {
		return nil, err
	}
	a.Vendor = true
	if _, ok := r.Carrier(); !ok {
		// Files are found by where they are in the system, whatever PATH they are
		// below. Nothing is opened through root, which ends with the program.
		a.At = func(f tree.File) (string, bool) { return root.Rel(f.Full()) }
	}
	return p.copyRPM(ctx, root, r.TempDir)
}

// copyRPM copies the labels of an RPM database to a file.
func (p Program) copyRPM(ctx context.Context, root *rpmdb.Root, tempDir string) (*os.File, error) {
	in, out := io.Pipe()
	counted := make(chan rpmdb.Counts, 1)
	go func() {
		w := labelfile.NewWriter(out, labelfile.Labels)
		n, err := rpmdb.Read(ctx, root, tempDir, func(f rpmdb.File) error {
			return w.Write(labelfile.Record{Path: f.Path, Class: string(plan.Sign), Digest: f.Digest, IMA: f.Label})
		})
		if err == nil {
			err = w.End(nil)
		}
		counted <- n
		out.CloseWithError(err)
	}()
	file, err := stream.Spool(in, tempDir)
	in.CloseWithError(io.ErrClosedPipe) // where it could not be written, nothing more is read
	n := <-counted
	if err != nil {
		return nil, err
	}
	if n.Signed == 0 {
		p.warn(reason.NoVendorLabel, "no file of the %d packages in the RPM database has a signature", n.Packages)
	}
	if n.Malformed > 0 {
		p.warn(reason.Malformed, "%d entries of the RPM database are no signatures of files", n.Malformed)
	}
	if n.Config > 0 {
		p.warn(reason.ByRule, "%d configuration files keep what they have: they are signed, and rpm writes no labels of such files either", n.Config)
	}
	return file, nil
}
