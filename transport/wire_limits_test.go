package transport

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// TestLimits: each limit refuses by each answer, counts it, leaves nothing
// behind, and lets the next one in once there is room.
func TestLimits(t *testing.T) {
	const filler = "connectKey=full"
	limits := map[string]struct {
		options Options
		engine  engine.Options
		query   string // of the request that is over the limit
	}{
		"maxClients":     {engine: engine.Options{Key: engine.KeyOptions{MaxSubscribers: 2}}, query: filler},
		"maxConnections": {options: Options{MaxConnections: 2}, query: "connectKey=other"},
		"maxKeys": {engine: engine.Options{MaxKeys: 1, Key: engine.KeyOptions{HistoryTTL: time.Millisecond}, SweepInterval: time.Millisecond},
			query: "connectKey=full&connectKey=other"},
		"maxSubscriberKeys": {engine: engine.Options{MaxSubscriberKeys: 1, Key: engine.KeyOptions{HistoryTTL: time.Millisecond}, SweepInterval: time.Millisecond},
			query: "connectKey=full&connectKey=other"},
		"keyTotalBytes": {engine: engine.Options{KeyTotalBytes: 8, Key: engine.KeyOptions{HistoryTTL: time.Millisecond}, SweepInterval: time.Millisecond},
			query: "connectKey=full&connectKey=other"},
	}
	for limit, l := range limits {
		for over, name := range []string{"retry", "503", "204"} {
			t.Run(limit+" "+name, func(t *testing.T) {
				o := l.options
				o.RetryMin, o.RetryMax, o.OverLimit = 1200*time.Millisecond, 1300*time.Millisecond, OverLimit(over)
				onBoth(t, rigOptions{Options: o, Engine: l.engine}, func(t *testing.T, r *rig) {
					first, second := r.subscribe(filler), r.subscribe(filler)
					seen := map[string]bool{}
					for i := range 20 {
						w := r.dial()
						w.Send(r.get(l.query))
						w.ReadHead()
						body := w.Rest()
						seen[body] = true
						r.checkRefusal(w, limit, name, body)
						if n := r.srv.Open(); n != 2 {
							t.Fatalf("%d streams are open after %d refusals", n, i+1)
						}
						w.Ended()
						w.Close()
					}
					if name == "retry" && len(seen) < 2 {
						t.Errorf("the reconnection time is not random: %v", seen)
					}
					if n := r.metric(`fanfare_rejected_total{limit="` + limit + `"}`); n != 20 {
						t.Errorf("%v refusals counted", n)
					}
					if n := r.eng.Count("full"); n != 2 || r.eng.Stats().Keys != 1 {
						t.Errorf("%d subscribers and %d keys", n, r.eng.Stats().Keys)
					}
					// Those who were there do not notice.
					r.publish("full", "x")
					first.WantData("x")
					second.WantData("x")
					first.Close()
					if strings.Contains(strings.ToLower(limit), "key") {
						second.Close()
						eventually.True(t, "the key retires", func() bool { return r.eng.Stats().Keys == 0 })
						l.query = "connectKey=other"
					} else {
						r.waitCount("full", 1)
						r.waitOpen(1)
					}
					r.subscribe(l.query)
				})
			})
		}
	}
	if _, err := ParseOverLimit("205"); err == nil || !strings.Contains(err.Error(), "retry, 503 or 204") {
		t.Error(err)
	}
	for over, name := range []string{"retry", "503", "204"} {
		if got, err := ParseOverLimit(name); err != nil || got != OverLimit(over) {
			t.Error(name, got, err)
		}
	}
}

// checkRefusal compares the answer to a subscriber that is over a limit.
func (r *rig) checkRefusal(w *wiretest.Conn, limit, over, body string) {
	r.t.Helper()
	h := w.Header
	if h.Get("Access-Control-Allow-Origin") != "*" || !strings.EqualFold(h.Get("Connection"), "close") || h.Get("Date") == "" {
		r.t.Errorf("%v", h)
	}
	switch over {
	case "retry":
		ms, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(body, "retry: "), "\n\n"))
		if w.Status != 200 || h.Get("Content-Type") != "text/event-stream" || err != nil || ms < 1200 || ms > 1300 || h.Get("Content-Length") != strconv.Itoa(len(body)) {
			r.t.Errorf("%d %v %q", w.Status, h, body)
		}
	case "503":
		if w.Status != 503 || h.Get("Retry-After") != "2" || body != limit+": the server takes no more streams for now\n" || !strings.HasPrefix(h.Get("Content-Type"), "text/plain") {
			r.t.Errorf("%d %v %q", w.Status, h, body)
		}
	case "204":
		if w.Status != 204 || body != "" || h.Get("Content-Length") != "" || h.Get("Transfer-Encoding") != "" {
			r.t.Errorf("%d %v %q", w.Status, h, body)
		}
	}
}

// TestLimitsRaise: limits that are changed while serving hold for who comes next.
func TestLimitsRaise(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{MaxKeysPerConnection: 1, MaxKeyBytes: 3, OverLimit: Refuse503}})
	open := r.subscribe("connectKey=abc")
	for _, query := range []string{"connectKey=a&connectKey=b", "connectKey=abcd"} {
		w := r.dial()
		w.Send(r.get(query))
		if w.ReadHead(); w.Status != 400 {
			t.Errorf("%s: %d", query, w.Status)
		}
	}
	o := r.srv.settings.Load().Options
	o.MaxKeysPerConnection, o.MaxKeyBytes = 2, 4
	if err := r.reconfigure(o); err != nil {
		t.Fatal(err)
	}
	r.subscribe("connectKey=a&connectKey=b")
	r.subscribe("connectKey=abcd")
	o.RetryMin, o.RetryMax = 5*time.Second, time.Second
	if err := r.reconfigure(o); err == nil || !strings.Contains(err.Error(), "retryMin") {
		t.Errorf("%v", err)
	}
	r.publish("abc", "x")
	open.WantData("x")
	if n := r.metric(`fanfare_rejected_total{limit="request"}`); n != 2 {
		t.Error(n)
	}
}

// TestLimitsRace: many who come at once never are more than the limit.
func TestLimitsRace(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{MaxConnections: 10}, Engine: engine.Options{Key: engine.KeyOptions{MaxSubscribers: 7}}})
	for round := range 3 {
		var wires []*wiretest.Conn
		for i := range 40 {
			w := r.dial()
			w.Send(r.get(fmt.Sprintf("connectKey=%d", i%2)))
			wires = append(wires, w)
		}
		streams := 0
		for _, w := range wires {
			if w.ReadHead(); w.Header.Get("Content-Length") == "" {
				streams++
			}
		}
		if n := r.srv.Open(); n != streams || n > 10 || r.eng.Count("0") > 7 || r.eng.Count("1") > 7 || n < 7 {
			t.Errorf("round %d: %d open, %d answered as streams, %d and %d on the keys", round, n, streams, r.eng.Count("0"), r.eng.Count("1"))
		}
		for _, w := range wires {
			w.Close()
		}
		r.waitOpen(0)
	}
}
