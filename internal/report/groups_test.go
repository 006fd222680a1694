package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"imaseal/internal/reason"
)

func TestGroups(t *testing.T) {
	g := &Groups{Fix: func(g Group) []string {
		return []string{fmt.Sprintf("mend %d: %s", g.Files, strings.Join(g.Places, " "))}
	}}
	add := func(o Outcome, why Why, paths ...string) {
		for _, path := range paths {
			g.Add(Result{Path: path, Outcome: o, Why: why})
		}
	}
	because := func(words ...string) (l reason.List) {
		for _, w := range words {
			l = append(l, reason.New("code", "%s", w))
		}
		return l
	}
	add(Allowed, Why{}, "etc/fine")
	add(Undecided, Why{Causes: []string{"", "invalid-signature"}, Reasons: because("no key")}, "etc/signed")
	add(Denied, Why{Causes: []string{"missing-hash"}}, "etc/a", "etc/b", "bin/x", "top")
	add(Denied, Why{Causes: []string{""}, Reasons: because("no record")}, "boot/efi\n/x")
	add(Denied, Why{Causes: []string{"invalid-hash", "invalid-HMAC"}, Reasons: because("no key", "no UUID")}, "lib/x", "lib/y")
	var b bytes.Buffer
	if err := g.write(&b); err != nil {
		t.Fatal(err)
	}
	want := `denied: missing-hash: 4 files
        1  top
        1  bin/x
        2  etc
  mend 4: top bin/x etc
denied: invalid-hash or invalid-HMAC: no key; no UUID: 2 files
        2  lib
  mend 2: lib
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
		g.Add(Result{Path: fmt.Sprintf("/usr/%d/%d/%d/x", i%7, i%1000, i), Outcome: Denied, Why: Why{Causes: []string{"missing-hash"}}})
		g.Add(Result{Path: "x", Outcome: Denied, Why: Why{Causes: []string{"invalid-signature"}, Reasons: reason.List{reason.New("key", "key %d", i)}}})
	}
	places := 0
	for _, of := range g.groups {
		places += len(of.places)
	}
	if places > maxPlaces+1 || len(g.groups) > maxGroups+2 {
		t.Errorf("%d places in %d groups", places, len(g.groups))
	}
	var b bytes.Buffer
	g.Fix = func(group Group) []string {
		if len(group.Places) > shownPlaces || len(group.Places) == 0 {
			t.Errorf("%d places of %s", len(group.Places), group.Causes)
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
