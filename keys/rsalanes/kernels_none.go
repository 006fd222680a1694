//go:build !amd64 || purego

package rsalanes

// newArithmetic returns nil: there are no kernels in this build.
func newArithmetic() *arithmetic { return nil }
