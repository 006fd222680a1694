// Package bootset finds the keys and the policy that a host loads at boot, and
// copies them to where an initramfs has them.
//
// They are in the places that dracut's modules masterkey and integrity look into:
//
//	/etc/keys/x509_ima.der, /etc/keys/ima/*                certificates for IMA
//	/etc/keys/x509_evm.der, /etc/keys/evm/*                certificates for EVM
//	/etc/keys/evm-trusted.blob, evm-user.blob              EVM's key, encrypted
//	/etc/keys/kmk-trusted.blob, kmk-user.blob              the master key for that
//	/etc/ima/ima-policy, /etc/sysconfig/ima-policy         the policy
//
// The master key is the one that the blob names: that of user:NAME is also found in
// NAME.blob. The files ima, evm and masterkey in /etc/sysconfig may name other
// places, with the variables of [Settings].
package bootset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"imaseal/internal/stream"
	"imaseal/keys/evmkey"
)

// A Set is the files that a host loads at boot. What there is none of is empty.
type Set struct {
	IMA, EVM   []string // certificates
	Blob       string   // EVM's key, encrypted
	Master     string   // the key for that
	MasterName string   // what the blob calls it, such as user:kmk-user
	Policy     string
}

const keysDir = "/etc/keys"

// Find looks for the files below root, which is / for those of the host itself. It
// returns what it has found, and an error for each place that it cannot look into.
func Find(root string) (Set, []error) {
	f := finder{root: root, settings: make(map[string]string)}
	for _, name := range []string{"ima", "evm", "masterkey"} {
		f.readSettings("/etc/sysconfig/" + name)
	}
	s := Set{
		IMA:    append(f.first("x509_ima.der"), f.list(f.settings["IMAKEYSDIR"], "ima")...),
		EVM:    append(f.first(f.settings["EVMX509"], "x509_evm.der"), f.list(f.settings["EVMKEYSDIR"], "evm")...),
		Blob:   only(f.first(f.settings["EVMKEY"], "evm-trusted.blob", "evm-user.blob")),
		Policy: only(f.first(f.settings["IMAPOLICY"], "/etc/ima/ima-policy", "/etc/sysconfig/ima-policy")),
	}
	if s.Blob == "" {
		return s, f.errs
	}
	blob, err := evmkey.ReadBlob(s.Blob)
	if err != nil {
		return s, append(f.errs, err)
	}
	s.MasterName = blob.Master
	kind, name, _ := strings.Cut(blob.Master, ":")
	s.Master = only(f.first(f.settings["MASTERKEY"], name+".blob", "kmk-"+kind+".blob"))
	if s.Master == "" {
		f.errs = append(f.errs, &fs.PathError{Op: "open", Path: f.path(name + ".blob"), Err: fs.ErrNotExist})
	}
	return s, f.errs
}

// Empty reports whether there is nothing to load.
func (s Set) Empty() bool { return len(s.IMA)+len(s.EVM) == 0 && s.Blob == "" && s.Policy == "" }

// Files returns all files, in the order in which they are loaded.
func (s Set) Files() []string {
	files := slices.Concat(s.IMA, s.EVM, []string{s.Master, s.Blob, s.Policy})
	return slices.DeleteFunc(files, func(name string) bool { return name == "" })
}

// CopyTo copies the files below a directory that is not there yet, with the names
// by which Find finds them there. If it fails it leaves nothing.
func (s Set) CopyTo(dir string) (err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	kind, name, _ := strings.Cut(s.MasterName, ":")
	places := map[string]string{s.Master: name + ".blob", s.Blob: "evm-" + kind + ".blob", s.Policy: "/etc/ima/ima-policy"}
	for _, certificates := range []struct {
		dir   string
		files []string
	}{{"ima", s.IMA}, {"evm", s.EVM}} {
		for i, file := range certificates.files { // several places may have files of one name
			if err := copyFile(file, dir, filepath.Join(certificates.dir, fmt.Sprintf("%03d-%s", i, filepath.Base(file)))); err != nil {
				return err
			}
		}
	}
	for file, place := range places {
		if file == "" {
			continue
		}
		if err := copyFile(file, dir, place); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a file to a place below root, for its owner alone.
func copyFile(file, root, place string) error {
	b, err := stream.ReadRegular(file)
	if err != nil {
		return err
	}
	to := finder{root: root}.path(place)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// A finder looks for files and keeps what goes wrong.
type finder struct {
	root     string
	settings map[string]string
	errs     []error
}

// path returns where a file is that is named from the root, or in /etc/keys.
func (f finder) path(name string) string {
	if !filepath.IsAbs(name) {
		name = filepath.Join(keysDir, name)
	}
	return filepath.Join(f.root, name)
}

// first returns the first of the files that is there, none if none is.
func (f *finder) first(names ...string) []string {
	for _, name := range names {
		if name == "" {
			continue
		}
		_, err := os.Stat(f.path(name))
		if err == nil {
			return f.regular(f.path(name))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			f.errs = append(f.errs, err)
		}
	}
	return nil
}

// regular returns the file unless it is something else, such as a fifo, which would
// have the boot wait for ever.
func (f *finder) regular(name string) []string {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		f.errs = append(f.errs, &fs.PathError{Op: "open", Path: name, Err: stream.ErrIrregular})
		return nil
	}
	return []string{name}
}

func only(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// list returns the files in a directory, in the order of their names: those that
// the shell's * takes. The second name stands in for an empty one.
func (f *finder) list(dir, otherwise string) []string {
	if dir == "" {
		dir = otherwise
	}
	entries, err := os.ReadDir(f.path(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.errs = append(f.errs, err)
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, f.regular(filepath.Join(f.path(dir), e.Name()))...)
		}
	}
	return files
}

func (f *finder) readSettings(name string) {
	b, err := stream.ReadRegular(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		f.errs = append(f.errs, err)
		return
	}
	values, err := parseSettings(string(b))
	if err != nil {
		f.errs = append(f.errs, &fs.PathError{Op: "read", Path: f.path(name), Err: err})
	}
	for k, v := range values {
		f.settings[k] = v
	}
}
