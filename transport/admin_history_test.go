package transport

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"fanfare/auth"
	"fanfare/engine"
)

// historyAnswer is the answer of GET /history.
type historyAnswer struct {
	Key    string
	Events []struct {
		ID, Time, Event, Data string
		All                   bool
	}
	More bool
	Gap  string
}

// history reads past events, as "data data …", and the answer.
func (r *rig) history(query string) (data string, a historyAnswer) {
	r.t.Helper()
	reply := r.call("GET", "/history?"+query, "")
	if reply.status != 200 {
		r.t.Fatalf("%s: %d %s", query, reply.status, reply.body)
	}
	reply.decode(r.t, &a)
	var all []string
	for _, e := range a.Events {
		all = append(all, e.Data)
	}
	return strings.Join(all, " "), a
}

// TestHistory: past events are listed without a stream, from the newest or after an id.
func TestHistory(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Engine: engine.Options{Key: engine.KeyOptions{History: 16}}})
	if data, a := r.history("key=k"); data != "" || a.Key != "k" || a.Events == nil || a.More || a.Gap != "" || r.eng.Stats().Keys != 0 {
		t.Errorf("%+v of a key that does not exist", a)
	}
	began := time.Now().Add(-time.Second)
	var ids []string
	for i := range 10 {
		ids = append(ids, r.publish("k", fmt.Sprint(i)))
	}
	if data, a := r.history("key=k&after=0-0"); a.Gap != "epoch" || data != "0 1 2 3 4 5 6 7 8 9" {
		t.Errorf("after an id of no epoch: %+v", a)
	}
	data, a := r.history("key=k")
	if data != "0 1 2 3 4 5 6 7 8 9" || a.More || a.Gap != "" || a.Events[0].ID != ids[0] || a.Events[0].Event != "message" {
		t.Errorf("%+v", a)
	}
	if at, err := time.Parse(time.RFC3339Nano, a.Events[9].Time); err != nil || at.Before(began) || time.Since(at) < 0 || !strings.HasSuffix(a.Events[9].Time, "Z") {
		t.Errorf("%s, %v", a.Events[9].Time, err)
	}
	if data, a := r.history("key=k&limit=3"); data != "7 8 9" || !a.More {
		t.Errorf("%+v", a)
	}
	if data, a := r.history("key=k&limit=10"); data != "0 1 2 3 4 5 6 7 8 9" || a.More {
		t.Errorf("%+v", a)
	}
	if data, a := r.history("key=k&limit=3&after=" + ids[3]); data != "4 5 6" || !a.More || a.Gap != "" {
		t.Errorf("%+v", a)
	}
	if data, a := r.history("key=k&limit=3&after=" + ids[6]); data != "7 8 9" || a.More {
		t.Errorf("%+v", a)
	}
	if data, a := r.history("key=k&after=" + ids[9]); data != "" || a.Gap != "" {
		t.Errorf("%+v", a)
	}
	// Names, own ids, comments, events to all keys.
	r.post("k", "text/event-stream", "event: greeting\ndata: a\ndata: b\nid: own/1\n\n: comment\n\n")
	r.call("POST", "/publishAll", "all", "Content-Type: text/plain")
	data, a = r.history("key=k&after=" + ids[9])
	if data != "a\nb all" || a.Events[0].Event != "greeting" || a.Events[0].ID != "own/1" {
		t.Errorf("%+v", a)
	}
	if data, a := r.history("key=k&after=" + url.QueryEscape("own/1")); data != "all" || a.Gap != "" {
		t.Errorf("%+v", a)
	}
	// Places that cannot be found.
	for i := range 10 {
		r.publish("k", fmt.Sprint("new", i))
	}
	for after, gap := range map[string]string{ids[0]: "history", "nobody's": "unknown", "a-1": "epoch"} {
		data, a := r.history("key=k&limit=2&after=" + url.QueryEscape(after))
		if a.Gap != gap || len(a.Events) != 2 || gap == "history" && data != "7 8" {
			t.Errorf("after %s: %+v", after, a)
		}
	}
}

// rightsByToken takes "RIGHT KEY" for what the publisher may do.
func rightsByToken(_ context.Context, r auth.PublishRequest) (auth.Publisher, error) {
	right, key, _ := strings.Cut(strings.TrimPrefix(string(r.Authorization), "Bearer "), " ")
	return auth.Publisher{Name: "x", Rights: []auth.Right{auth.Right(right)}, Keys: []string{key}}, nil
}

// TestHistoryRefuses: parameters that mean nothing, and those who may not read.
func TestHistoryRefuses(t *testing.T) {
	o := Options{IdentifyPublisher: byToken, MaxBodyBytes: 1 << 20, MaxEventBytes: 1 << 20}
	r := startRig(t, viaFast, rigOptions{Options: o})
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=1001": "limit", "limit=x": "limit", "limit=-1": "limit", "key=%ff": "key", "top=3": "top", "after=a&after=b": "after", "key=a&key=b": "key", "limit=1&limit=1": "limit",
	} {
		a := r.call("GET", "/history?"+query, "", "Authorization: Bearer all")
		f := a.failed(t)
		if a.status != 400 || f.Field != field {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
		if query == "limit=1001" && f.Error != `limit "1001" is not a number from 1 to 1000` {
			t.Errorf("%s: the message is %q", query, f.Error)
		}
	}
	if a := r.call("POST", "/history", "", "Authorization: Bearer all"); a.status != 405 {
		t.Errorf("%d %s", a.status, a.body)
	}
	reader := startRig(t, viaFast, rigOptions{Options: Options{IdentifyPublisher: rightsByToken}})
	reader.srv.PublishMessages(t.Context(), []Message{{Key: "k"}})
	for token, status := range map[string]int{"read k": 200, "read other": 403, "publish k": 403} {
		if a := reader.call("GET", "/history?key=k", "", "Authorization: Bearer "+token); a.status != status {
			t.Errorf("%s: %d %s", token, a.status, a.body)
		}
	}
	// An answer is no larger than MaxBodyBytes, but has an event.
	big := startRig(t, viaFast, rigOptions{Options: Options{MaxBodyBytes: 5000}})
	for range 10 {
		big.publish("k", strings.Repeat("x", 2000))
	}
	if _, a := big.history("key=k"); len(a.Events) != 2 || !a.More {
		t.Errorf("%d events, more: %t", len(a.Events), a.More)
	}
}

// TestHistoryOfFleet: each server lists the same, also what only the log has.
func TestHistoryOfFleet(t *testing.T) {
	onFleets(t, fleetOptions{rigOptions: rigOptions{Engine: smallRings}}, func(t *testing.T, f *fleet) {
		ids := f.fill("k", 0, 49)
		f.nodes[0].call("POST", "/publishAll", "all", "Content-Type: text/plain")
		f.fill("k", 50, 52)
		for _, n := range f.nodes {
			data, a := n.history("key=k&limit=20")
			if data != "33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 all 50 51 52"[3:] || !a.More || a.Gap != "" || a.Events[16].Data != "all" || !a.Events[16].All {
				t.Errorf("%s: %+v", data, a)
			}
			if data, a := n.history("key=k&limit=3&after=" + ids[4]); data != "5 6 7" || !a.More || a.Gap != "" || a.Events[0].ID != ids[5] {
				t.Errorf("%s: %+v", data, a)
			}
			if data, a := n.history("key=k&after=" + ids[47]); !strings.HasPrefix(data, "48 49") || !strings.HasSuffix(data, "50 51 52") || a.More || a.Gap != "" {
				t.Errorf("%s: %+v", data, a)
			}
			if n.eng.Count("k") != 0 {
				t.Error("reading counts as a subscriber")
			}
			if data, a := n.history("key=nothing"); data != "all" || a.Gap != "" {
				t.Errorf("%s: %+v", data, a)
			}
			if _, a := n.history("key=k&after=1-1"); a.Gap != "epoch" {
				t.Errorf("%+v", a)
			}
		}
	})
}

// TestHistoryWhileTheBrokerIsAway: what cannot be read from the log is a gap.
func TestHistoryWhileTheBrokerIsAway(t *testing.T) {
	f := startFleet(t, fleetOptions{partitions: 3, rigOptions: rigOptions{Engine: smallRings}})
	f.fill("k", 0, 49)
	f.broker.Purge(0, 20)
	f.broker.Down()
	if _, a := f.nodes[1].history("key=k&limit=1000"); a.Gap != "history" {
		t.Errorf("%+v", a)
	}
}
