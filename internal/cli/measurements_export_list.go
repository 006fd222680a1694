package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"imaseal/internal/attest"
	"imaseal/internal/keylime"
	"imaseal/internal/measure"
	"imaseal/internal/reason"
)

// keylimeTemplates are those whose records Keylime verifies. Any other fails the
// attestation, whatever the policy: Entry._mode_lookup, keylime/ima/ast.py.
var keylimeTemplates = []string{"ima", "ima-ng", "ima-sig", "ima-buf"}

// addLists adds what measurement lists have, and reports whether some of it is not in
// the policy, which is told.
func (p Program) addLists(ctx context.Context, lists []listRequest, pol *keylime.Policy) (damaged bool, err error) {
	others := make(map[string]int64) // records of other templates
	var violations int64
	hinted := make(map[string]bool)
	for _, r := range lists {
		l, err := p.openList(ctx, r)
		if err != nil {
			return damaged, err
		}
		err = l.each(ctx, func(rec measure.Record, wrong *measure.RecordError) error {
			if rec.Template != "" && !slices.Contains(keylimeTemplates, rec.Template) {
				others[rec.Template]++
			}
			if rec.Digest != nil && rec.IsViolation() {
				violations++
				return nil
			}
			var problem error
			if wrong != nil {
				problem = wrong
			} else if err := addRecord(pol, rec); err != nil {
				problem = fmt.Errorf("%s: %w", measure.Place(rec.Number, rec.Offset, rec.Line, 0), err)
			}
			if problem != nil {
				damaged = true
				p.complain(fmt.Errorf("%s: %w", l.name, problem), hinted)
			}
			return nil
		})
		l.Close()
		if err != nil {
			return damaged, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		p.warn(reason.OtherTemplate, "%s of template %s, by which Keylime fails the attestation: it verifies %s", plural(others[name], "record"), name, strings.Join(keylimeTemplates, ", "))
	}
	if violations > 0 {
		p.warn(reason.Violations, "%s, of which a policy can say nothing: %s", plural(violations, "violation"), violationMeans)
	}
	return damaged, nil
}

// addRecord adds a record that is no violation.
func addRecord(pol *keylime.Policy, rec measure.Record) error {
	d, ok := rec.FileDigest()
	if !ok {
		return nil // of a template that is not known, which is told
	}
	to := &pol.Files
	if _, isBuffer := rec.Field("buf"); isBuffer {
		to = &pol.Buffers
		if attest.Describe(rec).Certificate != nil { // what is a key counts by what it is
			to = &pol.Keyrings
		}
	}
	return to.Add(rec.Name(), d.Digest.Bytes())
}
