package transport

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/auth"
	"fanfare/codec"
	"fanfare/engine"
)

// sent is the answer to a publish with an Idempotency-Key.
type sent struct {
	ID          string
	IDs         []string
	Keys        int
	Subscribers int
	Duplicate   bool
}

// repeat publishes with an Idempotency-Key, which must succeed.
func (r *rig) repeat(target, contentType, body, key string) (s sent) {
	r.t.Helper()
	a := r.call("POST", target, body, "Content-Type: "+contentType, "Idempotency-Key: "+key)
	if a.status != 200 {
		r.t.Fatalf("%s: %d %s", target, a.status, a.body)
	}
	a.decode(r.t, &s)
	return s
}

// TestRepeatedPublish: a request that is repeated with its Idempotency-Key publishes once, and both answers are the same.
func TestRepeatedPublish(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	e, other := r.subscribe("connectKey=k"), r.subscribe("connectKey=other")

	first, second := r.repeat("/publish?key=k", "text/plain", "one", "a"), r.repeat("/publish?key=k", "text/plain", "one", "a")
	if first.ID == "" || first.ID != second.ID || first.Duplicate || !second.Duplicate || first.Subscribers != 1 || second.Subscribers != 1 {
		t.Errorf("%+v, then %+v", first, second)
	}
	// The body does not count, but another key of the server and another Idempotency-Key do.
	if again := r.repeat("/publish?key=k", "text/plain", "two", "a"); again.ID != first.ID {
		t.Errorf("%+v", again)
	}
	if r.repeat("/publish?key=other", "text/plain", "elsewhere", "a").Duplicate || r.repeat("/publish?key=k", "text/plain", "three", "b").Duplicate {
		t.Error("another event counts as a duplicate")
	}
	// Several frames: each is remembered.
	const frames = "data: f1\n\ndata: f2\n\n"
	several, repeated := r.repeat("/publish?key=k", "text/event-stream", frames, "c"), r.repeat("/publish?key=k", "text/event-stream", frames, "c")
	if len(several.IDs) != 2 || several.IDs[0] == several.IDs[1] || fmt.Sprint(several.IDs) != fmt.Sprint(repeated.IDs) || !repeated.Duplicate {
		t.Errorf("%+v, then %+v", several, repeated)
	}
	// To all keys: the key of an event of one key is another one.
	all, twice := r.repeat("/publishAll", "text/plain", "all", "a"), r.repeat("/publishAll", "text/plain", "all", "a")
	if all.Keys != 2 || all.Duplicate || twice.Keys != 2 || !twice.Duplicate {
		t.Errorf("%+v, then %+v", all, twice)
	}
	// Lines of a batch, and two of the same batch.
	lines := strings.Repeat(`{"key":"k","data":"line","idempotencyKey":"d"}`+"\n", 2) + `{"op":"publishAll","data":"more","idempotencyKey":"d"}`
	once, again := r.batch(lines), r.batch(lines)
	if once[0]["id"] != once[1]["id"] || once[0]["duplicate"] != nil || once[1]["duplicate"] != true || again[0]["id"] != once[0]["id"] || again[2]["duplicate"] != true {
		t.Errorf("%v, then %v", once, again)
	}
	// A batch and a request mean the same.
	if s := r.repeat("/publish?key=k", "text/plain", "line", "d"); s.ID != once[0]["id"] || !s.Duplicate {
		t.Errorf("%+v", s)
	}
	r.publish("k", "end")
	e.WantData("one", "three", "f1", "f2", "all", "line", "more", "end")
	other.WantData("elsewhere", "all", "more")
}

// TestRepeatedAtTheSameTime: of requests with the same key at the same time one publishes.
func TestRepeatedAtTheSameTime(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	e := r.subscribe("connectKey=k")
	for round := range 20 {
		var requests sync.WaitGroup
		ids := make([]string, 8)
		for i := range ids {
			requests.Go(func() { ids[i] = r.repeat("/publish?key=k", "text/plain", fmt.Sprint(round), fmt.Sprint(round)).ID })
		}
		requests.Wait()
		for _, id := range ids {
			if id != ids[0] || id == "" {
				t.Fatalf("round %d: %q", round, ids)
			}
		}
		e.WantData(fmt.Sprint(round))
	}
}

// byToken takes the token for the publisher's name.
func byToken(_ context.Context, r auth.PublishRequest) (auth.Publisher, error) {
	return auth.Publisher{Name: strings.TrimPrefix(string(r.Authorization), "Bearer "), Rights: auth.AllRights, Keys: []string{"**"}}, nil
}

// TestRepeatedPublishers: publishers do not have each other's keys.
func TestRepeatedPublishers(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{IdentifyPublisher: byToken}})
	e := r.subscribe("connectKey=k")
	for _, token := range []string{"alice", "bob", "alice"} {
		a := r.call("POST", "/publish?key=k", token, "Content-Type: text/plain", "Idempotency-Key: 1", "Authorization: Bearer "+token)
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	r.call("POST", "/publish?key=k", "end", "Content-Type: text/plain", "Authorization: Bearer alice")
	e.WantData("alice", "bob", "end")
}

// TestIdempotencyKeyRefused: what cannot hold is refused, and nothing is published.
func TestIdempotencyKeyRefused(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	e := r.subscribe("connectKey=k")
	for _, test := range []struct{ path, body, key, field, text string }{
		{"/publish?key=k", "x", "", "Idempotency-Key", "is empty"},
		{"/publish?key=k", "x", strings.Repeat("x", 256), "Idempotency-Key", "has 256 bytes, more than 255"},
		{"/publish?key=k", "x", "two words", "Idempotency-Key", "has the byte 0x20 at offset 3"},
		{"/publishAll", "x", "\u00fc", "Idempotency-Key", "has the byte 0xc3 at offset 0"},
		{"/batch", "{}", "a", "Idempotency-Key", "put the member idempotencyKey into each line"},
	} {
		a := r.call("POST", test.path, test.body, "Content-Type: text/plain", "Idempotency-Key: "+test.key)
		if f := a.failed(t); a.status != 400 || f.Field != test.field || !strings.Contains(f.Error, test.text) {
			t.Errorf("%s %q: %d %s", test.path, test.key, a.status, a.body)
		}
	}
	a := r.call("POST", "/publish?key=k", "x", "Content-Type: text/plain", "Idempotency-Key: 1", "Idempotency-Key: 2")
	if f := a.failed(t); a.status != 400 || !strings.Contains(f.Error, "2 times") {
		t.Errorf("%d %s", a.status, a.body)
	}
	a = r.call("POST", "/publish?key=k", `{"data":"x","idempotencyKey":"1"}`, "Content-Type: application/json")
	if f := a.failed(t); a.status != 400 || f.Field != "idempotencyKey" || !strings.Contains(f.Error, "header field Idempotency-Key") {
		t.Errorf("%d %s", a.status, a.body)
	}
	for line, text := range map[string]string{
		`{"key":"k","data":"x","idempotencyKey":""}`:    "is empty",
		`{"key":"k","data":"x","idempotencyKey":" "}`:   "has the byte 0x20",
		`{"key":"k","data":"x","idempotencyKey":7}`:     "must be a string",
		`{"op":"close","key":"k","idempotencyKey":"a"}`: "does not publish",
		`{"op":"countAll","idempotencyKey":"a"}`:        "does not publish",
	} {
		if got := r.batch(line)[0]; got["field"] != "idempotencyKey" || !strings.Contains(fmt.Sprint(got["error"]), text) {
			t.Errorf("%s: %v", line, got)
		}
	}
	if a := r.call("POST", "/close?key=elsewhere", "", "Idempotency-Key: of a gateway that adds it to every request"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	longest := strings.Repeat("~", 255)
	if s := r.repeat("/publish?key=k", "text/plain", "end", longest); s.Duplicate {
		t.Errorf("%+v", s)
	}
	e.WantData("end")
}

// TestIdempotencyKeyAfterFailure: a message that was not published is not remembered.
func TestIdempotencyKeyAfterFailure(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Engine: engine.Options{MaxKeys: 1}})
	if _, err := r.eng.Publish("only", engine.Frame{Bytes: []byte("data: x\n\n"), IDAt: -1}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		a := r.call("POST", "/publish?key=k", "x", "Content-Type: text/plain", "Idempotency-Key: 1")
		if f := a.failed(t); a.status != 503 || f.Field != "maxKeys" {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	r.eng.Reconfigure(engine.Options{MaxKeys: 2})
	if s := r.repeat("/publish?key=k", "text/plain", "x", "1"); s.Duplicate || s.ID == "" {
		t.Errorf("%+v", s)
	}
}

// TestIdempotencyKeyLimits: keys are forgotten after DuplicateWindow, and there are at most MaxIdempotencyKeys before.
func TestIdempotencyKeyLimits(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{MaxIdempotencyKeys: 2, DuplicateWindow: time.Hour}})
	first := r.repeat("/publish?key=k", "text/plain", "x", "a")
	r.repeat("/publish?key=k", "text/plain", "x", "b")
	a := r.call("POST", "/publish?key=k", "x", "Content-Type: text/plain", "Idempotency-Key: c")
	if f := a.failed(t); a.status != 503 || f.Field != "maxIdempotencyKeys" || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	if again := r.repeat("/publish?key=k", "text/plain", "x", "a"); again.ID != first.ID {
		t.Errorf("%+v after %+v", again, first)
	}
	if err := r.reconfigure(Options{MaxIdempotencyKeys: 2, DuplicateWindow: time.Nanosecond}); err != nil {
		t.Fatal(err)
	}
	if again := r.repeat("/publish?key=k", "text/plain", "x", "a"); again.Duplicate || again.ID == first.ID {
		t.Errorf("%+v after the window", again)
	}
}

// TestPublishMessages: the messages of a program are published in their order, those with the same ID once.
func TestPublishMessages(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{MaxEventBytes: 1000}})
	e := r.subscribe("connectKey=k")
	text := func(s string) codec.Event { return codec.Event{Data: []byte(s)} }
	odd := "a source with spaces: \x00\u00fc" + strings.Repeat("x", 300)
	receipts := r.srv.PublishMessages(t.Context(), []Message{
		{Key: "k", Event: text("1"), ID: odd},
		{Key: "k", Event: text(strings.Repeat("x", 2000))},
		{Key: "k", Event: codec.Event{Data: []byte("2"), ID: "own"}},
		{All: true, Event: text("3"), ID: "all"},
		{Key: "k", Event: text("1"), ID: odd},
		{Key: "k", Event: codec.Event{ID: "a\nb"}},
	})
	if receipts[0].Err != nil || receipts[0].Position.Seq != 1 || receipts[0].ID != receipts[0].Position.String() || receipts[0].Subscribers != 1 {
		t.Errorf("%+v", receipts[0])
	}
	if size, ok := receipts[1].Err.(*SizeError); !ok || size.Max != 1000 {
		t.Errorf("%v", receipts[1].Err)
	}
	if receipts[2].ID != "own" || receipts[2].Position.Seq != 2 || receipts[3].Err != nil || receipts[3].Subscribers != 1 {
		t.Errorf("%+v", receipts[2:4])
	}
	if !receipts[4].Duplicate || receipts[4].Position != receipts[0].Position || receipts[5].Err == nil {
		t.Errorf("%+v", receipts[4:])
	}
	e.WantData("1", "2", "3")
}
