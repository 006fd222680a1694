package measure

import (
	"maps"
	"slices"
	"strings"
)

// A form is how a field is written.
type form uint8

const (
	formHex    form = iota // any bytes; hexadecimal in ASCII
	formDigest             // a name that ends in a colon, NUL, and a digest
	formText               // text and NUL
	formUint               // a number in the order of the list; decimal in ASCII
)

// A fieldType describes a field.
type fieldType struct {
	form  form
	width int // of a number
}

// fieldTypes are those of supported_fields[] in ima_template.c.
var fieldTypes = map[string]fieldType{
	"d": {}, "sig": {}, "evmsig": {}, "buf": {}, "modsig": {}, "xattrlengths": {}, "xattrvalues": {},
	"d-ng": {form: formDigest}, "d-ngv2": {form: formDigest}, "d-modsig": {form: formDigest},
	"n": {form: formText}, "n-ng": {form: formText}, "xattrnames": {form: formText},
	"iuid": {formUint, 4}, "igid": {formUint, 4}, "imode": {formUint, 2},
}

// plain is the template whose records have another shape than all others.
const plain = "ima"

// templates are builtin_templates[] of ima_template.c.
var templates = map[string]string{
	plain:        "d|n",
	"ima-ng":     "d-ng|n-ng",
	"ima-sig":    "d-ng|n-ng|sig",
	"ima-ngv2":   "d-ngv2|n-ng",
	"ima-sigv2":  "d-ngv2|n-ng|sig",
	"ima-buf":    "d-ng|n-ng|buf",
	"ima-modsig": "d-ng|n-ng|sig|d-modsig|modsig",
	"evm-sig":    "d-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|iuid|igid|imode",
}

// Templates returns the names of the kernel's templates, sorted.
func Templates() []string { return slices.Sorted(maps.Keys(templates)) }

// FieldIDs returns the identifiers of the fields of a template, which may be a custom
// format such as d-ng|n-ng|imode, and nil if it is not known.
func FieldIDs(template string) []string {
	format, ok := templates[template]
	if !ok {
		format = template
	}
	ids := strings.Split(format, "|")
	for _, id := range ids {
		if _, ok := fieldTypes[id]; !ok {
			return nil
		}
	}
	return ids
}

// EscapeName returns the name under which a list has a path: with "_" for each blank.
// So a name of a list stands for all paths that are it when escaped. Kernel:
// ima_write_template_field_data(), security/integrity/ima/ima_template_lib.c.
func EscapeName(path string) string { return strings.ReplaceAll(path, " ", "_") }
