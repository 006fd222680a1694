package audit

import "bytes"

// dropped parses what audit says when it loses records (audit_log_lost(),
// audit_log_start() and audit_panic(), kernel/audit.c). Of the two lines for one
// loss only the first has a number.
func (p *parser) dropped(b []byte) {
	if rest, ok := bytes.CutPrefix(b, []byte("audit_lost=")); ok {
		total, _, _ := number(rest)
		p.emit(Entry{Loss: &Loss{Kind: Dropped, Total: total, Message: string(b)}})
		return
	}
	for _, message := range []string{
		"audit_backlog=", "backlog limit exceeded", "rate limit exceeded", "printk limit exceeded", "out of memory in audit_log_start",
		"kauditd hold queue overflow", "kauditd retry queue overflow", "auditd disappeared", "netlink error",
	} {
		if bytes.HasPrefix(b, []byte(message)) {
			p.emit(Entry{Loss: &Loss{Kind: Dropped, Message: string(b)}})
			return
		}
	}
}

// suppressed parses what the kernel says when it does not print all (___ratelimit(),
// lib/ratelimit.c), and what is there where messages were overwritten.
func (p *parser) suppressed(b []byte) {
	for _, function := range []string{"kauditd_printk_skb: ", "audit_printk_skb: "} {
		rest, ok := bytes.CutPrefix(b, []byte(function))
		if !ok {
			continue
		}
		n, rest, ok := number(rest)
		if ok && string(rest) == " callbacks suppressed" {
			p.emit(Entry{Loss: &Loss{Kind: Suppressed, Count: n, Message: string(b)}})
		}
	}
	if rest, ok := bytes.CutPrefix(b, []byte("** ")); ok { // on a console
		if n, rest, ok := number(rest); ok && bytes.HasPrefix(rest, []byte(" printk messages dropped")) {
			p.emit(Entry{Loss: &Loss{Kind: Missed, Count: n, Message: string(b)}})
		}
	}
}

// missed parses what journald says when it was too slow to read the kernel's
// messages.
func (p *parser) missed(b []byte) {
	if rest, ok := bytes.CutPrefix(b, []byte("Missed ")); ok {
		if n, rest, ok := number(rest); ok && string(rest) == " kernel messages" {
			p.emit(Entry{Loss: &Loss{Kind: Missed, Count: n, Message: string(b)}})
		}
	} else if bytes.Contains(b, []byte("/dev/kmsg buffer overrun")) {
		p.emit(Entry{Loss: &Loss{Kind: Missed, Message: string(b)}})
	}
}

// booting parses what the kernel says first of all, and returns false for other
// messages.
func (p *parser) booting(b []byte) bool {
	if rest, ok := bytes.CutPrefix(b, []byte("Linux version ")); ok {
		release, _, _ := bytes.Cut(rest, []byte(" "))
		p.emit(Entry{Boot: &Boot{Release: string(release)}})
		return true
	}
	// "Kernel command line: " is the same again, with what the kernel added.
	if rest, ok := bytes.CutPrefix(b, []byte("Command line: ")); ok {
		p.emit(Entry{Boot: &Boot{CommandLine: string(rest)}})
		return true
	}
	// ima_appraise_parse_cmdline(), security/integrity/ima/ima_appraise.c.
	if bytes.HasPrefix(b, []byte("ima: Secure boot enabled: ignoring ima_appraise=")) {
		p.emit(Entry{Boot: &Boot{SecureBoot: true}})
		return true
	}
	return false
}
