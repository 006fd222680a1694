package kernellab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// keep puts everything that a boot needs into a new directory below dir, with a
// script that boots it on the terminal. Arguments of the script are appended to
// the kernel command line.
func (l *Lab) keep(dir, name string, c Case) (script string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making directory: %w", err)
	}
	kept, err := os.MkdirTemp(dir, strings.ReplaceAll(name, "/", "_")+"-*")
	if err != nil {
		return "", fmt.Errorf("making directory: %w", err)
	}
	if kept, err = filepath.Abs(kept); err != nil {
		return "", fmt.Errorf("finding directory: %w", err)
	}
	c.More = slices.Clone(c.More)
	images := []*Image{&c.Image}
	for i := range c.More {
		images = append(images, &c.More[i])
	}
	for i, img := range images {
		if img.Path == "" {
			continue
		}
		image := filepath.Join(kept, fmt.Sprint("image", i))
		if err := copySparse(img.Path, image); err != nil {
			return "", err
		}
		img.Path = image
	}
	m, err := l.assemble(kept, c)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "#!/bin/sh\n# Verdicts come to %s, and lab.shell as argument gives a shell.\nexec qemu-system-x86_64", m.report)
	for _, arg := range m.arguments(c) {
		fmt.Fprintf(&b, " \\\n\t'%s'", strings.ReplaceAll(arg, "'", `'\''`))
		if strings.HasPrefix(arg, "console=") {
			b.WriteString(`" $*"`)
		}
	}
	b.WriteString(" \\\n\t-serial stdio\n")
	script = filepath.Join(kept, "boot")
	return script, os.WriteFile(script, []byte(b.String()), 0o755)
}
