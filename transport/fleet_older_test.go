package transport

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/memlog"
	"fanfare/internal/test/wiretest"
)

// smallRings are keys that keep 8 events, so that the others are in the log alone.
var smallRings = engine.Options{Key: engine.KeyOptions{History: 8}}

// fill publishes the numbers from first to last, and waits for all nodes.
func (f *fleet) fill(key string, first, last int) (ids []string) {
	f.t.Helper()
	for i := first; i <= last; i++ {
		ids = append(ids, f.nodes[0].publish(key, fmt.Sprint(i)))
	}
	f.waitApplied()
	return ids
}

// wantNumbers reads events with the numbers from first to last.
func wantNumbers(e *wiretest.Events, first, last int) {
	for i := first; i <= last; i++ {
		e.WantData(fmt.Sprint(i))
	}
}

// TestOlder: what the rings do not hold any more comes from the log, before what they hold, without a hole.
func TestOlder(t *testing.T) {
	onFleets(t, fleetOptions{rigOptions: rigOptions{Engine: smallRings}}, func(t *testing.T, f *fleet) {
		ids := f.fill("k", 0, 99)
		n := f.nodes[1]
		e := n.subscribe("connectKey=k", "Last-Event-ID: "+ids[9])
		if !strings.Contains(e.Position(), ids[9]) {
			t.Errorf("begins at %s, not at %s", e.Position(), ids[9])
		}
		wantNumbers(e, 10, 99)
		f.fill("k", 100, 100)
		wantNumbers(e, 100, 100)
		// Several keys, events of all keys.
		f.nodes[0].call("POST", "/publishAll", "all", "Content-Type: text/plain")
		f.fill("other", 0, 20)
		if n.log.Partitions() > 1 { // the id is that of one partition
			return
		}
		several := n.subscribe("connectKey=other&connectKey=k", "Last-Event-ID: "+ids[89])
		wantNumbers(several, 90, 100)
		several.WantData("all")
		wantNumbers(several, 0, 20)
		eventually.Equal(t, "bytes of older events", 0, func() int64 { return n.srv.streams.OlderBytes() })
		if n := n.metric(`fanfare_gaps_total{reason="history"}`); n != 0 {
			t.Errorf("%v gaps", n)
		}
	})
}

// TestOnDemand: a node that keeps only what its clients want gives them everything else from the log.
func TestOnDemand(t *testing.T) {
	o := engine.Options{Key: engine.KeyOptions{OnDemand: true, SendLast: true, HistoryTTL: time.Hour}}
	onFleets(t, fleetOptions{rigOptions: rigOptions{Engine: o}}, func(t *testing.T, f *fleet) {
		ids := f.fill("k", 0, 9)
		n := f.nodes[1]
		if keys, unwanted := n.metric("fanfare_keys"), n.metric("fanfare_log_unwanted_events_total"); keys != 0 || unwanted != 10 {
			t.Errorf("%v keys, %v unwanted events", keys, unwanted)
		}
		last := n.subscribe("connectKey=k")
		wantNumbers(last, 9, 9)
		wantNumbers(n.subscribe("connectKey=k&rewind=3"), 7, 9)
		wantNumbers(f.nodes[0].subscribe("connectKey=k", "Last-Event-ID: "+ids[3]), 4, 9)
		f.fill("k", 10, 12)
		wantNumbers(last, 10, 12)
		wantNumbers(n.subscribe("connectKey=k", "Last-Event-ID: "+ids[0]), 1, 12)
		if unwanted := n.metric("fanfare_log_unwanted_events_total"); unwanted != 10 {
			t.Errorf("%v unwanted events", unwanted)
		}
		if gaps := n.metric(`fanfare_gaps_total{reason="history"}`); gaps != 0 {
			t.Errorf("%v gaps", gaps)
		}
	})
}

// TestOlderRewind: rewind reaches into the log.
func TestOlderRewind(t *testing.T) {
	onFleets(t, fleetOptions{rigOptions: rigOptions{Engine: smallRings}}, func(t *testing.T, f *fleet) {
		f.fill("other", 0, 9)
		f.fill("k", 0, 49)
		for query, first := range map[string]int{"rewind=30": 20, "rewind=earliest": 0, "rewind=1h": 0, "rewind=3": 47} {
			e := f.nodes[1].subscribe("connectKey=k&" + query)
			wantNumbers(e, first, 49)
			// Who loses the connection at the position begins there.
			again := f.nodes[0].subscribe("connectKey=k", "Last-Event-ID: "+e.Position())
			wantNumbers(again, first, 49)
			again.Close()
			e.Close()
		}
	})
}

// TestOlderRewindIsCut: a rewind over the bounds of a fetch begins with a gap, and the newest events that fit.
func TestOlderRewindIsCut(t *testing.T) {
	large := strings.Repeat("x", 1000)
	o := fleetOptions{rigOptions: rigOptions{Engine: smallRings}, node: func(o *cluster.Options) { o.OlderBytes = 10_500 }}
	onFleets(t, o, func(t *testing.T, f *fleet) {
		var ids []string
		for range 50 {
			ids = append(ids, f.nodes[0].publish("k", large))
		}
		n := f.nodes[1]
		f.waitApplied()
		for _, query := range []string{"rewind=30", "rewind=earliest", "rewind=1h"} {
			e := wiretest.NewEvents(n.stream("connectKey=k&" + query))
			if g := e.Next().Gap(t); g.Reason != "history" || g.Missed != nil {
				t.Errorf("%s: %+v, want a gap", query, g)
			}
			var got []string
			for range 18 { // 8 are in the ring, and 10 fit
				got = append(got, e.Next().ID)
			}
			if !slices.Equal(got, ids[32:]) {
				t.Errorf("%s: %q, want %q", query, got, ids[32:])
			}
			e.Close()
		}
		// Pages reach every event, whatever fits into a fetch.
		for _, limit := range []int{7, 30} {
			var got []string
			for after := ids[0]; ; after = got[len(got)-1] {
				_, a := n.history(fmt.Sprintf("key=k&limit=%d&after=%s", limit, after))
				if a.Gap != "" || len(a.Events) == 0 || len(a.Events) > limit {
					t.Fatalf("after %s: %d events, gap %q", after, len(a.Events), a.Gap)
				}
				for _, ev := range a.Events {
					got = append(got, ev.ID)
				}
				if !a.More {
					break
				}
			}
			if !slices.Equal(got, ids[1:]) {
				t.Errorf("pages of %d: %q, want %q", limit, got, ids[1:])
			}
		}
		// The newest: those that fit, and there are more.
		if _, a := n.history("key=k&limit=40"); len(a.Events) != 18 || !a.More || a.Gap != "" {
			t.Errorf("%d events, more: %t, gap %q", len(a.Events), a.More, a.Gap)
		}
	})
}

// TestOlderStorm: 500 clients of one key that come back at once, from several places, cost the broker one fetch, and few
// goroutines.
func TestOlderStorm(t *testing.T) {
	const clients = 500
	var calls atomic.Int64
	o := rigOptions{Engine: smallRings}
	o.prepare = func(s *Server) {
		node := s.settings.Load().Backplane
		s.streams.Follow(func(ctx context.Context, m engine.Missing) ([]*engine.Event, error) {
			calls.Add(1)
			return node.Older(ctx, m)
		})
	}
	f := startFleet(t, fleetOptions{nodes: 1, rigOptions: o})
	n := f.nodes[0]
	ids := f.fill("k", 0, 99)
	f.broker.HoldFetches(true)
	before, fetches := runtime.NumGoroutine(), f.broker.Fetches()
	streams := make([]*wiretest.Conn, clients)
	for i := range streams {
		streams[i] = n.stream("connectKey=k", "Last-Event-ID: "+ids[i%2])
	}
	eventually.Equal(t, "streams that wait", clients, n.srv.streams.Waiting)
	if got := n.metric("fanfare_connections_waiting"); got != clients {
		t.Errorf("fanfare_connections_waiting is %v", got)
	}
	if now := runtime.NumGoroutine(); now > before+clients/4 {
		t.Errorf("%d goroutines, %d before", now, before)
	}
	f.broker.HoldFetches(false)
	for i, w := range streams {
		e := wiretest.NewEvents(w)
		e.AwaitPosition()
		wantNumbers(e, i%2+1, 99)
	}
	if n := f.broker.Fetches() - fetches; n > 2 {
		t.Errorf("%d fetches", n)
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("the node was asked %d times for 2 ranges", n)
	}
	// Those who come a little later find it in memory.
	fetches = f.broker.Fetches()
	wantNumbers(n.subscribe("connectKey=k", "Last-Event-ID: "+ids[1]), 2, 99)
	if n := f.broker.Fetches() - fetches; n != 0 {
		t.Errorf("%d fetches", n)
	}
	eventually.Equal(t, "streams that wait", 0, n.srv.streams.Waiting)
	eventually.Equal(t, "bytes of older events", 0, func() int64 { return n.srv.streams.OlderBytes() })
}

// TestOlderWaits: while a stream waits for the log it has its head and heartbeats, and new events do not overtake.
func TestOlderWaits(t *testing.T) {
	for _, via := range []string{viaFast, viaStd} {
		t.Run(via, func(t *testing.T) {
			f := startFleet(t, fleetOptions{via: via, nodes: 1, rigOptions: rigOptions{Engine: smallRings, Options: Options{PingInterval: 400 * time.Millisecond, Retry: 2 * time.Second}}})
			n := f.nodes[0]
			ids := f.fill("k", 0, 49)
			f.broker.HoldFetches(true)
			w := n.stream("connectKey=k&connectKey=other", "Last-Event-ID: "+ids[9])
			w.Expect("retry: 2000\n\n:\n:\n")
			f.fill("other", 50, 52)
			w.Expect(":\n")
			f.broker.HoldFetches(false)
			e := wiretest.NewEvents(w)
			e.AwaitPosition()
			if e.Position() != ids[9] {
				t.Errorf("begins at %s, not at %s", e.Position(), ids[9])
			}
			wantNumbers(e, 10, 52)
		})
	}
}

// TestOlderLeaves: a client that leaves while it waits ends its stream and the fetch.
func TestOlderLeaves(t *testing.T) {
	for _, via := range []string{viaFast, viaStd} {
		t.Run(via, func(t *testing.T) {
			f := startFleet(t, fleetOptions{via: via, nodes: 1, rigOptions: rigOptions{Engine: smallRings}})
			n := f.nodes[0]
			ids := f.fill("k", 0, 49)
			f.broker.HoldFetches(true)
			first, second := n.stream("connectKey=k", "Last-Event-ID: "+ids[9]), n.stream("connectKey=k", "Last-Event-ID: "+ids[9])
			eventually.Equal(t, "streams that wait", 2, n.srv.streams.Waiting)
			first.Close()
			n.waitOpen(1)
			if waiting := n.srv.streams.Waiting(); waiting != 1 {
				t.Errorf("%d streams wait", waiting)
			}
			second.Close()
			n.waitOpen(0)
			eventually.Equal(t, "fetches", 0, func() int { return n.srv.streams.Fetching() })
		})
	}
}

// TestOlderFails: what cannot be fetched in time, or is not kept any more, or would take too much memory, is a gap, and the
// stream goes on with what the rings hold.
func TestOlderFails(t *testing.T) {
	for _, via := range []string{viaFast, viaStd} {
		for name, fail := range map[string]struct {
			options Options
			fault   func(*fleet)
		}{
			"timeout":       {fault: func(f *fleet) { f.broker.HoldFetches(true) }},
			"purged":        {fault: func(f *fleet) { f.broker.Purge(0, 30) }},
			"away":          {fault: func(f *fleet) { f.broker.Down() }},
			"maxOlderBytes": {options: Options{MaxOlderBytes: 100}, fault: func(*fleet) {}},
		} {
			t.Run(via+" "+name, func(t *testing.T) {
				o := fleetOptions{via: via, nodes: 1, rigOptions: rigOptions{Engine: smallRings, Options: fail.options}}
				if name == "timeout" || name == "away" { // nothing comes
					o.prepare = func(s *Server) { s.streams.OlderTimeout = 300 * time.Millisecond }
				}
				f := startFleet(t, o)
				n := f.nodes[0]
				ids := f.fill("k", 0, 49)
				fail.fault(f)
				e := wiretest.NewEvents(n.stream("connectKey=k", "Last-Event-ID: "+ids[9]))
				m := e.Next()
				if g := m.Gap(t); g.Reason != "history" || g.Missed != nil || g.After != ids[9] || g.Next != ids[41] || m.ID != g.Next {
					t.Errorf("%v: %+v, want %s to %s", m, g, ids[9], ids[41])
				}
				wantNumbers(e, 42, 49)
				want := 0.0
				if name == "maxOlderBytes" {
					want = 1
				}
				if got := n.metric(`fanfare_rejected_total{limit="maxOlderBytes"}`); got != want {
					t.Errorf("%v counted as over maxOlderBytes", got)
				}
				if n.srv.streams.OlderBytes() != 0 || n.srv.streams.Waiting() != 0 {
					t.Errorf("%d bytes, %d wait", n.srv.streams.OlderBytes(), n.srv.streams.Waiting())
				}
			})
		}
	}
}

// TestOlderGracefulEnd: a stream that is closed or drained while it waits gets what it has waited for first. If the server
// ends at once it does not.
func TestOlderGracefulEnd(t *testing.T) {
	for _, via := range []string{viaFast, viaStd} {
		t.Run(via, func(t *testing.T) {
			f := startFleet(t, fleetOptions{via: via, nodes: 1, rigOptions: rigOptions{Engine: smallRings}})
			n := f.nodes[0]
			ids := f.fill("k", 0, 49)
			f.broker.HoldFetches(true)
			w, gone := n.stream("connectKey=k", "Last-Event-ID: "+ids[9]), n.stream("connectKey=k", "Last-Event-ID: "+ids[8])
			eventually.Equal(t, "streams that wait", 2, n.srv.streams.Waiting)
			n.call("POST", "/close?key=k", "")
			gone.Close()
			n.waitOpen(1)
			f.broker.HoldFetches(false)
			e := wiretest.NewEvents(w)
			e.AwaitPosition()
			wantNumbers(e, 10, 49)
			e.ExpectEnd()
			n.waitOpen(0)
			f.broker.HoldFetches(true)
			n.stream("connectKey=another", "Last-Event-ID: "+f.fill("another", 0, 49)[0])
			eventually.Equal(t, "streams that wait", 1, n.srv.streams.Waiting)
			n.stop()
		})
	}
}

// TestOlderBytes: events that several streams wait to read count once, and until the last of them has read them.
func TestOlderBytes(t *testing.T) {
	plainOnly(t)
	f := startFleet(t, fleetOptions{nodes: 1, broker: memlog.New(1), rigOptions: rigOptions{Engine: smallRings}})
	n := f.nodes[0]
	large := strings.Repeat("x", 100<<10)
	var ids []string
	for range 60 {
		ids = append(ids, n.publish("k", large))
	}
	first, second := n.slowStream("connectKey=k", "Last-Event-ID: "+ids[0]), n.slowStream("connectKey=k", "Last-Event-ID: "+ids[1])
	eventually.Equal(t, "blocked streams", 2, n.srv.streams.Blocked)
	// 51 events of 100 kB are in the log alone after the first id.
	if got := n.metric("fanfare_older_bytes"); got < 50*100<<10 || got > 53*101<<10 {
		t.Errorf("%v bytes", got)
	}
	first.Reset()
	n.waitOpen(1)
	if got := n.srv.streams.OlderBytes(); got < 49*100<<10 || got > 52*101<<10 {
		t.Errorf("%d bytes", got)
	}
	go second.Discard()
	eventually.Equal(t, "bytes", 0, func() int64 { return n.srv.streams.OlderBytes() })
	second.Close()
}

// TestQuietStreamGetsIDs: a client of a quiet key has a recent id, so that it comes back to a place that the rings hold.
func TestQuietStreamGetsIDs(t *testing.T) {
	for _, plain := range []bool{false, true} {
		for _, via := range []string{viaFast, viaStd} {
			t.Run(fmt.Sprintf("%s plain=%t", via, plain), func(t *testing.T) {
				o := fleetOptions{via: via, nodes: 2, rigOptions: rigOptions{Engine: smallRings, Options: Options{PingInterval: 200 * time.Millisecond, PlainIDs: plain}}}
				o.prepare = func(s *Server) { s.streams.IDInterval = time.Millisecond }
				f := startFleet(t, o)
				if plain {
					w := f.nodes[1].stream("connectKey=quiet")
					w.Expect(": ping\n\n: ping\n\n: ping\n\n")
					return
				}
				w := f.nodes[1].stream("connectKey=quiet")
				e := wiretest.NewEvents(w)
				e.AwaitPosition()
				begin := e.Position()
				ids := f.fill("busy", 0, 49)
				eventually.True(t, "the client gets a recent id", func() bool { e.Feed(); return e.LastID() == ids[49] })
				for _, m := range e.Take() {
					if m.Type != "position" || m.Data != "" {
						t.Errorf("%v", m)
					}
				}
				if begin == e.LastID() {
					t.Error("the id is still the first one")
				}
				fetches := f.broker.Fetches()
				back := f.nodes[0].subscribe("connectKey=quiet", "Last-Event-ID: "+e.LastID())
				f.fill("quiet", 1, 1)
				back.WantData("1")
				e.WantData("1")
				if n := f.broker.Fetches(); n != fetches {
					t.Errorf("%d fetches", n-fetches)
				}
			})
		}
	}
}
