package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/cluster"
	"fanfare/internal/test/logbench"
)

// BenchmarkAppend measures events of 64 bytes with an ID from 1, 16 and 256 publishers that wait for each answer, and from one that
// appends 256 at a time. It reports the median and the 99th percentile of the wait, Redis's CPU time for each event, and the bytes
// that an event takes in the stream.
func BenchmarkAppend(b *testing.B) {
	for _, disk := range []bool{false, true} {
		for _, c := range []struct{ publishers, batch int }{{1, 1}, {16, 1}, {256, 1}, {1, 256}} {
			b.Run(fmt.Sprintf("always=%v/publishers=%d/batch=%d", disk, c.publishers, c.batch), func(b *testing.B) {
				var args []string
				if disk {
					args = durable
				}
				s := startServer(b, args...)
				l := startEpoch(b, Options{URL: s.URL()})
				waits := make([][]time.Duration, c.publishers)
				data := strings.Repeat("x", 64)
				cpu := s.cpu()
				b.ResetTimer()
				var publishing sync.WaitGroup
				for i := range c.publishers {
					publishing.Go(func() {
						messages, results := make([]cluster.Message, c.batch), make([]cluster.Result, c.batch)
						for n := i * c.batch; n < b.N; n += c.publishers * c.batch {
							for j := range messages {
								messages[j] = event("key"+strconv.Itoa(i), data)
								messages[j].ID = strconv.Itoa(n + j)
							}
							began := time.Now()
							l.Append(context.Background(), messages, results)
							waits[i] = append(waits[i], time.Since(began))
							for _, r := range results {
								if r.Err != nil {
									b.Error(r.Err)
									return
								}
							}
						}
					})
				}
				publishing.Wait()
				b.StopTimer()
				logbench.ReportLatency(b, slices.Concat(waits...))
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
				b.ReportMetric((s.cpu()-cpu)*1e6/float64(b.N), "redis-us/event")
				used, _ := s.do("MEMORY", "USAGE", "{fanfare:0}").AsInt64()
				b.ReportMetric(float64(used)/float64(b.N), "B/event")
			})
		}
	}
}

// cpu is the CPU time that the server has used, in seconds.
func (s *server) cpu() float64 {
	s.T.Helper()
	info, err := s.do("INFO", "cpu").ToString()
	if err != nil {
		s.T.Fatal(err)
	}
	user, _ := strconv.ParseFloat(infoField(info, "used_cpu_user"), 64)
	system, _ := strconv.ParseFloat(infoField(info, "used_cpu_sys"), 64)
	return user + system
}

// BenchmarkFetch measures the search for 10 events of a key among entries of other keys, for each entry.
func BenchmarkFetch(b *testing.B) {
	const entries = 100_000
	s := startServer(b)
	l := startEpoch(b, Options{URL: s.URL()})
	data := strings.Repeat("x", 64)
	messages := make([]cluster.Message, entries)
	for i := range messages {
		messages[i] = event("key"+strconv.Itoa(i%(entries/10)), data)
	}
	for _, r := range put(b, l, messages...) {
		if r.Err != nil {
			b.Fatal(r.Err)
		}
	}
	// In a script, for the comparison.
	pick := newScript(`
local found, from, through = {}, tonumber(ARGV[1]), tonumber(ARGV[2])
for _, e in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', 1000)) do
  if e[2][2] == ARGV[3] then found[#found + 1] = e end
end
return found`)
	for _, how := range []string{"pages", "script"} {
		b.Run(how, func(b *testing.B) {
			cpu := s.cpu()
			for range b.N {
				if how == "pages" {
					n := 0
					q := cluster.Query{Key: "key7", After: 1, Through: entries + 1}
					if err := l.Fetch(within(b), q, func(*cluster.Entry) error { n++; return nil }); err != nil || n != 10 {
						b.Fatal(n, err)
					}
					continue
				}
				for from := 2; from <= entries; from += 1000 {
					if _, err := pick.run(within(b), s.client, []string{"{fanfare:0}"}, []string{strconv.Itoa(from), strconv.Itoa(from + 999), "key7"}); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.StopTimer()
			b.ReportMetric((s.cpu()-cpu)*1e6/float64(b.N)/entries, "redis-us/entry")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/entries, "us/entry")
		})
	}
}
