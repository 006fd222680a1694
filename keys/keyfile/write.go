package keyfile

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"imaseal/keys/pbes2"
)

// EncodePrivate returns a private key as PKCS#8 in PEM, encrypted if there is
// a passphrase. The caller clears the result.
func EncodePrivate(key crypto.PrivateKey, passphrase []byte) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
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

// WriteFile makes a file of exactly the mode perm, whole or not at all, and
// durable. A file of that name is kept, and fs.ErrExist returned, unless force
// is set; then it is replaced.
func WriteFile(path string, data []byte, perm fs.FileMode, force bool) error {
	err := writeFile(path, data, perm, force)
	if link, ok := errors.AsType[*os.LinkError](err); ok {
		err = link.Err
	}
	if err != nil {
		return fmt.Errorf("writing %w", pathError(path, err))
	}
	return nil
}

func writeFile(path string, data []byte, perm fs.FileMode, force bool) error {
	if _, err := os.Lstat(path); err == nil && !force {
		return fs.ErrExist
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".imaseal-*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if force {
		err = os.Rename(f.Name(), path)
	} else {
		err = renameNew(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// renameNew renames a file unless there is one of the new name. File systems
// that cannot do that at once have hard links.
func renameNew(old, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		return os.Link(old, path) // the caller removes old
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
