//go:build linux

package run_test

import (
	"testing"
	"time"

	"fanfare/cmd/fanload/run"
)

// TestPauseIsASpike: a server that stops for a moment shows in the intervals after it, and nowhere else.
func TestPauseIsASpike(t *testing.T) {
	const pause = 2 * time.Second // longer than a busy machine delays the others
	b := newBroker(t, func(subscriber int, seq int64, frame string) []string {
		if subscriber == 0 && seq == 100 {
			time.Sleep(pause) // the broker holds its lock: nobody gets anything
		}
		return []string{frame}
	})
	s := settings(t, b.URL, run.Open)
	s.Rate, s.Events, s.Plan.Publishers, s.Duration = 100, 600, 1, time.Minute
	r := carryOut(t, s)
	wantClean(t, r, 20*600)
	var count, spikes int64
	var first, last float64
	for _, p := range r.Timeline {
		if p.Latency == nil {
			continue
		}
		count += p.Latency.Count
		if p.Latency.Max >= (pause / 2).Microseconds() {
			if spikes == 0 {
				first = p.At
			}
			spikes++
			last = p.At
		}
		if p.Latency.Max > r.Latency.Max*101/100 {
			t.Errorf("%d us at %g s, and %d at most in all", p.Latency.Max, p.At, r.Latency.Max)
		}
	}
	if count != r.Latency.Count || count != 12_000 {
		t.Errorf("the timeline has %d latencies of %d", count, r.Latency.Count)
	}
	if spikes == 0 || last-first > 4 {
		t.Errorf("%d intervals with long latencies, from second %g to %g", spikes, first, last)
	}
	if w := r.Worst(); w == nil || w.Latency.P99 < (pause/2).Microseconds() {
		t.Errorf("worst %+v", w)
	}
	if end := r.Timeline[len(r.Timeline)-1]; end.Delivered != 12_000 || end.Published != 600 {
		t.Errorf("the last point is %+v", end)
	}
}

// TestLatenciesOfAllProcesses are in the timeline, and only those behind the warm-up.
func TestLatenciesOfAllProcesses(t *testing.T) {
	t.Setenv(workerVariable, "1")
	s := settings(t, newBroker(t, nil).URL, run.Open)
	s.Plan.Processes, s.Warmup = 3, 200*time.Millisecond
	s.Rate, s.Events, s.Sample = 200, 100, 10*time.Millisecond
	r := carryOut(t, s)
	var count int64
	for _, p := range r.Timeline {
		if p.Latency != nil {
			count += p.Latency.Count
		}
	}
	if count != r.Latency.Count || count == 0 || count >= 20*100 || count != r.Deliveries.Measured {
		t.Errorf("the timeline has %d latencies, the run %d, measured %d", count, r.Latency.Count, r.Deliveries.Measured)
	}
}
