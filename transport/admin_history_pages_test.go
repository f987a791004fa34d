package transport

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"fanfare/engine"
	"fanfare/internal/test/eventually"
)

// pages reads everything after a place, or from the earliest event, in pages.
func (r *rig) pages(query string, limit int) (got []string, next string) {
	r.t.Helper()
	for range 10_000 {
		_, a := r.history(fmt.Sprintf("key=k&limit=%d&%s", limit, query))
		if a.Gap != "" || a.Next == "" || len(a.Events) > limit {
			r.t.Fatalf("%s: gap %q, next %q, %d events", query, a.Gap, a.Next, len(a.Events))
		}
		for _, e := range a.Events {
			got = append(got, e.Data)
		}
		if next = a.Next; !a.More {
			return got, next
		}
		query = "after=" + url.QueryEscape(next)
	}
	r.t.Fatal("the pages have no end")
	return nil, ""
}

// framesOf are events with these ids, and a comment after each.
func framesOf(first, last int, id func(i int) string) string {
	var b strings.Builder
	for i := first; i <= last; i++ {
		if id := id(i); id != "" {
			fmt.Fprintf(&b, "id: %s\n", id)
		}
		fmt.Fprintf(&b, "data: %d\n\n: comment\n\n", i)
	}
	return b.String()
}

// TestHistoryPages: each event is in one page, whatever its id, and the place after an event is one for a stream, too.
func TestHistoryPages(t *testing.T) {
	ids := map[string]func(i int) string{
		"own": func(i int) string { return fmt.Sprint("order-", i) }, "equal": func(int) string { return "same" }, "none": func(int) string { return "" },
	}
	test := func(t *testing.T, id func(int) string, nodes []*rig, settle func()) {
		want := []string{}
		for i := 0; i < 60; i += 6 {
			nodes[0].post("k", "text/event-stream", framesOf(i, i+5, id))
			for j := range 6 {
				want = append(want, fmt.Sprint(i+j))
			}
			nodes[0].call("POST", "/publishAll", fmt.Sprint("all", i), "Content-Type: text/plain")
			want = append(want, fmt.Sprint("all", i))
			settle()
		}
		n := nodes[len(nodes)-1]
		for _, limit := range []int{1, 7, 1000} {
			got, next := n.pages("from=earliest", limit)
			if !slices.Equal(got, want) {
				t.Errorf("pages of %d: %q", limit, got)
			}
			if data, a := n.history("key=k&after=" + url.QueryEscape(next)); data != "" || a.More || a.Gap != "" || a.Next != next {
				t.Errorf("after the end: %+v", a)
			}
		}
		// The place after each event, also one of the newest.
		_, a := n.history("key=k&limit=20")
		for i, e := range a.Events {
			got, _ := n.pages("after="+url.QueryEscape(e.Position), 3)
			if from := len(want) - len(a.Events) + 1 + i; !slices.Equal(got, want[from:]) {
				t.Errorf("after %s: %q, want %q", e.Position, got, want[from:])
			}
		}
		// A stream goes on there.
		if !n.srv.settings.Load().PlainIDs {
			e := n.subscribe("connectKey=k", "Last-Event-ID: "+a.Events[0].Position)
			for _, data := range want[len(want)-len(a.Events)+1:] {
				e.WantData(data)
			}
		}
		// What comes later is after the last place.
		n.publish("k", "later")
		if data, _ := n.history("key=k&after=" + url.QueryEscape(a.Next)); data != "later" {
			t.Errorf("%q after the end, want what was published later", data)
		}
	}
	for name, id := range ids {
		for _, plain := range []bool{false, true} {
			if plain && name != "none" {
				continue // own ids are the same with plain ids
			}
			t.Run(fmt.Sprintf("%s, plain %t", name, plain), func(t *testing.T) {
				o := rigOptions{Options: Options{PlainIDs: plain}}
				t.Run("alone", func(t *testing.T) { test(t, id, []*rig{startRig(t, viaFast, o)}, func() {}) })
				for _, partitions := range []int{1, 3} {
					t.Run(fmt.Sprint(partitions), func(t *testing.T) {
						o.Engine = smallRings
						f := startFleet(t, fleetOptions{rigOptions: o, partitions: partitions})
						test(t, id, []*rig{f.nodes[0].rig, f.nodes[1].rig}, f.waitApplied)
					})
				}
			})
		}
	}
}

// TestHistoryAfterAnID: an id is a place as for a stream.
func TestHistoryAfterAnID(t *testing.T) {
	test := func(t *testing.T, n *rig) {
		n.post("k", "text/event-stream", framesOf(0, 2, func(i int) string { return []string{"order-9", "1795450956619-0", "same"}[i] }))
		n.call("POST", "/publishAll", "all", "Content-Type: text/plain")
		last := n.post("k", "text/event-stream", framesOf(3, 4, func(int) string { return "same" })+"data: 5\n\n").ID
		_, a := n.history("key=k")
		position := a.Events[len(a.Events)-1].Position
		epoch := position[strings.LastIndex(position, ",")+1 : strings.LastIndex(position, "-")]
		for _, c := range []struct{ after, want, gap string }{
			{"order-9", "1 2 all 3 4 5", ""}, {"1795450956619-0", "2 all 3 4 5", ""}, {"same", "all 3 4 5", ""}, {last, "", ""},
			{"order-8", "0 1 2 all 3 4 5", "any"}, {strings.Replace(position, epoch+"-", epoch+"-99999", 1), "0 1 2 all 3 4 5", "any"},
			{"0-0", "0 1 2 all 3 4 5", "epoch"}, {"evt1", "0 1 2 all 3 4 5", "unknown"},
		} {
			data, a := n.history("key=k&after=" + url.QueryEscape(c.after))
			if data != c.want || a.Gap != c.gap && (c.gap != "any" || a.Gap == "") {
				t.Errorf("after %s: %q, gap %q; want %q, %q", c.after, data, a.Gap, c.want, c.gap)
			}
		}
	}
	t.Run("alone", func(t *testing.T) { test(t, startRig(t, viaFast, rigOptions{})) })
	for _, partitions := range []int{1, 3} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) { test(t, startFleet(t, fleetOptions{partitions: partitions}).nodes[0].rig) })
	}
}

// TestHistoryBegins: from=earliest has no gap for what is not kept any more, and a place that is older has.
func TestHistoryBegins(t *testing.T) {
	test := func(t *testing.T, n *rig, forget func()) {
		_, empty := n.history("key=k&from=earliest")
		if empty.Gap != "" || empty.More || len(empty.Events) != 0 {
			t.Errorf("%+v of a key that does not exist", empty)
		}
		first := n.publish("k", "0")
		for i := range 40 {
			n.publish("k", fmt.Sprint(i+1))
		}
		forget()
		got, _ := n.pages("from=earliest", 7)
		if len(got) == 0 || len(got) >= 40 || got[len(got)-1] != "40" {
			t.Errorf("%q, want the newest ones up to 40", got)
		}
		if _, a := n.history("key=k&after=" + first); a.Gap != "history" || a.Events[0].Data != got[0] {
			t.Errorf("%+v, want a gap, and what is kept", a)
		}
	}
	t.Run("alone", func(t *testing.T) { test(t, startRig(t, viaFast, rigOptions{Engine: smallRings}), func() {}) })
	t.Run("fleet", func(t *testing.T) {
		if testing.Short() {
			t.Skip("the nodes repeat the epoch's entry within 20 seconds")
		}
		f := startFleet(t, fleetOptions{rigOptions: rigOptions{Engine: smallRings}})
		log := f.nodes[0].log
		test(t, f.nodes[0].rig, func() {
			f.broker.Purge(0, 20)
			eventually.True(t, "the epoch's entry is repeated", func() bool { s, err := log.State(t.Context(), 0); return err == nil && s.Epoch != 0 })
		})
	})
	r := startRig(t, viaFast, rigOptions{})
	for _, query := range []string{"from=now", "from=earliest&after=a"} {
		if a := r.call("GET", "/history?key=k&"+query, ""); a.status != 400 || a.failed(t).Field != "from" {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
}

// TestHistoryOfExpiredEvents: a place stays one while the key lives, also when its events have gone.
func TestHistoryOfExpiredEvents(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Engine: engine.Options{Key: engine.KeyOptions{HistoryTTL: 100 * time.Millisecond}}})
	r.subscribe("connectKey=k") // keeps the key
	id := r.publish("k", "0")
	r.publish("k", "1")
	eventually.True(t, "the events have expired", func() bool { data, _ := r.history("key=k"); return data == "" })
	if _, a := r.history("key=k&after=" + id); a.Gap != "history" || a.Next == "" {
		t.Errorf("%+v, want a gap: an event after the place was lost", a)
	}
	_, a := r.history("key=k")
	if _, again := r.history("key=k&after=" + a.Next); again.Gap != "" || again.Next != a.Next {
		t.Errorf("%+v after %s, want nothing, and the same place", again, a.Next)
	}
}

// TestHistoryOfWhatAnotherNodeConfirmed: the node that is asked waits until it has read what was confirmed before.
func TestHistoryOfWhatAnotherNodeConfirmed(t *testing.T) {
	for _, partitions := range []int{1, 3} {
		f := startFleet(t, fleetOptions{partitions: partitions})
		asked := f.nodes[1]
		asked.log.HoldReads(true)
		f.nodes[0].publish("k", "0")
		f.nodes[0].call("POST", "/publishAll", "all", "Content-Type: text/plain")
		time.AfterFunc(200*time.Millisecond, func() { asked.log.HoldReads(false) })
		if data, _ := asked.history("key=k"); data != "0 all" {
			t.Errorf("%d partitions: %q, want what was confirmed", partitions, data)
		}
	}
}
