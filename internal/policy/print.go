package policy

import (
	"fmt"
	"strings"
)

// String prints the rule canonically: one blank between items, the kernel's
// own order (ima_policy_show()), except that digest_type and appraise_type
// stand in the order that kernels read.
func (r Rule) String() string {
	items := append([]string{r.Action.String()}, r.Conditions()...)
	if r.PCR.Set {
		items = append(items, fmt.Sprintf("pcr=%d", r.PCR.Value))
	}
	if r.Algos != 0 {
		items = append(items, "appraise_algos="+r.Algos.String())
	}
	if r.Template != "" {
		items = append(items, "template="+r.Template)
	}
	items = append(items, r.types()...)
	if r.DirectIO {
		items = append(items, "permit_directio")
	}
	return strings.Join(items, " ")
}

func (r Rule) types() []string {
	var items []string
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
	return items
}

// Conditions returns the conditions as they are printed, in canonical order.
func (r Rule) Conditions() []string {
	var items []string
	add := func(set bool, format string, args ...any) {
		if set {
			items = append(items, fmt.Sprintf(format, args...))
		}
	}
	add(r.Func != 0, "func=%s", r.Func)
	in := ""
	if r.MaskIn {
		in = "^"
	}
	add(r.Mask != 0, "mask=%s%s", in, r.Mask)
	add(r.FSMagic.Set, "fsmagic=0x%x", r.FSMagic.Value)
	add(r.FSName != "", "fsname=%s", r.FSName)
	add(r.FSSubtype != "", "fs_subtype=%s", r.FSSubtype)
	add(r.FSUUID.Set, "fsuuid=%s", r.FSUUID.Value)
	add(r.Keyrings != "", "keyrings=%s", r.Keyrings)
	add(r.Label != "", "label=%s", r.Label)
	for _, c := range []struct {
		name string
		id   ID
	}{{"uid", r.UID}, {"euid", r.EUID}, {"gid", r.GID}, {"egid", r.EGID}, {"fowner", r.FOwner}, {"fgroup", r.FGroup}} {
		add(c.id.IsSet(), "%s%s%d", c.name, c.id.Op, c.id.Value)
	}
	for l, value := range r.LSM {
		add(value != "", "%s=%s", LSM(l), value)
	}
	return items
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
