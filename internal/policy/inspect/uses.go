package inspect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"imaseal/internal/plan"
	"imaseal/internal/policy/match"
)

// elfHeader is where an ELF file tells its type.
const elfHeader = 18

// Uses returns what a file is for, as far as its path, its mode and its first
// bytes tell: any file is read, only some are executed, mapped, or loaded by the
// kernel. A path that is not absolute stands for one below /. An error of reading
// comes without the file's name.
func Uses(file io.ReaderAt, st *unix.Stat_t, name string) ([]match.Operation, error) {
	return uses(file, st.Mode, st.Size, name)
}

func uses(file io.ReaderAt, mode uint32, size int64, name string) ([]match.Operation, error) {
	uses := []match.Operation{match.Read}
	header := make([]byte, elfHeader)
	if size > 0 {
		n, err := file.ReadAt(header, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			if p, ok := errors.AsType[*fs.PathError](err); ok {
				err = p.Err
			}
			return nil, fmt.Errorf("reading: %w", err)
		}
		header = header[:n]
	}
	isELF := size > 0 && strings.HasPrefix(string(header), "\x7fELF")
	switch isExec := mode&0o111 != 0; {
	case isExec && isELF:
		uses = append(uses, match.Exec)
	case isExec:
		uses = append(uses, match.Script)
	}
	if isELF && isShared(header) {
		uses = append(uses, match.Map)
	}
	base := path.Base(name)
	if isELF && strings.HasPrefix(base, "ld-") && strings.Contains(base, ".so") || strings.HasPrefix(base, "ld.so") {
		uses = append(uses, match.Interpreter)
	}
	return append(uses, kernelUses(name)...), nil
}

// isShared reports whether the header is one of type ET_DYN: a library, or a
// program that could be one. The type has the byte order of the file.
func isShared(header []byte) bool {
	const dataAt, bigEndian, typeAt, shared = 5, 2, 16, 3
	if len(header) < elfHeader {
		return false
	}
	low, high := header[typeAt], header[typeAt+1]
	if header[dataAt] == bigEndian {
		low, high = high, low
	}
	return low == shared && high == 0
}

// kernelUses returns what the kernel itself reads a file for, by its name.
func kernelUses(name string) []match.Operation {
	var uses []match.Operation
	full := filepath.Join("/", name)
	base, dir := path.Base(full), path.Dir(full)
	inBoot := strings.HasSuffix(dir, "/boot") || strings.Contains(dir, "/boot/") || strings.Contains(dir, "/lib/modules/")
	if plan.IsModule(full) {
		uses = append(uses, match.Module)
	}
	if strings.Contains(full, "/lib/firmware/") {
		uses = append(uses, match.Firmware)
	}
	if inBoot && (strings.HasPrefix(base, "vmlinu") || strings.HasPrefix(base, "bzImage") || strings.HasPrefix(base, "Image")) {
		uses = append(uses, match.KexecKernel)
	}
	if inBoot && (strings.HasPrefix(base, "initrd") || strings.HasPrefix(base, "initramfs")) {
		uses = append(uses, match.KexecInitramfs)
	}
	if strings.HasSuffix(dir, "/etc/ima") {
		uses = append(uses, match.LoadPolicy)
	}
	if base == "x509_ima.der" || base == "x509_evm.der" {
		uses = append(uses, match.LoadCertificate)
	}
	return uses
}
