package policy

import (
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"imaseal/hash"
)

// valued holds the items of the form name=value but for those on numbers.
var valued = map[string]func(*parser, string) *Error{
	"func":           (*parser).hook,
	"mask":           (*parser).mask,
	"fsmagic":        (*parser).magic,
	"fsuuid":         (*parser).uuid,
	"digest_type":    (*parser).digestType,
	"appraise_type":  (*parser).appraiseType,
	"appraise_algos": (*parser).algos,
	"pcr":            (*parser).pcr,
	"template":       (*parser).template,
	"appraise_flag":  (*parser).appraiseFlag,
	// No check for a second one: the last name counts.
	"fsname":     func(p *parser, v string) *Error { p.rule.FSName = v; return nil },
	"fs_subtype": (*parser).subtype,
	"keyrings":   func(p *parser, v string) *Error { return p.list("keyrings", &p.rule.Keyrings, v) },
	"label":      func(p *parser, v string) *Error { return p.list("label", &p.rule.Label, v) },
	"obj_user":   func(p *parser, v string) *Error { return p.lsm(ObjUser, v) },
	"obj_role":   func(p *parser, v string) *Error { return p.lsm(ObjRole, v) },
	"obj_type":   func(p *parser, v string) *Error { return p.lsm(ObjType, v) },
	"subj_user":  func(p *parser, v string) *Error { return p.lsm(SubjUser, v) },
	"subj_role":  func(p *parser, v string) *Error { return p.lsm(SubjRole, v) },
	"subj_type":  func(p *parser, v string) *Error { return p.lsm(SubjType, v) },
}

// parseUint is the kernel's kstrtoul(): a plus sign may lead, and 0x where
// the base is 16; no minus, no blanks, no underscores.
func parseUint(s string, base int) (uint64, *Error) {
	digits := strings.TrimPrefix(s, "+")
	if base == 16 && len(digits) > 1 && digits[0] == '0' && digits[1]|0x20 == 'x' {
		digits = digits[2:]
	}
	n, err := strconv.ParseUint(digits, base, 64)
	switch {
	case strings.ContainsAny(digits, "+_"), errors.Is(err, strconv.ErrSyntax):
		if base == 16 {
			return 0, fault(invalid, "not a hexadecimal number")
		}
		return 0, fault(invalid, "not a decimal number")
	case err != nil:
		return 0, fault("ERANGE", "the number is too large")
	}
	return n, nil
}

func twice(name string) *Error { return fault(invalid, "%s is given twice", name) }

func (p *parser) hook(v string) *Error {
	h := parseHook(v)
	switch {
	case p.rule.Func != 0:
		return twice("func")
	case h == 0 && parseHook(strings.ToUpper(v)) != 0:
		return fault(invalid, "items are case sensitive, this one is func=%s", strings.ToUpper(v))
	case h == 0:
		return fault(invalid, "unknown hook")
	case h == MmapCheckReqprot && !p.kernel.AtLeast(6, 12):
		return fault(invalid, "MMAP_CHECK_REQPROT is not known by %s", p.kernel)
	case h == KeyCheck && p.kernel.Config.MeasureKeys == False:
		return fault(invalid, "the kernel was built without CONFIG_IMA_MEASURE_ASYMMETRIC_KEYS")
	}
	p.rule.Func = h
	return nil
}

func (p *parser) mask(v string) *Error {
	if p.rule.Mask != 0 {
		return twice("mask")
	}
	name, in := strings.CutPrefix(v, "^")
	for _, b := range maskNames {
		if b.name == name {
			p.rule.Mask, p.rule.MaskIn = b.bit, in
			return nil
		}
	}
	return fault(invalid, "the mask is one of MAY_READ, MAY_WRITE, MAY_EXEC and MAY_APPEND, with or without ^")
}

// magic and uuid take a zero for none given so far, as the kernel does.
func (p *parser) magic(v string) *Error {
	if p.rule.FSMagic.Value != 0 {
		return twice("fsmagic")
	}
	n, err := parseUint(v, 16)
	if err != nil {
		return err
	}
	p.rule.FSMagic = Magic{Set: true, Value: n}
	return nil
}

// uuid looks at the first 36 characters only, as uuid_parse() in lib/uuid.c.
func (p *parser) uuid(v string) *Error {
	if p.rule.FSUUID.Value != (UUID{}) {
		return twice("fsuuid")
	}
	bad := fault(invalid, "not of the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
	if len(v) < 36 || v[8] != '-' || v[13] != '-' || v[18] != '-' || v[23] != '-' {
		return bad
	}
	b, err := hex.DecodeString(v[:8] + v[9:13] + v[14:18] + v[19:23] + v[24:36])
	if err != nil {
		return bad
	}
	p.rule.FSUUID = FSUUID{Set: true, Value: UUID(b)}
	return nil
}

func (p *parser) subtype(v string) *Error {
	switch {
	case !p.kernel.AtLeast(7, 2):
		return fault(invalid, "fs_subtype is known since 7.2, not by %s", p.kernel)
	case p.rule.FSSubtype != "":
		return twice("fs_subtype")
	}
	p.rule.FSSubtype = v
	return nil
}

func (p *parser) list(name string, field *string, v string) *Error {
	switch {
	case name == "keyrings" && p.kernel.Config.MeasureKeys == False:
		return fault(invalid, "the kernel was built without CONFIG_IMA_MEASURE_ASYMMETRIC_KEYS")
	case *field != "":
		return twice(name)
	}
	for part := range strings.SplitSeq(v, "|") {
		if part == "" {
			return fault(invalid, "an empty name in the list")
		}
	}
	*field = v
	return nil
}

// lsm takes every value: whether the security module knows it only the
// running kernel can say.
func (p *parser) lsm(l LSM, v string) *Error {
	switch {
	case p.kernel.Config.LSMRules == False:
		return fault(invalid, "the kernel was built without CONFIG_IMA_LSM_RULES")
	case p.rule.LSM[l] != "":
		return twice(l.String())
	}
	p.rule.LSM[l] = v
	return nil
}

// digestType: the order counts. 6.12 wants it before appraise_type, 7.2 after
// imasig or before sigv3.
func (p *parser) digestType(v string) *Error {
	switch {
	case v != "verity":
		return fault(invalid, "the digest type is verity or not given")
	case p.rule.Signature && !p.kernel.IsSigV3() && !p.shown:
		return fault(invalid, "%s wants digest_type before appraise_type", p.kernel)
	}
	p.rule.Verity = true
	return nil
}

func (p *parser) appraiseType(v string) *Error {
	r := &p.rule
	switch v {
	case "imasig":
		if r.Verity {
			return fault(invalid, "behind digest_type=verity only appraise_type=sigv3 is taken")
		}
	case "sigv3":
		if !r.Verity && !p.kernel.IsSigV3() && !p.shown {
			return fault(invalid, "%s takes sigv3 only behind digest_type=verity", p.kernel)
		}
		r.SigV3 = true
	case "imasig|modsig":
		switch {
		case p.kernel.Config.ModSig == False:
			return fault(invalid, "the kernel was built without CONFIG_IMA_APPRAISE_MODSIG")
		case r.Verity || r.SigV3 && p.kernel.IsSigV3():
			return fault(invalid, "behind digest_type=verity or sigv3 modsig is not taken")
		}
		r.ModSig = true
	default:
		return fault(invalid, "the appraise type is imasig, imasig|modsig or sigv3")
	}
	r.Signature = true
	return nil
}

// appraiseFlag: every appraise_type implies a look into the blacklist, and the
// item is parsed and ignored. 6.1 takes it for modsig only.
func (p *parser) appraiseFlag(v string) *Error {
	if !p.kernel.AtLeast(6, 12) && !(p.rule.ModSig && strings.Contains(v, "blacklist")) {
		return fault(invalid, "%s takes appraise_flag=check_blacklist behind imasig|modsig only", p.kernel)
	}
	return nil
}

func (p *parser) algos(v string) *Error {
	if p.rule.Algos != 0 {
		return twice("appraise_algos")
	}
	var set Algos
	for name := range strings.SplitSeq(v, ",") {
		a, err := hash.Parse(name)
		if err != nil {
			return fault(invalid+` and logs: unknown hash algorithm "`+name+`"`, "no algorithm of the kernel's table")
		}
		if p.kernel.HasHash(a) == False {
			return fault(invalid+` and logs: unavailable hash algorithm "`+name+`", check your kernel configuration`,
				"this kernel does not have the algorithm %s", a)
		}
		set.Add(a)
	}
	p.rule.Algos = set
	return nil
}

// pcr: the last one counts. kstrtoint() takes signs.
func (p *parser) pcr(v string) *Error {
	digits := strings.TrimPrefix(v, "-")
	if digits == v {
		digits = strings.TrimPrefix(v, "+")
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n > 63 || n > 0 && v[0] == '-' {
		return fault(invalid, "the register is a number from 0 to 63")
	}
	p.rule.PCR = PCR{Set: true, Value: uint8(n)}
	return nil
}

// templates pairs the built-in templates' names with their formats; both may
// be given. Kernel: builtin_templates[], ima_template.c.
var templates = [][2]string{
	{"ima", "d|n"},
	{"ima-ng", "d-ng|n-ng"},
	{"ima-sig", "d-ng|n-ng|sig"},
	{"ima-ngv2", "d-ngv2|n-ng"},
	{"ima-sigv2", "d-ngv2|n-ng|sig"},
	{"ima-buf", "d-ng|n-ng|buf"},
	{"ima-modsig", "d-ng|n-ng|sig|d-modsig|modsig"},
	{"evm-sig", "d-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|iuid|igid|imode"},
}

func (p *parser) template(v string) *Error {
	switch {
	case p.rule.Action != Measure:
		return fault(invalid, "template stands behind the word measure")
	case p.rule.Template != "":
		return twice("template")
	}
	for _, t := range templates {
		if v == t[0] || v == t[1] {
			p.rule.Template = t[0]
			return nil
		}
	}
	if v == p.kernel.TemplateFormat {
		p.rule.Template = v
		return nil
	}
	return fault(invalid, "no template of this name or format")
}
