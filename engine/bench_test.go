package engine

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkKeyCreateRetire measures the life of one key beside many idle ones. It retires the key itself, without the
// sweep. bench/ has the benchmarks that need only the exported API, including one of the sweep.
func BenchmarkKeyCreateRetire(b *testing.B) {
	for _, n := range []int{0, 1_000_000} {
		b.Run(fmt.Sprintf("among=%d", n), func(b *testing.B) {
			e := start(b, Options{MaxKeys: n + 1, SweepInterval: time.Hour})
			for i := range n {
				if _, err := e.lookup(fmt.Sprint(i), forPublisher); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				k, err := e.lookup("k", forPublisher)
				if err != nil {
					b.Fatal(err)
				}
				if !k.retire(e) {
					b.Fatal("in use")
				}
				e.remove(k)
			}
		})
	}
}
