//go:build linux

package run

import (
	"testing"
	"time"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/report"
)

// TestSamplesHaveWholeStatuses for every duration that people give.
func TestSamplesHaveWholeStatuses(t *testing.T) {
	for _, ms := range []int64{10, 20, 50, 100, 150, 200, 250, 300, 333, 500, 750, 1000, 1500, 2000} {
		sample := time.Duration(ms) * time.Millisecond
		if every := statusEvery(sample); every > 100*time.Millisecond || every < 5*time.Millisecond || sample%every != 0 {
			t.Errorf("%s: a status every %s", sample, every)
		}
	}
	for _, sample := range []time.Duration{10_007 * time.Microsecond, 250_007 * time.Microsecond, time.Hour} {
		if every := statusEvery(sample); every > 100*time.Millisecond || every < 5*time.Millisecond {
			t.Errorf("%s: a status every %s", sample, every)
		}
	}
}

// TestLongTimelineIsJoined: it stays bounded, and no latency gets lost or is counted twice.
func TestLongTimelineIsJoined(t *testing.T) {
	s := &sampler{}
	every := 10 * time.Millisecond
	const n = 7*maxPoints + 3
	worst := int64(0)
	for i := range int64(n) {
		v := 100 + i%5
		if i == 2222 {
			v = 255_000
			worst = v
		}
		w := measure.Profile{{v, 2}}
		p := report.Point{At: float64(i), Delivered: 2 * (i + 1), Published: i + 1, Late: i % 1000, Latency: w.Spread()}
		every = s.keep(sample{p, w}, every)
		if len(s.points) > maxPoints {
			t.Fatalf("%d points", len(s.points))
		}
	}
	if every != 10*time.Millisecond<<13 { // it was full at 1200 samples, and 13 times behind each 600
		t.Errorf("a sample every %s", every)
	}
	points := s.timeline()
	var count, late int64
	top := int64(0)
	for i, p := range points {
		count += p.Latency.Count
		top, late = max(top, p.Latency.Max), max(late, p.Late)
		if i > 0 && (p.At <= points[i-1].At || p.Delivered <= points[i-1].Delivered) {
			t.Fatalf("%+v behind %+v", p, points[i-1])
		}
	}
	end := points[len(points)-1]
	if count != 2*n || top != worst || late != 999 || end.Delivered != 2*n || end.At != n-1 {
		t.Errorf("%d latencies of %d, at most %d; late %d; last %+v", count, 2*n, top, late, end)
	}
}
