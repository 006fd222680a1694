// Package hash holds the kernel's table of digest algorithms and computes
// digests of file contents.
//
// The numbers are those of enum hash_algo in include/uapi/linux/hash_info.h,
// the names and sizes those of hash_algo_name and hash_digest_size in
// crypto/hash_info.c. Both are part of the label formats and never change.
// Every algorithm of the table can be named, parsed and compared; those that
// neither Go nor a maintained library implements cannot be computed, and
// Algorithm.Computable says so.
package hash

import (
	"crypto"
	_ "crypto/md5"    // registers crypto.MD5
	_ "crypto/sha1"   // registers crypto.SHA1
	_ "crypto/sha256" // registers crypto.SHA224 and crypto.SHA256
	_ "crypto/sha3"   // registers crypto.SHA3_256 and its siblings
	_ "crypto/sha512" // registers crypto.SHA384 and crypto.SHA512
	"fmt"
	stdhash "hash"
	"math"
	"slices"
	"strings"

	"github.com/emmansun/gmsm/sm3"
	_ "golang.org/x/crypto/md4"       //lint:ignore SA1019 the kernel's table has it
	_ "golang.org/x/crypto/ripemd160" //lint:ignore SA1019 the kernel's table has it
)

// An Algorithm is a digest algorithm of the kernel's table. The zero value is
// no algorithm. Values are not the kernel's numbers: see Number and ByNumber.
// Values beyond the table, which no function here returns, act like zero.
type Algorithm uint8

// The algorithms of the table, in the kernel's order. Each constant is the
// kernel's number plus one, so that zero can mean none.
const (
	MD4 Algorithm = iota + 1
	MD5
	SHA1
	RMD160
	SHA256
	SHA384
	SHA512
	SHA224
	RMD128
	RMD256
	RMD320
	WP256
	WP384
	WP512
	TGR128
	TGR160
	TGR192
	SM3
	Streebog256
	Streebog512
	SHA3_256
	SHA3_384
	SHA3_512
)

// MaxSize is the size in bytes of the longest digest, the kernel's
// HASH_MAX_DIGESTSIZE (include/crypto/hash_info.h).
const MaxSize = 64

// An entry of the table with neither a registered crypto hash nor a
// constructor cannot be computed here.
type entry struct {
	name   string
	size   int // bytes
	crypto crypto.Hash
	new    func() stdhash.Hash
}

// table lists the algorithms by Algorithm value.
var table = [...]entry{
	0:           {name: "none"},
	MD4:         {name: "md4", size: 16, crypto: crypto.MD4},
	MD5:         {name: "md5", size: 16, crypto: crypto.MD5},
	SHA1:        {name: "sha1", size: 20, crypto: crypto.SHA1},
	RMD160:      {name: "rmd160", size: 20, crypto: crypto.RIPEMD160},
	SHA256:      {name: "sha256", size: 32, crypto: crypto.SHA256},
	SHA384:      {name: "sha384", size: 48, crypto: crypto.SHA384},
	SHA512:      {name: "sha512", size: 64, crypto: crypto.SHA512},
	SHA224:      {name: "sha224", size: 28, crypto: crypto.SHA224},
	RMD128:      {name: "rmd128", size: 16},
	RMD256:      {name: "rmd256", size: 32},
	RMD320:      {name: "rmd320", size: 40},
	WP256:       {name: "wp256", size: 32},
	WP384:       {name: "wp384", size: 48},
	WP512:       {name: "wp512", size: 64},
	TGR128:      {name: "tgr128", size: 16},
	TGR160:      {name: "tgr160", size: 20},
	TGR192:      {name: "tgr192", size: 24},
	SM3:         {name: "sm3", size: 32, new: sm3.New},
	Streebog256: {name: "streebog256", size: 32},
	Streebog512: {name: "streebog512", size: 64},
	SHA3_256:    {name: "sha3-256", size: 32, crypto: crypto.SHA3_256},
	SHA3_384:    {name: "sha3-384", size: 48, crypto: crypto.SHA3_384},
	SHA3_512:    {name: "sha3-512", size: 64, crypto: crypto.SHA3_512},
}

// ByNumber returns the algorithm with the kernel's number n, and false if the
// kernel knows none (n is HASH_ALGO__LAST or more).
func ByNumber(n uint8) (Algorithm, bool) {
	if int(n) >= len(table)-1 {
		return 0, false
	}
	return Algorithm(n + 1), true
}

// Parse returns the algorithm with the kernel's name, such as sha256 or
// sha3-512. The error is an *UnknownError.
func Parse(name string) (Algorithm, error) {
	for a := MD4; int(a) < len(table); a++ {
		if table[a].name == name {
			return a, nil
		}
	}
	return 0, &UnknownError{Name: name}
}

// All returns the algorithms of the kernel's table in its order, computable or
// not. The caller owns the slice.
func All() []Algorithm {
	all := make([]Algorithm, 0, len(table)-1)
	for a := MD4; int(a) < len(table); a++ {
		all = append(all, a)
	}
	return all
}

// Names returns the names of the computable algorithms, sorted. The caller owns
// the slice.
func Names() []string {
	var names []string
	for _, a := range All() {
		if a.Computable() {
			names = append(names, a.String())
		}
	}
	slices.Sort(names)
	return names
}

func (a Algorithm) entry() entry {
	if int(a) >= len(table) {
		a = 0
	}
	return table[a]
}

// Number returns the kernel's number of a. That of the zero value is 255,
// which is no algorithm to the kernel either.
func (a Algorithm) Number() uint8 {
	if a.Size() == 0 {
		return math.MaxUint8
	}
	return uint8(a) - 1
}

// String returns the kernel's name of a, and "none" for the zero value.
func (a Algorithm) String() string { return a.entry().name }

// Size returns the size in bytes of a's digests, zero for the zero value only.
func (a Algorithm) Size() int { return a.entry().size }

// Crypto returns Go's identifier of a, as signature schemes want it, and zero
// where Go has none.
func (a Algorithm) Crypto() crypto.Hash { return a.entry().crypto }

// Computable reports whether digests of a can be computed.
func (a Algorithm) Computable() bool {
	e := a.entry()
	return e.crypto != 0 || e.new != nil
}

// An UnknownError says that a name is not in the kernel's table.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("unknown digest algorithm %q; there are %s", e.Name, strings.Join(Names(), ", "))
}

// A NotComputableError says that an algorithm cannot be computed here: the
// kernel's table has it but no library does, or it is none.
type NotComputableError struct{ Algorithm Algorithm }

func (e *NotComputableError) Error() string {
	return fmt.Sprintf("digest algorithm %s cannot be computed; there are %s", e.Algorithm, strings.Join(Names(), ", "))
}
