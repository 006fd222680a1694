package keys

import "math/big"

// parseECDSA takes the two integers of an ECDSA signature for a curve of the
// given number of bits as kernels do, whose decoder is not one of DER:
//
//   - what stands behind the sequence does not count;
//   - the sequence need not be marked as constructed, and may be of indefinite
//     length, with two zero bytes behind its integers;
//   - lengths may take one or two bytes more than they need;
//   - integers are never negative: their first bit is one of the value, and they
//     may begin with zero bytes, as long as they fit into the curve's words of 64
//     bits, one zero byte aside.
//
// Kernel: asn1_ber_decoder(), lib/asn1_decoder.c, with crypto/ecdsasignature.asn1;
// ecdsa_get_signature_rs(), crypto/ecdsa.c and since 6.13 crypto/ecdsa-x962.c.
func parseECDSA(sig []byte, bits int) (r, s *big.Int, ok bool) {
	const sequence, constructed, indefinite = 0x10, 0x20, 0x80
	if len(sig) < 2 || sig[0]&^constructed != sequence {
		return nil, nil, false
	}
	ends := false
	in := sig[2:]
	if sig[1] == indefinite {
		if sig[0]&constructed == 0 {
			return nil, nil, false
		}
	} else if in, _, ok = element(sig); ok {
		ends = true
	} else {
		return nil, nil, false
	}
	size := (bits + 63) / 64 * 8
	if r, in, ok = parseInteger(in, size); !ok {
		return nil, nil, false
	}
	if s, in, ok = parseInteger(in, size); !ok {
		return nil, nil, false
	}
	if ends {
		return r, s, len(in) == 0
	}
	return r, s, len(in) >= 2 && in[0] == 0 && in[1] == 0
}

// element returns the content of an element with a definite length, and what is
// behind it.
func element(b []byte) (content, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n, b := int(b[1]), b[2:]
	if more := n - 0x80; n >= 0x80 {
		if more < 1 || more > 2 || more > len(b) {
			return nil, nil, false
		}
		n = 0
		for _, c := range b[:more] {
			n = n<<8 | int(c)
		}
		b = b[more:]
	}
	if n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// parseInteger returns an integer of at most size bytes, one zero byte in front aside.
func parseInteger(b []byte, size int) (n *big.Int, rest []byte, ok bool) {
	const tag = 0x02
	if len(b) == 0 || b[0] != tag {
		return nil, nil, false
	}
	content, rest, ok := element(b)
	if !ok || len(content) == 0 || len(content) > size+1 || len(content) == size+1 && content[0] != 0 {
		return nil, nil, false
	}
	return new(big.Int).SetBytes(content), rest, true
}
