// Package logbench measures logs of a fleet.
package logbench

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"fanfare/cluster"
)

// Append appends b.N messages from some goroutines, each of which waits for the one before, and reports the latency and the
// rate. message returns message i of goroutine g.
func Append(b *testing.B, l cluster.Log, goroutines int, message func(g, i int) cluster.Message) {
	var mu sync.Mutex
	var latencies []time.Duration
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			n := b.N / goroutines
			if g < b.N%goroutines {
				n++
			}
			own := make([]time.Duration, 0, n)
			messages, results := make([]cluster.Message, 1), make([]cluster.Result, 1)
			for i := range n {
				messages[0] = message(g, i)
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
	ReportLatency(b, latencies)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// ReportLatency reports the median and the 99th percentile. It sorts latencies.
func ReportLatency(b *testing.B, latencies []time.Duration) {
	slices.Sort(latencies)
	if n := len(latencies); n > 0 {
		b.ReportMetric(float64(latencies[n/2].Nanoseconds())/1000, "p50-us")
		b.ReportMetric(float64(latencies[n*99/100].Nanoseconds())/1000, "p99-us")
	}
}
