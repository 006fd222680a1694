package pkcs11

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// Scheme is what the references of keys in tokens begin with.
const Scheme = "pkcs11:"

// A uri is a PKCS#11 URI as RFC 7512 has it. What it says nothing of matches
// everything.
type uri struct {
	token  map[string]string // token, manufacturer, serial, model, slot-id, …
	object *string           // CKA_LABEL
	id     []byte            // CKA_ID

	pinFile string // of pin-source
	module  string // path; "" for those that p11-kit is configured with
}

// tokenAttributes are those of the path that tell modules, slots and tokens
// apart (RFC 7512, section 2.3).
var tokenAttributes = []string{
	"token", "manufacturer", "serial", "model",
	"library-manufacturer", "library-version", "library-description",
	"slot-manufacturer", "slot-description", "slot-id",
}

// parseURI reads a URI. What it does not know it refuses, for it may be what
// should tell one key from another. The error is a *URIError.
func parseURI(s string) (*uri, error) {
	rest, ok := strings.CutPrefix(s, Scheme)
	if !ok {
		return nil, &URIError{"it does not begin with " + Scheme}
	}
	path, query, _ := strings.Cut(rest, "?")
	u := &uri{token: make(map[string]string)}
	seen := make(map[string]bool)
	each := func(part, separator string, set func(name, value string) error) error {
		for piece := range strings.SplitSeq(part, separator) {
			if piece == "" {
				continue
			}
			name, value, ok := strings.Cut(piece, "=")
			if !ok {
				return &URIError{fmt.Sprintf("%q has no value", piece)}
			}
			if seen[name] {
				return &URIError{fmt.Sprintf("attribute %q is there twice", name)}
			}
			seen[name] = true
			value, err := url.PathUnescape(value)
			if err != nil {
				return &URIError{fmt.Sprintf("attribute %q: %v", name, err)}
			}
			if err := set(name, value); err != nil {
				return err
			}
		}
		return nil
	}
	if err := each(path, ";", u.setPath); err != nil {
		return nil, err
	}
	if err := each(query, "&", u.setQuery); err != nil {
		return nil, err
	}
	return u, nil
}

// Check says what is wrong with a URI, before anything is opened. The error is a
// *URIError.
func Check(ref string) error {
	_, err := parseURI(ref)
	return err
}

// setPath takes an attribute that says which key it is.
func (u *uri) setPath(name, value string) error {
	switch {
	case slices.Contains(tokenAttributes, name):
		u.token[name] = value
	case name == "object":
		u.object = &value
	case name == "id":
		u.id = []byte(value)
	case name == "type" && value == "private":
	case name == "type":
		return &URIError{fmt.Sprintf("type=%s is not what signs; leave it out, or write type=private", value)}
	default:
		return &URIError{fmt.Sprintf("unknown attribute %q", name)}
	}
	return nil
}

// setQuery takes an attribute that says how to come to the key.
func (u *uri) setQuery(name, value string) error {
	switch name {
	case "module-path":
		if !filepath.IsAbs(value) {
			return &URIError{"module-path is not absolute"}
		}
		u.module = value
	case "pin-source":
		file, _ := strings.CutPrefix(value, "file:")
		file = "/" + strings.TrimLeft(file, "/") // file:/x and file:///x
		if !strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "file:/") {
			return &URIError{"pin-source is neither file:/PATH nor an absolute path"}
		}
		u.pinFile = file
	case "pin-value":
		return &URIError{"pin-value would show the PIN to everybody who lists processes; use pin-source=file:/PATH, IMASEAL_PKCS11_PIN or the terminal"}
	case "module-name":
		return &URIError{"module-name is not supported; use module-path=/PATH, or leave it to p11-kit's configuration"}
	default:
		return &URIError{fmt.Sprintf("unknown attribute %q", name)}
	}
	return nil
}
