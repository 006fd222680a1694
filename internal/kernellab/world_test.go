package kernellab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imaseal/hash"
	"imaseal/internal/imaevm"
	"imaseal/internal/inode"
	"imaseal/internal/vectors"
	"imaseal/keys"
	"imaseal/sign"
)

// A world is a tree made from a seed: files of all owners, modes and sizes, with
// labels of every kind, right and wrong.
type world struct {
	seed   uint64
	img    Image
	dir    string // where the image is mounted
	random *rand.Rand
	files  []leaf

	known, strangers []*keys.Key
	hmac             *imaevm.HMACKey
}

// A leaf is a file of a world.
type leaf struct {
	name     string
	links    []string // its other names
	content  []byte
	form     form
	mode     uint32
	uid, gid uint32
	attrs    []imaevm.Attr // those that EVM covers besides security.ima, in the kernel's order
	ima, evm []byte        // nil is none
	story    string        // how the labels were made
}

// A form is what a file can be used for.
type form string

const (
	text    form = "text"
	script  form = "script"
	program form = "program"
)

// worldSize is the number of files of a world.
const worldSize = 220

// interpreter is the program that the scripts name. It is a file like others.
const interpreter = "interp"

// Keys of the vectors: whose certificates the kernels get, and whose not.
var (
	knownKeys    = []string{"rsa2048", "rsa4096", "p256", "p384"}
	strangerKeys = []string{"rsa3072", "p521"}
)

// newWorld makes the tree on a file system that stays mounted.
func newWorld(t *testing.T, l *Lab, seed uint64, fs FS) *world {
	t.Helper()
	// The journal of xfs alone takes 64 MiB; blocks of 4 KiB hold two large labels.
	w := &world{seed: seed, random: rand.New(rand.NewPCG(seed, 0)), img: l.NewImage(t, fs, trialSize, vectorUUID)}
	w.known, w.strangers = openKeys(t, knownKeys), openKeys(t, strangerKeys)
	var err error
	w.hmac, err = imaevm.NewHMACKey(vectors.ReadHex(t, "evm-key/evm-key.hex"))
	check(t, err)
	w.dir = w.img.Mount(t)
	for i := range worldSize {
		w.plant(t, i)
	}
	return w
}

func openKeys(t *testing.T, names []string) []*keys.Key {
	t.Helper()
	var opened []*keys.Key
	for _, name := range names {
		k, err := keys.Open(t.Context(), vectors.Path(t, "keys/"+name+".key.pem"), nil, keys.Options{})
		check(t, err)
		opened = append(opened, k)
	}
	return opened
}

// plant makes the file with the number i.
func (w *world) plant(t *testing.T, i int) {
	t.Helper()
	f := leaf{name: fmt.Sprintf("d%d/f%03d", i%7, i)}
	switch i {
	case 0:
		f.name, f.form = interpreter, program
	default:
		f.form = pick(w, text, text, script, program)
	}
	w.fill(&f)
	path := filepath.Join(w.dir, f.name)
	check(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, f.content, 0o600),
		unix.Chown(path, int(f.uid), int(f.gid)), unix.Chmod(path, f.mode)))
	for _, a := range f.attrs {
		setAttr(t, path, a.Name, string(a.Value))
	}
	w.label(t, &f, path)
	for name, value := range map[string][]byte{imaevm.AttrIMA: f.ima, imaevm.AttrEVM: f.evm} {
		if value != nil {
			setAttr(t, path, name, string(value))
		}
	}
	if w.chance(8) {
		f.links = []string{fmt.Sprintf("d%d/link%03d", i%5, i)}
		check(t, errors.Join(os.MkdirAll(filepath.Join(w.dir, filepath.Dir(f.links[0])), 0o755), os.Link(path, filepath.Join(w.dir, f.links[0]))))
	}
	w.files = append(w.files, f)
}

// fill decides about all but the labels.
func (w *world) fill(f *leaf) {
	size := pick(w, 0, 1, 40, 4095, 4096, 4097, w.random.IntN(20_000))
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(w.random.Uint32())
	}
	f.content = body
	f.uid = pick[uint32](w, 0, 0, 0, 0, 1, 1000, 65534)
	f.gid = pick[uint32](w, 0, 0, 1, 1000)
	f.mode = pick[uint32](w, 0o644, 0o600, 0o444, 0o000, 0o666)
	switch f.form {
	case script:
		f.content = append([]byte("#!/"+interpreter+"\n"), body...)
		f.mode = pick[uint32](w, 0o755, 0o700, 0o555)
	case program:
		f.content = append(tinyProgram(), body...)
		f.mode = pick[uint32](w, 0o755, 0o711, 0o4755, 0o2755, 0o1777)
	}
	values := map[string]string{
		attrSELinux: "system_u:object_r:bin_t:s0\x00", attrSmack: "_", attrSmackExec: "_",
		attrAppArmor: "unconfined", attrCapability: pick(w, capability(netRaw), capability(netRaw), namespaced(netRaw)),
	}
	if f.form == program && f.mode&0o7000 != 0 {
		delete(values, attrCapability) // executing with two kinds of privilege is no question of appraisal
	}
	for _, p := range imaevm.Protected() {
		if value, ok := values[p.Name]; ok && w.chance(7) {
			f.attrs = append(f.attrs, imaevm.Attr{Name: p.Name, Value: []byte(value)})
		}
	}
}

// tinyProgram is the smallest program that Linux for x86-64 executes: an ELF
// header and one segment, which holds the file's first page.
func tinyProgram() []byte {
	const base, headers = 0x400000, 64 + 56
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	for _, v := range []any{
		uint16(2), uint16(62), uint32(1), uint64(base + headers), uint64(64), uint64(0), // executable, x86-64
		uint32(0), uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), uint64(headers + 1), uint64(headers + 1), uint64(0x1000),
	} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	b.WriteByte(0xf4) // hlt, never reached
	return b.Bytes()
}

// label makes the labels of a file that is there.
func (w *world) label(t *testing.T, f *leaf, path string) {
	t.Helper()
	f.ima, f.story = w.ima(t, f.content)
	file, err := os.Open(path)
	check(t, err)
	defer file.Close()
	generation, err := inode.Generation(file)
	check(t, err)
	uuid, err := inode.ParseUUID(vectorUUID)
	check(t, err)
	var st unix.Stat_t
	check(t, unix.Fstat(int(file.Fd()), &st))
	meta := imaevm.Meta{Inode: st.Ino, Generation: generation, UID: st.Uid, GID: st.Gid, Mode: st.Mode, UUID: &uuid}
	var story string
	f.evm, story = w.evm(t, f, meta)
	f.story += "; " + story
}

// algorithm is one that labels have, mostly the usual one.
func (w *world) algorithm() hash.Algorithm {
	return pick(w, hash.SHA256, hash.SHA256, hash.SHA256, hash.SHA256, hash.SHA512, hash.SHA384, hash.SHA224, hash.SHA1, hash.SHA3_256)
}

// digest computes one of a byte string.
func digest(t *testing.T, a hash.Algorithm, b []byte) hash.Digest {
	t.Helper()
	d, err := hash.Sum(a, b)
	check(t, err)
	return d
}

// encode writes a label.
func encode(t *testing.T, l imaevm.Label) []byte {
	t.Helper()
	b, err := l.AppendBinary(nil)
	check(t, err)
	return b
}

// signature makes a signature label of any kind over any digest.
func (w *world) signature(t *testing.T, by []*keys.Key, kind imaevm.Type, version uint8, of func(hash.Algorithm) hash.Digest) []byte {
	t.Helper()
	key := by[w.random.IntN(len(by))]
	a := pick(w, hash.SHA256, hash.SHA256, hash.SHA512, hash.SHA1)
	s, err := sign.Label(t.Context(), key, kind, version, of(a))
	check(t, err)
	return encode(t, s)
}

// chance is true once in n times.
func (w *world) chance(n int) bool { return w.random.IntN(n) == 0 }

// pick chooses one of several; what is there twice is twice as likely.
func pick[T any](w *world, from ...T) T { return from[w.random.IntN(len(from))] }

// names are all the names of the file.
func (f *leaf) names() []string { return slices.Concat([]string{f.name}, f.links) }
