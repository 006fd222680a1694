// Package match decides which rule of a policy takes a file, as
// ima_match_rules() and ima_match_policy() in the kernel's
// security/integrity/ima/ima_policy.c do, but with three truth values: what is
// not known of a file or a task makes a condition unknown, and the answer is
// then the list of what is possible.
//
// The hooks for keys and critical data, which are about no file, never match.
package match

import (
	"fmt"

	"imaseal/internal/policy"
)

// A Maybe is a value that may be unknown; the zero value is.
type Maybe[T any] struct {
	Value T
	Known bool
}

// Is returns a known value.
func Is[T any](v T) Maybe[T] { return Maybe[T]{Value: v, Known: true} }

// A File is what conditions look at in a file. What the zero value says of it
// is nothing.
type File struct {
	Magic   Maybe[uint32]
	FSName  Maybe[string] // the type's name, "fuse" of fuse.sshfs
	Subtype Maybe[string] // "sshfs" of fuse.sshfs, empty if there is none
	UUID    Maybe[policy.UUID]
	Owner   Maybe[uint32] // as the mount maps it
	Group   Maybe[uint32]
	Labels  [3]Maybe[string] // of the security module: user, role, type
}

// A Subject is the task that opens a file. The zero value is any task.
type Subject struct {
	UID, EUID, SUID Maybe[uint32]
	GID, EGID, SGID Maybe[uint32]
	SetUID, SetGID  policy.Truth // capabilities
	Labels          [3]Maybe[string]
}

// Root returns a task of the superuser with all capabilities, of any group.
func Root() Subject {
	return Subject{UID: Is[uint32](0), EUID: Is[uint32](0), SUID: Is[uint32](0), SetUID: policy.True, SetGID: policy.True}
}

// User returns a task without capabilities.
func User(uid, gid uint32) Subject {
	return Subject{
		UID: Is(uid), EUID: Is(uid), SUID: Is(uid), SetUID: policy.False,
		GID: Is(gid), EGID: Is(gid), SGID: Is(gid), SetGID: policy.False,
	}
}

// An Access is one question of the kernel to its policy.
type Access struct {
	Hook policy.Hook
	Mask policy.Mask
}

// String prints the access as rules name it.
func (a Access) String() string { return fmt.Sprintf("%s with %s", a.Hook, a.Mask) }

// A Query asks whether a file is appraised at an access by a task.
type Query struct {
	Access
	File    File
	Subject Subject
}

// test says whether the rule's condition holds. A condition that the rule
// does not have holds.
func (q *Query) test(r *policy.Rule, f policy.Field) policy.Truth {
	if !r.Has(f) {
		return policy.True
	}
	afterSetattr := q.Hook == policy.PostSetattr
	switch f {
	case policy.FieldFunc:
		return policy.Of(afterSetattr || r.Func == q.Hook)
	case policy.FieldMask:
		if r.MaskIn {
			return policy.Of(afterSetattr || q.Mask&r.Mask != 0)
		}
		return policy.Of(afterSetattr || q.Mask == r.Mask)
	case policy.FieldFSMagic:
		return same(q.File.Magic, uint32(r.FSMagic.Value), r.FSMagic.Value>>32 == 0)
	case policy.FieldFSName:
		return same(q.File.FSName, r.FSName, true)
	case policy.FieldFSSubtype:
		return same(q.File.Subtype, r.FSSubtype, true)
	case policy.FieldFSUUID:
		return same(q.File.UUID, r.FSUUID.Value, true)
	case policy.FieldUID:
		return holds(r.UID, q.Subject.UID)
	case policy.FieldGID:
		return holds(r.GID, q.Subject.GID)
	case policy.FieldEUID:
		return effective(r.EUID, q.Subject.SetUID, q.Subject.EUID, q.Subject.SUID, q.Subject.UID)
	case policy.FieldEGID:
		return effective(r.EGID, q.Subject.SetGID, q.Subject.EGID, q.Subject.SGID, q.Subject.GID)
	case policy.FieldFOwner:
		return holds(r.FOwner, q.File.Owner)
	case policy.FieldFGroup:
		return holds(r.FGroup, q.File.Group)
	case policy.FieldKeyrings, policy.FieldLabel:
		return policy.False
	}
	l := f - policy.FieldLSM
	if l < 3 {
		return same(q.File.Labels[l], r.LSM[l], true)
	}
	return same(q.Subject.Labels[l-3], r.LSM[l], true)
}

// same compares with a value of the rule, which may be one that nothing has.
func same[T comparable](m Maybe[T], v T, possible bool) policy.Truth {
	switch {
	case !possible:
		return policy.False
	case !m.Known:
		return policy.Unknown
	}
	return policy.Of(m.Value == v)
}

// holds compares an id, which may be unknown but is never 4294967295.
func holds(c policy.ID, m Maybe[uint32]) policy.Truth {
	switch {
	case m.Known:
		return policy.Of(c.Holds(m.Value))
	case c.Op == policy.Less && c.Value == 0 || c.Op == policy.Greater && c.Value >= 1<<32-2:
		return policy.False
	}
	return policy.Unknown
}

// effective is the rule for euid and egid: a task with the capability to
// change its ids matches if any of them does.
func effective(c policy.ID, capable policy.Truth, e, s, r Maybe[uint32]) policy.Truth {
	one := holds(c, e)
	if capable == policy.False {
		return one
	}
	anyOf := one.Or(holds(c, s)).Or(holds(c, r))
	if capable == policy.True || anyOf == one {
		return anyOf
	}
	return policy.Unknown
}

// match is the conjunction of the rule's conditions.
func (q *Query) match(r *policy.Rule) policy.Truth {
	all := policy.True
	if r.Func == 0 && (q.Hook == policy.KeyCheck || q.Hook == policy.CriticalData) {
		return policy.False
	}
	for f := range policy.NumFields {
		if all = all.And(q.test(r, f)); all == policy.False {
			break
		}
	}
	return all
}

// have prints what the query has where a rule has a condition.
func (q *Query) have(f policy.Field) string {
	id := func(m Maybe[uint32]) string {
		if !m.Known {
			return "unknown"
		}
		return fmt.Sprint(m.Value)
	}
	text := func(m Maybe[string]) string {
		switch {
		case !m.Known:
			return "unknown"
		case m.Value == "":
			return "none"
		}
		return m.Value
	}
	switch f {
	case policy.FieldFunc:
		return q.Hook.String()
	case policy.FieldMask:
		return q.Mask.String()
	case policy.FieldFSMagic:
		if !q.File.Magic.Known {
			return "unknown"
		}
		if name, ok := policy.NameOf(q.File.Magic.Value); ok {
			return fmt.Sprintf("0x%x (%s)", q.File.Magic.Value, name)
		}
		return fmt.Sprintf("0x%x", q.File.Magic.Value)
	case policy.FieldFSName:
		return text(q.File.FSName)
	case policy.FieldFSSubtype:
		return text(q.File.Subtype)
	case policy.FieldFSUUID:
		if !q.File.UUID.Known {
			return "unknown"
		}
		return q.File.UUID.Value.String()
	case policy.FieldUID:
		return id(q.Subject.UID)
	case policy.FieldEUID:
		return id(q.Subject.EUID)
	case policy.FieldGID:
		return id(q.Subject.GID)
	case policy.FieldEGID:
		return id(q.Subject.EGID)
	case policy.FieldFOwner:
		return id(q.File.Owner)
	case policy.FieldFGroup:
		return id(q.File.Group)
	case policy.FieldKeyrings, policy.FieldLabel:
		return "a file"
	}
	if l := f - policy.FieldLSM; l < 3 {
		return text(q.File.Labels[l])
	}
	return text(q.Subject.Labels[f-policy.FieldLSM-3])
}
