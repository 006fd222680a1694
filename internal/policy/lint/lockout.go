package lint

import (
	"fmt"
	"slices"
	"strings"

	"imaseal/internal/policy"
)

// everyHost are the excluded file systems that a host cannot do without: its
// programs read them all the time.
var everyHost = []string{"proc", "sysfs", "tmpfs", "ramfs", "devpts", "securityfs", "cgroup", "cgroup2"}

// lockOut finds appraise rules that deny more than is meant.
func (l *linter) lockOut(i int) {
	r := &l.policy.Rules[i]
	if r.Action != policy.Appraise || impossible(r) != "" {
		return
	}
	switch r.Func {
	case 0, policy.FileCheck:
		l.opens(i)
	case policy.MmapCheck, policy.MmapCheckReqprot, policy.BprmCheck, policy.CredsCheck:
		l.inMemory(i, "programs and libraries")
	case policy.ModuleCheck:
		if !r.ModSig {
			l.inMemory(i, "modules")
		}
		l.add(Note, OldCall, i, "see that modules are loaded with finit_module(2), as kmod does", "init_module(2) is refused while modules are appraised, unless module signatures are enforced")
	case policy.FirmwareCheck:
		l.inMemory(i, "firmware files")
	case policy.KexecKernelCheck:
		l.add(Note, OldCall, i, "load kernels with kexec_file_load(2), kexec -s", "kexec_load(2) is refused while kernels are appraised")
	case policy.PolicyCheck:
		l.add(Note, NoMoreText, i, "sign later policies and write their path to the policy file", "once this rule is active the kernel takes no text, only the path of a file with a signature")
	}
}

// isBounded reports whether the rule is limited to some file systems or
// labels, so that pseudo file systems are not meant.
func isBounded(r *policy.Rule) bool {
	return r.FSMagic.Set || r.FSName != "" || r.FSSubtype != "" || r.FSUUID.Set ||
		r.LSM[policy.ObjUser] != "" || r.LSM[policy.ObjRole] != "" || r.LSM[policy.ObjType] != ""
}

// opens is about rules that ordinary opens fall under.
func (l *linter) opens(i int) {
	r := &l.policy.Rules[i]
	if isBounded(r) {
		return
	}
	ofRoot := r.FOwner.Holds(0) && r.FGroup.Holds(0)
	var missing []policy.Filesystem
	var bare []string
	severity := Warning
	for _, fs := range policy.Filesystems() {
		switch {
		case l.isExcluded(i, fs):
		case fs.Excluded:
			missing = append(missing, fs)
			if ofRoot && slices.Contains(everyHost, fs.Name) && isReading(r) {
				severity = Error
			}
		case fs.Bare && ofRoot:
			bare = append(bare, fs.Name)
		}
	}
	if missing != nil {
		l.add(severity, PseudoFiles, i, "put dont_appraise rules in front, one for each: "+exclusions(missing),
			"files on pseudo file systems are appraised, though nothing labels them: %s", names(missing))
	}
	if bare != nil {
		l.add(Note, BareFiles, i, "exclude those that the host uses with dont_appraise fsmagic=, or mount them with another owner",
			"files of root on these, which hold no labels, are denied without a record: %s", strings.Join(bare, ", "))
	}
	if r.Signature && ofRoot && isReading(r) {
		severity := Error
		if l.hasException(i) {
			severity = Warning
		}
		l.add(severity, AllSigned, i, "demand signatures with func=BPRM_CHECK, MMAP_CHECK, MODULE_CHECK and FIRMWARE_CHECK, or exclude what changes, by obj_type or fsuuid, in front",
			"every file of root needs a signature, also logs, databases and /etc; a signed file cannot be opened for writing, and what is written anew has none")
	}
	if !r.FOwner.IsSet() && !r.FGroup.IsSet() && isReading(r) {
		l.add(Warning, AllOwners, i, "add fowner=0, or label the files of all users", "files of every owner are appraised; users' files have no labels as long as nobody makes them")
	}
}

// isReading reports whether plain reads fall under the rule.
func isReading(r *policy.Rule) bool { return r.Mask == 0 || r.Mask == policy.MayRead }

// inMemory is about files that come with the initramfs, whose file system
// holds no labels.
func (l *linter) inMemory(i int, what string) {
	if isBounded(&l.policy.Rules[i]) {
		return
	}
	var missing []policy.Filesystem
	for _, fs := range policy.Excluded() {
		if (fs.Name == "tmpfs" || fs.Name == "ramfs") && !l.isExcluded(i, fs) {
			missing = append(missing, fs)
		}
	}
	if missing != nil {
		l.add(Warning, InMemoryFiles, i, "put dont_appraise rules in front: "+exclusions(missing)+"; or load the policy when the initramfs is done",
			"%s in the initramfs or in memory files have no labels and are denied: %s", what, names(missing))
	}
}

// exclusions are the conditions of rules that exclude file systems.
func exclusions(all []policy.Filesystem) string {
	var items []string
	for _, fs := range all {
		items = append(items, fmt.Sprintf("fsmagic=0x%x (%s)", fs.Magic, fs.Name))
	}
	return strings.Join(items, ", ")
}

func names(all []policy.Filesystem) string {
	var names []string
	for _, fs := range all {
		names = append(names, fs.Name)
	}
	return strings.Join(names, ", ")
}

// isExcluded reports whether a rule in front takes everything on the file
// system that rule i would.
func (l *linter) isExcluded(i int, fs policy.Filesystem) bool {
	on := l.policy.Rules[i]
	on.FSMagic = policy.Magic{Set: true, Value: uint64(fs.Magic)}
	on.FSName = fs.Name
	for j := range i {
		r := &l.policy.Rules[j]
		if r.Action == policy.DontAppraise && covers(r, &on) {
			return true
		}
	}
	return false
}

// hasException reports whether rules in front except more than pseudo file
// systems.
func (l *linter) hasException(i int) bool {
	for j := range i {
		r := &l.policy.Rules[j]
		if r.Action != policy.DontAppraise {
			continue
		}
		pseudo := false
		for _, fs := range policy.Excluded() {
			pseudo = pseudo || r.FSMagic.Set && r.FSMagic.Value == uint64(fs.Magic) || r.FSName == fs.Name
		}
		if !pseudo {
			return true
		}
	}
	return false
}
