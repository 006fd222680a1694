package match

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"imaseal/internal/policy"
	"imaseal/internal/policy/builtin"
)

var (
	k612 = policy.Kernel{Major: 6, Minor: 12}
	k72  = policy.Kernel{Major: 7, Minor: 2}
)

func parse(t *testing.T, text string) policy.Policy {
	t.Helper()
	p, err := policy.Parse(strings.ReplaceAll(text, ";", "\n"), k72)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var uuid = policy.UUID{0x11, 0x22}

// ext4 is a file of root on an ordinary file system, wholly known.
func ext4() File {
	return File{
		Magic: Is[uint32](0xef53), FSName: Is("ext4"), Subtype: Is(""), UUID: Is(uuid),
		Owner: Is[uint32](0), Group: Is[uint32](0),
		Labels: [3]Maybe[string]{Is("u"), Is("r"), Is("t")},
	}
}

func root() Subject {
	s := Root()
	s.GID, s.EGID, s.SGID = Is[uint32](0), Is[uint32](0), Is[uint32](0)
	s.Labels = [3]Maybe[string]{Is("su"), Is("sr"), Is("st")}
	return s
}

func TestFirstMatch(t *testing.T) {
	open := Access{policy.FileCheck, policy.MayRead}
	readWrite := Access{policy.FileCheck, policy.MayRead | policy.MayWrite}
	module := Access{policy.ModuleCheck, policy.MayRead}
	for _, c := range []struct {
		name, policy string
		access       Access
		rule         int
		appraise     bool
		demands      Demands
	}{
		{"no rule", "measure", open, NoRule, false, Demands{}},
		{"only dont_appraise", "dont_appraise;measure", open, NoRule, false, Demands{}},
		{"without func all hooks", "appraise fowner=0", module, 0, true, Demands{}},
		{"hook", "appraise func=BPRM_CHECK;appraise appraise_type=imasig", open, 1, true, Demands{Signature: true, Blacklist: true}},
		{"first wins", "dont_appraise fsname=ext4;appraise", open, 0, false, Demands{}},
		{"dont_ behind", "appraise;dont_appraise fsname=ext4", open, 0, true, Demands{}},
		{"other pairs do not close", "dont_measure;dont_hash;audit;appraise;hash;measure", open, 3, true, Demands{}},
		{"mask exactly", "appraise mask=MAY_READ", open, 0, true, Demands{}},
		{"mask exactly, more bits", "appraise mask=MAY_READ", readWrite, NoRule, false, Demands{}},
		{"mask among others", "appraise mask=^MAY_READ", readWrite, 0, true, Demands{}},
		{"flags of a measure rule", "measure digest_type=verity;appraise", open, 1, true, Demands{Verity: true}},
		{"flags of a dont_measure rule", "dont_measure permit_directio fsname=ext4;measure;appraise", open, 2, true, Demands{DirectIO: true}},
		{"flags of a measure rule behind", "appraise;measure digest_type=verity", open, 0, true, Demands{Verity: true}},
		{"flags of a later measure rule", "measure;measure digest_type=verity;appraise", open, 2, true, Demands{}},
		{"flags of a pair that nothing asks for", "dont_measure permit_directio;appraise", open, 1, true, Demands{}},
		{"SETXATTR_CHECK is not a rule for files", "appraise func=SETXATTR_CHECK appraise_algos=sha256", open, NoRule, false, Demands{}},
		{"magic", "appraise fsmagic=0xef53", open, 0, true, Demands{}},
		{"magic of 64 bits", "appraise fsmagic=0x10000ef53", open, NoRule, false, Demands{}},
		{"label list", "measure func=CRITICAL_DATA label=x;appraise", open, 1, true, Demands{}},
		{"two owners", "appraise fowner>0;appraise fowner<1", open, 1, true, Demands{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Appraisal(parse(t, c.policy), Query{c.access, ext4(), root()})
			if len(got) != 1 || got[0].Rule != c.rule || got[0].Appraise != c.appraise || got[0].Demands != c.demands {
				t.Errorf("outcomes %+v", got)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	access := Access{policy.FileCheck, policy.MayRead}
	user := User(1000, 100)
	suid := user
	suid.EUID = Is[uint32](0)
	unknownCaps := user
	unknownCaps.SetUID = policy.Unknown
	capable := user
	capable.SetUID, capable.EUID = policy.True, Is[uint32](5)
	image := File{FSName: Is("ext4")}
	for _, c := range []struct {
		item    string
		file    File
		subject Subject
		want    policy.Truth
	}{
		{"fsname=ext4", ext4(), user, policy.True},
		{"fsname=xfs", ext4(), user, policy.False},
		{"fs_subtype=sshfs", ext4(), user, policy.False},
		{"fsmagic=0xef53", image, user, policy.Unknown},
		{"fsuuid=11220000-0000-0000-0000-000000000000", ext4(), user, policy.True},
		{"fsuuid=11220000-0000-0000-0000-000000000000", image, user, policy.Unknown},
		{"fowner=0", image, user, policy.Unknown},
		{"fowner<0", image, user, policy.False},
		{"fowner>4294967294", image, user, policy.False},
		{"fgroup>0", ext4(), user, policy.False},
		{"obj_type=t", ext4(), user, policy.True},
		{"obj_user=x", ext4(), user, policy.False},
		{"obj_role=r", image, user, policy.Unknown},
		{"subj_type=st", ext4(), root(), policy.True},
		{"subj_type=st", ext4(), user, policy.Unknown},
		{"uid=1000", ext4(), user, policy.True},
		{"uid>999", ext4(), user, policy.True},
		{"uid<1000", ext4(), user, policy.False},
		{"uid=0", ext4(), suid, policy.False},
		{"euid=0", ext4(), suid, policy.True},
		{"euid=1000", ext4(), suid, policy.False},   // the real id does not count
		{"euid=1000", ext4(), capable, policy.True}, // with CAP_SETUID it does
		{"euid=5", ext4(), capable, policy.True},
		{"euid=7", ext4(), capable, policy.False},
		{"euid=1000", ext4(), unknownCaps, policy.True},
		{"euid=0", ext4(), unknownCaps, policy.False},
		{"euid=0", ext4(), Subject{}, policy.Unknown},
		{"egid=100", ext4(), user, policy.True},
		{"egid=0", ext4(), Root(), policy.Unknown},
		{"gid=0", ext4(), user, policy.False},
	} {
		q := Query{access, c.file, c.subject}
		p := parse(t, "appraise "+c.item)
		if got := q.match(&p.Rules[0]); got != c.want {
			t.Errorf("%s for %+v by %+v: %s, want %s", c.item, c.file, c.subject, got, c.want)
		}
	}
}

func TestUnknown(t *testing.T) {
	q := Query{Access{policy.FileCheck, policy.MayRead}, ext4(), Subject{}}
	outcomes := Appraisal(parse(t, `dont_appraise subj_type=backup_t
dont_appraise subj_type=backup_t fowner=0
appraise uid=0 appraise_type=imasig
appraise fowner=0
appraise`), q)
	want := []Outcome{
		{Rule: 0, If: []string{"subj_type=backup_t"}},
		{Rule: 2, Appraise: true, Demands: Demands{Signature: true, Blacklist: true}, If: []string{"uid=0"}},
		{Rule: 3, Appraise: true},
	}
	if !reflect.DeepEqual(outcomes, want) {
		t.Errorf("outcomes %+v", outcomes)
	}
	if got := Depends(outcomes); !slices.Equal(got, []string{"subj_type=backup_t", "uid=0"}) {
		t.Errorf("depends on %v", got)
	}
	if got := Depends(outcomes[2:]); got != nil {
		t.Errorf("a certain outcome depends on %v", got)
	}
	outcomes = Appraisal(parse(t, "measure uid=0 digest_type=verity;appraise"), q)
	if len(outcomes) != 2 || !outcomes[0].Demands.Verity || outcomes[1].Demands.Verity || !slices.Equal(Depends(outcomes), []string{"uid=0"}) {
		t.Errorf("mixed flags: %+v", outcomes)
	}
	outcomes = Appraisal(parse(t, "measure uid=0;appraise"), q)
	if len(outcomes) != 1 || outcomes[0].If != nil {
		t.Errorf("a measure rule without flags matters: %+v", outcomes)
	}
}

// TestAppraiseTCB: regular, uid 0, on a file system that is not excluded.
func TestAppraiseTCB(t *testing.T) {
	p, err := builtin.Policy(k612, "appraise_tcb", "fail_securely")
	if err != nil {
		t.Fatal(err)
	}
	for _, fs := range policy.Filesystems() {
		for _, owner := range []uint32{0, 1} {
			for _, o := range Operations() {
				for _, a := range o.Accesses(k612) {
					got := Appraisal(p, Query{a, File{Magic: Is(fs.Magic), Owner: Is(owner)}, Subject{}})
					want := owner == 0 && !fs.Excluded
					if len(got) != 1 || got[0].Appraise != want || got[0].Demands != (Demands{FailSecurely: want}) {
						t.Fatalf("%s, owner %d, %s: %+v", fs.Name, owner, a, got)
					}
				}
			}
		}
	}
	q := Query{Access{policy.PostSetattr, 0}, ext4(), Subject{}}
	if got := Appraisal(parse(t, "measure digest_type=verity;appraise func=BPRM_CHECK mask=MAY_EXEC"), q); len(got) != 1 || !got[0].Appraise || got[0].Demands.Verity {
		t.Errorf("after chmod: %+v", got)
	}
}

func TestLeaves(t *testing.T) {
	q := Query{Access{policy.FileCheck, policy.MayRead}, ext4(), Subject{}}
	for _, c := range []struct {
		policy   string
		demands  Demands
		collects bool
	}{
		{"appraise func=BPRM_CHECK", Demands{}, false},
		{"hash", Demands{}, false},
		{"audit permit_directio", Demands{DirectIO: true}, true},
		{"measure digest_type=verity uid=0;appraise", Demands{}, true},
		{"dont_appraise digest_type=verity;appraise", Demands{Verity: true}, false},
	} {
		if d, collects := Leaves(parse(t, c.policy), q); d != c.demands || collects != c.collects {
			t.Errorf("%s: %+v, %v", c.policy, d, collects)
		}
	}
}

func TestExplain(t *testing.T) {
	p := parse(t, "dont_appraise fsmagic=0x9fa0;measure;dont_appraise uid=5;appraise func=BPRM_CHECK fowner=1;appraise fowner=0;appraise")
	got := Explain(p, Query{Access{policy.FileCheck, policy.MayRead}, ext4(), Subject{}}, policy.Appraise)
	want := []Step{
		{Rule: 0, Takes: policy.False, Failed: []Condition{{"fsmagic=0x9fa0", "0xef53 (ext4)"}}},
		{Rule: 2, Takes: policy.Unknown, Unknown: []Condition{{"uid=5", "unknown"}}},
		{Rule: 3, Takes: policy.False, Failed: []Condition{{"func=BPRM_CHECK", "FILE_CHECK"}, {"fowner=1", "0"}}},
		{Rule: 4, Takes: policy.True},
		{Rule: 5, Takes: policy.False, Closed: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("steps %+v", got)
	}
}

// TestOperations pins what the kernel asks.
func TestOperations(t *testing.T) {
	for _, c := range []struct {
		kernel policy.Kernel
		op     Operation
		want   string
	}{
		{k612, Read, "FILE_CHECK 4"},
		{k612, Write, "FILE_CHECK 2, FILE_CHECK 6, FILE_CHECK 10, FILE_CHECK 14"},
		{k612, Exec, "FILE_CHECK 1, BPRM_CHECK 1, CREDS_CHECK 1, MMAP_CHECK_REQPROT 1, MMAP_CHECK 1"},
		{policy.Kernel{Major: 6, Minor: 1}, Exec, "FILE_CHECK 1, BPRM_CHECK 1, CREDS_CHECK 1, MMAP_CHECK 1"},
		{k612, Script, "FILE_CHECK 1, BPRM_CHECK 1, CREDS_CHECK 1"},
		{k72, Script, "FILE_CHECK 1, BPRM_CHECK 1"},
		{k72, Map, "FILE_CHECK 4, MMAP_CHECK_REQPROT 1, MMAP_CHECK 1"},
		{k72, Module, "FILE_CHECK 4, MODULE_CHECK 4"},
		{k72, Firmware, "FILE_CHECK 4, FIRMWARE_CHECK 4"},
	} {
		var got []string
		for _, a := range c.op.Accesses(c.kernel) {
			got = append(got, fmt.Sprintf("%s %d", a.Hook, int(a.Mask)))
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s on %s: %s", c.op, c.kernel, s)
		}
	}
	for _, o := range Operations() {
		if len(o.Accesses(k612)) == 0 {
			t.Errorf("%s asks nothing", o)
		}
	}
}

// reference is the kernel's loop for known values, written once more from its
// source: all pairs in one pass, with masks of what is open.
func reference(p policy.Policy, q Query) (rule int, appraise bool, d Demands) {
	open := map[policy.Action]bool{}
	for _, r := range p.Rules {
		if r.Action.IsPositive() && r.Func != policy.SetxattrCheck {
			open[r.Action] = true
		}
	}
	rule = NoRule
	for i, r := range p.Rules {
		if !open[r.Action.Positive()] || !naive(r, q) {
			continue
		}
		d.Signature = d.Signature || r.Signature
		d.SigV3 = d.SigV3 || r.SigV3
		d.Blacklist = d.Blacklist || r.Signature
		d.Verity = d.Verity || r.Verity
		d.DirectIO = d.DirectIO || r.DirectIO
		if r.Action == policy.Appraise {
			appraise = true
			d.Algos = r.Algos
		}
		if r.Action.Positive() == policy.Appraise {
			rule = i
		}
		open[r.Action.Positive()] = false
	}
	if !appraise {
		d = Demands{}
	}
	return rule, appraise, d
}

func naive(r policy.Rule, q Query) bool {
	f, s := q.File, q.Subject
	if r.Func != 0 && r.Func != q.Hook ||
		r.Mask != 0 && !r.MaskIn && r.Mask != q.Mask ||
		r.MaskIn && r.Mask&q.Mask == 0 ||
		r.FSMagic.Set && r.FSMagic.Value != uint64(f.Magic.Value) ||
		r.FSName != "" && r.FSName != f.FSName.Value ||
		r.FSUUID.Set && r.FSUUID.Value != f.UUID.Value {
		return false
	}
	id := func(c policy.ID, any bool, values ...uint32) bool {
		if !any {
			values = values[:1]
		}
		return !c.IsSet() || slices.ContainsFunc(values, c.Holds)
	}
	return id(r.UID, false, s.UID.Value) && id(r.GID, false, s.GID.Value) &&
		id(r.EUID, s.SetUID == policy.True, s.EUID.Value, s.SUID.Value, s.UID.Value) &&
		id(r.EGID, s.SetGID == policy.True, s.EGID.Value, s.SGID.Value, s.GID.Value) &&
		id(r.FOwner, false, f.Owner.Value) && id(r.FGroup, false, f.Group.Value) &&
		(r.LSM[policy.ObjType] == "" || r.LSM[policy.ObjType] == f.Labels[2].Value) &&
		(r.LSM[policy.SubjType] == "" || r.LSM[policy.SubjType] == s.Labels[2].Value)
}

func pick[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

func randomPolicy(t *testing.T, r *rand.Rand) policy.Policy {
	var b strings.Builder
	for range 1 + r.IntN(7) {
		action := pick(r, "appraise", "appraise", "dont_appraise", "measure", "dont_measure", "hash", "audit")
		b.WriteString(action)
		for _, items := range [][]string{
			{" func=FILE_CHECK", " func=BPRM_CHECK"}, {" mask=MAY_READ", " mask=^MAY_READ", " mask=^MAY_EXEC"},
			{" fsmagic=0xef53", " fsmagic=0x9fa0"}, {" fsname=ext4", " fsname=xfs"}, {" uid=0", " uid>0", " euid=0", " euid<2"},
			{" gid=0", " egid=1"}, {" fowner=0", " fowner>0", " fgroup<1"}, {" obj_type=a"}, {" subj_type=a", " subj_type=b"},
			{" permit_directio"}, {" digest_type=verity appraise_type=sigv3"},
		} {
			item := pick(r, items...)
			if r.IntN(4) > 0 {
				continue
			}
			if strings.Contains(item, "appraise_type") && action != "appraise" {
				item = " digest_type=verity"
			}
			b.WriteString(item)
		}
		b.WriteByte('\n')
	}
	return parse(t, b.String())
}

func randomQuery(r *rand.Rand) Query {
	id := func() Maybe[uint32] { return Is(uint32(r.IntN(3))) }
	return Query{
		Access{pick(r, policy.FileCheck, policy.BprmCheck, policy.ModuleCheck), pick[policy.Mask](r, 1, 2, 4, 6)},
		File{Magic: Is(pick[uint32](r, 0xef53, 0x9fa0)), FSName: Is(pick(r, "ext4", "xfs")), UUID: Is(uuid), Subtype: Is(""),
			Owner: id(), Group: id(), Labels: [3]Maybe[string]{Is(""), Is(""), Is(pick(r, "a", "b"))}},
		Subject{UID: id(), EUID: id(), SUID: id(), GID: id(), EGID: id(), SGID: id(),
			SetUID: pick(r, policy.True, policy.False), SetGID: pick(r, policy.True, policy.False),
			Labels: [3]Maybe[string]{Is(""), Is(""), Is(pick(r, "a", "b"))}},
	}
}

// forget makes some of the query unknown.
func forget(r *rand.Rand, q Query) Query {
	hide := func(m *Maybe[uint32]) {
		if r.IntN(2) == 0 {
			*m = Maybe[uint32]{}
		}
	}
	for _, m := range []*Maybe[uint32]{&q.File.Magic, &q.File.Owner, &q.File.Group, &q.Subject.UID, &q.Subject.EUID,
		&q.Subject.SUID, &q.Subject.GID, &q.Subject.EGID, &q.Subject.SGID} {
		hide(m)
	}
	for _, m := range []*Maybe[string]{&q.File.FSName, &q.File.Labels[2], &q.Subject.Labels[2]} {
		if r.IntN(2) == 0 {
			*m = Maybe[string]{}
		}
	}
	q.Subject.SetUID = pick(r, q.Subject.SetUID, policy.Unknown)
	q.Subject.SetGID = pick(r, q.Subject.SetGID, policy.Unknown)
	return q
}

// TestReference: with everything known there is one outcome, the reference's;
// with some of it forgotten that outcome is still among the possible ones.
func TestReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		p, q := randomPolicy(t, r), randomQuery(r)
		rule, appraise, demands := reference(p, q)
		same := func(o Outcome) bool { return o.Rule == rule && o.Appraise == appraise && o.Demands == demands }
		if !appraise {
			same = func(o Outcome) bool { return !o.Appraise }
		}
		got := Appraisal(p, q)
		if len(got) != 1 || !same(got[0]) || got[0].If != nil {
			t.Fatalf("policy\n%squery %+v\noutcomes %+v\nreference %d %v %+v", p, q, got, rule, appraise, demands)
		}
		less := forget(r, q)
		if got := Appraisal(p, less); !slices.ContainsFunc(got, same) {
			t.Fatalf("policy\n%squery %+v\nless %+v\noutcomes %+v\nreference %d %v %+v", p, q, less, got, rule, appraise, demands)
		}
	}
}
