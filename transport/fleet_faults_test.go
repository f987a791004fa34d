package transport

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fanfare/cluster"
	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// logFailure is an answer that says what became of an event.
type logFailure struct {
	Error, Code, Field string
	IDs                []string
	Stored             *bool
	ID                 string
	Line               int
	Duplicate          bool
}

// put publishes, and returns the answer whatever it is.
func (r *rig) put(target, body string, header ...string) (reply, logFailure) {
	r.t.Helper()
	contentType := "Content-Type: text/plain"
	if strings.HasPrefix(body, "data: ") {
		contentType = "Content-Type: text/event-stream"
	}
	a := r.call("POST", target, body, append(header, contentType)...)
	var f logFailure
	a.decode(r.t, &f)
	return a, f
}

// TestFleetUnknown: an event that the log does not confirm is answered by 503 and how to repeat it, and with the same
// Idempotency-Key it is stored once, also at another server.
func TestFleetUnknown(t *testing.T) {
	f := startFleet(t, fleetOptions{node: short})
	e := f.nodes[1].subscribe("connectKey=k")
	n := f.nodes[0]
	f.broker.HoldAcks(true)
	a, body := n.put("/publish?key=k", "one", "Idempotency-Key: 1")
	if a.status != 503 || a.header.Get("Retry-After") == "" || body.Code != "unconfirmed" || !strings.Contains(body.Error, "may be stored") || !strings.Contains(body.Error, "same Idempotency-Key") {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	a, body = n.put("/publish?key=k", "two")
	if a.status != 503 || body.Code != "unconfirmed" || !strings.Contains(body.Error, "send an Idempotency-Key with every request") {
		t.Errorf("%d %s", a.status, a.body)
	}
	// Several events: the ids say which are stored.
	a, body = n.put("/publish?key=k", "data: three\n\ndata: four\n\n", "Idempotency-Key: 3")
	if a.status != 503 || len(body.IDs) != 2 || body.IDs[0] != "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	f.broker.HoldAcks(false)
	for _, again := range f.nodes {
		if a, body := again.put("/publish?key=k", "one", "Idempotency-Key: 1"); a.status != 200 || !body.Duplicate || body.ID == "" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a, body := again.put("/publish?key=k", "data: three\n\ndata: four\n\n", "Idempotency-Key: 3"); a.status != 200 || !body.Duplicate || len(body.IDs) != 2 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	n.publish("k", "end")
	e.WantData("one", "two", "three", "four", "end")
}

// TestFleetUnknownBatch: after a line that is not confirmed no later line is published, so the order is kept, and a batch does
// not wait again and again. Lines that publish nothing go on.
func TestFleetUnknownBatch(t *testing.T) {
	f := startFleet(t, fleetOptions{node: short})
	e := f.nodes[1].subscribe("connectKey=k")
	f.broker.HoldAcks(true)
	lines := `{"key":"k","data":"0","idempotencyKey":"0"}` + "\n" + `{"op":"count","key":"k"}` + "\n" + strings.Repeat(`{"key":"k","data":"later","idempotencyKey":"later"}`+"\n"+`{"op":"countAll"}`+"\n", 20)
	began := time.Now()
	got := f.nodes[0].batch(lines)
	if took := time.Since(began); took > eventually.Patience/2 {
		t.Errorf("the batch took %s", took)
	}
	if got[0]["code"] != "unconfirmed" || got[0]["line"] != 1.0 || got[1]["count"] != 1.0 {
		t.Errorf("%v", got[:2])
	}
	for i := 2; i < len(got); i += 2 {
		if got[i]["code"] != "skipped" || got[i]["line"] != float64(i+1) || got[i+1]["count"] != 1.0 {
			t.Fatalf("line %d: %v %v", i+1, got[i], got[i+1])
		}
	}
	if n := f.nodes[0].metric("fanfare_publish_errors_total"); n != 21 {
		t.Errorf("%v errors", n)
	}
	f.broker.HoldAcks(false)
	if again := f.nodes[0].batch(lines); again[0]["duplicate"] != true || again[2]["error"] != nil || again[4]["duplicate"] != true {
		t.Errorf("%v", again)
	}
	f.nodes[0].publish("k", "end")
	e.WantData("0", "later", "end")
}

// TestFleetRunsOfLines: the lines of a batch are one append to the log, however many, and each is answered by itself.
func TestFleetRunsOfLines(t *testing.T) {
	f := startFleet(t, fleetOptions{})
	e := f.nodes[1].subscribe("connectKey=k")
	var lines strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&lines, "{\"key\":\"k\",\"data\":\"%d\"}\n", i)
		if i%100 == 50 {
			lines.WriteString("not JSON\n\n")
		}
	}
	lines.WriteString(`{"op":"publishAll","data":"all"}`)
	answers := f.nodes[0].batch(lines.String())
	if len(answers) != 1516 {
		t.Fatalf("%d answers", len(answers))
	}
	seen := map[any]bool{}
	for i, a := range answers[:1515] {
		if i%101 == 51 {
			if a["field"] != "line" || a["line"] != float64(i+1+i/101) {
				t.Fatalf("answer %d: %v", i, a)
			}
			continue
		}
		if a["id"] == "" || seen[a["id"]] {
			t.Fatalf("answer %d: %v", i, a)
		}
		seen[a["id"]] = true
	}
	for i := range 1500 {
		e.WantData(fmt.Sprint(i))
	}
	e.WantData("all")
	if n := f.nodes[0].log.appends.Load(); n > 10 {
		t.Errorf("%d appends", n)
	}
}

// TestFleetAway: without the broker an event is refused, and says that it is not stored; or with away: queue it waits, and
// the answer says that, too.
func TestFleetAway(t *testing.T) {
	f := startFleet(t, fleetOptions{node: short})
	e := f.nodes[0].subscribe("connectKey=k")
	f.broker.Down()
	a, body := f.nodes[0].put("/publish?key=k", "lost")
	if a.status != 503 || a.header.Get("Retry-After") == "" || body.Code != "away" || !strings.Contains(body.Error, "not stored") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a, body := f.nodes[0].put("/publishAll", "lost"); a.status != 503 || body.Code != "away" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if _, err := f.nodes[0].srv.Publish("k", codec.Event{Data: []byte("lost")}); !errors.Is(err, cluster.ErrAway) {
		t.Errorf("%v", err)
	}
	got := f.nodes[0].batch(`{"key":"k","data":"lost"}` + "\n" + `{"op":"count","key":"k"}` + "\n" + `{"key":"k","data":"lost"}`)
	if got[0]["code"] != "away" || got[1]["count"] != 1.0 || got[2]["code"] != "skipped" {
		t.Errorf("%v", got)
	}
	got = f.nodes[0].batch(`{"key":"k","data":"lost"}` + "\n" + `{"key":"k","data":"lost"}` + "\n" + `{"key":"l","data":"lost"}`)
	if got[0]["code"] != "away" || got[1]["code"] != "skipped" || got[2]["code"] != "skipped" || got[2]["line"] != 3.0 {
		t.Errorf("%v", got)
	}
	f.broker.Up()
	f.nodes[0].publish("k", "after")
	e.WantData("after")
}

func TestFleetQueue(t *testing.T) {
	f := startFleet(t, fleetOptions{nodes: 1, node: func(o *cluster.Options) { short(o); o.Queue = true }})
	n := f.nodes[0]
	e := n.subscribe("connectKey=k")
	f.broker.Down()
	a, body := n.put("/publish?key=k", "one")
	if a.status != 202 || body.Stored == nil || *body.Stored || body.ID != "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := n.call("POST", "/publish?key=k", "data: two\nid: own\n\n", "Content-Type: text/event-stream"); a.status != 202 || !strings.Contains(a.body, `"stored":false`) || !strings.Contains(a.body, `"ids":["own"]`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a, body := n.put("/publishAll", "three"); a.status != 202 || body.Stored == nil || *body.Stored {
		t.Errorf("%d %s", a.status, a.body)
	}
	if got := n.batch(`{"key":"k","data":"four"}`); got[0]["stored"] != false || got[0]["error"] != nil {
		t.Errorf("%v", got)
	}
	r := n.srv.PublishMessages(t.Context(), []Message{{Key: "k", Event: codec.Event{Data: []byte("five")}}})[0]
	if !r.Queued || r.Err != nil || r.ID != "" || r.Position.Seq != 0 {
		t.Errorf("%+v", r)
	}
	if got := n.healthLines("/healthz"); got["broker"] != "disconnected" || got["queued"] != "5" {
		t.Errorf("%v", got)
	}
	f.broker.Up()
	e.WantData("one", "two", "three", "four", "five")
	if a, body := n.put("/publish?key=k", "six"); a.status != 200 || body.Stored != nil || body.ID == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestFleetRefusals: what the log does not take is the publisher's to change, or the operator's.
func TestFleetRefusals(t *testing.T) {
	f := startFleet(t, fleetOptions{nodes: 1, node: short})
	n := f.nodes[0]
	f.broker.Refuse(1, cluster.ErrFull)
	if a, body := n.put("/publish?key=k", "x"); a.status != 507 || body.Code != "full" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a, body := n.put("/publish?key=k", strings.Repeat("x", 1<<20)); a.status != 413 || body.Field != "data" || !strings.Contains(body.Error, "max_payload") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a, _ := n.put("/publish?key=k", "x"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	// The settings apply before.
	if a, body := n.put("/publish?key=k", strings.Repeat("x", 3<<20)); a.status != 413 || body.Field != "maxEventBytes" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// healthLines are the lines of a health answer after the first.
func (r *rig) healthLines(path string) map[string]string {
	r.t.Helper()
	w := wiretest.Dial(r.t, r.admin)
	defer w.Close()
	w.Send(wiretest.Request("GET", path, "Connection: close"))
	w.ReadHead()
	lines := map[string]string{"status": fmt.Sprint(w.Status)}
	first, rest, _ := strings.Cut(w.Rest(), "\n")
	lines["first"] = first
	for line := range strings.Lines(rest) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		lines[name] = value
	}
	return lines
}

// TestFleetHealth: a server that has not read the log is not ready; one that has lost the broker is, unless
// ReadyNeedsBroker says otherwise; and both say how they stand to the log.
func TestFleetHealth(t *testing.T) {
	plainOnly(t)
	f := startFleet(t, fleetOptions{nodes: 1})
	n := f.nodes[0]
	if got := n.healthLines("/readyz"); got["status"] != "200" || got["first"] != "ok" || got["broker"] != "connected" || got["behind"] != "0" || got["queued"] != "0" || got["node"] != "node-1" {
		t.Errorf("%v", got)
	}
	w := wiretest.Dial(t, n.addr) // strangers do not need to know
	w.Send(wiretest.Request("GET", "/readyz", "Connection: close"))
	w.ReadHead()
	if body := w.Rest(); body != "ok\n" {
		t.Errorf("%q on the stream listener", body)
	}
	f.broker.Down()
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := n.healthLines(path); got["status"] != "200" || got["first"] != "ok" || got["broker"] != "disconnected" {
			t.Errorf("%s: %v", path, got)
		}
	}
	o := n.srv.settings.Load().Options
	o.ReadyNeedsBroker = true
	if err := n.reconfigure(o); err != nil {
		t.Fatal(err)
	}
	if got := n.healthLines("/readyz"); got["status"] != "503" || !strings.Contains(got["first"], "broker cannot be reached") || got["broker"] != "disconnected" {
		t.Errorf("%v", got)
	}
	if got := n.healthLines("/healthz"); got["status"] != "200" {
		t.Errorf("%v", got)
	}
	f.broker.Up()
	eventually.Equal(t, "the status", "200", func() string { return n.healthLines("/readyz")["status"] })

	f.broker.Down()
	late := f.add(fleetOptions{rigOptions: rigOptions{}})
	if got := late.healthLines("/readyz"); got["status"] != "503" || !strings.HasPrefix(got["first"], "starting") {
		t.Errorf("%v", got)
	}
	f.broker.Up()
	eventually.Equal(t, "the status of the late one", "200", func() string { return late.healthLines("/readyz")["status"] })
}

// TestFleetEpoch: when the log has gone back, clients of the old epoch get a gap, and no event under an id that they have seen.
// TestFleetBeyondTheLog: a client has an id that the log has not reached, because it has gone back while no node was there.
func TestFleetBeyondTheLog(t *testing.T) {
	onFleets(t, fleetOptions{}, func(t *testing.T, f *fleet) {
		ids := f.fill("k", 0, 3)
		at, ok := engine.ParsePosition(ids[3][strings.LastIndex(ids[3], ",")+1:])
		if !ok {
			t.Fatal(ids)
		}
		beyond := strings.TrimSuffix(ids[3], at.String()) + engine.Position{Epoch: at.Epoch, Seq: at.Seq + 2}.String()
		for i, n := range f.nodes {
			e := wiretest.NewEvents(n.stream("connectKey=k", "Last-Event-ID: "+beyond))
			if g := e.Next().Gap(t); g.Reason != "epoch" || g.Missed != nil {
				t.Errorf("%+v", g)
			}
			wantNumbers(e, 0, 3+i)
			n.publish("k", fmt.Sprint(4+i)) // it gets one of the sequences that the client has passed
			wantNumbers(e, 4+i, 4+i)
			e.Close()
		}
	})
}

func TestFleetEpoch(t *testing.T) {
	onFleets(t, fleetOptions{}, func(t *testing.T, f *fleet) {
		open := f.nodes[1].subscribe("connectKey=k")
		ids := f.fill("k", 0, 9)
		wantNumbers(open, 0, 9)
		p := f.nodes[0].eng.PartitionOf("k")
		before := f.nodes[0].eng.Applied(p).Epoch
		f.broker.GoBack(p, 5)
		for _, n := range f.nodes {
			eventually.True(t, "a node begins another epoch", func() bool { return n.eng.Applied(p).Epoch != before })
		}
		for i, n := range f.nodes {
			e := wiretest.NewEvents(n.stream("connectKey=k", "Last-Event-ID: "+ids[9]))
			if g := e.Next().Gap(t); g.Reason != "epoch" || g.Missed != nil || g.After != ids[9] {
				t.Errorf("%+v", g)
			}
			wantNumbers(e, 100, 100+i-1) // what is kept of the new epoch
			data := fmt.Sprint(100 + i)
			id := n.publish("k", data)
			if m := e.Next(); m.Data != data || !strings.Contains(m.ID, id) || slices.Contains(ids, m.ID) {
				t.Errorf("%v, published as %s", m, id)
			}
			if m := open.Next(); m.Data != data || !strings.Contains(m.ID, id) {
				t.Errorf("%v", m)
			}
			e.Close()
		}
	})
}
