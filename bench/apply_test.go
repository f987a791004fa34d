package bench_test

import (
	"strconv"
	"testing"
	"time"

	"fanfare/engine"
)

// BenchmarkApply puts events of a log into an engine, one for each key in turn, as a node of a fleet does for keys that have no
// clients there: it keeps them (interest=all), or knows where the key's newest one is (interest=keys). The time for an event and the
// memory for a key are Fanfare's own; what the client of the broker needs is in BenchmarkBackplane.
func BenchmarkApply(b *testing.B) {
	keys := size(100_000, 1000)
	names := make([]string, keys)
	for i := range names {
		names[i] = "key-" + strconv.Itoa(i)
	}
	for _, c := range []struct {
		name     string
		onDemand bool
	}{{"all", false}, {"keys", true}} {
		b.Run("interest="+c.name, func(b *testing.B) {
			before := heap()
			e := start(b, engine.Options{
				MaxKeys: keys, Key: engine.KeyOptions{HistoryTTL: time.Hour, OnDemand: c.onDemand}, Log: &engine.LogOptions{}, SweepInterval: time.Hour,
			})
			e.SetEpoch(0, 1, 0, engine.Frame{})
			seq := uint64(0)
			apply := func() {
				seq++
				if err := e.Apply(engine.LogEntry{Seq: seq, At: time.Now().UnixNano(), Key: names[int(seq)%keys], Frame: frame}); err != nil {
					b.Fatal(err)
				}
			}
			for range keys {
				apply()
			}
			bytes := float64(heap()-before) / float64(keys)
			b.ReportAllocs()
			for b.Loop() {
				apply()
			}
			b.ReportMetric(bytes, "B/key")
		})
	}
}
