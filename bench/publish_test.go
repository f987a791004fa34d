package bench_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"fanfare/engine"
)

// BenchmarkPublish measures the cost of the call for a publisher, while the wakers serve the subscribers.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{0, 1, 100, 10_000} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) {
			e := start(b, engine.Options{})
			join(b, e, "k", n)
			b.ReportAllocs()
			for b.Loop() {
				publish(b, e, "k", frame)
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		e := start(b, engine.Options{})
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := e.Publish("k", frame); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// BenchmarkPublishLatency measures the distribution of the duration of the call on a key with many subscribers: back to back,
// with the wakers always busy, and paced, with the wakers asleep at each call.
func BenchmarkPublishLatency(b *testing.B) {
	for _, c := range []struct {
		name  string
		pause time.Duration
	}{{"back-to-back", 0}, {"paced", time.Millisecond}} {
		b.Run(fmt.Sprintf("%s/subscribers=%d", c.name, 10_000), func(b *testing.B) {
			e := start(b, engine.Options{})
			join(b, e, "k", 10_000)
			calls := make([]time.Duration, 0, 1<<20) // the first million: growing it would be measured too
			for b.Loop() {
				before := time.Now()
				publish(b, e, "k", frame)
				if took := time.Since(before); len(calls) < cap(calls) {
					calls = append(calls, took)
				}
				if c.pause > 0 {
					time.Sleep(c.pause)
				}
			}
			slices.Sort(calls)
			b.ReportMetric(float64(calls[len(calls)/2]), "p50-ns")
			b.ReportMetric(float64(calls[len(calls)*99/100]), "p99-ns")
			b.ReportMetric(0, "ns/op") // pauses and all: says nothing
		})
	}
}

// BenchmarkPublishAll publishes one event to 1,000 keys.
func BenchmarkPublishAll(b *testing.B) {
	e := start(b, engine.Options{})
	for i := range 1000 {
		publish(b, e, fmt.Sprint(i), frame)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := e.PublishAll(frame); err != nil {
			b.Fatal(err)
		}
	}
}
