package engine

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkKeyCreateRetire is one key's life beside many idle ones. The sweep, which retires keys otherwise, is left
// out: bench/ has the benchmarks that need only the public API, and the sweep's among them.
func BenchmarkKeyCreateRetire(b *testing.B) {
	for _, n := range []int{0, 1_000_000} {
		b.Run(fmt.Sprintf("among=%d", n), func(b *testing.B) {
			e := start(b, Options{MaxKeys: n + 1, SweepInterval: time.Hour})
			for i := range n {
				if _, err := e.lookup(fmt.Sprint(i)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				k, err := e.lookup("k")
				if err != nil {
					b.Fatal(err)
				}
				if !k.retire() {
					b.Fatal("in use")
				}
				e.remove(k)
			}
		})
	}
}
