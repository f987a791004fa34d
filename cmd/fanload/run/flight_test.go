//go:build linux

package run_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"fanfare/cmd/fanload/run"
)

// gathering lets publish requests through when n of them are there, and no sooner.
func gathering(t *testing.T, b *broker, n int) string {
	t.Helper()
	var mu sync.Mutex
	waiting, open := 0, make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			mu.Lock()
			mine := open
			if waiting++; waiting == n {
				close(open)
				waiting, open = 0, make(chan struct{})
			}
			mu.Unlock()
			select {
			case <-mine:
			case <-r.Context().Done():
				return
			}
		}
		b.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

// TestRoundsInFlight: the server takes nothing until 8 keys are published to at once.
func TestRoundsInFlight(t *testing.T) {
	for _, processes := range []int{1, 2} {
		t.Setenv(workerVariable, "1")
		s := settings(t, gathering(t, newBroker(t, nil), 8), run.Closed)
		s.Plan.Keys, s.Plan.Subscribers, s.Plan.PublishesInFlight, s.Plan.Processes = 16, 32, 8, processes
		s.WarmupPasses, s.Events, s.Duration, s.Round = 1, 160, time.Minute, time.Minute
		r := carryOut(t, s)
		wantClean(t, r, 2*(16+160))
		if r.Round.Count != 160 || r.Publish.Timeouts != 0 || r.Deliveries.BusyPerSecond != r.Deliveries.PerSecond {
			t.Errorf("%d rounds, %d timed out, %+v", r.Round.Count, r.Publish.Timeouts, r.Deliveries)
		}
	}
}

// TestWarmupPasses: each key gets its events, whatever the mode, and none of them is measured.
func TestWarmupPasses(t *testing.T) {
	for _, mode := range []string{run.Closed, run.Open, run.Burst} {
		s := settings(t, newBroker(t, nil).URL, mode)
		s.Plan.Keys, s.WarmupPasses, s.Events = 10, 3, 40
		r := carryOut(t, s)
		wantClean(t, r, 2*(30+40))
		if r.Publish.Events != 70 || r.Publish.Latency.Count != 40 || r.Deliveries.Measured != 80 || r.Latency.Count != 80 {
			t.Errorf("%s: %+v, measured %+v", mode, r.Publish, r.Deliveries)
		}
		if rounds := map[string]int64{run.Closed: 40, run.Burst: 4}[mode]; r.Round.Count != rounds {
			t.Errorf("%s: %d rounds", mode, r.Round.Count)
		}
	}
}
