package audit

import (
	"bytes"
	"strconv"
)

// line parses a line of a log that is text.
func (p *parser) line(b []byte) {
	p.logged++
	switch {
	case bytes.HasPrefix(b, []byte("type=")), bytes.HasPrefix(b, []byte("node=")):
		p.auditd(b)
		return
	case bytes.Contains(b, []byte("INTEGRITY_")) && p.short(b):
		return
	}
	if message, ok := kernelMessage(b); ok {
		p.kernel(message)
		return
	}
	if bytes.Contains(b, []byte(" op=appraise_data cause=")) { // its beginning is lost
		p.damaged++
		return
	}
	p.logged--
}

// auditd parses a line of audit.log. Where the daemon was stopped in the middle of
// a line, another one is behind it.
func (p *parser) auditd(b []byte) {
	for len(b) > 0 {
		b = p.auditdRecord(b)
	}
}

// auditdRecord parses the first record of a line, and returns what is behind it.
func (p *parser) auditdRecord(b []byte) (behind []byte) {
	var node []byte
	rest := b
	if after, ok := bytes.CutPrefix(rest, []byte("node=")); ok {
		node, rest, _ = bytes.Cut(after, []byte(" "))
	}
	rest, ok := bytes.CutPrefix(rest, []byte("type="))
	if !ok {
		return nil
	}
	name, rest, _ := bytes.Cut(rest, []byte(" "))
	t := typeOf(name)
	isIntegrity := t.isIntegrity()
	if !isIntegrity && !quoting[string(name)] {
		if bytes.HasPrefix(name, []byte("INTEGRITY_")) {
			p.damaged++
		}
		return nil
	}
	rest, behind = glued(rest)
	if !isIntegrity {
		return behind
	}
	rest, ok = bytes.CutPrefix(rest, []byte("msg="))
	if ok {
		ok = p.record(t, rest, node)
	}
	if !ok {
		p.damaged++
	}
	return behind
}

// quoting are the types of other records of the kernel that come with integrity
// records. Their text is quoted, too, so that nobody can have another record in
// it; user space can in its own.
var quoting = map[string]bool{"SYSCALL": true, "PATH": true, "CWD": true, "PROCTITLE": true, "EXECVE": true, "AVC": true}

// glued returns a record and the next one, if there is one behind it on its line.
func glued(b []byte) (record, behind []byte) {
	const stamp = " msg=audit("
	i := bytes.Index(b, []byte(stamp))
	if i < 0 {
		return b, nil
	}
	at := bytes.LastIndex(b[:i], []byte("type="))
	if at < 0 || bytes.IndexByte(b[at:i], ' ') >= 0 {
		return b, nil
	}
	if node := bytes.LastIndex(b[:at], []byte("node=")); node >= 0 && at > 0 && bytes.IndexByte(b[node:at], ' ') == at-1-node {
		at = node
	}
	return bytes.TrimRight(b[:at], "\x00"), b[at:]
}

// typeOf returns the type that a log names, 0 for none that is known.
func typeOf(name []byte) Type {
	if t, ok := typesByName[string(name)]; ok {
		return t
	}
	for _, around := range [][2]string{{"UNKNOWN[", "]"}, {"AUDIT", ""}} { // auditd's and journald's
		inner, ok1 := bytes.CutPrefix(name, []byte(around[0]))
		inner, ok2 := bytes.CutSuffix(inner, []byte(around[1]))
		if n, err := strconv.ParseUint(string(inner), 10, 16); err == nil && ok1 && ok2 {
			return Type(n)
		}
	}
	return 0
}

// record parses a record from its stamp on, and reports whether there is one.
func (p *parser) record(t Type, b, node []byte) bool {
	r := &Record{Type: t, Node: p.text(node)}
	var ok bool
	if r.Time, r.Serial, b, ok = stamp(b); !ok {
		return false
	}
	p.fields(r, b)
	p.emit(Entry{Record: r})
	return true
}

// kernel parses a message of the kernel. On a console another one can be behind
// it.
func (p *parser) kernel(b []byte) {
	const prefix = "audit: "
	rest, isAudit := bytes.CutPrefix(b, []byte(prefix))
	if !isAudit {
		if !p.booting(b) {
			p.suppressed(b)
		}
		return
	}
	rest, isRecord := bytes.CutPrefix(rest, []byte("type="))
	if !isRecord {
		p.dropped(rest)
		return
	}
	n, rest, _ := number(rest)
	if n > uint64(lastType) || !Type(n).isIntegrity() {
		return
	}
	var behind []byte
	if i := bytes.Index(rest, []byte(prefix+"type=")); i >= 0 {
		rest, behind = rest[:i], rest[i:]
	}
	if !p.record(Type(n), bytes.TrimLeft(rest, " "), nil) {
		p.damaged++
	}
	if behind != nil {
		p.kernel(behind)
	}
}

// kernelMessage returns the message of a line of dmesg, of a syslog or of
// journalctl, if the kernel is who said it. Others can have said what looks the
// same, but not where the kernel's name is.
func kernelMessage(b []byte) ([]byte, bool) {
	rest := b
	if level, after, ok := bytes.Cut(b, []byte(">")); ok && bytes.HasPrefix(b, []byte("<")) && len(level) <= 4 { // dmesg --raw
		rest = after
	} else if bytes.HasPrefix(b, []byte("kern ")) { // dmesg --decode
		if _, after, ok := bytes.Cut(b, []byte(": ")); ok {
			rest = after
		}
	} else if tag := bytes.Index(b, []byte(": ")); tag > 0 && bytes.HasSuffix(b[:tag], []byte(" kernel")) && b[0] != '[' {
		rest = b[tag+2:]
	} else if b[0] != '[' && !isBare(b) {
		return nil, false
	}
	for len(rest) > 0 && rest[0] == '[' { // the time, and the caller
		end := bytes.IndexByte(rest, ']')
		if end < 0 {
			return nil, false
		}
		rest = bytes.TrimLeft(rest[end+1:], " ")
	}
	if b[0] == '[' { // journalctl has the name of the host behind a time like this
		if host, message, ok := bytes.Cut(rest, []byte(" kernel: ")); ok && bytes.IndexByte(host, ' ') < 0 {
			return message, true
		}
	}
	return rest, true
}

// isBare reports whether a line is a message without anything before it, as
// dmesg --notime prints them.
func isBare(b []byte) bool {
	for _, prefix := range []string{"audit: ", "kauditd_printk_skb: ", "audit_printk_skb: ", "Linux version ", "Command line: ", "ima: "} {
		if bytes.HasPrefix(b, []byte(prefix)) {
			return true
		}
	}
	return false
}

// short parses a line of journalctl's text about a record that journald has read
// from the kernel: time and host, "audit[PID]: ", the type and the fields. It
// returns false for another line.
func (p *parser) short(b []byte) bool {
	head, rest, _ := bytes.Cut(b, []byte(": "))
	blank := bytes.LastIndexByte(head, ' ')
	tag, _, _ := bytes.Cut(head[blank+1:], []byte("["))
	name, fields, _ := bytes.Cut(rest, []byte(" "))
	t, known := typesByName[string(name)]
	if blank < 0 || string(tag) != "audit" || !known {
		return false
	}
	r := &Record{Type: t}
	p.fields(r, fields)
	p.emit(Entry{Record: r})
	return true
}
