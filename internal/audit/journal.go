package audit

import (
	"bytes"
	"strconv"
	"time"
)

// A journalEntry has the fields of an entry of the journal that count here.
type journalEntry struct {
	transport, message, boot, host, auditType, auditID, source []byte
}

// field returns where the field of that name goes, nil for nowhere.
func (j *journalEntry) field(name []byte) *[]byte {
	switch string(name) {
	case "_TRANSPORT":
		return &j.transport
	case "MESSAGE":
		return &j.message
	case "_BOOT_ID":
		return &j.boot
	case "_HOSTNAME":
		return &j.host
	case "_AUDIT_TYPE":
		return &j.auditType
	case "_AUDIT_ID":
		return &j.auditID
	case "_SOURCE_REALTIME_TIMESTAMP":
		return &j.source
	}
	return nil
}

// journal parses an object of journalctl -o json.
func (p *parser) journal(b []byte) {
	if !isInteresting(b) {
		if b[len(b)-1] != '}' && isAboutIntegrity(b) { // what it is from is lost
			p.damaged++
		}
		return
	}
	var j journalEntry
	if !decode(b, j.field) {
		if isAboutIntegrity(b) {
			p.damaged++
		}
		return
	}
	p.machine = machine{p.text(j.host), p.text(j.boot)}
	switch string(j.transport) {
	case "audit":
		p.fromAudit(&j)
	case "kernel":
		p.kernel(j.message)
	case "driver": // journald itself
		p.missed(j.message)
	}
	p.machine = machine{}
}

// isAboutIntegrity reports whether a damaged object seems to be about integrity.
func isAboutIntegrity(b []byte) bool {
	return bytes.Contains(b, []byte("INTEGRITY_")) || bytes.Contains(b, []byte("type=18"))
}

// isInteresting is a quick look: most of a journal is about other things.
func isInteresting(b []byte) bool {
	for _, transport := range []string{`"audit"`, `"kernel"`, `"driver"`} {
		if bytes.Contains(b, []byte(transport)) {
			return true
		}
	}
	return false
}

// fromAudit takes what journald has read from the kernel's audit.
func (p *parser) fromAudit(j *journalEntry) {
	n, rest, ok := number(j.auditType)
	if !ok || len(rest) > 0 || n > uint64(lastType) || !Type(n).isIntegrity() {
		return
	}
	r := &Record{Type: Type(n)}
	// Later than that is no time that a journal can have.
	if usec, rest, ok := number(j.source); ok && len(rest) == 0 && usec < 1<<53 {
		r.Time = time.UnixMicro(int64(usec)).UTC()
	}
	r.Serial, _ = strconv.ParseUint(string(j.auditID), 10, 64)
	_, fields, _ := bytes.Cut(j.message, []byte(" ")) // behind the name of the type
	p.fields(r, fields)
	p.emit(Entry{Record: r})
}
