package keylime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// digest returns one of n bytes.
func digest(n int, fill byte) []byte { return bytes.Repeat([]byte{fill}, n) }

func encoded(t testing.TB, p *Policy) string {
	t.Helper()
	var b bytes.Buffer
	if err := p.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func parsed(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

// empty is EMPTY_RUNTIME_POLICY of keylime/ima/ima.py, as Python prints it.
const empty = `{"meta": {"version": 1, "generator": 1}, "release": 0, "digests": {}, "excludes": [], "keyrings": {}, ` +
	`"ima": {"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null}, "ima-buf": {}, "verification-keys": ""}`

// TestEncode pins the text: diff(1) is to be of use with it.
func TestEncode(t *testing.T) {
	p := New()
	add := func(d *Digests, name string, digest []byte) {
		t.Helper()
		if err := d.Add(name, digest); err != nil {
			t.Fatal(err)
		}
	}
	add(&p.Files, "/usr/bin/b", digest(20, 2))
	add(&p.Files, "/usr/bin/b", digest(20, 1))
	add(&p.Files, "/usr/bin/b", digest(20, 2)) // again
	add(&p.Files, "/ü<&>\"\\\n", digest(32, 0xaf))
	add(&p.Files, "/usr/bin", digest(20, 3))
	add(&p.Keyrings, ".ima", digest(32, 4))
	add(&p.Buffers, "kexec-cmdline", digest(32, 5))
	p.Excludes = []string{"/tmp/.*", `/a\.b`}
	p.Ignored = []string{".dm-verity"}
	p.Keys.Add(Key{ID: 0xffffffff, DER: []byte("der")})
	p.Keys.Add(Key{ID: 0xffffffff, DER: []byte("der")})
	want := `{
"meta": {"version": 1, "generator": 0},
"release": 0,
"digests": {
"/usr/bin": ["` + strings.Repeat("03", 20) + `"],
"/usr/bin/b": ["` + strings.Repeat("01", 20) + `", "` + strings.Repeat("02", 20) + `"],
"/ü<&>\"\\\n": ["` + strings.Repeat("af", 32) + `"]
},
"excludes": ["/tmp/.*","/a\\.b"],
"keyrings": {
".ima": ["` + strings.Repeat("04", 32) + `"]
},
"ima": {"ignored_keyrings": [".dm-verity"], "log_hash_alg": "sha1", "dm_policy": null},
"ima-buf": {
"kexec-cmdline": ["` + strings.Repeat("05", 32) + `"]
},
"verification-keys": "{\"keyids\": [4294967295], \"pubkeys\": [\"ZGVy\"], \"meta\": {\"version\":1}}"
}
`
	got := encoded(t, p)
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if again := encoded(t, parsed(t, got)); again != want {
		t.Errorf("again it is %s", again)
	}
	if names, digests := p.Files.Len(); names != 3 || digests != 4 {
		t.Errorf("%d names, %d digests", names, digests)
	}
}

func TestAdd(t *testing.T) {
	for name, size := range map[string]int{"": 20, "/a": 64, "boot_aggregate": 48} {
		if err := new(Digests).Add(name, digest(size, 1)); err != nil {
			t.Errorf("%q of %d: %v", name, size, err)
		}
	}
	for _, size := range []int{0, 16, 19, 65} {
		err := new(Digests).Add("/a", digest(size, 1))
		if is[*DigestError](err) != true {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	for _, name := range []string{"/\xff", "/\ufffd", "/\xed\xb2\x80"} {
		if err := new(Digests).Add(name, digest(32, 1)); !is[*NameError](err) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestOf(t *testing.T) {
	var d Digests
	for _, name := range []string{"b", "a", "c", "b"} {
		if err := d.Add(name, digest(20, byte(len(d.all)))); err != nil {
			t.Fatal(err)
		}
	}
	if got := d.Of("b"); len(got) != 2 || got[0][0] != 0 || got[1][0] != 3 {
		t.Errorf("%x", got)
	}
	if d.Of("") != nil || d.Of("aa") != nil || d.Of("d") != nil {
		t.Error("there are digests of what was not added")
	}
}

// TestKeepsOthers has members that nothing is known of stay as they are.
func TestKeepsOthers(t *testing.T) {
	text := strings.Replace(empty, `"generator": 1`, `"generator": 3, "timestamp": "2026-11-26 10:00:00", "by": {"a": [1.50, null]}`, 1)
	text = strings.Replace(text, `"dm_policy": null`, `"dm_policy": null, "more": "\ud800"`, 1)
	text = strings.Replace(text, `"verification-keys": ""`, `"verification-keys": "{\"pubkeys\": [\"AA==\", \"AQ==\"], \"keyids\": [7], \"meta\": {\"version\": 2}, \"x\": 1}", "z": 1e3, "y": []`, 1)
	p := parsed(t, text)
	if p.Timestamp != "2026-11-26 10:00:00" || p.Generator != 3 || len(p.Keys.All) != 2 || p.Keys.All[0].ID != 7 || p.Keys.All[1].ID != 0 {
		t.Errorf("%+v", p)
	}
	out := encoded(t, p)
	for _, want := range []string{
		`"timestamp": "2026-11-26 10:00:00", "by": {"a":[1.50,null]}}`, `"dm_policy": null, "more": "\ud800"}`, `\"meta\": {\"version\":2}, \"x\": 1}"`, "\n\"z\": 1e3,\n\"y\": []\n}",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%s lacks %s", out, want)
		}
	}
	if again := encoded(t, parsed(t, out)); again != out {
		t.Errorf("again it is %s", again)
	}
	// Twice encoded, as databases of Keylime have had it.
	inner, _ := json.Marshal(`{"keyids":[1],"pubkeys":["AA=="]}`)
	outer, _ := json.Marshal(string(inner))
	if p := parsed(t, strings.Replace(empty, `"verification-keys": ""`, `"verification-keys": `+string(outer), 1)); len(p.Keys.All) != 1 {
		t.Errorf("%+v", p.Keys)
	}
}

// TestRefused has what Keylime's schema refuses refused, and said where.
func TestRefused(t *testing.T) {
	sha1 := strings.Repeat("0a", 20)
	for _, test := range []struct{ old, new, want string }{
		{`"release": 0, `, ``, "release: is missing"},
		{`"meta": {"version": 1, "generator": 1}, `, ``, "meta: is missing"},
		{`"version": 1`, `"version": 2`, "meta.version: 2 is unknown here, where version 1 is known"},
		{`"version": 1, `, ``, "meta.version: is missing"},
		{`, "generator": 1`, ``, "meta.generator: is missing"},
		{`"generator": 1`, `"generator": 4`, "meta.generator: 4 is not a whole number from 0 to 3"},
		{`"generator": 1`, `"generator": 1, "generator": 1`, "meta.generator: is there twice"},
		{`"generator": 1`, `"generator": 1, "timestamp": 3`, "meta.timestamp: is not a text"},
		{`"release": 0`, `"release": -1`, "release: -1 is not a whole number"},
		{`"release": 0`, `"release": 1.5`, "release: 1.5 is not a whole number"},
		{`"release": 0`, `"release": "0"`, "release: is not a number"},
		{`"release": 0`, `"release": 0, "release": 0`, "release: is there twice"},
		{`"digests": {}`, `"digests": []`, "digests: is not an object"},
		{`"digests": {}`, `"digests": {"/a": []}`, "digests./a: is not a list with a digest in it"},
		{`"digests": {}`, `"digests": {"/a": "` + sha1 + `"}`, "digests./a: is not a list"},
		{`"digests": {}`, `"digests": {"/a": [1]}`, "digests./a: is not a list of digests"},
		{`"digests": {}`, `"digests": {"/a": ["` + strings.ToUpper(sha1) + `"]}`, "is no digest"},
		{`"digests": {}`, `"digests": {"/a": ["` + sha1 + `0"]}`, "is no digest"},
		{`"digests": {}`, `"digests": {"/a": ["sha1:` + sha1 + `"]}`, "is no digest"},
		{`"digests": {}`, `"digests": {"/a": ["` + sha1[2:] + `"]}`, "a digest of 19 bytes"},
		{`"digests": {}`, `"digests": {"/\udc80": ["` + sha1 + `"]}`, "the name is not UTF-8"},
		{`"keyrings": {}`, `"keyrings": {".ima": {}}`, "keyrings..ima: is not a list"},
		{`"ima-buf": {}`, `"ima-buf": null`, "ima-buf: is not an object"},
		{`"excludes": []`, `"excludes": null`, "excludes: is not a list of texts"},
		{`"excludes": []`, `"excludes": [null]`, "excludes: is not a list of texts"},
		{`"excludes": []`, `"excludes": [1]`, "excludes: is not a list of texts"},
		{`"ignored_keyrings": [], `, ``, "ima.ignored_keyrings: is missing"},
		{`"sha1"`, `"md5"`, `ima.log_hash_alg: "md5" is none of sha1, sha256, sha384, sha512`},
		{`"dm_policy": null`, `"dm_policy": {}`, "ima.dm_policy: is not null"},
		{`"verification-keys": ""`, `"verification-keys": []`, "verification-keys: is not a text"},
		{`"verification-keys": ""`, `"verification-keys": "{"`, "verification-keys: the text ends early"},
		{`"verification-keys": ""`, `"verification-keys": "{}"`, "verification-keys.keyids: is missing"},
		{`"verification-keys": ""`, `"verification-keys": "{\"keyids\":[1],\"pubkeys\":[]}"`, "verification-keys.keyids: there are more than keys"},
		{`"verification-keys": ""`, `"verification-keys": "{\"keyids\":[4294967296],\"pubkeys\":[\"\"]}"`, "4294967296 is no key id"},
		{`"verification-keys": ""`, `"verification-keys": "{\"keyids\":[],\"pubkeys\":[\"*\"]}"`, "verification-keys.pubkeys: is not base64"},
		{`"verification-keys": ""`, `"verification-keys": "{\"keyids\":[],\"pubkeys\":[]} x"`, "something stands behind the end"},
		{`"verification-keys": ""}`, `"verification-keys": ""} {}`, "something stands behind the end"},
		{`"verification-keys": ""}`, `"verification-keys": "`, "the text ends early"},
		{empty, ``, "the text ends early"},
		{empty, `[]`, "is not an object"},
		{empty, `{"payload": "e30=", "payloadType": "x", "signatures": []}`, "a signed policy, in an envelope"},
		{empty, `{"meta": {"version": 1, "generator": 0}, "release": 0, "hashes": {}}`, "an allowlist of an old Keylime"},
		{empty, `not JSON`, "invalid character"},
	} {
		text := strings.Replace(empty, test.old, test.new, 1)
		if text == empty {
			t.Fatalf("%s is not in the policy", test.old)
		}
		p, err := Parse(strings.NewReader(text))
		if !is[*FormatError](err) || !strings.Contains(err.Error(), test.want) || p != nil {
			t.Errorf("%s: %v\nwant %s", text, err, test.want)
		}
	}
	for cut := range empty {
		if p, err := Parse(strings.NewReader(empty[:cut])); !is[*FormatError](err) || p != nil {
			t.Errorf("%d bytes: %v", cut, err)
		}
	}
	broken := errors.New("broken")
	if _, err := Parse(iotest.ErrReader(broken)); err != broken {
		t.Error(err)
	}
}

// TestJoin has what either policy accepts accepted.
func TestJoin(t *testing.T) {
	old, fresh := New(), New()
	old.Generator, old.Timestamp, old.Release, old.LogAlgorithm = 2, "then", 5, "sha256"
	old.Excludes, fresh.Excludes = []string{"/b", "/a"}, []string{"/a", "/c"}
	old.Ignored, fresh.Ignored = []string{"x"}, []string{"*"}
	for _, add := range []struct {
		to   *Digests
		name string
		fill byte
	}{
		{&old.Files, "/same", 1}, {&fresh.Files, "/same", 1}, {&old.Files, "/upgraded", 1}, {&fresh.Files, "/upgraded", 2},
		{&old.Files, "/gone", 3}, {&fresh.Files, "/new", 4}, {&fresh.Keyrings, ".ima", 5}, {&fresh.Buffers, "x", 6},
	} {
		if err := add.to.Add(add.name, digest(32, add.fill)); err != nil {
			t.Fatal(err)
		}
	}
	old.Keys.Add(Key{1, []byte("a")})
	fresh.Keys.Add(Key{1, []byte("a")})
	fresh.Keys.Add(Key{1, []byte("b")})
	old.Others = []Member{{"x", json.RawMessage("1")}}
	fresh.Others = []Member{{"x", json.RawMessage("2")}, {"y", json.RawMessage("3")}}
	old.Join(fresh)
	if got := fmt.Sprintln(old.Files.Len()); got != "4 5\n" {
		t.Errorf("there are %s", got)
	}
	if got := old.Files.Of("/upgraded"); len(got) != 2 {
		t.Errorf("%x", got)
	}
	if !slices.Equal(old.Excludes, []string{"/b", "/a", "/c"}) || !slices.Equal(old.Ignored, []string{"x", "*"}) {
		t.Errorf("%q, %q", old.Excludes, old.Ignored)
	}
	if old.Generator != 2 || old.Timestamp != "" || old.Release != 5 || old.LogAlgorithm != "sha256" {
		t.Errorf("%+v", old)
	}
	if len(old.Keys.All) != 2 || len(old.Others) != 2 || string(old.Others[0].Value) != "1" {
		t.Errorf("%v, %v", old.Keys.All, old.Others)
	}
	once := encoded(t, old)
	old.Join(fresh)
	if encoded(t, old) != once {
		t.Error("to join it again makes a difference")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(empty))
	f.Add([]byte(strings.Replace(empty, `"digests": {}`, `"digests": {"/a b": ["`+strings.Repeat("0a", 32)+`"]}`, 1)))
	f.Add([]byte(strings.Replace(empty, `"verification-keys": ""`, `"verification-keys": "{\"keyids\":[1],\"pubkeys\":[\"AA==\"]}"`, 1)))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(bytes.NewReader(text))
		if err != nil {
			if p != nil || !is[*FormatError](err) {
				t.Fatalf("%v, %v", p, err)
			}
			return
		}
		out := encoded(t, p)
		if !json.Valid([]byte(out)) {
			t.Fatalf("%q is no JSON", out)
		}
		if again := encoded(t, parsed(t, out)); again != out {
			t.Fatalf("%q became %q", out, again)
		}
	})
}
