package cli

import (
	"slices"
	"strings"

	"imaseal/internal/finding"
	"imaseal/internal/imaevm"
	"imaseal/internal/judge"
	"imaseal/internal/page"
	"imaseal/internal/plan"
	"imaseal/internal/policy"
	"imaseal/internal/report"
	"imaseal/internal/stream"
	"imaseal/internal/target"
	"imaseal/sign"
)

// A checked is what the page of check is made of.
type checked struct {
	request checkRequest
	target  *target.Target
	policy  target.Policy
	judge   *judge.Judge
	page    page.Check
}

// reads are the files that the request names to be read.
func (r checkRequest) reads() []string {
	files := slices.Concat(r.keys, []string{r.evmKey, r.policy.name, r.target.ConfigFile, r.FilesFrom})
	for _, name := range r.Paths {
		if c, ok := plan.CarrierOf(name); ok {
			name = c.Name
		}
		files = append(files, name)
	}
	return files
}

// secureBoot says what is known of secure boot, "" for nothing.
var secureBoot = map[policy.Truth]string{policy.True: "on", policy.False: "off"}

// facts are what the files were judged by.
func (c *checked) facts() []page.Fact {
	r, state := c.request, c.target.State()
	var paths []string
	for _, name := range r.Paths {
		paths = append(paths, report.Quote(name))
	}
	keys := "none named: those in the running kernel’s keyrings count, as far as they are seen"
	if len(r.keys) > 0 {
		keys = strings.Join(r.keys, ", ")
	} else if !c.target.Running {
		keys = "none named"
	}
	evm := evmWord(state)
	if state.IsActive() {
		evm += ": " + c.judge.Covers.String()
	}
	facts := []page.Fact{
		{Name: "Files in", Value: strings.Join(paths, ", ")}, {Name: "Listed in", Value: r.FilesFrom}, {Name: "Kernel", Value: describe(c.target)},
		{Name: "Policy", Value: report.Quote(c.policy.Name)}, {Name: "EVM", Value: evm}, {Name: "Keys", Value: keys},
		{Name: "Secure boot", Value: secureBoot[c.target.SecureBoot]}, {Name: "File system there", Value: r.policy.targetFS},
	}
	if r.Shard.IsGiven() {
		facts = append(facts, page.Fact{Name: "Part", Value: r.Shard.String()})
	}
	return facts
}

// keyRing says which keys the target has.
func (c *checked) keyRing() page.KeyRing {
	keys := c.target.Keys()
	return func(evm bool, id imaevm.KeyID) page.Knowledge {
		of := keys.IMA
		if evm {
			of = keys.EVM
		}
		if of == nil {
			return page.NotAsked
		}
		_, err := of.Verifier(id)
		if is[*sign.UnknownKeyError](err) {
			return page.Unknown
		}
		if is[*sign.AmbiguousKeyError](err) && len(c.request.keys) > 0 {
			return page.Ambiguous
		}
		return page.Known
	}
}

// tellHost has the page say what was found of the host.
func (c *checked) tellHost(findings []finding.Finding) {
	for _, f := range findings {
		c.page.Host = append(c.page.Host, page.Finding{Level: string(f.Level), Topic: f.Topic, Why: f.Why, Do: f.Do})
	}
}

// handler adds the page to what a run is reported to.
func (c *checked) handler(to report.Handler, fix func(report.Group) []string) report.Handler {
	c.page.Hint, c.page.Fix, c.page.Keys = hintOn, fix, c.keyRing()
	if in, ok := c.request.Carrier(); ok {
		c.page.Archive = in.Name
	}
	return report.Several{to, &c.page}
}

// writeChecked makes the page.
func (p Program) writeChecked(c *checked) func(*stream.Out, int) error {
	return func(out *stream.Out, status int) error {
		return c.page.Write(out, p.frame(status, c.facts()))
	}
}
