package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestGroups(t *testing.T) {
	g := &Groups{Fix: func(g Group) []string {
		return []string{fmt.Sprintf("mend %d: %s", g.Files, strings.Join(g.Places, " "))}
	}}
	add := func(o Outcome, cause, reason string, paths ...string) {
		for _, path := range paths {
			g.Add(Result{Path: path, Outcome: o, Cause: cause, Reason: reason})
		}
	}
	add(Allowed, "", "", "etc/fine")
	add(Undecided, "", "no key", "etc/signed")
	add(Denied, "missing-hash", "", "etc/a", "etc/b", "bin/x", "top")
	add(Denied, "", "no record", "boot/efi\n/x")
	var b bytes.Buffer
	if err := g.write(&b); err != nil {
		t.Fatal(err)
	}
	want := `denied: missing-hash: 4 files
        1  top
        1  bin/x
        2  etc
  mend 4: top bin/x etc
denied: no record: 1 file
        1  "boot/efi\n/x"
  mend 1: boot/efi
/x
undecided: no key: 1 file
        1  etc/signed
  mend 1: etc/signed
`
	if b.String() != want {
		t.Errorf("got\n%s", &b)
	}
}

func TestGroupsAreBounded(t *testing.T) {
	g := &Groups{}
	const files = 3 * maxPlaces
	for i := range files {
		g.Add(Result{Path: fmt.Sprintf("/usr/%d/%d/%d/x", i%7, i%1000, i), Outcome: Denied, Cause: "missing-hash"})
		g.Add(Result{Path: "x", Outcome: Denied, Cause: "invalid-signature", Reason: fmt.Sprintf("key %d", i)})
	}
	places := 0
	for _, m := range g.groups {
		places += len(m)
	}
	if places > maxPlaces+1 || len(g.groups) > maxGroups+2 {
		t.Errorf("%d places in %d groups", places, len(g.groups))
	}
	var b bytes.Buffer
	g.Fix = func(group Group) []string {
		if len(group.Places) > shownPlaces || len(group.Places) == 0 {
			t.Errorf("%d places of %s", len(group.Places), group.Cause)
		}
		return nil
	}
	if err := g.write(&b); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("denied: missing-hash: %d files\n", files); !strings.Contains(b.String(), want) {
		t.Errorf("no %q in\n%.500s", want, &b)
	}
}
