package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/attr"
	"imaseal/internal/cmdline"
	"imaseal/internal/imaevm"
	"imaseal/internal/plan"
	"imaseal/internal/report"
	"imaseal/internal/tree"
	"imaseal/walk"
)

// showOptions are the options of imaseal show.
type showOptions struct {
	namespace namespaceOption
	json      bool
}

func (o *showOptions) flags() []urfave.Flag {
	return []urfave.Flag{o.namespace.flag(labels), jsonFlag(&o.json, "print one JSON object per file")}
}

// A showRequest is what show is asked for.
type showRequest struct {
	files     []string
	namespace string
	json      bool
}

func (o *showOptions) plan(files []string) (showRequest, error) {
	r := showRequest{files: files, namespace: o.namespace.name, json: o.json}
	if err := o.namespace.check(); err != nil {
		return r, err
	}
	if len(files) == 0 {
		return r, &cmdline.UsageError{Err: errors.New("no FILE is given"), Advice: "name one or more files"}
	}
	return r, firstError(readStdinOnce(archivesReading(files)...), refusePackages(plan.Selection{Paths: files},
		"a package holds no attributes but security.ima", "leave out --namespace", o.namespace.name == "user"))
}

func (p Program) showCommand() *urfave.Command {
	o := new(showOptions)
	return &urfave.Command{
		Name:      "show",
		Usage:     "decode labels",
		ArgsUsage: "FILE...",
		Description: `Prints what security.ima and security.evm of each FILE say: type, algorithm,
digest, key id, size of the signature. Labels of unknown types are printed
in hexadecimal. Nothing is verified.

   imaseal show /bin/ls
   imaseal show --json /bin/ls | jq -r .ima.digest
   imaseal show tar:root.tar
   imaseal show rpm:coreutils.rpm`,
		Flags:  o.flags(),
		Action: action(o.plan, p.show),
	}
}

func (p Program) show(ctx context.Context, r showRequest) error {
	rename := func(name string) string { return name }
	if r.namespace == "user" {
		rename = userNamespace.Kept
	}
	say := func(shown shownFile, err error) (string, error) {
		switch {
		case err != nil:
			return "", err
		case r.json:
			return jsonLine(shown)
		}
		return shown.text(), nil
	}
	return p.each(ctx, r.files,
		func(name string) (string, error) { return say(readLabels(name, rename)) },
		func(f tree.File) (string, error) { return say(labelsOf(f, rename)) })
}

// shownFile is what show says of a file. Its JSON fields only ever grow.
type shownFile struct {
	shownPath
	IMA *shownLabel `json:"ima"`
	EVM *shownLabel `json:"evm"`
}

// shownLabel is a decoded label; what does not apply to its type is empty.
type shownLabel struct {
	Type      string `json:"type"`
	Version   int    `json:"version,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	Digest    string `json:"digest,omitempty"`
	KeyID     string `json:"keyid,omitempty"`
	Timestamp string `json:"timestamp,omitempty"`
	HMAC      string `json:"hmac,omitempty"`
	Signature string `json:"signature,omitempty"`
	Problem   string `json:"problem,omitempty"`
	Raw       string `json:"raw"`
	size      int    // of the signature, in bytes
}

var errDirectory = &advisedError{err: errors.New("is a directory, and only regular files carry labels"), code: "directory", advice: "imaseal verify -v DIR lists the files below it and what their labels are"}

// labelsOf reads the labels of a file that a carrier has opened.
func labelsOf(f tree.File, rename func(string) string) (shownFile, error) {
	shown := shownFile{shownPath: showPath(f.Name())}
	for _, l := range []struct {
		name string
		to   **shownLabel
	}{{imaevm.AttrIMA, &shown.IMA}, {imaevm.AttrEVM, &shown.EVM}} {
		value, err := tree.Value(f, rename(l.name))
		if err != nil {
			return shown, fmt.Errorf("%s: %w", report.Quote(f.Name()), err)
		}
		if value != nil {
			*l.to = decodeLabel(value)
		}
	}
	return shown, nil
}

func readLabels(name string, rename func(string) string) (shownFile, error) {
	shown := shownFile{shownPath: showPath(name)}
	root, err := walk.Open(name)
	if err != nil {
		return shown, err
	}
	defer root.Close()
	if root.IsDir() {
		return shown, &os.PathError{Op: "show", Path: name, Err: errDirectory}
	}
	if shown.IMA, err = readLabel(root, rename(imaevm.AttrIMA)); err == nil {
		shown.EVM, err = readLabel(root, rename(imaevm.AttrEVM))
	}
	if err != nil {
		return shown, &os.PathError{Op: "show", Path: name, Err: err}
	}
	return shown, nil
}

// readLabel does not open the file for reading, since a kernel that enforces
// appraisal opens none whose label is wrong, which is when one wants to see it.
func readLabel(root *walk.Root, attribute string) (*shownLabel, error) {
	value, err := attr.ByPath(root, root.Path(), attribute)
	if err == attr.ErrNotSet {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeLabel(value), nil
}

// decodeLabel describes a label of any type.
func decodeLabel(value []byte) *shownLabel {
	s := &shownLabel{Raw: hex.EncodeToString(value)}
	label, err := imaevm.Parse(value)
	if trailing, ok := errors.AsType[*imaevm.TrailingError](err); ok {
		label, s.Problem = trailing.Label, trailing.Error()
	} else if err != nil {
		s.Type, s.Problem = "empty", err.Error()
		if len(value) > 0 {
			s.Type = imaevm.Type(value[0]).String()
		}
		return s
	}
	s.Type = label.Type().String()
	switch label := label.(type) {
	case imaevm.HashLabel:
		s.Algorithm, s.Digest = label.Digest.Algorithm().String(), label.Digest.String()
	case imaevm.HMAC:
		s.Algorithm, s.HMAC = "hmac(sha1)", hex.EncodeToString(label[:])
	case imaevm.Signature:
		s.Version, s.Algorithm, s.KeyID = int(label.Version), label.Alg.String(), label.KeyID.String()
		s.Signature, s.size = hex.EncodeToString(label.Raw), len(label.Raw)
	case imaevm.SignatureV1:
		s.Version, s.KeyID = 1, label.KeyID.String()
		if a, ok := label.ContentAlgorithm(); ok {
			s.Algorithm = a.String()
		}
		s.Timestamp = time.Unix(int64(label.Timestamp), 0).UTC().Format(time.RFC3339)
		s.Signature, s.size = hex.EncodeToString(label.Raw), len(label.Raw)
		if n := len(label.Rest); n > 0 {
			s.Problem = fmt.Sprintf("%d bytes behind the signature", n)
		}
	}
	return s
}

// text prints the labels for people.
func (s shownFile) text() string {
	return fmt.Sprintf("%s\n%s%s", report.Quote(s.Path), s.IMA.text(imaevm.AttrIMA), s.EVM.text(imaevm.AttrEVM))
}

// text prints a label as an indented paragraph.
func (s *shownLabel) text(name string) string {
	if s == nil {
		return fmt.Sprintf("  %s  none\n", name)
	}
	t := fmt.Sprintf("  %s  %s\n", name, s.Type)
	field := func(name string, format string, args ...any) {
		t += fmt.Sprintf("    %-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	if s.Version != 0 {
		field("version", "%d", s.Version)
	}
	for _, f := range []struct{ name, value string }{
		{"algorithm", s.Algorithm}, {"digest", s.Digest}, {"keyid", s.KeyID},
		{"timestamp", s.Timestamp}, {"hmac", s.HMAC},
	} {
		if f.value != "" {
			field(f.name, "%s", f.value)
		}
	}
	if s.size > 0 {
		field("signature", "%d bytes", s.size)
	}
	if s.Problem != "" {
		field("problem", "%s", s.Problem)
		if s.Raw != "" {
			field("raw", "%s", s.Raw)
		}
	}
	return t
}
