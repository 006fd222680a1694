package keylime

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// keys reads the text of the keys. ImaKeyring.from_string, keylime/ima/file_signatures.py,
// takes it, and one that is JSON of such a text.
func (p *parser) keys() error {
	s, err := text(p.d)
	if err != nil || s == "" {
		return err
	}
	var inner string
	if json.Unmarshal([]byte(s), &inner) == nil {
		s = inner
	}
	k := &p.policy.Keys
	var ids []json.Number
	var keys []string
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	seen, err := eachOnce(d, func(name string) (err error) {
		switch name {
		case "keyids":
			err = d.Decode(&ids)
		case "pubkeys":
			err = d.Decode(&keys)
		default:
			k.Others, err = other(d, k.Others, name)
		}
		return within(name, err)
	})
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errShort // of this text, and not of the policy
	case err != nil:
		return err
	case !seen["keyids"] || ids == nil:
		return &FormatError{"keyids", errMissing}
	case !seen["pubkeys"] || keys == nil:
		return &FormatError{"pubkeys", errMissing}
	case len(ids) > len(keys):
		return &FormatError{"keyids", &wordError{"there are more than keys"}}
	}
	if _, err := d.Token(); err != io.EOF {
		return errNoEnd
	}
	return k.read(ids, keys)
}

func (k *Keys) read(ids []json.Number, keys []string) error {
	for i, s := range keys {
		der, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return &FormatError{"pubkeys", &typeError{"base64"}}
		}
		key := Key{DER: der}
		if i < len(ids) {
			id, err := ids[i].Int64()
			if err != nil || id < 0 || id > math.MaxUint32 {
				return &FormatError{"keyids", &wordError{fmt.Sprintf("%s is no key id", ids[i])}}
			}
			key.ID = uint32(id)
		}
		k.Add(key)
	}
	return nil
}
