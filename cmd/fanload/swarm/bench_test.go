//go:build linux

package swarm

import (
	"net/netip"
	"testing"

	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/wire"
)

// BenchmarkDelivery is what one event costs behind the read: parsing, the sequence, the histogram. Events come 100 in a read.
func BenchmarkDelivery(b *testing.B) {
	p := &plan.Plan{
		Run: "abcde", Subscribe: plan.Request{Method: "GET", URL: "http://127.0.0.1/"}, Key: "k", Keys: 1, Subscribers: 1, Ready: plan.ReadyHead,
	}
	l, err := newLoop(p, netip.MustParseAddrPort("127.0.0.1:80"), []int{0}, 1)
	if err != nil {
		b.Fatal(err)
	}
	defer l.closeFiles()
	s := &l.subs[0]
	s.state, s.head.Status = streaming, 200
	s.body.Begin(&wire.Head{Length: -1})
	s.check.Begin(0)
	l.measureFrom = 0
	var seq int64
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		buf = buf[:0]
		for range 100 {
			seq++
			buf = append(buf, "id: mf3k2a9x1b-42\ndata: "...)
			buf = plan.AppendPayload(buf, p.Run, 0, seq, l.nowAgain(), 64)
			buf = append(buf, "\n\n"...)
		}
		b.StartTimer()
		if err := l.consume(s, buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100), "ns/event")
	if l.counts.Delivered != seq || l.counts.OutOfOrder != 0 {
		b.Fatalf("%+v of %d", l.counts, seq)
	}
}
