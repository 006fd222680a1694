package appraise

import (
	"slices"
	"strings"
	"testing"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/policy"
	"imaseal/internal/policy/builtin"
	"imaseal/internal/policy/match"
	"imaseal/internal/reason"
)

func parse(t *testing.T, text string) policy.Policy {
	t.Helper()
	p, err := policy.Parse(strings.ReplaceAll(text, ";", "\n"), policy.Kernel{Major: 7, Minor: 2})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name, policy string
		label        []byte
		op           match.Operation
		status       Status
		cause        Cause
		access       string
		rule         int
	}{
		{"no rule", "appraise fowner=5", nil, match.Exec, Allowed, "", "", match.NoRule},
		{"first access", "appraise fowner=0", nil, match.Exec, Denied, MissingHash, "FILE_CHECK with MAY_EXEC", 0},
		{"later access", "appraise func=BPRM_CHECK appraise_type=imasig", hashed, match.Exec, Denied, SignatureRequired, "BPRM_CHECK with MAY_EXEC", 0},
		{"module", "appraise func=MODULE_CHECK;appraise func=FILE_CHECK fowner=1", badHash, match.Module, Denied, InvalidHash, "MODULE_CHECK with MAY_READ", 0},
		{"allowed by a rule", "dont_appraise fowner=9;appraise", hashed, match.Read, Allowed, "", "FILE_CHECK with MAY_READ", 1},
		{"writing what is hashed", "appraise", hashed, match.Write, Allowed, "", "FILE_CHECK with MAY_WRITE", 0},
		{"writing what is signed", "appraise", sigV2, match.Write, Denied, "", "FILE_CHECK with MAY_WRITE", 0},
		{"appending to what is signed", "appraise mask=^MAY_APPEND", sigV2, match.Write, Denied, "", "FILE_CHECK with MAY_WRITE|MAY_APPEND", 0},
		{"demands stay", "appraise func=BPRM_CHECK digest_type=verity appraise_type=sigv3;appraise func=MMAP_CHECK", veritys, match.Exec, Allowed, "", "BPRM_CHECK with MAY_EXEC", 0},
		{"demands do not go back", "appraise func=BPRM_CHECK digest_type=verity appraise_type=sigv3;appraise func=FILE_CHECK", veritys, match.Exec,
			Denied, InvalidVeritySignature, "FILE_CHECK with MAY_EXEC", 1},
		{"the digest stays", "measure func=FILE_CHECK;appraise func=MMAP_CHECK digest_type=verity appraise_type=sigv3", veritys, match.Map,
			Denied, InvalidVeritySignature, "MMAP_CHECK with MAY_EXEC", 1},
		{"the verity digest stays", "measure func=FILE_CHECK digest_type=verity;appraise func=MMAP_CHECK", hashed, match.Map,
			Denied, InvalidHash, "MMAP_CHECK with MAY_EXEC", 1},
		{"the verdict stays", "measure func=MMAP_CHECK digest_type=verity;appraise", hashed, match.Map, Allowed, "", "FILE_CHECK with MAY_READ", 1},
		{"the verdict stays against stricter rules without func", "appraise func=FILE_CHECK;appraise appraise_type=imasig", hashed, match.Map,
			Allowed, "", "FILE_CHECK with MAY_READ", 0},
		{"the verdict of another slot does not", "appraise func=FILE_CHECK;appraise func=MMAP_CHECK appraise_type=imasig", hashed, match.Map,
			Denied, SignatureRequired, "MMAP_CHECK with MAY_EXEC", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, k := range []*Kernel{kernel(6, 12), kernel(7, 2)} {
				j := k.Judge(parse(t, c.policy), file(c.label), c.op, match.Root())
				access := ""
				if j.Access.Hook != 0 {
					access = j.Access.String()
				}
				if j.Status != c.status || j.Cause() != c.cause || access != c.access || j.Rule != c.rule || j.Depends != nil {
					t.Errorf("%s: %+v", k.Kernel, j)
				}
			}
		})
	}
}

func TestJudgeUnknown(t *testing.T) {
	k := kernel(6, 12)
	for _, c := range []struct {
		name, policy string
		label        []byte
		status       Status
		depends      []string
		why          string
	}{
		{"decides", "appraise uid=0", nil, Undecided, []string{"uid=0"}, `if uid=0, "appraise uid=0": denied (missing-hash); else no rule: allowed`},
		{"does not matter", "appraise uid=0", hashed, Allowed, nil, ""},
		{"denied either way", "appraise uid=0;appraise", nil, Denied, nil, ""},
		{"denied by one cause or another", "appraise uid=0 appraise_type=imasig;appraise", nil, Denied, []string{"uid=0"},
			`if uid=0, "appraise uid=0 appraise_type=imasig": denied (IMA-signature-required); else "appraise": denied (missing-hash)`},
		{"in another action", "measure uid=0 digest_type=verity;appraise", hashed, Undecided, []string{"uid=0"},
			`if uid=0, "appraise": denied (invalid-hash); else "appraise": allowed`},
		{"two conditions", "dont_appraise subj_type=x uid=0;appraise", nil, Undecided, []string{"uid=0", "subj_type=x"},
			`if uid=0 and subj_type=x, "dont_appraise uid=0 subj_type=x": allowed; else "appraise": denied (missing-hash)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := k.Judge(parse(t, c.policy), file(c.label), match.Read, match.Subject{})
			if j.Status != c.status || !slices.Equal(j.Depends, c.depends) || j.Reasons.String() != c.why {
				t.Errorf("%+v", j)
			}
		})
	}
	// A later denial is certain although an earlier access is not decided.
	j := k.Judge(parse(t, "appraise func=FILE_CHECK uid=0;appraise func=BPRM_CHECK"), file(nil), match.Exec, match.Subject{})
	if j.Status != Denied || j.Access.Hook != policy.BprmCheck {
		t.Errorf("later denial: %+v", j)
	}
}

// TestAppraiseTCB: with the right labels nothing is denied, and of a regular
// file everything without.
func TestAppraiseTCB(t *testing.T) {
	for _, k := range []*Kernel{kernel(6, 12), kernel(7, 2)} {
		for _, words := range [][]string{{"appraise_tcb"}, {"appraise_tcb", "secure_boot"}, {"appraise_tcb", "tcb"}} {
			p, err := builtin.Policy(k.Kernel, words...)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range match.Operations() {
				if j := k.Judge(p, file(nil), o, match.Root()); j.Status != Denied {
					t.Errorf("%s, %v, %s without a label: %+v", k.Kernel, words, o, j)
				}
				f := file(hashed)
				if words[len(words)-1] == "secure_boot" && o != match.Write {
					f.IMA = sigV2
				}
				want := Allowed
				if o == match.DirectRead { // no label helps there
					want = Denied
				}
				if j := k.Judge(p, f, o, match.Root()); j.Status != want {
					t.Errorf("%s, %v, %s: %+v", k.Kernel, words, o, j)
				}
			}
			f := file(nil)
			f.Magic = match.Is[uint32](0x9fa0)
			if j := k.Judge(p, f, match.Read, match.Root()); j.Status != Allowed || j.Rule != 0 && words[len(words)-1] == "appraise_tcb" {
				t.Errorf("proc: %+v", j)
			}
		}
	}
}

// TestImmutableUnderEVM: hash label and portable signature, the usual way to
// sign an image, allows all but writing.
func TestImmutableUnderEVM(t *testing.T) {
	k, f := kernel(6, 12), evmFile()
	k.EVM.X509 = true
	f.EVM = evmLabel(imaevm.TypePortable, 2, evmKey, f)
	p := parse(t, "appraise fowner=0 appraise_type=imasig")
	for _, o := range match.Operations() {
		want := Allowed
		if o == match.Write || o == match.DirectRead {
			want = Denied
		}
		if j := k.Judge(p, f, o, match.Root()); j.Status != want {
			t.Errorf("%s: %+v", o, j)
		}
	}
}

// TestDirectRead: O_DIRECT is denied unless the rule permits it, and then the
// label does not count.
func TestDirectRead(t *testing.T) {
	for policy, want := range map[string]Verdict{
		"appraise":                 denied(FailedDirectIO),
		"appraise permit_directio": {Status: Allowed},
		"appraise permit_directio appraise_type=imasig":  {Status: Allowed},
		"appraise permit_directio appraise_algos=sha512": denied(DeniedAlgorithm),
		"dont_appraise;appraise":                         {Status: Allowed},
	} {
		if j := kernel(6, 12).Judge(parse(t, policy), file(hashed), match.DirectRead, match.Root()); !same(j.Verdict, want) {
			t.Errorf("%s: %+v", policy, j)
		}
	}
}

// TestWaysToWrite: each is the first thing that is done with the file.
func TestWaysToWrite(t *testing.T) {
	p := parse(t, "appraise mask=MAY_WRITE;appraise func=FILE_CHECK appraise_algos=sha512")
	j := kernel(6, 12).Judge(p, file(hashed), match.Write, match.Root())
	if j.Cause() != DeniedAlgorithm || j.Access.Mask != policy.MayRead|policy.MayWrite {
		t.Errorf("%+v", j)
	}
}

// TestWithoutSHA3: kernels before 6.7 take the number for one that they do not
// know, and compare with their default.
func TestWithoutSHA3(t *testing.T) {
	p := parse(t, "appraise")
	sum, err := hash.Sum(hash.SHA3_256, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	label, err := imaevm.NewHash(sum).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger := append([]byte{4, 23}, sum.Bytes()...)
	signature := toySign(imaevm.TypeSignature, 2, good, sum)
	for _, c := range []struct {
		major, minor int
		label        []byte
		want         Verdict
	}{
		{6, 1, label, denied(InvalidHash, reason.New(UnknownAlgorithm, "the label is of sha3-256, which this kernel takes for sha256, its default: it came with Linux 6.7"))},
		{6, 12, label, allowed()},
		{6, 1, label[:33], denied(InvalidHash, reason.New(ShortLabel, "the label has 31 of the 32 bytes of a sha256 digest"))},
		{6, 12, label[:33], denied(InvalidHash, reason.New(ShortLabel, "the label has 31 of the 32 bytes of a sha3-256 digest"))},
		{6, 12, stranger, denied(InvalidHash, reason.New(UnknownAlgorithm, "the label names the digest algorithm 23, which kernels take for sha256, their default"))},
		{6, 12, badHash, denied(InvalidHash)},
		{6, 1, signature, denied(InvalidSignature, reason.New(NoDigest, "the kernel does not have sha3-256"))},
		{6, 12, signature, allowed()},
	} {
		if j := kernel(c.major, c.minor).Judge(p, file(c.label), match.Read, match.Root()); !same(j.Verdict, c.want) {
			t.Errorf("%d.%d, %x: %+v", c.major, c.minor, c.label[:3], j)
		}
	}
}

// TestSetID: whose task a set-id program is when the kernel asks.
func TestSetID(t *testing.T) {
	const setuid, setgid = 0o104755, 0o102755
	user := match.User(7, 8)
	for _, c := range []struct {
		policy    string
		mode      uint32
		subject   match.Subject
		op        match.Operation
		v612, v72 Status
	}{
		{"appraise func=BPRM_CHECK euid=0", setuid, user, match.Exec, Allowed, Allowed},
		{"appraise func=CREDS_CHECK euid=0", setuid, user, match.Exec, Allowed, Denied},
		{"appraise func=CREDS_CHECK euid=0", 0o100755, user, match.Exec, Allowed, Allowed},
		{"appraise func=CREDS_CHECK uid=0", setuid, user, match.Exec, Allowed, Allowed},
		{"appraise func=MMAP_CHECK euid=0", setuid, user, match.Exec, Denied, Denied},
		{"appraise func=MMAP_CHECK euid=7", setuid, user, match.Exec, Denied, Denied}, // by the real id
		{"appraise func=MMAP_CHECK euid=0", setuid, user, match.Map, Allowed, Allowed},
		{"appraise func=MMAP_CHECK egid=0", setgid, user, match.Exec, Denied, Denied},
		{"appraise func=MMAP_CHECK egid=0", setgid &^ 0o10, user, match.Exec, Allowed, Allowed},
		{"appraise func=MMAP_CHECK egid=8", setgid, user, match.Exec, Allowed, Allowed},
		{"appraise func=CREDS_CHECK euid=0", setuid, user, match.Script, Allowed, Allowed},
		{"appraise func=MMAP_CHECK euid=0", setuid, match.Subject{}, match.Exec, Denied, Denied},
	} {
		for k, want := range map[*Kernel]Status{kernel(6, 12): c.v612, kernel(7, 2): c.v72} {
			f := file(nil)
			f.Mode, f.Owner, f.Group = c.mode, match.Is[uint32](0), match.Is[uint32](0)
			if j := k.Judge(parse(t, c.policy), f, c.op, c.subject); j.Status != want {
				t.Errorf("%s: %q, mode %o, %s: %+v, want %s", k.Kernel, c.policy, c.mode, c.op, j, want)
			}
		}
	}
	// Since 7.2 CREDS_CHECK has the new ids, and the capabilities of who executes.
	root := match.Root()
	root.GID, root.EGID, root.SGID = match.Is[uint32](0), match.Is[uint32](0), match.Is[uint32](0)
	for _, c := range []struct {
		policy       string
		mode         uint32
		owner, group uint32
		subject      match.Subject
		v612, v72    Status
	}{
		{"euid=0", setuid, 1000, 0, root, Denied, Denied},
		{"euid=1000", setuid, 1000, 0, root, Allowed, Denied},
		{"euid=1000", setuid, 0, 0, match.User(1000, 7), Denied, Allowed},
		{"euid=0", setuid, 0, 0, match.User(1000, 7), Allowed, Denied},
		{"euid=0", setuid, 1000, 0, match.User(1, 7), Allowed, Allowed},
		{"egid=0", setgid, 0, 1000, root, Denied, Denied},
		{"egid=1000", setgid, 0, 1000, root, Allowed, Denied},
		{"egid=7", setgid, 0, 0, match.User(1000, 7), Denied, Allowed},
		{"egid=0", setgid, 0, 0, match.User(1000, 7), Allowed, Denied},
		{"egid=0", setgid &^ 0o10, 0, 0, match.User(1000, 7), Allowed, Allowed}, // no set-id bit
		{"uid=0", setuid, 1000, 0, root, Denied, Denied},
	} {
		for k, want := range map[*Kernel]Status{kernel(6, 12): c.v612, kernel(7, 2): c.v72} {
			f := file(nil)
			f.Mode, f.Owner, f.Group = c.mode, match.Is(c.owner), match.Is(c.group)
			if j := k.Judge(parse(t, "appraise func=CREDS_CHECK "+c.policy), f, match.Exec, c.subject); j.Status != want {
				t.Errorf("%s: %s, mode %o, %d:%d, by %d: %+v, want %s", k.Kernel, c.policy, c.mode, c.owner, c.group, c.subject.UID.Value, j.Verdict, want)
			}
		}
	}
	// Root that runs a program of another user keeps its real id only.
	f := file(nil)
	f.Mode, f.Owner = setuid, match.Is[uint32](5)
	for text, want := range map[string]Status{"euid=0": Allowed, "uid=0": Denied, "euid=5": Denied} {
		if j := kernel(6, 12).Judge(parse(t, "appraise func=MMAP_CHECK "+text), f, match.Exec, match.Root()); j.Status != want {
			t.Errorf("%s: %+v, want %s", text, j, want)
		}
	}
}
