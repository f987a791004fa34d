package transport

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/memlog"
	"fanfare/internal/test/wiretest"
)

// wantPart reads a stream that begins with one gap up to the position before first, and then has the events of these ids. An
// empty after wants no gap.
func wantPart(t *testing.T, what string, e *wiretest.Events, after, next string, ids []string) {
	t.Helper()
	if after != "" {
		if g := e.Next().Gap(t); g.Reason != "history" || g.Missed != nil || g.After != after || g.Next != next {
			t.Errorf("%s: %+v, want a gap from %s to %s", what, g, after, next)
		}
	}
	var got []string
	for range ids {
		got = append(got, e.Next().ID)
	}
	if !slices.Equal(got, ids) {
		t.Errorf("%s: %q, want %q", what, got, ids)
	}
}

// inEpoch returns the id with a sequence, of the epoch of another id.
func inEpoch(t *testing.T, id string, seq uint64) string {
	t.Helper()
	return engine.Position{Epoch: position(t, id).Epoch, Seq: seq}.String()
}

// keptFrom returns the ids from a sequence on.
func keptFrom(t *testing.T, ids []string, seq uint64) []string {
	t.Helper()
	return ids[slices.IndexFunc(ids, func(id string) bool { return position(t, id).Seq >= seq }):]
}

// TestOlderAfterRetention: once retention has removed events, a client from before gets one gap, and everything that the log has.
func TestOlderAfterRetention(t *testing.T) {
	for _, via := range []string{viaFast, viaStd} {
		t.Run(via, func(t *testing.T) {
			b := memlog.New(1)
			b.MaxBytes = 50_000
			f := startFleet(t, fleetOptions{rigOptions: rigOptions{Engine: smallRings}, via: via, broker: b})
			start := f.nodes[1].subscribe("connectKey=k").Position()
			var ids []string
			for range 100 {
				ids = append(ids, f.nodes[0].publish("k", strings.Repeat("x", 1000)))
			}
			f.waitApplied()
			state, err := b.Log().State(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			kept := keptFrom(t, ids, state.First)
			if len(kept) < 20 || len(kept) > 60 {
				t.Fatalf("%d events are kept: adjust the test", len(kept))
			}
			n, before := f.nodes[1], inEpoch(t, ids[0], state.First-1)
			for _, c := range []struct{ query, id, after string }{
				{"connectKey=k", start, start},
				{"connectKey=k", ids[10], ids[10]},
				{"connectKey=k&connectKey=quiet", ids[10], ids[10]},
				{"connectKey=k", before, ""}, // nothing that was removed is after it
				{"connectKey=k&rewind=earliest", "", ""},
			} {
				var fields []string
				if c.id != "" {
					fields = append(fields, "Last-Event-ID: "+c.id)
				}
				e := wiretest.NewEvents(n.stream(c.query, fields...))
				wantPart(t, c.query+" "+c.id, e, c.after, before, kept)
				e.Close()
			}
			// Who comes back with the id of the gap gets the same events, and no gap.
			again := wiretest.NewEvents(f.nodes[0].stream("connectKey=k", "Last-Event-ID: "+ids[10]))
			id := again.Next().ID
			again.Close()
			wantPart(t, "after the gap", wiretest.NewEvents(n.stream("connectKey=k", "Last-Event-ID: "+id)), "", "", kept)
			// Events of the last hour were removed.
			e := wiretest.NewEvents(n.stream("connectKey=k&rewind=1h"))
			if g := e.Next().Gap(t); g.Reason != "history" || g.Next != before {
				t.Errorf("rewind=1h: %+v, want a gap to %s", g, before)
			}
			wantPart(t, "rewind=1h", e, "", "", kept)
			if _, a := n.history("key=k&limit=1000"); len(a.Events) != len(kept) {
				t.Errorf("the history has %d events, want %d", len(a.Events), len(kept))
			}
		})
	}
}

// TestOlderOverTheBounds: of a range over olderMaxEvents the newest part arrives, after one gap.
func TestOlderOverTheBounds(t *testing.T) {
	o := fleetOptions{rigOptions: rigOptions{Engine: smallRings}, node: func(o *cluster.Options) { o.OlderMaxEvents = 20 }}
	for _, via := range []string{viaFast, viaStd} {
		t.Run(via, func(t *testing.T) {
			o := o
			o.via = via
			f := startFleet(t, o)
			ids := f.fill("k", 0, 99)
			first := keptFrom(t, ids, position(t, ids[99]).Seq-27) // 8 are in the ring, and 20 are searched
			next := inEpoch(t, ids[0], position(t, first[0]).Seq-1)
			e := wiretest.NewEvents(f.nodes[1].stream("connectKey=k", "Last-Event-ID: "+ids[10]))
			wantPart(t, "resumes", e, ids[10], next, first)
			e = wiretest.NewEvents(f.nodes[1].stream("connectKey=k&rewind=earliest"))
			if g := e.Next().Gap(t); g.Next != next {
				t.Errorf("rewind=earliest: %+v, want a gap to %s", g, next)
			}
			wantPart(t, "rewind=earliest", e, "", "", first)
			f.fill("k", 100, 100)
			e.WantData(fmt.Sprint(100))
		})
	}
}
