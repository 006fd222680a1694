package kernellab

import (
	"debug/elf"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// wanted are the modules a guest uses, besides what they depend on. A kernel
// has the others built in: 6.1 has virtio as modules, later ones have not. The
// algorithms are asked for by name when needed, but no modprobe is there.
var wanted = []string{
	"virtio_pci", "virtio_blk", "ext4", "xfs", "squashfs", "erofs", "overlay", "fuse", "loop",
	"crc32c_generic", "crc32c_intel", "crc32c_cryptoapi",
	"sha512_generic", "sha3_generic", "sha3", "md4", "rmd160", "wp512", "streebog_generic",
}

// A module is one kernel module, decompressed.
type module struct {
	name    string
	depends []string
	content []byte
}

// modules returns the wanted modules of a kernel in loading order. They are
// decompressed once and kept beside the kernel.
func (k Kernel) modules() ([]module, error) {
	list := crc32.ChecksumIEEE([]byte(strings.Join(wanted, " ")))
	dir := filepath.Join(k.dir, fmt.Sprintf("loadable-%08x", list))
	if err := cached(dir, k.decompress); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing modules: %w", err)
	}
	all := make(map[string]module)
	for _, f := range files {
		m, err := readModule(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		all[m.name] = m
	}
	var ordered []module
	var visit func(name string)
	visit = func(name string) {
		m, ok := all[name]
		if !ok {
			return
		}
		delete(all, name)
		for _, d := range m.depends {
			visit(d)
		}
		ordered = append(ordered, m)
	}
	for _, name := range wanted {
		visit(name)
	}
	return ordered, nil
}

// decompress puts the wanted modules and what they depend on into dir.
func (k Kernel) decompress(dir string) error {
	found := make(map[string]string)
	err := filepath.WalkDir(filepath.Join(k.dir, "modules"), func(p string, d fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(path.Base(p), ".ko"); ok && err == nil {
			found[strings.ReplaceAll(name, "-", "_")] = p
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("looking for modules: %w", err)
	}
	todo := append([]string(nil), wanted...)
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		src, ok := found[name]
		if !ok {
			continue
		}
		delete(found, name)
		dst := filepath.Join(dir, name+".ko")
		if err := expand(src, dst); err != nil {
			return err
		}
		m, err := readModule(dst)
		if err != nil {
			return err
		}
		todo = append(todo, m.depends...)
	}
	return nil
}

// expand copies a module that may be compressed.
func expand(src, dst string) error {
	if !strings.HasSuffix(src, ".xz") {
		return os.Link(src, dst)
	}
	out, err := command("", "xz", "-dc", src)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, []byte(out), 0o644)
}

// readModule reads a module and its dependencies from its .modinfo section.
func readModule(file string) (module, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return module{}, fmt.Errorf("reading module: %w", err)
	}
	f, err := elf.Open(file)
	if err != nil {
		return module{}, fmt.Errorf("reading module %s: %w", file, err)
	}
	defer f.Close()
	m := module{name: strings.TrimSuffix(filepath.Base(file), ".ko"), content: content}
	section := f.Section(".modinfo")
	if section == nil {
		return module{}, fmt.Errorf("reading module %s: no .modinfo", file)
	}
	info, err := section.Data()
	if err != nil {
		return module{}, fmt.Errorf("reading module %s: %w", file, err)
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if d, ok := strings.CutPrefix(field, "depends="); ok && d != "" {
			m.depends = strings.Split(strings.ReplaceAll(d, "-", "_"), ",")
		}
	}
	return m, nil
}
