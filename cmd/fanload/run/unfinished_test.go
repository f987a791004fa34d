//go:build linux

package run_test

import (
	"testing"
	"time"

	"fanfare/cmd/fanload/run"
)

// TestBurstThatDoesNotEnd is not left out: it took as long as was waited for it, at least.
func TestBurstThatDoesNotEnd(t *testing.T) {
	s := settings(t, newBroker(t, func(_ int, seq int64, frame string) []string {
		if seq == 20 {
			return nil // the last event of the second burst
		}
		return []string{frame}
	}).URL, run.Burst)
	s.Round, s.Events = 2*time.Second, 30
	r := carryOut(t, s)
	if q := r.Round; q.Count != 3 || q.Unfinished != 1 || q.Max < 2_000_000 || r.Publish.Timeouts != 1 {
		t.Errorf("%d rounds of 3, %d not over, %d us at most", q.Count, q.Unfinished, q.Max)
	}
}

// TestRoundLongerThanTheRun: a warm-up and a duration that a single round outlasts leave one that is measured nevertheless.
func TestRoundLongerThanTheRun(t *testing.T) {
	for _, mode := range []string{run.Closed, run.Burst} {
		s := settings(t, newBroker(t, func(subscriber int, _ int64, frame string) []string {
			if subscriber == 0 {
				time.Sleep(5 * time.Millisecond) // the broker holds its lock: a burst of 10 takes 50 ms
			}
			return []string{frame}
		}).URL, mode)
		s.Warmup, s.Duration, s.Every, s.Events = time.Millisecond, time.Millisecond, time.Millisecond, 0
		r := carryOut(t, s)
		if r.Round.Count == 0 || r.Round.Unfinished != 0 || r.Deliveries.Measured == 0 {
			t.Errorf("%s: %d rounds, %d deliveries measured", mode, r.Round.Count, r.Deliveries.Measured)
		}
	}
}
