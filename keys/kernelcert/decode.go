package kernelcert

import (
	"imaseal/keys/ber"
)

// A step is what the kernel looks at in the middle of decoding: it may refuse the
// certificate there, before it finds out that the rest is damaged.
type step func(Kernel) *Reason

// decode reads a certificate as far as it is well formed. Beside an error it
// returns what came before. Kernel: crypto/asymmetric_keys/x509.asn1.
func decode(der []byte) (*Certificate, error) {
	d := &decoder{Reader: ber.NewReader(der), c: &Certificate{}}
	err := d.certificate()
	d.c.Raw = der[:d.Offset()]
	return d.c, err
}

type decoder struct {
	*ber.Reader
	c *Certificate
}

func (d *decoder) then(s step) { d.c.steps = append(d.c.steps, s) }

// within reads the content of a constructed element.
func (d *decoder) within(tag byte, content func() error) (ber.Element, error) {
	f, err := d.Open(tag)
	if err != nil {
		return ber.Element{}, err
	}
	if err := content(); err != nil {
		return ber.Element{}, err
	}
	return d.Close(f)
}

// each reads the elements of a SEQUENCE OF or SET OF, at least one.
func (d *decoder) each(tag byte, what string, element func() error) (ber.Element, error) {
	f, err := d.Open(tag)
	if err != nil {
		return ber.Element{}, err
	}
	if d.AtEnd() {
		return ber.Element{}, &ber.SyntaxError{Offset: d.Offset(), What: "an empty " + what}
	}
	for more := true; more; {
		if err := element(); err != nil {
			return ber.Element{}, err
		}
		if more, err = d.More(f); err != nil {
			return ber.Element{}, err
		}
	}
	return d.Close(f)
}

func (d *decoder) certificate() error {
	c := d.c
	_, err := d.within(ber.Sequence, func() error {
		tbs, err := d.within(ber.Sequence, d.tbs)
		if err != nil {
			return err
		}
		c.TBS = tbs.Raw
		outer, _, err := d.algorithm()
		if err != nil {
			return err
		}
		bits, err := d.Leaf(ber.BitString)
		if err != nil {
			return err
		}
		if len(bits.Value) > 0 {
			c.Signature = bits.Value[1:]
		}
		d.then(func(Kernel) *Reason { return c.checkSignatureBits(outer, bits.Value) })
		return nil
	})
	return err
}

func (d *decoder) tbs() error {
	c := d.c
	if err := d.version(); err != nil {
		return err
	}
	serial, err := d.Leaf(ber.Integer)
	if err != nil {
		return err
	}
	c.Serial = serial.Value
	if c.SignatureAlgorithm, _, err = d.algorithm(); err != nil {
		return err
	}
	d.then(c.checkSignatureAlgorithm)
	if c.Issuer, _, err = d.name(); err != nil {
		return err
	}
	if _, err = d.within(ber.Sequence, d.validity); err != nil {
		return err
	}
	if c.Subject, c.name, err = d.name(); err != nil {
		return err
	}
	if _, err = d.within(ber.Sequence, d.publicKey); err != nil {
		return err
	}
	for n := range byte(2) { // issuerUniqueID and subjectUniqueID
		if _, _, err := d.LeafOptional(ber.Context(n + 1)); err != nil {
			return err
		}
	}
	f, ok, err := d.OpenOptional(ber.Explicit(3))
	if !ok {
		return err
	}
	if _, err = d.each(ber.Sequence, "list of extensions", d.extension); err != nil {
		return err
	}
	_, err = d.Close(f)
	return err
}

// version reads an INTEGER of any value.
func (d *decoder) version() error {
	f, ok, err := d.OpenOptional(ber.Explicit(0))
	if !ok {
		return err
	}
	if _, err := d.Leaf(ber.Integer); err != nil {
		return err
	}
	_, err = d.Close(f)
	return err
}

// algorithm reads an AlgorithmIdentifier. Its parameters are nil if there are
// none.
func (d *decoder) algorithm() (id OID, parameters []byte, err error) {
	_, err = d.within(ber.Sequence, func() error {
		e, err := d.Leaf(ber.OID)
		if err != nil {
			return err
		}
		id = OID(e.Value)
		p, ok, err := d.AnyOptional()
		if ok {
			parameters = p.Raw
		}
		return err
	})
	return id, parameters, err
}

// name reads a Name, which has at least one attribute.
func (d *decoder) name() ([]byte, name, error) {
	var n name
	e, err := d.each(ber.Sequence, "name", func() error {
		_, err := d.each(ber.Set, "part of a name", func() error {
			_, err := d.within(ber.Sequence, func() error {
				attribute, err := d.Leaf(ber.OID)
				if err != nil {
					return err
				}
				value, err := d.Any()
				n.add(OID(attribute.Value), value.Value)
				return err
			})
			return err
		})
		return err
	})
	return e.Value, n, err
}

// validity reads two times. Where the second is missing the first counts for it:
// the decoder takes the match of the first for one of the second.
func (d *decoder) validity() error {
	c := d.c
	var err error
	if c.notBefore, err = d.time(); err != nil {
		return err
	}
	d.then(func(Kernel) *Reason { return checkTime(c.notBefore) })
	if c.notAfter = c.notBefore; !d.AtEnd() {
		if c.notAfter, err = d.time(); err != nil {
			return err
		}
	}
	d.then(func(Kernel) *Reason { return checkTime(c.notAfter) })
	return nil
}

func (d *decoder) time() (ber.Element, error) {
	e, ok, err := d.LeafOptional(ber.UTCTime)
	if ok || err != nil {
		return e, err
	}
	return d.Leaf(ber.GeneralizedTime)
}

func (d *decoder) publicKey() error {
	c := d.c
	var err error
	if c.KeyAlgorithm, c.KeyParameters, err = d.algorithm(); err != nil {
		return err
	}
	bits, err := d.Leaf(ber.BitString)
	if err != nil {
		return err
	}
	if len(bits.Value) > 0 {
		c.KeyBits = bits.Value[1:]
	}
	d.then(func(k Kernel) *Reason { return c.checkKey(k, bits.Value) })
	return nil
}

func (d *decoder) extension() error {
	_, err := d.within(ber.Sequence, func() error {
		id, err := d.Leaf(ber.OID)
		if err != nil {
			return err
		}
		if _, _, err := d.LeafOptional(ber.Boolean); err != nil {
			return err
		}
		value, err := d.Leaf(ber.OctetString)
		if err != nil {
			return err
		}
		e := Extension{ID: OID(id.Value), Value: value.Value}
		earlier := d.c.Extensions
		d.c.Extensions = append(d.c.Extensions, e)
		d.then(func(k Kernel) *Reason { return checkExtension(k, e, earlier) })
		return nil
	})
	return err
}
