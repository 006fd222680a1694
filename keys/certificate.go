package keys

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"imaseal/keys/kernelcert"
	"imaseal/keys/keyfile"
)

// CheckCertificate returns what kernels will not like about a certificate for
// signatures: those that are named or, without any, all whose rules are known, see
// package kernelcert. What then only older kernels refuse is no warning: P-521 is
// one such thing. Source of the warnings is empty.
func CheckCertificate(c *keyfile.Certificate, now time.Time, kernels ...kernelcert.Kernel) []Warning {
	isNamed := len(kernels) > 0
	if !isNamed {
		kernels = kernelcert.Known
	}
	all := loadWarnings(c, kernels, isNamed)
	add := func(k WarningKind, format string, args ...any) {
		all = append(all, Warning{Kind: k, Detail: fmt.Sprintf(format, args...)})
	}
	if len(c.SubjectKeyID) < 4 {
		what := "no subject key identifier"
		if n := len(c.SubjectKeyID); n > 0 {
			what = fmt.Sprintf("a subject key identifier of only %d bytes", n)
		}
		if len(c.KeyIDs) > 0 {
			add(NoSubjectKeyID, "the certificate has %s, so that labels name it by the end of its issuer's name, %08x, as they do all certificates of that issuer", what, c.KeyIDs[0])
		} else {
			add(NoSubjectKeyID, "the certificate has %s, so that kernels cannot find it", what)
		}
	}
	if why := notForTrusted(c, kernels); len(why) > 0 {
		add(NotForTrusted, "the .ima and .evm keyrings of Linux 6.5 and later refuse the certificate (_ima and _evm take it): %s", strings.Join(why, ", "))
	}
	switch {
	case c.NotAfter.IsZero():
	case now.After(c.NotAfter):
		add(NotValidNow, "the certificate expired on %s (kernels do not look)", c.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(c.NotBefore):
		add(NotValidNow, "the certificate is not valid before %s (kernels do not look)", c.NotBefore.UTC().Format(time.DateOnly))
	}
	return all
}

// loadWarnings says which kernels do not load a certificate.
func loadWarnings(c *keyfile.Certificate, kernels []kernelcert.Kernel, isNamed bool) []Warning {
	var reasons []string // in the order of the kernels
	by := make(map[string][]string)
	for _, k := range kernels {
		j := k.Judge(c.Raw)
		if j.Verdict != kernelcert.Refused {
			continue
		}
		why := j.Reason.Error()
		if by[why] == nil {
			reasons = append(reasons, why)
		}
		by[why] = append(by[why], k.String())
	}
	newest := kernels[len(kernels)-1]
	if !isNamed && newest.Judge(c.Raw).Verdict != kernelcert.Refused {
		return nil
	}
	var all []Warning
	for _, why := range reasons {
		who := "kernel " + by[why][0] + " does not load"
		switch refusing := by[why]; {
		case len(refusing) == len(kernels) && !isNamed:
			who = "no kernel loads"
		case len(refusing) > 1:
			last := len(refusing) - 1
			who = "kernels " + strings.Join(refusing[:last], ", ") + " and " + refusing[last] + " do not load"
		}
		all = append(all, Warning{Kind: NotLoadable, Detail: who + " the certificate: " + why})
	}
	return all
}

// notForTrusted returns why restricted keyrings refuse a certificate, whoever
// signed it, if one of the kernels may have such.
func notForTrusted(c *keyfile.Certificate, kernels []kernelcert.Kernel) []string {
	if c.Kernel == nil {
		return nil
	}
	var all []string
	for _, k := range kernels {
		if k.IsRestricted() == kernelcert.Absent {
			continue
		}
		for _, r := range k.Usage(c.Kernel) {
			if why := r.Error(); !slices.Contains(all, why) {
				all = append(all, why)
			}
		}
	}
	return all
}

// judge says whether a kernel cannot have the key, or verify with it. The warning
// is about that or about what is not known of it; its Kind is 0 if there is none.
func (p *Public) judge(k kernelcert.Kernel) (w Warning, isLeft bool) {
	if p.cert == nil {
		return Warning{}, false
	}
	leave := func(format string, args ...any) (Warning, bool) {
		return Warning{Kind: NotLoadable, Source: p.certSource, Detail: fmt.Sprintf("kernel %s "+format, append([]any{k}, args...)...)}, true
	}
	j := k.Judge(p.cert.Raw)
	if j.Verdict == kernelcert.Refused {
		return leave("does not load the certificate: %v", j.Reason)
	}
	c := p.cert.Kernel
	if k.IsRestricted() == kernelcert.BuiltIn {
		if why := k.Usage(c); len(why) > 0 {
			return leave("does not load the certificate into .ima or .evm: %v", why[0])
		}
		if v := k.Vouch(c, nil); v.Reason.Code == kernelcert.UncheckedSignature {
			return leave("does not load the certificate into .ima or .evm: %v", v.Reason)
		}
	}
	a, _ := c.Algorithm()
	if k.HasKey(a, "sha256") == kernelcert.Absent {
		return leave("loads the certificate, but cannot verify with its key: it lacks %s", a)
	}
	if _, err := k.Parse(a, c.KeyBits); err != nil && a.IsChecked() {
		return leave("loads the certificate, but cannot verify with its key: it is %v", err)
	}
	if j.Verdict == kernelcert.Undecided {
		return Warning{Kind: MayNotLoad, Source: p.certSource, Detail: fmt.Sprintf("kernel %s may not load the certificate: %v", k, j.Reason)}, false
	}
	return Warning{}, false
}
