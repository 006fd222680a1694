package keyfile

import (
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	mldsax509 "filippo.io/mldsa/x509"
	"golang.org/x/sys/unix"

	"imaseal/keys/pbes2"
)

// EncodePrivate returns a private key as PKCS#8 in PEM, encrypted if there is
// a passphrase. The caller clears the result.
func EncodePrivate(key crypto.PrivateKey, passphrase []byte) ([]byte, error) {
	der, err := mldsax509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	if len(passphrase) == 0 {
		return pem.EncodeToMemory(&pem.Block{Type: typePKCS8, Bytes: der}), nil
	}
	encrypted, err := pbes2.Encrypt(der, passphrase)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: typeEncrypted, Bytes: encrypted}), nil
}

// EncodeCertificate returns a certificate's DER as PEM.
func EncodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: der})
}

// A File is one to write, of exactly the mode.
type File struct {
	Path string
	Data []byte
	Mode fs.FileMode
}

// WriteFiles makes files, whole and durable: all of them or, as far as the
// error could be foreseen, none. Files of these names are kept, and fs.ErrExist
// returned, unless force is set; then they are replaced, if they are regular
// files or links to such. The errors name the file.
func WriteFiles(files []File, force bool) error {
	var staged []string
	defer func() {
		for _, temp := range staged {
			os.Remove(temp)
		}
	}()
	for _, f := range files {
		temp, err := stage(f, force)
		if err != nil {
			return writeError(f.Path, err)
		}
		staged = append(staged, temp)
	}
	for i, f := range files {
		if err := publish(staged[i], f.Path, force); err != nil {
			if !force { // those before were not there
				for _, made := range files[:i] {
					os.Remove(made.Path)
				}
			}
			return writeError(f.Path, err)
		}
	}
	return nil
}

func writeError(path string, err error) error {
	if link, ok := errors.AsType[*os.LinkError](err); ok {
		err = link.Err
	}
	return fmt.Errorf("writing %w", pathError(path, err))
}

// Replaceable returns nil if WriteFiles would write a file of the name, as far
// as what is there can tell.
func Replaceable(path string, force bool) error {
	if _, err := os.Lstat(path); err != nil {
		return nil
	}
	if !force {
		return fs.ErrExist
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return errors.New("is there, and not a regular file")
	}
	return nil
}

// stage writes a file under another name beside it, which it returns.
func stage(file File, force bool) (string, error) {
	if err := Replaceable(file.Path, force); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(file.Path), ".imaseal-*") // of mode 0600
	if err != nil {
		return "", err
	}
	if _, err = f.Write(file.Data); err == nil {
		err = f.Chmod(file.Mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// publish gives a staged file its name.
func publish(temp, path string, force bool) error {
	rename := renameNew
	if force {
		rename = os.Rename
	}
	if err := rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// renameNew renames a file unless there is one of the new name. File systems
// that cannot do that at once have hard links.
func renameNew(old, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		return os.Link(old, path) // WriteFiles removes old
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
