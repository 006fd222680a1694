package pkcs11

import (
	"errors"
	"maps"
	"strings"
	"testing"
)

func TestParseURI(t *testing.T) {
	u, err := parseURI("pkcs11:token=My%20token;object=a%3bb;id=%01%ff;type=private;serial=7?module-path=/m.so&pin-source=file:/etc/pin")
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(u.token, map[string]string{"token": "My token", "serial": "7"}) || *u.object != "a;b" || string(u.id) != "\x01\xff" {
		t.Errorf("%v %q %x", u.token, *u.object, u.id)
	}
	if u.module != "/m.so" || u.pinFile != "/etc/pin" {
		t.Errorf("module %q, PIN %q", u.module, u.pinFile)
	}
	for _, source := range []string{"/etc/pin", "file:/etc/pin", "file:///etc/pin", "file:%2fetc%2fpin"} {
		if u, err := parseURI("pkcs11:?pin-source=" + source); err != nil || u.pinFile != "/etc/pin" {
			t.Errorf("%s: %v, %v", source, u, err)
		}
	}
	if u, err := parseURI("pkcs11:"); err != nil || u.object != nil || u.id != nil || len(u.token) != 0 {
		t.Errorf("the URI of everything: %v, %v", u, err)
	}
	if u, err := parseURI("pkcs11:object="); err != nil || u.object == nil || *u.object != "" {
		t.Errorf("the URI of an object without a label: %v, %v", u, err)
	}
}

func TestParseURIErrors(t *testing.T) {
	for s, want := range map[string]string{
		"pkcs12:token=x":                        "it does not begin with pkcs11:",
		"pkcs11:token=x;token=y":                `attribute "token" is there twice`,
		"pkcs11:id=%01;object=x;id=%01":         `attribute "id" is there twice`,
		"pkcs11:?module-path=/a&module-path=/b": `attribute "module-path" is there twice`,
		"pkcs11:colour=red":                     `unknown attribute "colour"`,
		"pkcs11:x-vendor=1":                     `unknown attribute "x-vendor"`,
		"pkcs11:?colour=red":                    `unknown attribute "colour"`,
		"pkcs11:module-path=/x":                 `unknown attribute "module-path"`,
		"pkcs11:?token=x":                       `unknown attribute "token"`,
		"pkcs11:token":                          `"token" has no value`,
		"pkcs11:token=%zz":                      `attribute "token": invalid URL escape "%zz"`,
		"pkcs11:type=cert":                      "type=cert is not what signs; leave it out, or write type=private",
		"pkcs11:?module-path=softhsm2.so":       "module-path is not absolute",
		"pkcs11:?module-name=softhsm2":          "module-name is not supported; use module-path=/PATH, or leave it to p11-kit's configuration",
		"pkcs11:?pin-source=pin":                "pin-source is neither file:/PATH nor an absolute path",
		"pkcs11:?pin-source=|cat":               "pin-source is neither file:/PATH nor an absolute path",
		"pkcs11:?pin-source=https://x/y":        "pin-source is neither file:/PATH nor an absolute path",
		"pkcs11:?pin-value=s3cret":              "pin-value would show the PIN to everybody who lists processes; use pin-source=file:/PATH, IMASEAL_PKCS11_PIN or the terminal",
	} {
		u, err := parseURI(s)
		if _, ok := errors.AsType[*URIError](err); !ok || u != nil || err.Error() != "PKCS#11 URI: "+want {
			t.Errorf("%s: %v, want %s", s, err, want)
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error holds the PIN", s)
		}
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("pkcs11:token=x;id=%01?module-path=/m.so&pin-source=file:/p")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseURI(s)
		if (u == nil) == (err == nil) {
			t.Errorf("%q: %v, %v", s, u, err)
		}
		if _, ok := errors.AsType[*URIError](err); err != nil && !ok {
			t.Errorf("%q: %v", s, err)
		}
		if u != nil && u.module != "" && u.module[0] != '/' {
			t.Errorf("%q: module %q", s, u.module)
		}
	})
}
