package nats

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"fanfare/bridge/payload"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
	"fanfare/internal/test/wiretest"
)

// Messages become events of the keys that the rules say, once even where several rules cover a subject, and in their order.
func TestMessages(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	f := startFanfare(t, setup{url: broker.URL(), rules: []string{"app.*.* -> {1}/{2}", "app.> -> rest"}})
	orders, rest := f.subscribe("shop/orders"), f.subscribe("rest")
	p := connect(t, broker)
	p.publish("app.shop.orders", "one", `{"event":"price","data":{"eur":12}}`, `{"eur":12}`)
	p.publish("app.shop", "other")
	p.publish("app.shop.orders", "last")
	p.publish("app.a.b.c", "end")
	for _, want := range [][2]string{{"message", "one"}, {"price", `{"eur":12}`}, {"message", `{"eur":12}`}, {"message", "last"}} {
		if m := orders.Next(); m.Type != want[0] || m.Data != want[1] {
			t.Errorf("%v, want %v", m, want)
		}
	}
	rest.WantData("other", "end")
	f.AwaitMetric(6, "fanfare_nats_messages_total")
	if n := f.Metric("fanfare_nats_connected"); n != 1 {
		t.Errorf("connected: %v", n)
	}
}

func TestRefusedMessages(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	f := startFanfare(t, setup{url: broker.URL(), rules: []string{"k.* -> {1}"}, payload: payload.JSON, maxEventBytes: 100, maxKeys: 1})
	s := f.subscribe("a")
	p := connect(t, broker)
	p.publish("k.a", "no JSON", `"`+strings.Repeat("x", 200)+`"`, "\"\xff\"")
	p.publish("k.b", `"another key"`)
	p.publish("k.a", `"good"`)
	s.WantData("good")
	for reason, want := range map[string]float64{"invalid": 2, "maxEventBytes": 1, "maxKeys": 1} {
		f.AwaitMetric(want, "fanfare_nats_refused_total", "reason="+reason)
	}
	if log := f.Log.String(); !strings.Contains(log, "reason=invalid name=k.a") {
		t.Errorf("log: %s", log)
	}
}

// After an outage each covered key gets a gap before the next message, and other keys get none.
func TestGapAfterAnOutage(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	f := startFanfare(t, setup{url: broker.URL(), rules: []string{"news", "p.* -> p/{1}"}})
	news, price, other := f.subscribe("news"), f.subscribe("p/a"), f.subscribe("other")
	p := connect(t, broker)
	p.publish("news", "before")
	news.WantData("before")
	broker.Kill()
	f.AwaitMetric(0, "fanfare_nats_connected")
	broker.Start()
	f.AwaitMetric(1, "fanfare_nats_connected")
	p.publish("news", "after")
	p.publish("p.a", "price")
	for _, s := range []struct {
		key, data string
	}{{"news", "after"}, {"p/a", "price"}} {
		stream := news
		if s.key == "p/a" {
			stream = price
		}
		if g := stream.Next().Gap(t); g.Key != s.key || g.Reason != "source" || g.Missed != nil {
			t.Errorf("%+v", g)
		}
		stream.WantData(s.data)
	}
	if _, err := f.Srv.Publish("other", eventOf("only this")); err != nil {
		t.Fatal(err)
	}
	other.WantData("only this")
	if n := f.Metric("fanfare_nats_reconnects_total"); n != 1 {
		t.Errorf("%v reconnects", n)
	}
	if n := f.Metric("fanfare_nats_gaps_total"); n != 2 {
		t.Errorf("%v gaps", n)
	}
}

// A client that has subscribed before the broker was ever reached gets a gap; a key without subscribers does not.
func TestStartWithoutBroker(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	broker.Kill()
	f := startFanfare(t, setup{url: broker.URL(), rules: []string{"*"}})
	news := f.subscribe("news")
	eventually.Equal(t, "subscribers", 1, func() int { return f.Eng.Count("news") })
	if _, err := f.Srv.Publish("quiet", eventOf("x")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(f.Log.String(), "reason=refused") || !strings.Contains(f.Log.String(), "start nats-server, or correct natsURL") {
		t.Errorf("log: %s", f.Log)
	}
	broker.Start()
	if g := news.Next().Gap(t); g.Reason != "source" {
		t.Errorf("%+v", g)
	}
	connect(t, broker).publish("news", "hello")
	news.WantData("hello")
	if n := f.Metric("fanfare_nats_gaps_total"); n != 1 {
		t.Errorf("%v gaps", n)
	}
}

// Closing a bridge loses nothing: what the server has sent to it is published.
func TestCloseDrains(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	f := startFanfare(t, setup{url: broker.URL(), rules: []string{"news"}})
	p := connect(t, broker)
	f.AwaitMetric(1, "fanfare_nats_connected")
	for i := range 2000 {
		if err := p.nc.Publish("news", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		if i == 1000 {
			if err := p.nc.Flush(); err != nil {
				t.Fatal(err)
			}
			eventually.True(t, "messages are received", func() bool { return f.Metric("fanfare_nats_messages_total") > 0 })
			f.bridge.Close()
		}
	}
	received := f.Metric("fanfare_nats_messages_total")
	if received == 0 {
		t.Error("nothing was received")
	}
	f.AwaitMetric(received, "fanfare_events_total")
}

// A wrong password is logged with what to do, and nothing tells it.
func TestLoginIsRefused(t *testing.T) {
	broker := (&natstest.Server{T: t, Config: `authorization {users: [{user: u, password: right}]}`}).Start()
	f := startFanfare(t, setup{url: "nats://u:hunter2@" + broker.Addr, rules: []string{"news"}})
	f.AwaitMetric(0, "fanfare_nats_connected")
	if log := f.Log.String(); !strings.Contains(log, "reason=login") || !strings.Contains(log, "natsCredentials") || strings.Contains(log, "hunter2") {
		t.Errorf("log: %s", log)
	}
	right := startFanfare(t, setup{url: "nats://u:right@" + broker.Addr, rules: []string{"news"}})
	right.AwaitMetric(1, "fanfare_nats_connected")
}

// A subject that the user may not subscribe to is an error with a hint, not silence.
func TestSubscriptionIsNotPermitted(t *testing.T) {
	broker := (&natstest.Server{T: t, Config: `authorization {users: [{user: u, password: p, permissions: {subscribe: ["news"]}}]}`}).Start()
	f := startFanfare(t, setup{url: "nats://u:p@" + broker.Addr, rules: []string{"secret"}})
	eventually.True(t, "an error of the permission", func() bool { return f.Metric("fanfare_nats_errors_total", "reason=permission") > 0 })
	if log := f.Log.String(); !strings.Contains(log, "natsSubjects") {
		t.Errorf("log: %s", log)
	}
}

// In a fleet only the node that leads subscribes, so the order is kept; the next one reports a gap first.
func TestLeads(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	var leader atomic.Int32
	var nodes [2]*fanfare
	for i := range nodes {
		nodes[i] = startFanfare(t, setup{url: broker.URL(), rules: []string{"news"}, leads: func() bool { return leader.Load() == int32(i) }})
	}
	streams := []*wiretest.Events{nodes[0].subscribe("news"), nodes[1].subscribe("news")}
	p := connect(t, broker)
	nodes[0].AwaitMetric(1, "fanfare_nats_leads")
	nodes[1].AwaitMetric(1, "fanfare_nats_connected")
	p.publish("news", "0", "1", "2")
	for want := range 3 {
		m := streams[0].Next()
		if want == 0 && m.Type == "gap" { // the client has subscribed before this node
			m = streams[0].Next()
		}
		if m.Data != strconv.Itoa(want) {
			t.Errorf("%v, want %d", m, want)
		}
	}
	leader.Store(1)
	nodes[0].AwaitMetric(0, "fanfare_nats_leads")
	if g := streams[1].Next().Gap(t); g.Key != "news" || g.Reason != "source" {
		t.Errorf("%+v", g)
	}
	eventually.Equal(t, "messages of the old leader", 3, func() float64 { return nodes[0].Metric("fanfare_nats_messages_total") })
	p.publish("news", "3")
	streams[1].WantData("3")
	if n := nodes[0].Metric("fanfare_nats_messages_total") + nodes[1].Metric("fanfare_nats_messages_total"); n != 4 {
		t.Errorf("%v messages", n)
	}
}
