package denials

import (
	"cmp"
	"hash/maphash"
	"path"
	"time"

	"imaseal/internal/audit"
)

// Options say what is collected.
type Options struct {
	// Since leaves out what is older, and what has no time; zero leaves out
	// nothing.
	Since time.Time
	// Boot leaves out what is of other boots than that of this id, which began at
	// Booted: of records that do not tell theirs the time does. "" leaves out
	// nothing.
	Boot   string
	Booted time.Time
	// Mode is that of records from boots whose command line their log does not
	// have, by their time, which is zero where they have none. Nil stands for
	// ModeUnknown.
	Mode func(at time.Time) Mode
	// Times has groups tell when their records were made, by the hour, or by longer
	// pieces of time if there were too many.
	Times bool
}

const (
	// maxMemory bounds what is remembered, in bytes, roughly.
	maxMemory = 16 << 20
	// maxFiles is how many files of a group are remembered.
	maxFiles = 64
	// overhead is what a file or a group takes besides its text, roughly.
	overhead = 320
)

// A Collector collects. It is not safe for concurrent use.
type Collector struct {
	options Options
	groups  map[key]*group
	rest    map[key]*group // by kind and mode alone
	memory  int
	paths   map[inode]string // of files that some records have by their last name
	seen    seen
	rules   []string // of a policy that is being loaded
	pieces  pieces
	report  Report // all but Groups
}

// A key is what a group has in common.
type key struct {
	node               string
	kind               Kind
	mode               Mode
	op, cause          string
	program, directory string
}

// A group is a Group that is being counted.
type group struct {
	counted
	files   []countedFile // few, and searched from the front: a map takes ten times as much
	unnamed uint64
	pieces  []piece // of time, in order
}

// A countedFile is a File that is being counted.
type countedFile struct {
	file
	counted
}

// find returns the file, nil if it is not remembered.
func (g *group) find(f file) *counted {
	for i := range g.files {
		if known := &g.files[i]; known.number == f.number && known.file == f {
			return &known.counted
		}
	}
	return nil
}

// counted is what is known of a number of records.
type counted struct {
	count       uint64
	first, last time.Time
}

func (c *counted) add(at time.Time) {
	c.count++
	if at.IsZero() {
		return
	}
	if c.first.IsZero() || at.Before(c.first) {
		c.first = at
	}
	if at.After(c.last) {
		c.last = at
	}
}

// A file is what tells a file from others.
type file struct {
	inode
	name string // if there is no inode, and where the whole path is known
}

// An inode is a file of one machine. Its number is used again when it is removed.
type inode struct {
	node, dev string
	number    uint64
}

// New returns an empty Collector.
func New(o Options) *Collector {
	c := &Collector{
		options: o, groups: make(map[key]*group), rest: make(map[key]*group), paths: make(map[inode]string),
		seen: seen{seed: maphash.MakeSeed()},
	}
	if o.Times {
		c.pieces.seconds = int64(time.Hour / time.Second)
	}
	return c
}

// A Log is a log that is being added to a Collector.
type Log struct {
	to       *Collector
	of       string // the boot of all of it
	boot     string
	mode     Mode   // ModeUnknown until the boot has told
	reported uint64 // losses of the boot
}

// Log begins a log, of the boot of this id if all of it is of one, else of "". Logs
// of one Collector can be added in any order, also by turns.
func (c *Collector) Log(boot string) *Log { return &Log{to: c, of: boot} }

// Add adds what a log says next. For a record that counts it returns what it
// means, and true.
func (l *Log) Add(e audit.Entry) (Kind, Mode, bool) {
	switch {
	case e.Boot != nil:
		l.booted(e.Boot)
	case e.Loss != nil:
		l.lost(e.Loss)
	case e.Record != nil:
		return l.record(e.Record)
	}
	return 0, 0, false
}

// switchTo notes that what follows is of this boot.
func (l *Log) switchTo(boot string) {
	if boot != l.boot {
		l.boot, l.mode, l.reported = boot, ModeUnknown, 0
	}
}

func (l *Log) booted(b *audit.Boot) {
	l.switchTo(b.ID)
	switch {
	case b.Release != "": // the first message of a boot
		l.mode, l.reported = ModeUnknown, 0
	case b.SecureBoot: // is said behind the command line
		l.mode = Enforce
	default:
		l.mode = ModeOf(b.CommandLine)
	}
}

// modeAt returns the mode that a record was made in.
func (l *Log) modeAt(at time.Time) Mode {
	if l.mode == ModeUnknown && l.to.options.Mode != nil {
		return l.to.options.Mode(at)
	}
	return l.mode
}

func (l *Log) lost(loss *audit.Loss) {
	l.switchTo(loss.Boot)
	if l.isOtherBoot(loss.Boot) {
		return
	}
	lost := &l.to.report.Lost
	switch loss.Kind {
	case audit.Suppressed:
		lost.Suppressed += loss.Count
	case audit.Missed:
		lost.Missed += loss.Count
		lost.More = lost.More || loss.Count == 0
	case audit.Dropped:
		if loss.Total == 0 {
			lost.More = true
			break
		}
		if loss.Total < l.reported { // it was booted in between
			l.reported = 0
		}
		lost.Dropped += loss.Total - l.reported
		l.reported = loss.Total
	}
}

func (l *Log) isOtherBoot(boot string) bool {
	wanted, boot := l.to.options.Boot, cmp.Or(boot, l.of)
	return wanted != "" && boot != "" && boot != wanted
}

// since returns the time from which on records count, zero for all times.
func (l *Log) since(r *audit.Record) time.Time {
	o := l.to.options
	if o.Boot != "" && r.Boot == "" && l.of == "" && o.Booted.After(o.Since) {
		return o.Booted
	}
	return o.Since
}

func (l *Log) record(r *audit.Record) (Kind, Mode, bool) {
	c := l.to
	l.switchTo(r.Boot)
	c.report.Records++
	since := l.since(r)
	kind, ok := KindOf(r)
	switch {
	case l.isOtherBoot(r.Boot), !since.IsZero() && !r.Time.IsZero() && r.Time.Before(since):
		c.report.Before++
	case !since.IsZero() && r.Time.IsZero():
		c.report.Undated++
	case !ok:
		c.learn(r)
		c.report.Others++
		if (r.Type == audit.PolicyRule || r.Type == audit.Status) && !c.seen.again(r) {
			c.load(r)
		}
	case c.seen.again(r):
		c.report.Duplicates++
	default:
		c.learn(r)
		c.load(r)
		mode := l.modeAt(r.Time)
		c.add(r, kind, mode)
		return kind, mode, true
	}
	return 0, 0, false
}

// inodeOf returns the file of a record.
func inodeOf(r *audit.Record) inode { return inode{r.Node, r.Dev, r.Inode} }

// learn remembers the path of a file, which other records may have only the last
// name of.
func (c *Collector) learn(r *audit.Record) {
	if r.Inode == 0 || !path.IsAbs(r.Name) || r.Op == "set_data" {
		return
	}
	i := inodeOf(r)
	if _, known := c.paths[i]; !known && !c.spend(len(r.Name)) {
		return
	}
	c.paths[i] = r.Name
}

// spend reports whether so many bytes more can be remembered.
func (c *Collector) spend(bytes int) bool {
	if c.memory+bytes+overhead > maxMemory {
		return false
	}
	c.memory += bytes + overhead
	return true
}

// add counts a record.
func (c *Collector) add(r *audit.Record, kind Kind, mode Mode) {
	k := key{node: r.Node, kind: kind, mode: mode, op: r.Op, cause: r.Cause, program: r.Comm, directory: directory(r)}
	if r.Type == audit.PolicyRule {
		k.op, k.cause = "policy_rule", r.Rule
	}
	g := c.groups[k]
	if g == nil {
		if !c.spend(len(k.node) + len(k.op) + len(k.cause) + len(k.program) + len(k.directory)) {
			c.addRest(r, kind, mode)
			return
		}
		g = new(group)
		c.groups[k] = g
	}
	g.add(r.Time)
	c.addTime(g, r.Time)
	if r.Name == "" && r.Inode == 0 {
		return
	}
	f := fileOf(r)
	known := g.find(f)
	if known == nil {
		if len(g.files) >= maxFiles || !c.spend(len(f.name)+len(f.dev)) {
			g.unnamed++
			return
		}
		g.files = append(g.files, countedFile{file: f})
		known = &g.files[len(g.files)-1].counted
	}
	known.add(r.Time)
}

// addRest counts a record for which there is no room.
func (c *Collector) addRest(r *audit.Record, kind Kind, mode Mode) {
	k := key{kind: kind, mode: mode}
	g := c.rest[k]
	if g == nil {
		g = new(group)
		c.rest[k] = g
	}
	g.add(r.Time)
	c.addTime(g, r.Time)
	g.unnamed++
}

// directory returns that of the file that a record is about, as far as it tells.
func directory(r *audit.Record) string {
	if path.IsAbs(r.Name) {
		return path.Dir(r.Name)
	}
	return ""
}

// fileOf returns the file of a record. The name counts too: a file that was
// replaced can have the inode of another one.
func fileOf(r *audit.Record) file { return file{inodeOf(r), r.Name} }
