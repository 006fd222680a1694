package cli

import (
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/internal/imaevm"
	"imaseal/internal/report"
	"imaseal/internal/tree"
)

// A pickySink makes changes until one of the attribute that it refuses.
type pickySink struct {
	tree.Sink
	refuses string
	made    []string
}

func (s *pickySink) Apply(_ tree.File, changes []tree.Change) error {
	for i, c := range changes {
		if c.Attr == s.refuses && i > 0 {
			return &tree.PartialError{Done: changes[:i], Err: unix.EPERM}
		}
		if c.Attr == s.refuses {
			return unix.EPERM
		}
		s.made = append(s.made, c.Attr)
	}
	return nil
}

// A namedFile has a name and nothing else.
type namedFile struct{ tree.File }

func (namedFile) Name() string { return "f" }

// The detached signature is written first, whatever becomes of the attributes, and what
// was made is known.
func TestEvmctlSink(t *testing.T) {
	changes := []tree.Change{{Attr: imaevm.AttrIMA, New: []byte("i")}, {Attr: tree.SidecarAttr, New: []byte("i")}, {Attr: imaevm.AttrEVM, New: []byte("e")}}
	for _, tt := range []struct {
		refuses      string
		onlyDetached bool
		made, done   string
		fails        bool
	}{
		{"", false, "PATH.sig security.ima security.evm", "", false},
		{"", true, "PATH.sig", "", false},
		{imaevm.AttrIMA, true, "PATH.sig", "", false},
		{imaevm.AttrIMA, false, "PATH.sig", "", true},
		{imaevm.AttrEVM, false, "PATH.sig security.ima", "PATH.sig security.ima", true},
		{tree.SidecarAttr, false, "", "", true},
		{tree.SidecarAttr, true, "", "", true},
	} {
		var made evmctlLabels
		inner := &pickySink{refuses: tt.refuses}
		err := evmctlSink{inner, tt.onlyDetached, &made}.Apply(namedFile{}, changes)
		var done []string
		if partial, ok := errors.AsType[*tree.PartialError](err); ok {
			for _, c := range partial.Done {
				done = append(done, c.Attr)
			}
		}
		if have := strings.Join(inner.made, " "); have != tt.made || strings.Join(done, " ") != tt.done || (err != nil) != tt.fails {
			t.Errorf("%q, %v: made %s, done %s, %v", tt.refuses, tt.onlyDetached, have, done, err)
		}
		res := report.Result{Path: "f"}
		if made.take(&res); (string(res.IMA)+string(res.EVM) == "ie") != tt.fails {
			t.Errorf("%q: labels %q and %q are known", tt.refuses, res.IMA, res.EVM)
		}
	}
}

// With -n a detached signature is all that is written.
func TestEvmctlDetached(t *testing.T) {
	evmctlFiles(t)
	for _, n := range []string{" -n", ""} {
		os.Remove("text.sig")
		out, errs, status := evmctlLine{args: "ima_sign --xattr-user -f -k rsa2048.key text" + n}.ours()
		b, err := os.ReadFile("text.sig")
		if status != 0 || err != nil || hex.EncodeToString(b)+"\n" != out {
			t.Errorf("%s: %d %s%s, in the file %x, %v", n, status, out, errs, b, err)
		}
		if _, err := unix.Lgetxattr("text", "user.ima", nil); (err == unix.ENODATA) != (n != "") {
			t.Errorf("%s: user.ima: %v", n, err)
		}
	}
}
