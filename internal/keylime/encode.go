package keylime

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Encode writes the policy: each path has a line, in the order of their bytes, so that
// the same policy is the same text, and diff(1) tells what has changed.
func (p *Policy) Encode(w io.Writer) error {
	e := &encoder{w: bufio.NewWriterSize(w, 64<<10)}
	e.text("{")
	e.name("meta")
	e.object(p.meta())
	e.name("release")
	e.text(fmt.Sprint(p.Release))
	e.name("digests")
	e.digests(&p.Files)
	e.name("excludes")
	e.value(list(p.Excludes))
	e.name("keyrings")
	e.digests(&p.Keyrings)
	e.name("ima")
	e.object(p.ima())
	e.name("ima-buf")
	e.digests(&p.Buffers)
	e.name("verification-keys")
	e.value(p.Keys.text())
	for _, m := range p.Others {
		e.name(m.Name)
		e.text(string(m.Value))
	}
	e.text("\n}\n")
	if e.err != nil {
		return e.err
	}
	return e.w.Flush()
}

func (p *Policy) meta() []Member {
	m := []Member{member("version", Version), member("generator", p.Generator)}
	if p.Timestamp != "" {
		m = append(m, member("timestamp", p.Timestamp))
	}
	return append(m, p.OthersMeta...)
}

func (p *Policy) ima() []Member {
	return append([]Member{
		member("ignored_keyrings", list(p.Ignored)), member("log_hash_alg", p.LogAlgorithm), {"dm_policy", json.RawMessage("null")},
	}, p.OthersIMA...)
}

// text is the JSON text that is a member of the policy itself.
func (k *Keys) text() string {
	if len(k.All) == 0 && len(k.Others) == 0 {
		return ""
	}
	ids, keys := []uint32{}, []string{}
	for _, key := range k.All {
		ids, keys = append(ids, key.ID), append(keys, base64.StdEncoding.EncodeToString(key.DER))
	}
	var b bytes.Buffer
	e := &encoder{w: bufio.NewWriter(&b)}
	others := k.Others
	if len(others) == 0 { // that of the key ring's format, which old versions of Keylime ask for
		others = []Member{member("meta", map[string]int{"version": 1})}
	}
	e.object(append([]Member{member("keyids", ids), member("pubkeys", keys)}, others...))
	e.w.Flush()
	return b.String()
}

// list is one that is never null.
func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

func member(name string, value any) Member { return Member{name, marshal(value)} }

// marshal returns compact JSON, in which < and & are themselves. All values here can
// be marshalled.
func marshal(value any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// An encoder writes JSON until something goes wrong.
type encoder struct {
	w     *bufio.Writer
	named bool // a member is there already
	err   error
}

func (e *encoder) text(s string) {
	if e.err == nil {
		_, e.err = e.w.WriteString(s)
	}
}

func (e *encoder) value(v any) { e.text(string(marshal(v))) }

// name begins a member of the policy.
func (e *encoder) name(name string) {
	if e.named {
		e.text(",")
	}
	e.named = true
	e.text("\n")
	e.value(name)
	e.text(": ")
}

// object writes one in a line.
func (e *encoder) object(members []Member) {
	e.text("{")
	for i, m := range members {
		if i > 0 {
			e.text(", ")
		}
		e.value(m.Name)
		e.text(": ")
		e.text(string(m.Value))
	}
	e.text("}")
}

func (e *encoder) digests(d *Digests) {
	e.text("{")
	first := true
	for group := range d.groups() {
		if !first {
			e.text(",")
		}
		first = false
		e.text("\n")
		e.string(group[0].name)
		e.text(": [")
		for i, n := range group {
			if i > 0 {
				e.text(", ")
			}
			e.text(`"` + hexOf(n.digest) + `"`)
		}
		e.text("]")
	}
	if !first {
		e.text("\n")
	}
	e.text("}")
}

// string writes most strings as they are.
func (e *encoder) string(s string) {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		e.value(s)
		return
	}
	e.text(`"` + s + `"`)
}
