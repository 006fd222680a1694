package rsalanes

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkSign tells the processor time of a signature, in full batches on
// one core, with the check.
func BenchmarkSign(b *testing.B) {
	for _, size := range sizes {
		key := generated[size]()
		b.Run("lanes/"+strconv.Itoa(size), func(b *testing.B) {
			c := lanesOf(b, key, kernels(b))
			w := c.newWorkspace()
			_, messages := batchOf(b, key, crypto.SHA256, lanes)
			begin := processorTime(b)
			for b.Loop() {
				c.sign(w, messages)
			}
			perSignature(b, lanes, begin)
		})
		b.Run("crypto/"+strconv.Itoa(size), func(b *testing.B) {
			digest := make([]byte, 32)
			begin := processorTime(b)
			for b.Loop() {
				if _, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest); err != nil {
					b.Fatal(err)
				}
			}
			perSignature(b, 1, begin)
		})
	}
}

func perSignature(b *testing.B, signatures int, begin time.Duration) {
	b.ReportMetric(float64((processorTime(b)-begin).Nanoseconds())/float64(b.N*signatures), "cpu-ns/signature")
}

// BenchmarkNew is what a key costs once.
func BenchmarkNew(b *testing.B) {
	for _, size := range sizes {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			key := generated[size]()
			for b.Loop() {
				if _, err := New(key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCheck is the part of BenchmarkSign that checks.
func BenchmarkCheck(b *testing.B) {
	for _, size := range sizes {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			key := generated[size]()
			c := lanesOf(b, key, kernels(b))
			w := c.newWorkspace()
			_, messages := batchOf(b, key, crypto.SHA256, lanes)
			signatures := c.sign(w, messages)
			begin := processorTime(b)
			for b.Loop() {
				c.check(w, messages, signatures)
			}
			perSignature(b, lanes, begin)
		})
	}
}

// BenchmarkCallers is what concurrent callers get who hash 64 KiB before every
// call, as for a small file.
func BenchmarkCallers(b *testing.B) {
	s, err := New(generated[2048]())
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 2, 4, 8, 16, s.Parallel(), 32, 64} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			var wait sync.WaitGroup
			left := make(chan struct{}, b.N)
			for range b.N {
				left <- struct{}{}
			}
			close(left)
			begin := processorTime(b)
			for range n {
				wait.Go(func() {
					content := make([]byte, 64<<10)
					for range left {
						digest := sha256.Sum256(content)
						if _, err := s.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wait.Wait()
			b.ReportMetric(float64((processorTime(b)-begin).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// processorTime returns what this process has used, which tells more than the
// clock if others use the machine too.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkKernels tells the time of eight products.
func BenchmarkKernels(b *testing.B) {
	a := kernels(b)
	for _, limbs := range []int{20, 30, 40, 60, 80} {
		p := newProduct(limbs, modulusOf(limbs, 1, nil))
		b.Run("mul/"+strconv.Itoa(limbs), func(b *testing.B) {
			for b.Loop() {
				p.mul(a, p.z, p.z, p.y)
			}
		})
		b.Run("sqr/"+strconv.Itoa(limbs), func(b *testing.B) {
			for b.Loop() {
				p.sqr(a, p.z, p.z, 1)
			}
		})
		b.Run("pick/"+strconv.Itoa(limbs), func(b *testing.B) {
			table := newArena(entries * limbs)
			for b.Loop() {
				a.pick(&p.z[0], &table.all[0], p.blocks(), entries, 3)
			}
		})
	}
}
