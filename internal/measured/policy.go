package measured

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"imaseal/internal/policy"
)

// A Fact is what is known of a file that was measured.
type Fact struct {
	Path string
	// UID is the owner, Magic the superblock magic of the file system; nil where they
	// are not known, as of a file that is not there any more.
	UID   *uint32
	Magic *uint32
	// Code says that it is executed or mapped as code, by its mode or its name.
	Code bool
}

// IsCode reports whether a file seems to be executed, or mapped as code: by its mode, or
// as a shared library.
func IsCode(name string, mode uint32) bool {
	base := path.Base(name)
	return mode&0o111 != 0 || strings.HasSuffix(base, ".so") || strings.Contains(base, ".so.")
}

// A Cover collects facts, and makes a policy of them that appraises what was measured.
type Cover struct {
	groups map[place]*coverage
}

// A place is what rules can tell files by: -1 for what is not known.
type place struct{ magic, uid int64 }

// A coverage is what is in one place.
type coverage struct {
	files, code int
	dirs        map[string]int
}

// Add adds a file.
func (c *Cover) Add(f Fact) {
	at := place{-1, -1}
	if f.Magic != nil {
		at.magic = int64(*f.Magic)
	}
	if f.UID != nil {
		at.uid = int64(*f.UID)
	}
	if c.groups == nil {
		c.groups = make(map[place]*coverage)
	}
	g := c.groups[at]
	if g == nil {
		g = &coverage{dirs: make(map[string]int)}
		c.groups[at] = g
	}
	g.files++
	if f.Code {
		g.code++
	}
	g.dirs[top(f.Path)]++
}

// top returns the directory that stands for a path: its first two names.
func top(name string) string {
	dir := path.Dir(name)
	parts := strings.SplitN(dir, "/", 4)
	if len(parts) == 4 {
		return strings.Join(parts[:3], "/")
	}
	return dir
}

// IsEmpty reports whether there is no file that a rule could appraise.
func (c *Cover) IsEmpty() bool {
	for at := range c.groups {
		if fs := filesystem(at.magic); at.uid >= 0 && !fs.Excluded && !fs.Bare {
			return false
		}
	}
	return true
}

// shownDirs are named in a comment.
const shownDirs = 6

// where names the directories, those with most files first.
func (g *coverage) where() string {
	names := slices.SortedFunc(maps.Keys(g.dirs), func(a, b string) int {
		return cmp.Or(cmp.Compare(g.dirs[b], g.dirs[a]), cmp.Compare(a, b))
	})
	var parts []string
	rest := g.files
	for _, name := range names[:min(len(names), shownDirs)] {
		parts = append(parts, fmt.Sprintf("%s %d", comment(name), g.dirs[name]))
		rest -= g.dirs[name]
	}
	if rest > 0 {
		parts = append(parts, fmt.Sprintf("elsewhere %d", rest))
	}
	return strings.Join(parts, ", ")
}

// comment is a name as it can stand in a line of a policy.
func comment(name string) string {
	quoted := fmt.Sprintf("%+q", name)
	if quoted == `"`+name+`"` {
		return name
	}
	return quoted
}

// filesystem returns that with a magic number.
func filesystem(magic int64) policy.Filesystem {
	for _, fs := range policy.Filesystems() {
		if int64(fs.Magic) == magic {
			return fs
		}
	}
	return policy.Filesystem{Name: fmt.Sprintf("the file system 0x%x", magic), Magic: uint32(magic)}
}

// Unknown returns how many files no rule is for, since nothing is known of them.
func (c *Cover) Unknown() int {
	if g := c.groups[place{-1, -1}]; g != nil {
		return g.files
	}
	return 0
}

// Files returns how many files were added.
func (c *Cover) Files() (n int) {
	for _, g := range c.groups {
		n += g.files
	}
	return n
}

// HasRoot reports whether there is a rule for files of root.
func (c *Cover) HasRoot() bool {
	for at := range c.groups {
		if fs := filesystem(at.magic); at.uid == 0 && !fs.Excluded && !fs.Bare {
			return true
		}
	}
	return false
}

// Text returns the policy: for each file system and owner of which files were measured a
// rule that appraises them, and others that are like them, with comments that say what
// it is for. Rules know no paths.
func (c *Cover) Text() string {
	var b strings.Builder
	places := slices.SortedFunc(maps.Keys(c.groups), func(x, y place) int {
		return cmp.Or(cmp.Compare(y.magic, x.magic), cmp.Compare(x.uid, y.uid))
	})
	total, bare := 0, false
	for _, at := range places {
		total += c.groups[at].files
		bare = bare || at.magic < 0 && at.uid >= 0
	}
	fmt.Fprintf(&b, "# Appraises what was measured: %s. Rules know owners and file systems, and no\n"+
		"# paths, so that these take other files, too, which are like them. Before it is\n# enforced,\n"+
		"#   imaseal relabel --policy FILE PATH\n# labels them all, and\n#   imaseal check --policy FILE PATH\n# says what would be denied.\n", count(total, "file"))
	c.excluded(&b, places)
	if bare {
		b.WriteString("\n# What holds no labels that last: of some files the file system is not known.\n")
		for _, fs := range policy.Filesystems() {
			if (fs.Excluded || fs.Bare) && !c.isExcluded(places, fs.Magic) {
				fmt.Fprintf(&b, "dont_appraise fsmagic=0x%x\n", fs.Magic)
			}
		}
	}
	for _, at := range places {
		c.rules(&b, at)
	}
	if g := c.groups[place{-1, -1}]; g != nil {
		fmt.Fprintf(&b, "\n# Not covered: %s of which nothing is known, as they are not there any more, or\n# are another machine's: %s.\n", count(g.files, "file"), g.where())
	}
	return b.String()
}

// excluded writes rules for files whose labels would not last.
func (c *Cover) excluded(b *strings.Builder, places []place) {
	for magic, group := range c.byMagic(places) {
		if fs := filesystem(magic); fs.Excluded || fs.Bare {
			fmt.Fprintf(b, "\n# %s on %s, which holds no labels that last: %s.\ndont_appraise fsmagic=0x%x\n", count(group.files, "file"), fs.Name, group.where(), magic)
		}
	}
}

// byMagic joins what is on one file system, in the order of places.
func (c *Cover) byMagic(places []place) func(func(int64, *coverage) bool) {
	return func(yield func(int64, *coverage) bool) {
		for i := 0; i < len(places); {
			magic, sum := places[i].magic, &coverage{dirs: make(map[string]int)}
			for ; i < len(places) && places[i].magic == magic; i++ {
				g := c.groups[places[i]]
				sum.files += g.files
				for dir, n := range g.dirs {
					sum.dirs[dir] += n
				}
			}
			if magic >= 0 && !yield(magic, sum) {
				return
			}
		}
	}
}

func (c *Cover) isExcluded(places []place, magic uint32) bool {
	return slices.ContainsFunc(places, func(at place) bool { return at.magic == int64(magic) })
}

// rules writes those for one place.
func (c *Cover) rules(b *strings.Builder, at place) {
	g := c.groups[at]
	if at.uid < 0 {
		return
	}
	on, where := "", "on whatever file system"
	if at.magic >= 0 {
		fs := filesystem(at.magic)
		if fs.Excluded || fs.Bare {
			return
		}
		on, where = fmt.Sprintf(" fsmagic=0x%x", at.magic), "on "+fs.Name
	}
	fmt.Fprintf(b, "\n# %s %s, owner %d, %d of them code: %s.\n", count(g.files, "file"), where, at.uid, g.code, g.where())
	if at.uid == 0 {
		fmt.Fprintf(b, "appraise%s fowner=0\n", on)
		return
	}
	b.WriteString("# What else this user has stays usable without a label.\n")
	if g.code > 0 {
		fmt.Fprintf(b, "appraise func=BPRM_CHECK%[1]s fowner=%[2]d\nappraise func=MMAP_CHECK%[1]s fowner=%[2]d\n", on, at.uid)
	}
	if g.code < g.files {
		fmt.Fprintf(b, "# Read by root, it is assumed: a list does not tell by whom.\nappraise func=FILE_CHECK mask=^MAY_READ%s euid=0 fowner=%d\n", on, at.uid)
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
