package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"imaseal/keys/pkcs11/p11kit"
)

// A token is one that can be signed with.
type token struct {
	slot uint64
	p11kit.TokenInfo
	is map[string]string // what a URI can ask for
}

func (t *token) String() string {
	return fmt.Sprintf("%q (%s, serial %s, slot-id %d)", t.Label, t.Manufacturer, t.Serial, t.slot)
}

// findToken returns the one token that the URI means. The error is a
// *MatchError or one of calling the module.
func findToken(ctx context.Context, c *p11kit.Conn, u *uri) (*token, error) {
	library, err := c.Info(ctx)
	if err != nil {
		return nil, err
	}
	slots, err := c.Slots(ctx)
	if err != nil {
		return nil, err
	}
	var found []*token
	miss := &MatchError{What: "token"}
	for _, slot := range slots {
		t, err := openToken(ctx, c, slot, library)
		switch {
		case err != nil:
			return nil, err
		case t == nil:
		case u.matches(t):
			found = append(found, t)
			miss.Found = append(miss.Found, t.String())
		default:
			miss.Other = append(miss.Other, t.String())
		}
	}
	if len(found) != 1 {
		return nil, miss
	}
	return found[0], nil
}

// matches reports whether the URI means the token.
func (u *uri) matches(t *token) bool {
	for name, value := range u.token {
		if t.is[name] != value {
			return false
		}
	}
	return true
}

// openToken returns what is in a slot, nil if that is nothing that signs, such
// as the list of trusted certificates that p11-kit shows as a token.
func openToken(ctx context.Context, c *p11kit.Conn, slot uint64, library p11kit.Info) (*token, error) {
	info, err := c.Token(ctx, slot)
	if e, ok := errors.AsType[*p11kit.CallError](err); ok && e.Code.IsLost() {
		return nil, nil // pulled out meanwhile, or not made for this module
	}
	if err != nil || info.Flags&p11kit.TokenInitialized == 0 {
		return nil, err
	}
	mechanisms, err := c.Mechanisms(ctx, slot)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(mechanisms, p11kit.RSAPKCS) && !slices.Contains(mechanisms, p11kit.ECDSA) {
		return nil, nil
	}
	return &token{slot: slot, TokenInfo: info, is: map[string]string{
		"token": info.Label, "manufacturer": info.Manufacturer, "model": info.Model, "serial": info.Serial,
		"slot-description": info.SlotDescription, "slot-manufacturer": info.SlotManufacturer,
		"slot-id":              strconv.FormatUint(slot, 10),
		"library-manufacturer": library.Manufacturer, "library-description": library.Description,
		"library-version": fmt.Sprintf("%d.%d", library.Version[0], library.Version[1]),
	}}, nil
}

// A session is one with a token, in which a private key is known.
type session struct {
	*p11kit.Session
	token  *token
	key    uint64 // its handle
	ec     bool
	always bool // the PIN is wanted for each signature
}

// login logs in as the user that the PIN is of, nil where it is typed elsewhere.
func (s *session) login(ctx context.Context, user uint64, pin []byte) error {
	err := s.Login(ctx, user, pin)
	e, ok := errors.AsType[*p11kit.CallError](err)
	if !ok {
		return err
	}
	switch e.Code {
	case p11kit.UserAlreadyLoggedIn:
		return nil
	case p11kit.PINIncorrect, p11kit.PINInvalid, p11kit.PINLenRange:
		return &PINError{Token: s.token.Label, Why: fmt.Sprintf("wrong (%s); it is not tried again, for tokens lock after some tries", e.Code)}
	case p11kit.PINLocked:
		return &PINError{Token: s.token.Label, Why: "locked after too many wrong ones"}
	case p11kit.UserPINNotInitialized:
		return &PINError{Token: s.token.Label, Why: "the token has none yet"}
	}
	return err
}

// findKey finds the one private key that the URI means. The error is a
// *MatchError or one of calling the module.
func (s *session) findKey(ctx context.Context, u *uri) error {
	with := []p11kit.Attribute{{Type: p11kit.Class, Ulong: p11kit.PrivateKey}}
	if u.object != nil {
		with = append(with, p11kit.Attribute{Type: p11kit.Label, Bytes: []byte(*u.object)})
	}
	if u.id != nil {
		with = append(with, p11kit.Attribute{Type: p11kit.ID, Bytes: u.id})
	}
	found, err := s.Find(ctx, with...)
	if err != nil {
		return err
	}
	if len(found) == 1 {
		s.key = found[0]
		return nil
	}
	miss := &MatchError{What: "private key"}
	if miss.Found, err = s.names(ctx, found); err != nil {
		return err
	}
	if len(found) == 0 {
		if found, err = s.Find(ctx, with[0]); err != nil {
			return err
		}
		if miss.Other, err = s.names(ctx, found); err != nil {
			return err
		}
	}
	return miss
}

// names says which keys they are, in the words of a URI.
func (s *session) names(ctx context.Context, keys []uint64) ([]string, error) {
	var all []string
	for _, key := range keys {
		a, err := s.Attributes(ctx, key, p11kit.Label, p11kit.ID)
		if err != nil {
			return nil, err
		}
		var id strings.Builder
		for _, b := range a[p11kit.ID].Bytes {
			fmt.Fprintf(&id, "%%%02x", b)
		}
		all = append(all, fmt.Sprintf("object=%s;id=%s", a[p11kit.Label].Bytes, id.String()))
	}
	return all, nil
}
