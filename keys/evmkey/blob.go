package evmkey

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"imaseal/keys/keyfile"
)

// The formats of blobs that can hold an EVM key.
const (
	FormatDefault = "default"
	FormatEnc32   = "enc32"
	FormatNone    = "" // of old kernels: the word is left out
)

const (
	minData   = 20   // MIN_DATA_SIZE
	maxData   = 4096 // MAX_DATA_SIZE
	enc32Data = 32   // KEY_ENC32_PAYLOAD_LEN
	macSize   = sha256.Size
)

// A Blob is an encrypted key as the kernel exports it, not yet opened.
type Blob struct {
	Format string // FormatDefault, FormatEnc32 or FormatNone
	Master string // with its type, such as user:kmk-user

	length string // of the key, as it is written: the MAC covers the text
	size   int
	iv     [aes.BlockSize]byte
	data   []byte
	mac    [macSize]byte
}

// Errors of blobs.
var (
	// ErrMaster says that a blob was not made with the master key, or was
	// changed: the kernel says "bad hmac" and EINVAL.
	ErrMaster = errors.New("the master key is not the one that the blob was made with, or the blob is damaged")
	// ErrBlanked says that a blob was exported when the kernel had already
	// taken the key over and overwritten it with zeros.
	ErrBlanked = errors.New("the key in the blob is all zeros: it was exported after EVM was switched on; take the blob that was loaded")
)

// A TrustedMasterError says that a blob's master key is known to one machine's
// TPM or the like only, so that no program can open or make the blob.
type TrustedMasterError struct{ Master string }

func (e *TrustedMasterError) Error() string {
	return fmt.Sprintf("the master key %s is sealed: only the kernel of its machine can open or make such a blob", e.Master)
}

var errBlob = errors.New("not the blob of an encrypted key")

// ParseBlob parses a blob's text, without what is around it. What it accepts,
// String prints the same.
func ParseBlob(text string) (Blob, error) {
	var b Blob
	fields := strings.Split(text, " ")
	switch {
	case len(fields) == 4 && (fields[0] == FormatDefault || fields[0] == FormatEnc32):
		b.Format, fields = fields[0], fields[1:]
	case fields[0] == "ecryptfs":
		return Blob{}, fmt.Errorf("%w: the ecryptfs format holds no EVM keys", errBlob)
	case len(fields) != 3:
		return Blob{}, fmt.Errorf("%w: not of the form [FORMAT] MASTER LENGTH HEX", errBlob)
	}
	b.Master, b.length = fields[0], fields[1]
	if err := checkMaster(b.Master); err != nil {
		return Blob{}, fmt.Errorf("%w: %w", errBlob, err)
	}
	size, err := parseLength(b.Format, b.length)
	if err != nil {
		return Blob{}, fmt.Errorf("%w: %w", errBlob, err)
	}
	raw, err := hex.DecodeString(fields[2])
	if err != nil || strings.ToLower(fields[2]) != fields[2] {
		return Blob{}, fmt.Errorf("%w: the last field is not in lower case hexadecimal", errBlob)
	}
	n := roundUp(size)
	if want := aes.BlockSize + 1 + n + macSize; len(raw) != want {
		return Blob{}, fmt.Errorf("%w: %d bytes for a key of %d bytes, want %d", errBlob, len(raw), size, want)
	}
	if raw[aes.BlockSize] != 0 { // the kernel overlooks it, and writes 0
		return Blob{}, fmt.Errorf("%w: no zero behind the initialisation vector", errBlob)
	}
	b.size = size
	copy(b.iv[:], raw)
	b.data = raw[aes.BlockSize+1:][:n]
	copy(b.mac[:], raw[aes.BlockSize+1+n:])
	return b, nil
}

// parseLength returns the size of a key from its text in a blob.
func parseLength(format, text string) (int, error) {
	size, err := strconv.ParseUint(text, 10, 16) // digits only
	switch {
	case err != nil || len(text) > 8:
		return 0, fmt.Errorf("length %q", text)
	case size < minData || size > maxData:
		return 0, fmt.Errorf("a key of %d bytes; in a blob it has %d to %d", size, minData, maxData)
	case format == FormatEnc32 && size != enc32Data:
		return 0, fmt.Errorf("a key of %d bytes; in the enc32 format it has %d", size, enc32Data)
	}
	return int(size), nil
}

// checkMaster refuses what is no name of a master key in a blob. Kernel:
// valid_master_desc().
func checkMaster(master string) error {
	kind, name, _ := strings.Cut(master, ":")
	if (kind != "user" && kind != "trusted") || name == "" || strings.ContainsAny(name, " \t\n\x00") {
		return fmt.Errorf("master key %q; want user:NAME or trusted:NAME", master)
	}
	return nil
}

// ReadBlob reads a blob from a file; a newline behind it is passed over.
func ReadBlob(path string) (Blob, error) {
	data, _, err := keyfile.Read(path)
	if err != nil {
		return Blob{}, err
	}
	b, err := ParseBlob(string(bytes.TrimSuffix(data, []byte("\n"))))
	if err != nil {
		return Blob{}, fmt.Errorf("%q: %w", path, err)
	}
	return b, nil
}

// NewBlob encrypts a key with a user-type master key, which the kernel will
// know by name: with or without "user:" before it. FormatDefault is what
// kernels write.
func NewBlob(format, name string, master, key []byte) (Blob, error) {
	var iv [aes.BlockSize]byte
	rand.Read(iv[:])
	return newBlob(format, name, master, key, iv)
}

func newBlob(format, name string, master, key []byte, iv [aes.BlockSize]byte) (Blob, error) {
	if !strings.Contains(name, ":") {
		name = "user:" + name
	}
	if err := checkMaster(name); err != nil {
		return Blob{}, err
	}
	b := Blob{Format: format, Master: name, length: strconv.Itoa(len(key)), size: len(key), iv: iv}
	if err := b.checkOpenable(); err != nil {
		return Blob{}, err
	}
	if format != FormatDefault && format != FormatEnc32 && format != FormatNone {
		return Blob{}, fmt.Errorf("unknown format %q of a blob; there are default and enc32", format)
	}
	if _, err := parseLength(format, b.length); err != nil {
		return Blob{}, err
	}
	if len(master) == 0 {
		return Blob{}, errors.New("empty master key")
	}
	b.data = make([]byte, roundUp(len(key)))
	copy(b.data, key)
	c, err := aes.NewCipher(derive("ENC_KEY", master))
	if err != nil {
		return Blob{}, err
	}
	cipher.NewCBCEncrypter(c, b.iv[:]).CryptBlocks(b.data, b.data)
	b.mac = b.authenticate(master)
	return b, nil
}

// Open returns the key in the blob, opened with the first of masters that
// fits. The caller clears it. The errors are ErrMaster, ErrBlanked and a
// *TrustedMasterError.
func (b Blob) Open(masters ...[]byte) ([]byte, error) {
	if err := b.checkOpenable(); err != nil {
		return nil, err
	}
	for _, master := range masters {
		if mac := b.authenticate(master); !hmac.Equal(mac[:], b.mac[:]) {
			continue
		}
		c, err := aes.NewCipher(derive("ENC_KEY", master))
		if err != nil {
			return nil, err
		}
		key := make([]byte, len(b.data))
		cipher.NewCBCDecrypter(c, b.iv[:]).CryptBlocks(key, b.data)
		if bytes.Equal(key[:b.size], make([]byte, b.size)) {
			return nil, ErrBlanked
		}
		return key[:b.size], nil
	}
	return nil, ErrMaster
}

// checkOpenable refuses a blob that only the kernel of one machine can open.
func (b Blob) checkOpenable() error {
	if strings.HasPrefix(b.Master, "trusted:") {
		return &TrustedMasterError{Master: b.Master}
	}
	return nil
}

// String returns the blob's text, without a newline.
func (b Blob) String() string {
	text := b.Master + " " + b.length + " " +
		hex.EncodeToString(b.iv[:]) + "00" + hex.EncodeToString(b.data) + hex.EncodeToString(b.mac[:])
	if b.Format != FormatNone {
		text = b.Format + " " + text
	}
	return text
}

// authenticate returns the MAC that the blob should have. Kernel:
// datablob_hmac_verify().
func (b Blob) authenticate(master []byte) [macSize]byte {
	mac := hmac.New(sha256.New, derive("AUTH_KEY", master))
	if b.Format != FormatNone {
		mac.Write([]byte(b.Format + "\x00"))
	}
	mac.Write([]byte(b.Master + "\x00" + b.length + "\x00"))
	mac.Write(b.iv[:])
	mac.Write([]byte{0})
	mac.Write(b.data)
	return [macSize]byte(mac.Sum(nil))
}

// derive returns a key made of the master key. Kernel: get_derived_key().
func derive(label string, master []byte) []byte {
	buf := make([]byte, max(sha256.Size, len("AUTH_KEY")+1+len(master)))
	copy(buf, label)
	copy(buf[len(label)+1:], master)
	sum := sha256.Sum256(buf)
	clear(buf)
	return sum[:]
}

// roundUp returns n rounded up to blocks of AES.
func roundUp(n int) int { return (n + aes.BlockSize - 1) / aes.BlockSize * aes.BlockSize }
