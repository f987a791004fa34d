package embedded

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/cluster"
)

// BenchmarkAppend appends events of 64 bytes from some goroutines, each of which waits for its event.
func BenchmarkAppend(b *testing.B) {
	for f := FsyncGroup; f <= FsyncInterval; f++ {
		for _, goroutines := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("%s/waiting=%d", f, goroutines), func(b *testing.B) {
				l, _ := open(b, Options{Dir: b.TempDir(), Fsync: f})
				var mu sync.Mutex
				var latencies []time.Duration
				var wg sync.WaitGroup
				b.ResetTimer()
				for g := range goroutines {
					wg.Go(func() {
						n := b.N / goroutines
						if g < b.N%goroutines {
							n++
						}
						own := make([]time.Duration, 0, n)
						messages, results := []cluster.Message{event(strings.Repeat("x", 56))}, make([]cluster.Result, 1)
						for range n {
							start := time.Now()
							if l.Append(context.Background(), messages, results); results[0].Err != nil {
								b.Error(results[0].Err)
								return
							}
							own = append(own, time.Since(start))
						}
						mu.Lock()
						defer mu.Unlock()
						latencies = append(latencies, own...)
					})
				}
				wg.Wait()
				b.StopTimer()
				slices.Sort(latencies)
				if n := len(latencies); n > 0 {
					b.ReportMetric(float64(latencies[n/2].Nanoseconds())/1000, "p50-us")
					b.ReportMetric(float64(latencies[n*99/100].Nanoseconds())/1000, "p99-us")
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}
