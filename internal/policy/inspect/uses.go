package inspect

import (
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"imaseal/internal/plan"
	"imaseal/internal/policy/match"
	"imaseal/internal/tree"
)

// elfHeader is where an ELF file tells its type.
const elfHeader = 18

// Uses returns what a file is for, as far as its path, its mode and its first
// bytes tell: any file is read, only some are executed, mapped, or loaded by the
// kernel. A path that is not absolute stands for one below /.
func Uses(f tree.File) ([]match.Operation, error) {
	meta, name := f.Meta(), f.Full()
	uses := []match.Operation{match.Read}
	header := make([]byte, elfHeader)
	if meta.Size > 0 {
		n, err := f.ReadAt(header, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading: %w", err)
		}
		header = header[:n]
	}
	isELF := meta.Size > 0 && strings.HasPrefix(string(header), "\x7fELF")
	switch isExec := meta.Executable(); {
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
