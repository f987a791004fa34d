package bench_test

import (
	"runtime"
	"strconv"
	"testing"
	"time"

	"fanfare/engine"
)

// BenchmarkKeys makes a million keys. Either a subscriber makes a key and leaves, which retires it at once, or an event
// makes it, which is kept until the sweep retires the key.
func BenchmarkKeys(b *testing.B) {
	n := size(1_000_000, 10_000)
	for _, c := range []struct {
		name string
		make func(b *testing.B, e *engine.Engine, key string)
	}{
		{"by-subscriber", func(b *testing.B, e *engine.Engine, key string) {
			r := new(reader)
			r.join(b, e, key, "")
			r.sub.Close(engine.ReasonGone)
		}},
		{"by-event", func(b *testing.B, e *engine.Engine, key string) { publish(b, e, key, frame) }},
	} {
		b.Run(c.name+"/keys="+strconv.Itoa(n), func(b *testing.B) {
			var total keyCosts
			for b.Loop() {
				total.add(measureKeys(b, n, c.make))
			}
			per := float64(b.N) * float64(n)
			b.ReportMetric(float64(total.create)/per, "create-ns/key")
			b.ReportMetric(float64(total.slowest), "create-max-ns")
			b.ReportMetric(float64(total.retire)/per, "retire-ns/key")
			b.ReportMetric(float64(total.bytes)/per, "B/key")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// keyCosts are the costs of many keys together.
type keyCosts struct {
	create, retire time.Duration
	slowest        time.Duration // of the calls that made a key: that of a map that grows, or of a garbage collection
	bytes          int64         // of heap, while idle, the names included
}

func (c *keyCosts) add(o keyCosts) {
	c.create += o.create
	c.retire += o.retire
	c.bytes += o.bytes
	c.slowest = max(c.slowest, o.slowest)
}

func measureKeys(b *testing.B, n int, makeKey func(*testing.B, *engine.Engine, string)) (costs keyCosts) {
	o := engine.Options{
		MaxKeys: n, MaxHistoryBytes: 1 << 40, SweepInterval: time.Hour,
		Key: engine.KeyOptions{History: 1024, HistoryBytes: 1 << 30, HistoryTTL: time.Hour, MaxSubscribers: 10},
	}
	e := engine.New(o)
	before, begin := heap(), time.Now()
	for i := range n {
		since := time.Now()
		makeKey(b, e, strconv.Itoa(i))
		costs.slowest = max(costs.slowest, time.Since(since))
	}
	costs.create = time.Since(begin)
	costs.bytes = heap() - before
	e.Close()

	// Use another engine that sweeps continuously once the keys may be retired. The one above does not sweep at all.
	o.SweepInterval = time.Millisecond
	e = engine.New(o)
	defer e.Close()
	for i := range n {
		makeKey(b, e, strconv.Itoa(i))
	}
	o.Key.HistoryTTL = time.Nanosecond
	begin = time.Now()
	e.Reconfigure(o)
	for e.Stats().Keys > 0 {
		time.Sleep(time.Millisecond)
	}
	costs.retire = time.Since(begin)
	return costs
}

// heap returns the bytes in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
