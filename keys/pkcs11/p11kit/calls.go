package p11kit

import "context"

// Constants of PKCS#11 2.40.
const (
	// Flags of tokens: CKF_ and the name.
	LoginRequired               = 1 << 2
	ProtectedAuthenticationPath = 1 << 8 // the PIN is typed elsewhere
	TokenInitialized            = 1 << 10
	UserPINFinalTry             = 1 << 17
	UserPINLocked               = 1 << 18

	// Users: CKU_ and the name.
	User            = 1
	ContextSpecific = 2

	// Classes of objects: CKO_ and the name.
	Certificate = 1
	PublicKey   = 2
	PrivateKey  = 3

	// Types of keys: CKK_ and the name.
	RSA = 0
	EC  = 3

	// Mechanisms: CKM_ and the name.
	RSAPKCS = 0x0001
	ECDSA   = 0x1041
)

// Room for lists in answers, and for a signature: more than any RSA key makes
// that kernels take.
const (
	maxSlots      = 1 << 12
	maxMechanisms = 1 << 12
	maxSignature  = 1024
)

// An Info is what a module says of itself.
type Info struct {
	Manufacturer, Description string
	Version                   [2]byte
}

// Info calls C_GetInfo.
func (c *Conn) Info(ctx context.Context) (Info, error) {
	r, err := c.call(ctx, callGetInfo, nil)
	if err != nil {
		return Info{}, err
	}
	r.version() // of PKCS#11
	i := Info{Manufacturer: r.text()}
	r.ulong() // flags
	i.Description, i.Version = r.text(), r.version()
	return i, r.err
}

// Slots returns the slots with a token in them: C_GetSlotList.
func (c *Conn) Slots(ctx context.Context) ([]uint64, error) {
	var w writer
	w.byte(1) // only those
	w.room(maxSlots)
	r, err := c.call(ctx, callGetSlotList, w.b)
	if err != nil {
		return nil, err
	}
	slots, _ := r.ulongs()
	return slots, r.err
}

// A TokenInfo is what a token says of itself, and its slot.
type TokenInfo struct {
	Label, Manufacturer, Model, Serial string
	Flags                              uint64

	SlotDescription, SlotManufacturer string
}

// Token calls C_GetTokenInfo and C_GetSlotInfo.
func (c *Conn) Token(ctx context.Context, slot uint64) (TokenInfo, error) {
	var w writer
	w.ulong(slot)
	r, err := c.call(ctx, callGetTokenInfo, w.b)
	if err != nil {
		return TokenInfo{}, err
	}
	t := TokenInfo{Label: r.text(), Manufacturer: r.text(), Model: r.text(), Serial: r.text(), Flags: r.ulong()}
	if r.err != nil {
		return TokenInfo{}, r.err
	}
	if r, err = c.call(ctx, callGetSlotInfo, w.b); err != nil {
		return TokenInfo{}, err
	}
	t.SlotDescription, t.SlotManufacturer = r.text(), r.text()
	return t, r.err
}

// Mechanisms calls C_GetMechanismList.
func (c *Conn) Mechanisms(ctx context.Context, slot uint64) ([]uint64, error) {
	var w writer
	w.ulong(slot)
	w.room(maxMechanisms)
	r, err := c.call(ctx, callGetMechanismList, w.b)
	if err != nil {
		return nil, err
	}
	all, _ := r.ulongs()
	return all, r.err
}

// A Session is one with a token. It ends with the Conn.
type Session struct {
	*Conn
	handle uint64
}

// OpenSession opens a session that only reads: C_OpenSession.
func (c *Conn) OpenSession(ctx context.Context, slot uint64) (*Session, error) {
	const serialSession = 1 << 2 // CKF_SERIAL_SESSION
	var w writer
	w.ulong(slot)
	w.ulong(serialSession)
	r, err := c.call(ctx, callOpenSession, w.b)
	if err != nil {
		return nil, err
	}
	return &Session{c, r.ulong()}, r.err
}

// Login calls C_Login; a nil PIN is one that is typed elsewhere.
func (s *Session) Login(ctx context.Context, user uint64, pin []byte) error {
	var w writer
	w.ulong(s.handle)
	w.ulong(user)
	w.bytes(pin)
	defer clear(w.b)
	_, err := s.call(ctx, callLogin, w.b)
	return err
}

// Find returns the handles of the objects that have the attributes.
func (s *Session) Find(ctx context.Context, with ...Attribute) ([]uint64, error) {
	var w writer
	w.ulong(s.handle)
	w.attributes(with)
	if _, err := s.call(ctx, callFindObjectsInit, w.b); err != nil {
		return nil, err
	}
	var all []uint64
	for {
		const some = 64
		w = writer{}
		w.ulong(s.handle)
		w.room(some)
		r, err := s.call(ctx, callFindObjects, w.b)
		if err != nil {
			return nil, err
		}
		found, _ := r.ulongs()
		if r.err != nil {
			return nil, r.err
		}
		if all = append(all, found...); len(found) == 0 {
			break
		}
	}
	w = writer{}
	w.ulong(s.handle)
	_, err := s.call(ctx, callFindObjectsFinal, w.b)
	return all, err
}

// Attributes returns those attributes of an object that it has and tells.
func (s *Session) Attributes(ctx context.Context, object uint64, types ...uint32) (map[uint32]Attribute, error) {
	var w writer
	w.ulong(s.handle)
	w.ulong(object)
	w.attributeRoom(types)
	r, err := s.call(ctx, callGetAttributeValue, w.b)
	if err != nil {
		return nil, err
	}
	all := r.attributes()
	return all, r.err
}

// SignInit calls C_SignInit for a mechanism without parameters.
func (s *Session) SignInit(ctx context.Context, mechanism uint32, key uint64) error {
	var w writer
	w.ulong(s.handle)
	w.mechanism(mechanism, s.version)
	w.ulong(key)
	_, err := s.call(ctx, callSignInit, w.b)
	return err
}

// Sign calls C_Sign, which ends what SignInit began.
func (s *Session) Sign(ctx context.Context, data []byte) ([]byte, error) {
	var w writer
	w.ulong(s.handle)
	w.bytes(data)
	w.room(maxSignature)
	r, err := s.call(ctx, callSign, w.b)
	if err != nil {
		return nil, err
	}
	sig, ok := r.bytes()
	if !ok && r.err == nil {
		return nil, &lostError{"a signature is longer than any that kernels take"}
	}
	return sig, r.err
}
