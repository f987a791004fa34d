package transport

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

func position(t *testing.T, id string) engine.Position {
	t.Helper()
	p, ok := engine.ParsePosition(id)
	if !ok {
		t.Fatalf("%q is no position", id)
	}
	return p
}

// at returns the id n events after (or before) another of the same key.
func at(t *testing.T, id string, n int) string {
	p := position(t, id)
	p.Seq = uint64(int(p.Seq) + n)
	return p.String()
}

// TestResume: what a client gets that comes with an id.
func TestResume(t *testing.T) {
	onBoth(t, rigOptions{Engine: engine.Options{Key: engine.KeyOptions{History: 8}}}, func(t *testing.T, r *rig) {
		var ids []string
		for i := range 5 {
			ids = append(ids, r.publish("k", fmt.Sprint(i)))
		}
		// Each form of an id, by header and by query.
		for i, id := range append([]string{at(t, ids[0], -1)}, ids...) {
			var want []string
			for j := i; j < 5; j++ {
				want = append(want, fmt.Sprint(j))
			}
			for _, e := range []*wiretest.Events{
				r.subscribe("connectKey=k", "Last-Event-ID: "+id),
				r.subscribe("connectKey=k", "last-event-id: "+id),
				r.subscribe("connectKey=k&lastEventId=" + id),
				r.subscribe("lastEventId="+ids[4]+"&connectKey=k", "Last-Event-ID: "+id), // the header wins
				r.subscribe("connectKey=k&lastEventId="+id, "Last-Event-ID: "),
			} {
				if e.Position() != id && len(want) < 5 {
					t.Errorf("the stream begins at %q, not %q", e.Position(), id)
				}
				e.WantData(want...)
				if e.LastID() != ids[4] {
					t.Errorf("ends at %q", e.LastID())
				}
				e.Close()
			}
		}
		// Without an id: only what follows.
		e := r.subscribe("connectKey=k", "Last-Event-ID: ")
		if e.LastID() != ids[4] {
			t.Errorf("%q", e.LastID())
		}
		// Across a reconnect, with events in between.
		e.Reset()
		r.publish("k", "missed 1")
		r.publish("k", "missed 2")
		e = r.subscribe("connectKey=k", "Last-Event-ID: "+e.LastID())
		e.WantData("missed 1", "missed 2")
		r.publish("k", "live")
		e.WantData("live")
	})
}

// TestResumeGaps: what cannot be replayed is said, in exact bytes.
func TestResumeGaps(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("ids off %v", plain), func(t *testing.T) {
			onBoth(t, rigOptions{Options: Options{PlainIDs: plain}, Engine: engine.Options{Key: engine.KeyOptions{History: 8}}}, func(t *testing.T, r *rig) {
				for i := range 20 {
					r.publish("k", fmt.Sprint(i))
				}
				var top keysAnswer
				r.call("GET", "/keys", "").decode(t, &top)
				epoch := top.Top[0].Epoch
				kept := ""
				for seq := 13; seq <= 20; seq++ {
					kept += fmt.Sprintf("data: %d\n", seq-1)
					if !plain {
						kept += fmt.Sprintf("id: %s-%d\n", epoch, seq)
					}
					kept += "\n"
				}
				for _, test := range []struct{ id, after, reason, missed string }{
					{epoch + "-0", "", "history", "12"},
					{epoch + "-5", "", "history", "7"},
					{epoch + "-11", "", "history", "1"},
					{"1-5", "", "epoch", "null"},
					{epoch + "-21", "", "unknown", "null"},
					{"zzzzzzzzzzz-5", "", "epoch", "null"},
					{epoch + "-012", "", "unknown", "null"},
					{"garbage", "", "unknown", "null"},
					{`a"b\c<&>`, `a\"b\\c\u003c\u0026\u003e`, "unknown", "null"},
					{"你 \u2028", `你 \u2028`, "unknown", "null"},
					{"\xff", "\uFFFD", "unknown", "null"},
					{"a,b", "", "unknown", "null"},
				} {
					after := test.after
					if after == "" {
						after = test.id
					}
					next := epoch + "-12"
					want := "event: gap\n" + `data: {"key":"k","reason":"` + test.reason + `","missed":` + test.missed + `,"after":"` + after + `","next":"` + next + "\"}\n"
					if !plain {
						// No opening position: until the gap has arrived the client keeps its id.
						want += "id: " + next + "\n"
					}
					want += "\n" + kept
					w := r.stream("connectKey=k&lastEventId=" + url.QueryEscape(test.id))
					if got := w.Read(len(want)); got != want {
						t.Errorf("%q:\n got %q\nwant %q", test.id, got, want)
					}
					w.Close()
				}
				// The oldest position that is kept needs no gap.
				w := r.stream("connectKey=k", "Last-Event-ID: "+epoch+"-12")
				if !plain {
					w.Expect("event: position\ndata:\nid: " + epoch + "-12\n\n")
				}
				w.Expect(kept)
				// A client that is told of a gap and drops at once comes back behind it.
				if !plain {
					e := r.subscribe("connectKey=k", "Last-Event-ID: garbage")
					for e.LastID() == "" {
						e.Feed()
					}
					e.Reset()
					e = r.subscribe("connectKey=k", "Last-Event-ID: "+epoch+"-12")
					e.WantData("12")
				}
				// Ids too long for one are cut, not searched for.
				e := wiretest.NewEvents(r.stream("connectKey=k", "Last-Event-ID: "+strings.Repeat("x", 10_000)))
				if g := e.Next().Gap(t); g.Reason != "unknown" || len(g.After) != maxLastID+len("…") {
					t.Errorf("%s, after of %d bytes", g.Reason, len(g.After))
				}
			})
		})
	}
}

// TestResumeOwnIDs: a publisher's ids resume by search.
func TestResumeOwnIDs(t *testing.T) {
	onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
		for i, id := range []string{"a", "b", "", "b", "c d,e", "0", "你"} {
			r.post("k", "application/json", fmt.Sprintf(`{"data":"%d","id":%q}`, i, id))
		}
		r.publish("k", "live")
		// "b" stands for two: the first counts, so that there is a repetition and no hole.
		for id, want := range map[string]string{"a": "1 2 3 4 5 6 live", "b": "2 3 4 5 6 live", "c d,e": "5 6 live", "0": "6 live", "你": "live"} {
			e := r.subscribe("connectKey=k&lastEventId=" + url.QueryEscape(id))
			e.WantData(strings.Fields(want)...)
			e.Close()
		}
		e := r.subscribe("connectKey=k", "Last-Event-ID: d")
		if g := e.Next().Gap(t); g.Reason != "unknown" || g.Missed != nil || g.After != "d" {
			t.Errorf("%+v", g)
		}
		e.WantData("0", "1", "2", "3", "4", "5", "6", "live")
		if e.LastID() == "你" {
			t.Error("the last event has an id of ours")
		}
	})
}

// TestResumeNoID: a client that brings what can be no id of this server, from whichever other one, gets a stream that
// begins with a gap, and a good id by it. net/http refuses the request before a handler has it (docs/protocol.md).
func TestResumeNoID(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	r.post("k", "application/json", `{"data":"own","id":"ab"}`)
	r.publish("k", "kept")
	kept := []string{"own", "kept"}
	for _, id := range []string{"a\x01b", "\x01", "\x1b[31m", "b\x7f", "a\xffb", "\xe4\xbd", "a\x01\x02\x03\u00a0b", "ab\x0b", strings.Repeat("z", maxLastID+1), strings.Repeat("z", 12_000)} {
		e := r.subscribe("connectKey=k", "Last-Event-ID: "+id)
		if g := e.Next().Gap(t); g.Reason != "unknown" || e.LastID() == "" {
			t.Errorf("%.20q: %+v, then the id %q", id, g, e.LastID())
		}
		e.WantData(kept...)
		good := e.LastID()
		e.Close()
		e = r.subscribe("connectKey=k", "Last-Event-ID: "+good)
		r.publish("k", "live")
		e.WantData("live") // neither a gap nor what it had
		e.Close()
		kept = append(kept, "live")
	}
	// The white space that a field value may have inside stays: it is in ids that may be published.
	r.post("k", "application/json", `{"data":"own","id":"a\tb"}`)
	r.publish("k", "behind")
	r.subscribe("connectKey=k", "Last-Event-ID: a\tb").WantData("behind")
	// What frames or smuggles messages is refused as before.
	for _, value := range []string{"a\x00b", "a\rb"} {
		w := r.dial()
		w.Send("GET /stream?connectKey=k HTTP/1.1\r\nHost: x\r\nLast-Event-ID: " + value + "\r\n\r\n")
		if head := w.ReadHead(); !strings.HasPrefix(head, "HTTP/1.1 400 ") {
			t.Errorf("%q: %s", value, head)
		}
	}
}

// TestResumeRestart: an id of a server's former life, or of a key that was
// retired, is told from a good one.
func TestResumeRestart(t *testing.T) {
	first := startRig(t, viaFast, rigOptions{})
	id := first.publish("k", "x")
	first.stop()
	r := startRig(t, viaFast, rigOptions{Engine: engine.Options{SweepInterval: 5 * time.Millisecond}})
	e := r.subscribe("connectKey=k", "Last-Event-ID: "+id)
	if g := e.Next().Gap(t); g.Reason != "epoch" || g.Missed != nil || g.After != id || g.Next != e.LastID() {
		t.Errorf("%+v, id %q", g, e.LastID())
	}
	r.publish("k", "y")
	e.WantData("y")
	old := e.LastID()
	e.Close()
	r.eng.Reconfigure(engine.Options{Key: engine.KeyOptions{HistoryTTL: 50 * time.Millisecond}}) // not before: an event must not expire on its way
	eventually.True(t, "the key retires", func() bool { return r.eng.Stats().Keys == 0 })
	e = r.subscribe("connectKey=k", "Last-Event-ID: "+old)
	if g := e.Next().Gap(t); g.Reason != "epoch" || g.After != old {
		t.Errorf("%+v", g)
	}
	if position(t, old).Epoch >= position(t, e.LastID()).Epoch {
		t.Errorf("%q is not before %q", old, e.LastID())
	}
	if n := r.metric(`fanfare_gaps_total{reason="epoch"}`); n != 2 {
		t.Error(n)
	}
}

// TestResumeSeveralKeys: one id carries each key's position.
func TestResumeSeveralKeys(t *testing.T) {
	onBoth(t, rigOptions{Engine: engine.Options{Key: engine.KeyOptions{History: 8}}}, func(t *testing.T, r *rig) {
		const query = "connectKey=a&connectKey=b&connectKey=c"
		e := r.subscribe(query)
		begin := strings.Split(e.LastID(), ",")
		if len(begin) != 3 {
			t.Fatal(e.LastID())
		}
		r.publish("b", "b1")
		e.WantData("b1")
		if want := begin[0] + "," + at(t, begin[1], 1) + "," + begin[2]; e.LastID() != want {
			t.Fatalf("%q, want %q", e.LastID(), want)
		}
		// A publisher's own id gives way to the positions, on several keys.
		r.post("a", "application/json", `{"data":"a1","id":"own"}`)
		if m := e.Next(); m.Data != "a1" || m.ID != at(t, begin[0], 1)+","+at(t, begin[1], 1)+","+begin[2] {
			t.Fatalf("%+v", m)
		}
		r.post("c", "text/event-stream", "event: e\ndata: c1\nid: own\n: note\n\n")
		if m := e.Next(); m.Data != "c1" || m.Type != "e" || strings.Contains(m.ID, "own") {
			t.Fatalf("%+v", m)
		}
		last := e.LastID()
		e.Reset()
		r.publish("c", "c2")
		r.publish("a", "a2")
		r.publish("a", "a3")
		e = r.subscribe(query, "Last-Event-ID: "+last)
		got := map[string]int{}
		for range 3 {
			got[e.Next().Data]++
		}
		if len(got) != 3 || got["c2"]+got["a2"]+got["a3"] != 3 {
			t.Fatal(got)
		}
		// One key's history is over: its gap alone, and the id of the gap has all positions.
		last = e.LastID()
		e.Reset()
		r.publish("b", "b2")
		for i := range 10 {
			r.publish("a", fmt.Sprint("a", i))
		}
		e = r.subscribe(query, "Last-Event-ID: "+last)
		gaps, data := 0, []string{}
		for range 10 {
			m := e.Next()
			if m.Type != "gap" {
				data = append(data, m.Data)
				continue
			}
			gaps++
			g := m.Gap(t)
			first := strings.Split(last, ",")[0]
			if g.Key != "a" || g.Reason != "history" || g.Missed == nil || *g.Missed != 2 || g.After != first || g.Next != at(t, first, 2) {
				t.Fatalf("%+v after %q", g, last)
			}
			if strings.Count(m.ID, ",") != 2 || !strings.HasPrefix(m.ID, g.Next+",") {
				t.Fatalf("id %q of the gap to %q", m.ID, g.Next)
			}
		}
		if gaps != 1 || len(data) != 9 {
			t.Fatal(gaps, data)
		}
		e.Reset()
		// Each part finds its key, whatever the order and the set; what is no part of ours is unknown.
		parts := strings.Split(last, ",")
		for _, c := range []struct{ query, id, gaps string }{
			{query, strings.Join(begin[:2], ","), "map[a:history]"}, // c is new to the client
			{query, parts[2] + "," + parts[0] + "," + parts[1], "map[a:history]"},
			{"connectKey=c&connectKey=a&connectKey=b", last, "map[a:history]"},
			{"connectKey=b&connectKey=c", last, "map[]"},
			{query, last + ",x", "map[a:history]"},
			{query, "x,y,z", "map[a:unknown b:unknown c:unknown]"},
			{query, "jzzzzzzzzzzz-1,jzzzzzzzzzzy-2,jzzzzzzzzzzx-3", "map[a:epoch b:epoch c:epoch]"},
			{"connectKey=a", last, "map[a:history]"},
		} {
			e := r.subscribe(c.query, "Last-Event-ID: "+c.id)
			mark := fmt.Sprint("mark ", c.id)
			r.publish("c", mark)
			r.publish("b", mark)
			r.publish("a", mark)
			reasons := map[string]string{}
			for n := 0; n < strings.Count(c.query, "connectKey"); {
				switch m := e.Next(); {
				case m.Type == "gap":
					// The first of a key: the mark may lap what is still being replayed.
					if g := m.Gap(t); reasons[g.Key] == "" {
						reasons[g.Key] = g.Reason
					}
				case m.Data == mark:
					n++
				}
			}
			if fmt.Sprint(reasons) != c.gaps {
				t.Errorf("%s after %q: %v, want %s", c.query, c.id, reasons, c.gaps)
			}
			e.Close()
		}
	})
}

// TestResumeManyKeys: the positions of as many keys as may be asked for fit.
func TestResumeManyKeys(t *testing.T) {
	const keys = 400
	onBoth(t, rigOptions{Options: Options{MaxKeysPerConnection: keys}}, func(t *testing.T, r *rig) {
		var query []string
		for i := range keys {
			query = append(query, fmt.Sprintf("connectKey=%d", i))
		}
		all := strings.Join(query, "&")
		e := r.subscribe(all)
		last := e.LastID()
		if len(last) <= maxLastID {
			t.Fatalf("%d bytes: not long enough for this test", len(last))
		}
		e.Close()
		r.publish("299", "x")
		e = r.subscribe(all, "Last-Event-ID: "+last)
		e.WantData("x")
		if strings.Count(e.LastID(), ",") != keys-1 {
			t.Fatal(e.LastID())
		}
	})
}
