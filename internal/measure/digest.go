package measure

import (
	"bytes"
	"fmt"

	"imaseal/hash"
)

// plainName is the size to which the name is padded in the digest of template "ima":
// IMA_EVENT_NAME_LEN_MAX + 1, security/integrity/ima/ima.h.
const plainName = 256

// TemplateDigest computes the template digest with any algorithm, also from the list of
// another bank. For a violation it is not what kernels show or extend: see Extended.
// The error says that the data are not known, or is a *hash.NotComputableError.
func (r Record) TemplateDigest(a hash.Algorithm) (hash.Digest, error) {
	if r.Data == nil {
		return hash.Digest{}, errNoData
	}
	if r.Template != plain {
		return hash.Sum(a, r.Data)
	}
	h, err := hash.New(a)
	if err != nil {
		return hash.Digest{}, err
	}
	d, _ := r.Field("d")
	n, _ := r.Field("n")
	var name [plainName]byte
	copy(name[:], n)
	h.Write(d)
	h.Write(name[:])
	return h.Digest(), nil
}

// A DigestError says that a template digest is not that of the record's data: one of
// them was changed.
type DigestError struct {
	Shown []byte
	Want  hash.Digest
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("the template digest is %x, and that of the data is %x", e.Shown, e.Want.Bytes())
}

// Verify recomputes the template digest that the list shows. The error is a
// *DigestError, or says why it cannot be computed. A violation has none to check. A
// bank's digest may be padded: see IsPadded.
func (r Record) Verify() error {
	if r.IsViolation() {
		return nil
	}
	d, err := r.TemplateDigest(r.Layout.Bank)
	if err == nil && bytes.Equal(d.Bytes(), r.Digest) || r.IsPadded() {
		return nil
	}
	if err != nil {
		return err
	}
	return &DigestError{r.Digest, d}
}

// IsPadded reports whether the template digest that the list shows is SHA-1's with zeros
// behind it, which is what kernels take for banks whose algorithm they cannot compute.
func (r Record) IsPadded() bool {
	if len(r.Digest) <= hash.SHA1.Size() || !isZero(r.Digest[hash.SHA1.Size():]) {
		return false
	}
	d, err := r.TemplateDigest(hash.SHA1)
	return err == nil && bytes.Equal(d.Bytes(), r.Digest[:hash.SHA1.Size()])
}

// unmapped are the banks that kernels have no name for (tpm2_hash_map[],
// drivers/char/tpm/tpm2-cmd.c).
var unmapped = map[hash.Algorithm]bool{hash.SHA3_256: true, hash.SHA3_384: true, hash.SHA3_512: true}

// Extended returns what the kernel extended the PCR of a bank with. That of the list's
// own bank is what the list shows. Kernel: ima_add_template_entry() and
// ima_init_digests(), security/integrity/ima/ima_queue.c.
func (r Record) Extended(bank hash.Algorithm) (hash.Digest, error) {
	if r.IsViolation() {
		ones := bytes.Repeat([]byte{0xff}, bank.Size())
		if unmapped[bank] {
			clear(ones[hash.SHA1.Size():])
		}
		return hash.NewDigest(bank, ones)
	}
	if bank == r.Layout.Bank {
		return hash.NewDigest(bank, r.Digest)
	}
	if !unmapped[bank] {
		return r.TemplateDigest(bank)
	}
	return r.padded(bank)
}

// padded returns SHA-1's digest with zeros behind it.
func (r Record) padded(bank hash.Algorithm) (hash.Digest, error) {
	d, err := r.TemplateDigest(hash.SHA1)
	if err != nil {
		return hash.Digest{}, err
	}
	return hash.NewDigest(bank, append(d.Bytes(), make([]byte, bank.Size()-hash.SHA1.Size())...))
}
