package policy

import (
	"fmt"
	"strings"
)

// A Field is one of a rule's conditions.
type Field uint8

// The conditions in the order in which they are printed. FieldLSM and the
// five behind it are those on labels, in the order of the LSMs.
const (
	FieldFunc Field = iota
	FieldMask
	FieldFSMagic
	FieldFSName
	FieldFSSubtype
	FieldKeyrings
	FieldLabel
	FieldFSUUID
	FieldUID
	FieldEUID
	FieldGID
	FieldEGID
	FieldFOwner
	FieldFGroup
	FieldLSM
	NumFields = FieldLSM + Field(numLSM)
)

// ID returns the rule's condition on a number, if f is one.
func (r *Rule) ID(f Field) ID {
	switch f {
	case FieldUID:
		return r.UID
	case FieldEUID:
		return r.EUID
	case FieldGID:
		return r.GID
	case FieldEGID:
		return r.EGID
	case FieldFOwner:
		return r.FOwner
	case FieldFGroup:
		return r.FGroup
	}
	return ID{}
}

// Has reports whether the rule has the condition.
func (r *Rule) Has(f Field) bool {
	switch f {
	case FieldFunc:
		return r.Func != 0
	case FieldMask:
		return r.Mask != 0
	case FieldFSMagic:
		return r.FSMagic.Set
	case FieldFSName:
		return r.FSName != ""
	case FieldFSSubtype:
		return r.FSSubtype != ""
	case FieldKeyrings:
		return r.Keyrings != ""
	case FieldLabel:
		return r.Label != ""
	case FieldFSUUID:
		return r.FSUUID.Set
	}
	if f >= FieldLSM {
		return r.LSM[f-FieldLSM] != ""
	}
	return r.ID(f).IsSet()
}

// Item prints the condition, or nothing if the rule does not have it.
func (r *Rule) Item(f Field) string {
	if !r.Has(f) {
		return ""
	}
	switch f {
	case FieldFunc:
		return "func=" + r.Func.String()
	case FieldMask:
		if r.MaskIn {
			return "mask=^" + r.Mask.String()
		}
		return "mask=" + r.Mask.String()
	case FieldFSMagic:
		return fmt.Sprintf("fsmagic=0x%x", r.FSMagic.Value)
	case FieldFSName:
		return "fsname=" + r.FSName
	case FieldFSSubtype:
		return "fs_subtype=" + r.FSSubtype
	case FieldKeyrings:
		return "keyrings=" + r.Keyrings
	case FieldLabel:
		return "label=" + r.Label
	case FieldFSUUID:
		return "fsuuid=" + r.FSUUID.Value.String()
	}
	if f >= FieldLSM {
		return f.String() + "=" + r.LSM[f-FieldLSM]
	}
	id := r.ID(f)
	return fmt.Sprintf("%s%s%d", f, id.Op, id.Value)
}

var fieldNames = [FieldLSM]string{"func", "mask", "fsmagic", "fsname", "fs_subtype", "keyrings", "label",
	"fsuuid", "uid", "euid", "gid", "egid", "fowner", "fgroup"}

// String returns the word before the sign.
func (f Field) String() string {
	if f >= FieldLSM {
		return LSM(f - FieldLSM).String()
	}
	return fieldNames[f]
}

// conditions returns the rule's conditions as they are printed.
func (r *Rule) conditions() []string {
	var items []string
	for f := range NumFields {
		if item := r.Item(f); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// String prints the rule canonically: one blank between items, the kernel's
// own order (ima_policy_show()), except that digest_type and appraise_type
// stand in the order that kernels read.
func (r Rule) String() string {
	items := append([]string{r.Action.String()}, r.conditions()...)
	if r.PCR.Set {
		items = append(items, fmt.Sprintf("pcr=%d", r.PCR.Value))
	}
	if r.Algos != 0 {
		items = append(items, "appraise_algos="+r.Algos.String())
	}
	if r.Template != "" {
		items = append(items, "template="+r.Template)
	}
	if r.ModSig {
		items = append(items, "appraise_type=imasig|modsig")
	}
	if r.Signature && !r.ModSig && !r.SigV3 {
		items = append(items, "appraise_type=imasig")
	}
	if r.Verity {
		items = append(items, "digest_type=verity")
	}
	if r.SigV3 {
		items = append(items, "appraise_type=sigv3")
	}
	if r.DirectIO {
		items = append(items, "permit_directio")
	}
	return strings.Join(items, " ")
}

// String prints the rules, one a line, without lines between them.
func (p Policy) String() string {
	var b strings.Builder
	for _, r := range p.Rules {
		b.WriteString(r.String())
		b.WriteByte('\n')
	}
	return b.String()
}
