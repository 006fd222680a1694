package evmkey

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imaseal/internal/vectors"
	"imaseal/keys/keytest"
)

// iv is that of the vectors.
var iv = [16]byte{0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf}

func master(t testing.TB) []byte { return vectors.ReadHex(t, "evm-key/kmk-user.hex") }

// sequence returns the bytes 0, 1, 2 and so on.
func sequence(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestBlobVectors(t *testing.T) {
	for _, test := range []struct {
		file, format string
		size         int
	}{
		{"evm-key.default.blob", FormatDefault, 32},
		{"evm-key.enc32.blob", FormatEnc32, 32},
		{"evm-key.noformat.blob", FormatNone, 32},
		{"pad45.default.blob", FormatDefault, 45},
	} {
		text := string(vectors.Read(t, "evm-key/"+test.file))
		made, err := newBlob(test.format, "kmk-user", master(t), sequence(test.size), iv)
		if err != nil || made.String() != text {
			t.Errorf("%s: made %s, %v", test.file, made, err)
		}
		b, err := ParseBlob(text)
		if err != nil || b.String() != text || b.Format != test.format || b.Master != "user:kmk-user" || b.size != test.size || b.checkOpenable() != nil {
			t.Errorf("%s: parsed %s, %v", test.file, b, err)
		}
		key, err := b.Open([]byte("another"), master(t))
		if err != nil || !bytes.Equal(key, sequence(test.size)) {
			t.Errorf("%s: opened %x, %v", test.file, key, err)
		}
		if key, err := b.Open([]byte("another")); !errors.Is(err, ErrMaster) || key != nil {
			t.Errorf("%s: with another master key %x, %v", test.file, key, err)
		}
		if _, err := b.Open(); !errors.Is(err, ErrMaster) {
			t.Errorf("%s: without a master key %v", test.file, err)
		}
	}
}

// Any character changed in a blob is noticed, if not by the form then by the
// MAC.
func TestBlobFlipped(t *testing.T) {
	text := vectors.Read(t, "evm-key/evm-key.default.blob")
	for i := range text {
		for _, flip := range []byte{0x01, 0x20, 0x80} {
			changed := bytes.Clone(text)
			changed[i] ^= flip
			b, err := ParseBlob(string(changed))
			if err != nil {
				continue
			}
			if _, err := b.Open(master(t)); err == nil {
				t.Errorf("character %d changed to %q opens", i, changed[i])
			}
		}
	}
}

func TestNewBlob(t *testing.T) {
	for _, size := range []int{20, 31, 32, 33, 128} {
		for _, masterSize := range []int{1, 22, 23, 24, 32, 200} {
			b, err := NewBlob(FormatDefault, "user:kmk", sequence(masterSize), sequence(size))
			if err != nil {
				t.Fatal(err)
			}
			key, err := b.Open(sequence(masterSize))
			if err != nil || !bytes.Equal(key, sequence(size)) {
				t.Errorf("%d bytes, master key of %d: %x, %v", size, masterSize, key, err)
			}
			if again, err := NewBlob(FormatDefault, "kmk", sequence(masterSize), sequence(size)); err != nil || again.String() == b.String() {
				t.Errorf("the initialisation vector is the same twice, %v", err)
			}
		}
	}
}

func TestNewBlobRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		format, master string
		secret         []byte
		size           int
		want           string
	}{
		"short key":    {FormatDefault, "kmk", sequence(32), 19, "a key of 19 bytes; in a blob it has 20 to 4096"},
		"long key":     {FormatDefault, "kmk", sequence(32), 4097, "a key of 4097 bytes; in a blob it has 20 to 4096"},
		"enc32 of 33":  {FormatEnc32, "kmk", sequence(32), 33, "a key of 33 bytes; in the enc32 format it has 32"},
		"trusted":      {FormatDefault, "trusted:kmk", sequence(32), 32, "the master key trusted:kmk is sealed: only the kernel of its machine can open or make such a blob"},
		"blank name":   {FormatDefault, "k m k", sequence(32), 32, `master key "user:k m k"; want user:NAME or trusted:NAME`},
		"no name":      {FormatDefault, "", sequence(32), 32, `master key "user:"; want user:NAME or trusted:NAME`},
		"logon":        {FormatDefault, "logon:kmk", sequence(32), 32, `master key "logon:kmk"; want user:NAME or trusted:NAME`},
		"empty master": {FormatDefault, "kmk", nil, 32, "empty master key"},
		"ecryptfs":     {"ecryptfs", "kmk", sequence(32), 64, `unknown format "ecryptfs" of a blob; there are default and enc32`},
	} {
		_, err := NewBlob(test.format, test.master, test.secret, sequence(test.size))
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

func TestParseBlobRefuses(t *testing.T) {
	good := string(vectors.Read(t, "evm-key/evm-key.default.blob"))
	digits := good[strings.LastIndex(good, " ")+1:]
	for name, text := range map[string]string{
		"nothing":        "",
		"newline":        good + "\n",
		"blank":          good + " ",
		"blank before":   " " + good,
		"two blanks":     strings.Replace(good, " 32", "  32", 1),
		"tab":            strings.Replace(good, " 32", "\t32", 1),
		"upper case":     strings.ToUpper(digits),
		"upper digits":   strings.Replace(good, digits, strings.ToUpper(digits), 1),
		"cut":            good[:len(good)-2],
		"odd":            good[:len(good)-1],
		"more":           good + "00",
		"length sign":    strings.Replace(good, " 32 ", " +32 ", 1),
		"length words":   strings.Replace(good, " 32 ", " x ", 1),
		"length wrong":   strings.Replace(good, " 32 ", " 33 ", 1),
		"length small":   strings.Replace(good, " 32 ", " 16 ", 1),
		"length large":   strings.Replace(good, " 32 ", " 65568 ", 1),
		"no master":      strings.Replace(good, "user:kmk-user ", "", 1),
		"master":         strings.Replace(good, "user:", "logon:", 1),
		"command":        "load " + good,
		"unknown format": strings.Replace(good, "default", "other", 1),
		"ecryptfs":       strings.Replace(good, "default", "ecryptfs", 1),
		"no zero":        strings.Replace(good, "aeaf00", "aeaf01", 1),
	} {
		if b, err := ParseBlob(text); !errors.Is(err, errBlob) || b.data != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A length with zeros before it is another text, and so another MAC.
	b, err := ParseBlob(strings.Replace(good, " 32 ", " 032 ", 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(master(t)); !errors.Is(err, ErrMaster) {
		t.Errorf("%v", err)
	}
}

func TestBlobSpecial(t *testing.T) {
	blanked, err := NewBlob(FormatDefault, "kmk", master(t), make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blanked.Open(master(t)); !errors.Is(err, ErrBlanked) {
		t.Errorf("a key of zeros: %v", err)
	}
	text := strings.Replace(string(vectors.Read(t, "evm-key/evm-key.default.blob")), "user:kmk-user", "trusted:kmk", 1)
	b, err := ReadBlob(keytest.File(t, []byte(text+"\n")))
	if err != nil || b.checkOpenable() == nil {
		t.Fatal(err)
	}
	_, err = b.Open(master(t))
	if e, ok := errors.AsType[*TrustedMasterError](err); !ok || e.Master != "trusted:kmk" {
		t.Errorf("%v", err)
	}
}

func TestRead(t *testing.T) {
	for name, test := range map[string]struct {
		content string
		want    string
		err     string
	}{
		"raw":            {"\x00\x01\xff", "\x00\x01\xff", ""},
		"raw, newline":   {"\x00\x01\n", "\x00\x01\n", ""},
		"hex":            {"00ff0A\n", "\x00\xff\x0a", ""},
		"odd hex":        {"00f\n", "00f\n", ""},
		"hex, newlines":  {"00ff\n\n", "00ff\n\n", ""},
		"newline":        {"\n", "\n", ""},
		"no newline":     {"00ff", "", "only hexadecimal digits, without a newline"},
		"greatest":       {strings.Repeat("\xab", 128), strings.Repeat("\xab", 128), ""},
		"too long":       {strings.Repeat("\xab", 129), "", "a key of 129 bytes; an EVM key has 1 to 128"},
		"too long, hex":  {strings.Repeat("ab", 129) + "\n", "", "a key of 129 bytes"},
		"empty":          {"", "", "is empty"},
		"much too large": {strings.Repeat("x", 1<<20+1), "", "is larger than 1048576 bytes"},
	} {
		path := keytest.File(t, []byte(test.content))
		got, mode, err := Read(path)
		if string(got) != test.want || (err == nil) != (test.err == "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if err == nil && mode != 0o600 {
			t.Errorf("%s: mode %v", name, mode)
		}
		if err != nil && (!strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%s: %v, want %s", name, err, test.err)
		}
	}
	for _, path := range []string{t.TempDir(), "/dev/zero", filepath.Join(t.TempDir(), "none")} {
		if _, _, err := Read(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	key, _, err := Read(vectors.Path(t, "evm-key/evm-key.hex"))
	if err != nil || !bytes.Equal(key, sequence(32)) {
		t.Errorf("%x, %v", key, err)
	}
}

func TestNew(t *testing.T) {
	for _, size := range []int{MinSize, DefaultSize, MaxSize} {
		key, err := New(size)
		if err != nil || len(key) != size || bytes.Equal(key, make([]byte, size)) {
			t.Errorf("%x, %v", key, err)
		}
	}
	for _, size := range []int{-1, 0, MinSize - 1, MaxSize + 1} {
		_, err := New(size)
		if _, ok := errors.AsType[*SizeError](err); !ok {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func FuzzParseBlob(f *testing.F) {
	paths, err := filepath.Glob("../../testdata/vectors/evm-key/*.blob")
	if err != nil || len(paths) == 0 {
		f.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBlob(text)
		if err == nil && b.String() != text {
			t.Errorf("%q becomes %q", text, b)
		}
		if err != nil && (b.data != nil || b.Master != "" || b.size != 0) {
			t.Errorf("%+v with %v", b, err)
		}
	})
}
