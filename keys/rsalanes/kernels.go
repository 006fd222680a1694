//go:build amd64 && !purego

package rsalanes

import "golang.org/x/sys/cpu"

//go:generate go run -C gen . -out ../kernels_amd64.s -stubs ../kernels_amd64.go -pkg rsalanes

// newArithmetic returns the kernels, or nil where the processor lacks what they
// are made of, or the operating system does not save the registers. So it is
// with GODEBUG=cpu.avx512ifma=off.
func newArithmetic() *arithmetic {
	if x := &cpu.X86; !x.HasAVX512F || !x.HasAVX512VL || !x.HasAVX512DQ || !x.HasAVX512IFMA {
		return nil
	}
	return &arithmetic{mul: mulLanes, sqr: sqrLanes, pick: pickLanes}
}
