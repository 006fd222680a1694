package readiness

import (
	"slices"
	"strings"

	"imaseal/internal/finding"
	"imaseal/internal/policy"
)

// A mount is a line of mountinfo.
type mount struct {
	point, fstype, options string
	readOnly               bool
}

// parseMounts reads /proc/self/mountinfo: see proc_pid_mountinfo(5).
func parseMounts(text string) []mount {
	var mounts []mount
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 2 {
			continue
		}
		m := mount{point: unescape(f[4]), fstype: g[0]}
		if len(g) > 2 {
			m.options = g[2]
		}
		m.readOnly = slices.Contains(strings.Split(f[5]+","+m.options, ","), "ro")
		mounts = append(mounts, m)
	}
	return mounts
}

// unescape undoes what the kernel does to blanks in names (mangle()).
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// remote are file systems that do not hold labels, or not for certain.
var remote = map[string]string{
	"nfs": "carries no security.ima", "nfs4": "carries no security.ima", "cifs": "carries no security.ima", "smb3": "carries no security.ima",
	"9p": "may not pass labels through", "virtiofs": "may not pass labels through", "fuse": "may not pass labels through, and its changes cannot be seen",
	"ceph": "is shared: other hosts change files behind the kernel",
}

// mounts looks at the file systems whose files the policy appraises.
func (t *table) mounts() {
	text, err := t.read("/proc/self/mountinfo")
	if err != nil {
		t.Add(finding.Warn, "mounts", "", "/proc/self/mountinfo cannot be read")
		return
	}
	points := make(map[string][]string) // by type
	var order []string
	good := 0
	for _, m := range parseMounts(text) {
		magic, known := policy.MagicOf(alias(m.fstype))
		if !t.appraised(rootFile(m.fstype, magic, known)) {
			continue
		}
		if isBare(m.fstype) && otherOwner(m.options) {
			continue
		}
		if !t.holds(m) {
			if points[m.fstype] == nil {
				order = append(order, m.fstype)
			}
			points[m.fstype] = append(points[m.fstype], m.point)
			continue
		}
		good++
		if !slices.Contains(t.Filesystems, m.fstype) {
			t.Filesystems = append(t.Filesystems, m.fstype)
		}
		t.space(m)
	}
	for _, fstype := range order {
		t.unlabelled(fstype, points[fstype])
	}
	switch {
	case good == 1:
		t.Add(finding.Pass, "mounts", "", "1 mount holds labels")
	case good > 1:
		t.Add(finding.Pass, "mounts", "", "%d mounts hold labels", good)
	}
}

// alias is the name under which a type's number is known.
func alias(fstype string) string {
	base, _, _ := strings.Cut(fstype, ".")
	switch base {
	case "nfs4":
		return "nfs"
	case "smb3":
		return "cifs"
	case "devtmpfs":
		return "tmpfs"
	case "fuseblk":
		return "fuse"
	}
	return base
}

func isBare(fstype string) bool {
	fs, _ := policy.ByName(alias(fstype))
	return fs.Bare
}

// otherOwner reports whether a mount gives its files to another user than
// root.
func otherOwner(options string) bool {
	return slices.ContainsFunc(strings.Split(options, ","), func(o string) bool {
		uid, ok := strings.CutPrefix(o, "uid=")
		return ok && uid != "0"
	})
}

// holds reports whether files on the mount can be labelled and stay so.
func (t *table) holds(m mount) bool {
	return t.lacks(m.fstype) == "" && !isBare(m.fstype) && remote[alias(m.fstype)] == "" && alias(m.fstype) != "overlay" && !m.readOnly && !t.refuses(m)
}

// lacks returns the option without which the kernel shows no labels of a type, if it
// was built so.
func (t *table) lacks(fstype string) string {
	fs, _ := policy.ByName(fstype)
	if fs.Option == "" || t.Config == nil || t.Config.Enabled(fs.Option) {
		return ""
	}
	return fs.Option
}

// refuses asks a mount of a type that is not known here whether it takes
// labels.
func (t *table) refuses(m mount) bool {
	_, known := policy.MagicOf(alias(m.fstype))
	return !known && t.Refuses != nil && t.Refuses(m.point)
}

// unlabelled says what is wrong with file systems of a type.
func (t *table) unlabelled(fstype string, points []string) {
	where := finding.Some(points)
	exclude := "dont_appraise fsname=" + alias(fstype) + " in a policy of your own, in front"
	topic := "mount " + fstype
	switch {
	case isBare(fstype) && slices.Contains([]string{"vfat", "exfat", "iso9660"}, fstype):
		t.Add(finding.Fail, topic, "mount with uid= of another user, or "+exclude, "%s: no attributes, every open of a file of root is denied without a record", where)
	case isBare(fstype):
		t.Add(finding.Warn, topic, exclude, "%s: no attributes, every open of a file of root is denied without a record; it hits tools that use it", where)
	case remote[alias(fstype)] != "":
		t.Add(finding.Fail, topic, exclude, "%s: %s", where, remote[alias(fstype)])
	case alias(fstype) == "overlay":
		t.Add(finding.Warn, topic, "label the layers, or "+exclude, "%s: files need labels in the layers, and containers' images have none", where)
	case t.lacks(fstype) != "":
		t.Add(finding.Fail, topic, "boot a kernel that has it", "%s: the kernel was built without %s and denies every file of root", where, t.lacks(fstype))
	case t.refuses(mount{point: points[0], fstype: fstype}):
		t.Add(finding.Warn, topic, exclude, "%s: takes no security attributes, and opens of files of root are denied", where)
	default:
		t.Add(finding.Warn, topic, "label the tree before the image is made, or remount read-write", "%s: mounted read-only, labels must be there already", where)
	}
}

// space says where signatures might not fit: one that does not fit into the
// inode takes a block.
func (t *table) space(m mount) {
	if t.Statfs == nil || !strings.HasPrefix(m.fstype, "ext") {
		return
	}
	s, err := t.Statfs(m.point)
	if err != nil || s.Free >= s.Inodes*s.BlockSize {
		return
	}
	t.Add(finding.Warn, "space", "hash instead of sign, or sign fewer files with --rules", "%s: signatures may take a block of each of %d files, and %d MiB are free", m.point, s.Inodes, s.Free>>20)
}
