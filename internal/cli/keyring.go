package cli

import (
	"cmp"
	"fmt"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"imaseal/internal/keyring"
	"imaseal/internal/report"
)

const defaultKeyring = "ima"

// keyringFlag names the keyrings that a command changes.
func keyringFlag(field *[]string) urfave.Flag {
	*field = []string{defaultKeyring}
	return &urfave.StringSliceFlag{Name: "keyring", Action: into(field), Value: urfave.NewStringSlice(defaultKeyring), Usage: "`NAME` or number of a keyring"}
}

// A ring is a keyring of the running kernel, and what it is called.
type ring struct {
	id   keyring.ID
	name string
}

// findKeyring finds a keyring by name or number; ima and evm stand for the one
// that the kernel looks into.
func findKeyring(name string) (ring, error) {
	if name != "ima" && name != "evm" {
		id, err := keyring.Find(name)
		return ring{id, name}, err
	}
	id, err := keyring.Find("." + name)
	if !is[*keyring.NotFoundError](err) {
		return ring{id, "." + name}, err
	}
	id, ownErr := keyring.Find("_" + name)
	if is[*keyring.NotFoundError](ownErr) {
		return ring{}, err // of the two this has more to say
	}
	return ring{id, "_" + name}, ownErr
}

// makeKeyring is findKeyring for keys that are added. A kernel looks for _ima and
// _evm, and no others, where it has no keyrings of its own: these two are made if
// there are none, for root, in whose processes it looks; another name that is not
// there is a mistyped one.
func (p Program) makeKeyring(name string) (ring, error) {
	isLooked := slices.Contains([]string{"ima", "evm", "_ima", "_evm", ".ima", ".evm"}, name)
	if isLooked {
		if err := p.Host.MayLoadKeys(); err != nil {
			return ring{}, err
		}
	}
	found, err := findKeyring(name)
	if !is[*keyring.NotFoundError](err) || !isLooked || name[0] == '.' {
		return found, err
	}
	own := "_" + name
	if name[0] == '_' {
		own = name
	}
	id, _, err := keyring.FindOrMake(own)
	return ring{id, own}, err
}

// A shownKey is a key in a keyring as commands print it. Its JSON fields only ever
// grow.
type shownKey struct {
	Number      keyring.ID `json:"number"`
	Type        string     `json:"type,omitempty"`
	KeyID       string     `json:"keyid,omitempty"`
	Subject     string     `json:"subject,omitempty"`
	Description string     `json:"description"`
}

// showKey describes a key; KeyID is what labels name it by.
func showKey(k keyring.Key) shownKey {
	s := shownKey{Number: k.ID, Type: k.Type, Subject: k.Subject(), Description: k.Description}
	if id, ok := k.KeyID(); ok {
		s.KeyID = id.String()
	} else if id, ok := k.KeyIDV1(); ok {
		s.KeyID = id.String()
	}
	return s
}

// text is the line for people: the id in labels, the kernel's number, and who the
// key is for.
func (s shownKey) text() string {
	return fmt.Sprintf("%-8s  %10s  %s", cmp.Or(s.KeyID, "-"), s.Number, report.Quote(cmp.Or(s.Subject, s.Description, "-")))
}
