// Package keylime has the runtime policies of Keylime, which say what a machine's
// measurement list may hold. It turns them into values and back, and knows nothing of
// files.
//
// A policy is a JSON object. Keylime's schema, which all that is read and written here
// keeps to, is RUNTIME_POLICY_SCHEMA in keylime/ima/ima.py of
// https://github.com/keylime/keylime, and what becomes of the members is said by
// _validate_ima_ng and its neighbours there:
//
//	meta                version, 1; generator, 0 to 3; timestamp, a text
//	release             a number that is not negative
//	digests             path: [digests]; also boot_aggregate
//	excludes            regular expressions of Python, of paths that are not looked at;
//	                    they match from the beginning of a path on, which may go on
//	keyrings            keyring: [digests of keys that may be added to it]
//	ima.ignored_keyrings  keyrings, or *, to which any key may be added
//	ima.log_hash_alg    algorithm of the template digests of the list: sha1, whatever
//	                    that of the files is, where the list is the usual file
//	ima.dm_policy       null
//	ima-buf             name: [digests of other buffers, such as kexec-cmdline]
//	verification-keys   a text, which is empty, or JSON itself: keyids, numbers, and
//	                    pubkeys, SubjectPublicKeyInfo in base64
//
// A digest is hexadecimal, in small letters, without its algorithm: 40 to 128 digits.
// So there is no MD5, and what has another algorithm is good if its digits are.
//
// A file is good if its digest is one of those of its path, if its path is excluded, or
// if the list has a signature of it that one of the keys verifies. The path is that of
// the list, in which the kernel puts _ for each blank.
package keylime

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"
)

// Version is that of the format.
const Version = 1

// BootAggregate is the name that the digest of the boot has among those of files.
const BootAggregate = "boot_aggregate"

// A Policy is a runtime policy. New returns one to begin with.
type Policy struct {
	Generator int    // 0 to 3; 0 for programs that Keylime does not know
	Timestamp string // "" for none
	Release   int64
	Files     Digests // by path
	Excludes  []string
	Keyrings  Digests // of keys, by the keyring
	Buffers   Digests // by name
	// Ignored are keyrings to which any key may be added.
	Ignored []string
	// LogAlgorithm is that of the template digests in the list.
	LogAlgorithm string
	Keys         Keys
	// Others are members that Keylime's schema does not name: of the policy, of
	// its meta, and of its ima.
	Others, OthersMeta, OthersIMA []Member
}

// A Member is one of a JSON object that nothing is known of.
type Member struct {
	Name  string
	Value json.RawMessage // compact
}

// New returns a policy that accepts nothing.
func New() *Policy { return &Policy{LogAlgorithm: "sha1"} }

// Digests are a set of names with digests, of which a name may have several. The zero
// value is empty.
type Digests struct {
	// A slice, and not a map of slices: it is sorted once, in the end, and there
	// may be millions.
	all    []named
	sorted bool
}

// A named is a digest, in bytes, and what has it.
type named struct{ name, digest string }

// A NameError says that a policy cannot have a name: JSON has no bytes that are not
// UTF-8, and U+FFFD stands for those.
type NameError struct{ Name string }

func (e *NameError) Error() string { return "the name is not UTF-8, and a policy of Keylime is" }

// A DigestError says that a policy cannot have a digest.
type DigestError struct{ Size int }

func (e *DigestError) Error() string {
	return fmt.Sprintf("a digest of %d bytes: policies of Keylime have those of 20 to 64, so that MD5 is none", e.Size)
}

// The sizes of digests, in bytes.
const minDigest, maxDigest = 20, 64

// Add adds a digest, which may be there already. The error is a *NameError or a
// *DigestError.
func (d *Digests) Add(name string, digest []byte) error {
	if !utf8.ValidString(name) || strings.ContainsRune(name, utf8.RuneError) {
		return &NameError{name}
	}
	if len(digest) < minDigest || len(digest) > maxDigest {
		return &DigestError{len(digest)}
	}
	d.all, d.sorted = append(d.all, named{name, string(digest)}), false
	return nil
}

// sort sorts the set, and drops what is there twice.
func (d *Digests) sort() {
	if d.sorted {
		return
	}
	slices.SortFunc(d.all, func(a, b named) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.digest, b.digest)
	})
	d.all, d.sorted = slices.Compact(d.all), true
}

// groups returns the digests of each name.
func (d *Digests) groups() iter.Seq[[]named] {
	d.sort()
	return func(yield func([]named) bool) {
		for rest := d.all; len(rest) > 0; {
			n := 1
			for n < len(rest) && rest[n].name == rest[0].name {
				n++
			}
			if !yield(rest[:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

// Len returns how many names there are, and how many digests.
func (d *Digests) Len() (names, digests int) {
	for range d.groups() {
		names++
	}
	return names, len(d.all)
}

// Of returns the digests of a name.
func (d *Digests) Of(name string) [][]byte {
	d.sort()
	i, _ := slices.BinarySearchFunc(d.all, name, func(n named, name string) int { return strings.Compare(n.name, name) })
	var all [][]byte
	for ; i < len(d.all) && d.all[i].name == name; i++ {
		all = append(all, []byte(d.all[i].digest))
	}
	return all
}

// join adds the digests of another set.
func (d *Digests) join(other *Digests) {
	d.all, d.sorted = append(d.all, other.all...), false
}

// A Key is a public key that verifies signatures in the list.
type Key struct {
	ID  uint32 // 0 has Keylime derive it from the key
	DER []byte // SubjectPublicKeyInfo
}

// Keys are the verification keys of a policy.
type Keys struct {
	All []Key
	// Others are members that are no keys, such as meta.
	Others []Member
}

// Add adds a key, unless it is there under the same id.
func (k *Keys) Add(key Key) {
	if !slices.ContainsFunc(k.All, func(o Key) bool { return o.ID == key.ID && string(o.DER) == string(key.DER) }) {
		k.All = append(k.All, key)
	}
}

// Join adds to p what q accepts: what is good by one of the two is good by the joined
// policy, but for what each excludes from what it looks at. So do an old and a new
// one over an upgrade, in the course of which both digests of a file may be measured.
// Everything else stays as it is in p, and is taken from q where p has nothing. The
// timestamp is dropped, which was that of p.
func (p *Policy) Join(q *Policy) {
	p.Timestamp = ""
	p.Files.join(&q.Files)
	p.Keyrings.join(&q.Keyrings)
	p.Buffers.join(&q.Buffers)
	p.Excludes = union(p.Excludes, q.Excludes)
	p.Ignored = union(p.Ignored, q.Ignored)
	for _, k := range q.Keys.All {
		p.Keys.Add(k)
	}
	p.Keys.Others = withMembers(p.Keys.Others, q.Keys.Others)
	p.Others, p.OthersMeta, p.OthersIMA = withMembers(p.Others, q.Others), withMembers(p.OthersMeta, q.OthersMeta), withMembers(p.OthersIMA, q.OthersIMA)
}

// union adds what a list does not have. The order stays: it is the users'.
func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

func withMembers(a, b []Member) []Member {
	for _, m := range b {
		if !slices.ContainsFunc(a, func(o Member) bool { return o.Name == m.Name }) {
			a = append(a, m)
		}
	}
	return a
}

// hexOf is a digest as policies have it.
func hexOf(digest string) string { return hex.EncodeToString([]byte(digest)) }
