package transport

import (
	"fmt"
	"strings"
	"testing"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/wiretest"
)

// TestEnvelope: a client that asks for it is told the key of each event, in a first line of the data. What has no data
// gets none, and the position, which is no key's, neither.
func TestEnvelope(t *testing.T) {
	for _, plain := range []bool{false, true} {
		for _, keys := range []string{"connectKey=a", "connectKey=a&connectKey=b"} {
			t.Run(fmt.Sprintf("ids off %v, %s", plain, keys), func(t *testing.T) {
				onBoth(t, rigOptions{Options: Options{PlainIDs: plain}}, func(t *testing.T, r *rig) {
					w := r.stream(keys + "&envelope=key")
					e := wiretest.NewEvents(w)
					r.waitCount("a", 1)
					frames := "event: greeting\ndata: one\ndata: two\n\n: comment\n\nretry: 5\n\nid: own\ndata\n\n"
					r.call("POST", "/publish?key=a", frames, "Content-Type: text/event-stream")
					r.publish("a", strings.Repeat("x", 200<<10))
					r.publish("b", "other")
					r.publish("a", "end")
					want := []string{
						"greeting|" + `{"key":"a"}` + "\none\ntwo",
						"message|" + `{"key":"a"}` + "\n",
						"message|" + `{"key":"a"}` + "\n" + strings.Repeat("x", 200<<10),
						"message|" + `{"key":"a"}` + "\nend",
					}
					other := 0
					for _, want := range want {
						m := e.Next()
						if m.Data == `{"key":"b"}`+"\nother" { // its place among the others is not fixed
							other++
							m = e.Next()
						}
						if got := m.Type + "|" + m.Data; got != want {
							t.Fatalf("got %q, want %q", wiretest.Clip(got), wiretest.Clip(want))
						}
					}
					if strings.Contains(keys, "b") && other == 0 {
						if m := e.Next(); m.Data != `{"key":"b"}`+"\nother" {
							t.Fatalf("got %+v", m)
						}
					}
				})
			})
		}
	}
}

// TestEnvelopeOfOddKeys: the line is JSON, whatever the key is.
func TestEnvelopeOfOddKeys(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Engine: engine.Options{Key: engine.KeyOptions{History: 8}}})
	w := r.stream("connectKey=" + "a%0Ab%22%5C%E4%BD%A0" + "&envelope=key&lastEventId=nobody's")
	e := wiretest.NewEvents(w)
	m := e.Next()
	first, rest, _ := strings.Cut(m.Data, "\n")
	if m.Type != "gap" || first != `{"key":"a\nb\"\\你"}` || !strings.HasPrefix(rest, `{"key":"a\nb\"\\你","reason":"unknown"`) {
		t.Fatalf("%+v", m)
	}
	w = r.dial()
	w.Send(r.get("connectKey=a&envelope=yes"))
	w.ReadHead()
	if body := w.Rest(); w.Status != 400 || !strings.Contains(body, "envelope=key") {
		t.Fatalf("%d %s", w.Status, body)
	}
}

// TestSendLastOnTheWire: a new subscriber gets the newest event that clients dispatch and that is not the server's own.
func TestSendLastOnTheWire(t *testing.T) {
	onBoth(t, rigOptions{Engine: engine.Options{Key: engine.KeyOptions{SendLast: true}}}, func(t *testing.T, r *rig) {
		for _, behind := range [][]string{{": comment\n\n"}, {"retry: 5\n\n"}, {"id: 7\n\n"}, {"event: named\n\n"}, {": a\n\n", "id: 8\n\n", "retry: 1\n\n"}} {
			key := fmt.Sprintf("k%d-%d", len(behind[0]), len(behind))
			r.publish(key, "value")
			r.call("POST", "/publish?key="+key, strings.Join(behind, ""), "Content-Type: text/event-stream")
			r.subscribe("connectKey=" + key).WantData("value")
		}
		r.publish("gap", "value")
		r.must("gap", codec.Event{Event: "gap", Data: []byte("{}"), Notice: true})
		r.subscribe("connectKey=gap").WantData("value", "{}")
	})
}
