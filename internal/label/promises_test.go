package label_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/label"
	"imaseal/internal/report"
	"imaseal/internal/run"
	"imaseal/internal/runtest"
	"imaseal/internal/tree"
	"imaseal/internal/treetest"
)

// Promise 2: bytes that are right are not written again. A second run makes no
// call that writes.
func TestPromise2SecondRunWritesNothing(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file a content=1\nfile b/c content=2\nfile empty")
	s := new(runtest.Spy)
	first := runtest.Run{Job: hashes(), Jobs: 2, Spy: s}.On(t, root)
	if s.Sets.Load() != 3 || s.Removes.Load() != 0 {
		t.Errorf("%d sets, %d removes in the first run", s.Sets.Load(), s.Removes.Load())
	}
	second := runtest.Run{Job: hashes(), Jobs: 2, Spy: s}.On(t, root)
	if s.Sets.Load() != 3 || s.Removes.Load() != 0 {
		t.Errorf("%d sets, %d removes after the second run", s.Sets.Load(), s.Removes.Load())
	}
	for rel, res := range second {
		if res.Outcome != report.Unchanged || !bytes.Equal(res.IMA, first[rel].IMA) || res.Digest != first[rel].Digest {
			t.Errorf("%s: %+v", rel, res)
		}
	}
	l := hashes()
	l.Force = true
	runtest.Run{Job: l, Jobs: 2, Spy: s}.On(t, root)
	if s.Sets.Load() != 6 {
		t.Errorf("%d sets after a forced run", s.Sets.Load())
	}
}

// Promise 2: what is better than a hash is kept byte for byte.
func TestPromise2NothingGoodIsLost(t *testing.T) {
	treetest.Leaks(t)
	signature := func(kind imaevm.Type, version uint8) []byte {
		b, err := imaevm.Signature{Kind: kind, Version: version, Alg: hash.SHA256, KeyID: 1, Raw: []byte{1, 2, 3}}.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := runtest.Right(t, "x")
	v1 := append([]byte{3, 1}, make([]byte, 30)...)
	tests := []struct {
		name                string
		old                 []byte
		plain, force, repl  string // outcomes without flags, with Force, with ReplaceSignatures
		forceRepl           string
		reasonOrErrContains string
	}{
		{"none", nil, "labelled", "labelled", "labelled", "labelled", ""},
		{"empty", []byte{}, "labelled", "labelled", "labelled", "labelled", ""},
		{"right", good, "unchanged", "labelled", "unchanged", "labelled", ""},
		{"another hash", runtest.Right(t, "y"), "labelled", "labelled", "labelled", "labelled", ""},
		{"short hash", good[:9], "labelled", "labelled", "labelled", "labelled", ""},
		{"longer hash", append(bytes.Clone(good), 0), "labelled", "labelled", "labelled", "labelled", ""},
		{"signature", signature(imaevm.TypeSignature, 2), "kept", "kept", "labelled", "labelled", "signature"},
		{"signature v3", signature(imaevm.TypeSignature, 3), "kept", "kept", "labelled", "labelled", "signature"},
		{"verity signature", signature(imaevm.TypeVerity, 3), "kept", "kept", "labelled", "labelled", "signature"},
		{"signature v1", v1, "kept", "kept", "labelled", "labelled", "signature"},
		{"broken signature", signature(imaevm.TypeSignature, 2)[:10], "failed", "failed", "labelled", "labelled", "malformed signature"},
		{"hmac", append([]byte{2}, make([]byte, 20)...), "failed", "labelled", "failed", "labelled", "unknown type"},
		{"unknown", []byte{0xff, 1, 2}, "failed", "labelled", "failed", "labelled", "unknown type"},
	}
	for _, tt := range tests {
		for flags, want := range []string{tt.plain, tt.force, tt.repl, tt.forceRepl} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, flags), func(t *testing.T) {
				root := runtest.Make(t, "file f content=x")
				if tt.old != nil {
					runtest.SetLabel(t, root+"/f", imaevm.AttrIMA, tt.old)
				}
				s := new(runtest.Spy)
				l := hashes()
				l.Force, l.ReplaceSignatures = flags&1 != 0, flags&2 != 0
				res := runtest.Run{Job: l, Spy: s}.On(t, root)["f"]
				if string(res.Outcome) != want {
					t.Fatalf("%s, %v; want %s", res.Outcome, res.Err, want)
				}
				if want == "labelled" || want == "unchanged" {
					runtest.WantLabel(t, root+"/f", good)
					return
				}
				runtest.WantLabel(t, root+"/f", tt.old)
				if said := res.Reason + fmt.Sprint(res.Err); !strings.Contains(said, tt.reasonOrErrContains) {
					t.Errorf("%q", said)
				}
				if s.Sets.Load() != 0 {
					t.Errorf("%d sets", s.Sets.Load())
				}
			})
		}
	}
}

// Promise 4: a file of which only the first label is removed is said to be half
// cleared. Labels of EVM go first, since they cover the other.
func TestPromise4HalfCleared(t *testing.T) {
	treetest.Leaks(t)
	for _, attrs := range [][]string{{imaevm.AttrIMA, imaevm.AttrEVM}, label.All()} {
		root := runtest.Make(t, "file f content=x")
		runtest.SetLabel(t, root+"/f", imaevm.AttrIMA, []byte("ima"))
		runtest.SetLabel(t, root+"/f", imaevm.AttrEVM, []byte("evm"))
		var order []string
		s := &runtest.Spy{Before: func(op, name string) error {
			if op != "get" {
				order = append(order, op+" "+name)
			}
			if op == "remove" && name == attrs[1] {
				return unix.EPERM
			}
			return nil
		}}
		res := runtest.Run{Job: label.Clearer{Attrs: attrs}, Spy: s, Writers: run.Ignore}.On(t, root)["f"]
		want := "half cleared: " + attrs[0] + " is removed: "
		if res.Outcome != report.Failed || !strings.HasPrefix(fmt.Sprint(res.Err), want) || !errors.Is(res.Err, unix.EPERM) {
			t.Errorf("%s, %v", res.Outcome, res.Err)
		}
		if got := strings.Join(order, ", "); got != "remove "+attrs[0]+", remove "+attrs[1] {
			t.Error(got)
		}
		mustHave(t, root+"/f", res)
	}
	if all := label.All(); all[0] != imaevm.AttrEVM || all[1] != imaevm.AttrIMA {
		t.Error(all)
	}
}

// Promise 4, for writing: the label of EVM comes last, since it covers the other.
func TestPromise4Order(t *testing.T) {
	treetest.Leaks(t)
	root := runtest.Make(t, "file f content=x")
	var order []string
	s := &runtest.Spy{Before: func(op, name string) error {
		if op != "set" {
			return nil
		}
		order = append(order, name)
		if name == imaevm.AttrEVM {
			return unix.ENOSPC
		}
		return nil
	}}
	signer, _ := newSigner(runtest.Key(t, "p256"))
	res := runtest.Run{Job: signer, Spy: s}.One(t, root+"/f")
	if !strings.HasPrefix(fmt.Sprint(res.Err), "half labelled: security.ima is written: ") || !errors.Is(res.Err, unix.ENOSPC) {
		t.Error(res.Err)
	}
	if strings.Join(order, " ") != "security.ima security.evm" {
		t.Error(order)
	}
	var partial *tree.PartialError
	if !errors.As(res.Err, &partial) || len(partial.Done) != 1 || partial.Done[0].Attr != imaevm.AttrIMA {
		t.Errorf("done %+v", partial)
	}
	runtest.WantLabel(t, root+"/f", res.IMA)
	mustHave(t, root+"/f", res)
}
