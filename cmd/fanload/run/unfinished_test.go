//go:build linux

package run_test

import (
	"strings"
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

// TestBurstOverKeys is over when all keys have their last event, whichever it is that has not.
func TestBurstOverKeys(t *testing.T) {
	for _, missing := range []string{"k 0", "k 1", "k 2"} {
		b := newBroker(t, nil)
		b.fault = func(_ int, seq int64, frame string) []string {
			if seq == 4 && strings.Contains(frame, "."+missing[2:]+`"`) {
				return nil // each burst has two events of each key
			}
			return []string{frame}
		}
		s := settings(t, b.URL, run.Burst)
		s.Plan.Keys, s.Plan.Subscribers, s.Burst, s.Events, s.Round = 3, 6, 6, 12, 2*time.Second
		r := carryOut(t, s)
		if q := r.Round; q.Count != 2 || q.Unfinished != 1 || r.Sequence.Undelivered != 2 {
			t.Errorf("without the last event of %s: %d rounds, %d not over, %+v", missing, q.Count, q.Unfinished, r.Sequence)
		}
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
