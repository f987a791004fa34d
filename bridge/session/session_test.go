package session

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func value(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		t.Fatal(err)
	}
	return d.GetGauge().GetValue() + d.GetCounter().GetValue()
}

// TestLoop: the pause grows up to its bound while sessions fail, and begins anew after one that has worked for long.
func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		connected, reconnects, failures := prometheus.NewGauge(prometheus.GaugeOpts{}), prometheus.NewCounter(prometheus.CounterOpts{}), prometheus.NewCounter(prometheus.CounterOpts{})
		l := New(Options{
			Name: "peer", BackoffMin: time.Second, BackoffMax: 8 * time.Second,
			Logger:    slog.New(slog.NewTextHandler(&text, nil)),
			Explain:   func(err error) (string, string) { return err.Error(), "mend it" },
			Connected: connected, Reconnects: reconnects, Errors: func(string) prometheus.Counter { return failures },
		})
		ctx, cancel := context.WithCancel(t.Context())
		settledAt := -1
		var pauses []time.Duration
		ended := time.Now()
		sessions := 0
		l.Run(ctx, func(context.Context) error {
			if sessions > 0 {
				pauses = append(pauses, time.Since(ended))
			}
			defer func() { sessions++; ended = time.Now() }()
			select {
			case <-l.Settled():
				if settledAt < 0 {
					settledAt = sessions
				}
			default:
			}
			switch sessions {
			case 6: // works for long
				l.Live("here")
				l.Live("here")
				if value(t, connected) != 1 || !l.Worked() {
					t.Error("a session that works is not noted")
				}
				time.Sleep(time.Minute)
				return errors.New("lost")
			case 8:
				l.Live("here")
				cancel()
				return ctx.Err()
			}
			return errors.New("refused")
		})
		for i, longest := range []time.Duration{1, 2, 4, 8, 8, 8, 1, 2} {
			longest *= time.Second
			if pauses[i] < longest/2 || pauses[i] > longest {
				t.Errorf("pause %d: %s, want half of %s to all of it", i, pauses[i], longest)
			}
		}
		if settledAt != 1 {
			t.Errorf("settled in session %d, want 1: after the first failure", settledAt)
		}
		if got := value(t, reconnects); got != 1 {
			t.Errorf("%v reconnects", got)
		}
		if got := value(t, failures); got != 8 {
			t.Errorf("%v failures", got)
		}
		if value(t, connected) != 0 {
			t.Error("still connected at the end")
		}
		for _, want := range []string{"cannot connect to peer: trying again, at least every 8s", "hint=\"mend it\"", "peer is connected", "attempts=7", "the connection to peer was lost"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, text.String())
			}
		}
	})
}
