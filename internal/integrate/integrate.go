// Package integrate puts small files into a system that make other programs of it
// call imaseal: package managers, what makes an initramfs, and systemd.
//
// An integration is one line of [All] and directories below files/, whose trees are
// those of the system: files/apt/etc/apt/apt.conf.d/90imaseal becomes
// /etc/apt/apt.conf.d/90imaseal. A file that begins with "#!" is a program and gets
// mode 0755, another one 0644. In their texts @IMASEAL@ stands for the path of
// imaseal. A directory that several integrations name stays until the last of them
// is removed.
//
// Nothing is kept about what was installed but what stands in the files: each gets
// a last line, the mark, as in
//
//	# Written by imaseal: mode=0644 made=1 sha256=HEX
//
// HEX is the SHA-256 of all bytes of the file before HEX. A file whose mark and mode
// are right is one that imaseal wrote and nobody changed: it is replaced by a newer
// one, and removed. Any other is left alone, and then nothing at all is done.
// "made" is how many of the directories that the file is in were made for it; they
// are removed with it if they are empty, and so are those with imaseal in their
// name. A mark survives where a list of installed files would be lost, in images and
// copies; that the text can be judged by itself is worth the line. It keeps from
// accidents, not from malice: who can write these files is root.
//
// The system may be an image that is being built, of a stranger, by an ordinary
// user: no link in it leads out of it.
package integrate

import (
	"bytes"
	"embed"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// An Integration is what makes one program of a system call imaseal.
type Integration struct {
	// Name is what users call it by.
	Name string
	// With names what is integrated with, in words.
	With string
	// Parts are the directories below files/ with its files, in the order in
	// which they are installed.
	Parts []string
	// Links are installed behind the files.
	Links []Link
	// Programs are paths of which one is there if what is integrated with is
	// installed; none if that is always so.
	Programs []string
	// Then is what is left to do after files were installed or removed, as a command;
	// "" for nothing.
	Then string
}

// A Link is a symbolic link, as those by which systemd starts units.
type Link struct {
	Path string
	To   string // its text
}

// All are the integrations that there are.
var All = []Integration{
	{Name: "apt", With: "apt", Parts: []string{"label", "apt"}, Programs: []string{"/usr/bin/apt-get"}},
	{Name: "dnf", With: "dnf", Parts: []string{"label", "dnf"}, Programs: []string{"/usr/bin/dnf", "/usr/bin/dnf5", "/usr/bin/dnf-3"}},
	{Name: "pacman", With: "pacman", Parts: []string{"label", "pacman"}, Programs: []string{"/usr/bin/pacman"}},
	{
		Name: "initramfs-tools", With: "initramfs-tools", Parts: []string{"initramfs-tools"},
		Programs: []string{"/usr/sbin/update-initramfs"}, Then: "update-initramfs -u -k all",
	},
	{
		Name: "dracut", With: "dracut", Parts: []string{"dracut"},
		Programs: []string{"/usr/bin/dracut", "/usr/sbin/dracut"}, Then: "dracut --regenerate-all --force",
	},
	{
		Name: "systemd", With: "systemd", Parts: []string{"systemd"}, Links: wanted,
		Programs: []string{"/usr/lib/systemd/systemd"}, Then: "systemctl daemon-reload",
	},
}

// wanted are the links that "systemctl enable" makes of the sections [Install] of
// the units.
var wanted = []Link{
	{Path: units + "multi-user.target.wants/imaseal-check.service", To: units + "imaseal-check.service"},
	{Path: units + "multi-user.target.wants/imaseal-denials.service", To: units + "imaseal-denials.service"},
	{Path: units + "timers.target.wants/imaseal-verify.timer", To: units + "imaseal-verify.timer"},
}

const units = "/etc/systemd/system/"

// ReadsConfig reports whether what is installed is of no use without imaseal's
// configuration.
func (in Integration) ReadsConfig() bool {
	return slices.Contains(in.Parts, "label") || slices.Contains(in.Parts, "systemd")
}

// Find returns the integration of a name.
func Find(name string) (Integration, bool) {
	i := slices.IndexFunc(All, func(in Integration) bool { return in.Name == name })
	if i < 0 {
		return Integration{}, false
	}
	return All[i], true
}

// Names are those of all integrations.
func Names() []string {
	var names []string
	for _, in := range All {
		names = append(names, in.Name)
	}
	return names
}

//go:embed all:files
var embedded embed.FS

// placeholder stands in the texts for the path of imaseal.
const placeholder = "@IMASEAL@"

// An Item is a file or link of an integration.
type Item struct {
	// Path is absolute, in the system.
	Path string
	// Mode are its permissions; 0 for a link.
	Mode fs.FileMode
	// Text is the file's content, or what a link says.
	Text []byte
	// State is what there is of it. Why says more of one that is Changed.
	State State
	Why   string

	made int // directories
	part string
}

// IsLink reports whether the item is a symbolic link.
func (it *Item) IsLink() bool { return it.Mode == 0 }

// A State says what is at the place of an Item.
type State string

const (
	// Absent says that there is nothing.
	Absent State = "absent"
	// Installed says that there is the very same.
	Installed State = "installed"
	// Older says that there is what an imaseal wrote, and nobody changed.
	Older State = "older"
	// Changed says that there is something else, or that somebody changed it.
	Changed State = "changed"
)

// items are the files and links of integrations, each once, without the marks.
func items(list []Integration, program string) []Item {
	var found []Item
	add := func(it Item) {
		if !slices.ContainsFunc(found, func(other Item) bool { return other.Path == it.Path }) {
			found = append(found, it)
		}
	}
	for _, in := range list {
		for _, part := range in.Parts {
			for _, it := range partItems(part, program) {
				add(it)
			}
		}
		for _, l := range in.Links {
			add(Item{Path: l.Path, Text: []byte(l.To)})
		}
	}
	return found
}

// partItems are the files of a directory below files/.
func partItems(part, program string) []Item {
	var found []Item
	dir := path.Join("files", part)
	err := fs.WalkDir(embedded, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := embedded.ReadFile(name)
		if err != nil {
			return err
		}
		it := Item{Path: strings.TrimPrefix(name, dir), Mode: 0o644, part: part}
		if bytes.HasPrefix(text, []byte("#!")) {
			it.Mode = 0o755
		}
		it.Text = bytes.ReplaceAll(text, []byte(placeholder), []byte(program))
		found = append(found, it)
		return nil
	})
	if err != nil {
		panic(err) // a part that is not there; tests see all of them
	}
	return found
}
