package kernellab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"imaseal/internal/kernellab/wire"
)

// applets are the names busybox gets in the initramfs.
var applets = strings.Fields(`sh cat chroot dmesg echo grep insmod ls mkdir mount
	umount sleep stat head tail tr sed dd cp rm touch sync true false wc sort find`)

// writeInitramfs makes the initramfs of a case.
func (l *Lab) writeInitramfs(path string, c Case) (err error) {
	modules, err := c.Kernel.modules()
	if err != nil {
		return err
	}
	busybox, err := os.ReadFile(lookPath("busybox"))
	if err != nil {
		return fmt.Errorf("reading busybox: %w", err)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("making initramfs: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := newCpioWriter(f)
	for _, dir := range []string{"proc", "sys", "dev", "tmp", wire.Root} {
		w.dir(dir)
	}
	for i := range c.More {
		w.dir(wire.ImageRoot(i + 1))
	}
	w.file("init", 0o755, l.probe)
	w.file("bin/busybox", 0o755, busybox)
	for _, name := range applets {
		w.symlink("bin/"+name, "busybox")
	}
	job := c.job()
	for _, m := range modules {
		if slices.Contains(c.Without, m.name) {
			continue
		}
		name := "/modules/" + m.name + ".ko"
		w.file(name, 0o644, m.content)
		job.Modules = append(job.Modules, name)
	}
	for name, content := range c.Files {
		w.file(name, 0o755, content)
	}
	var b bytes.Buffer
	if err := wire.WriteJob(&b, job); err != nil {
		return err
	}
	w.file(wire.JobPath, 0o600, b.Bytes())
	return w.close()
}

// job is what the guest program must know of a case.
func (c Case) job() wire.Job {
	var more []string
	for _, img := range c.More {
		more = append(more, string(img.FS))
	}
	return wire.Job{
		Keys:         c.Keys,
		Setup:        c.Setup,
		Policy:       c.Policy,
		EVM:          c.EVM,
		FS:           string(c.Image.FS),
		More:         more,
		MountOptions: c.MountOptions,
		Probes:       c.Probes,
		Init:         c.Init,
	}
}
