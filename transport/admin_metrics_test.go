package transport

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// families parses /metrics.
func (r *rig) families() map[string]*dto.MetricFamily {
	r.t.Helper()
	a := r.call("GET", "/metrics", "")
	if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		r.t.Fatalf("%d %v", a.status, a.header)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(a.body))
	if err != nil {
		r.t.Fatal(err)
	}
	return families
}

// values are the series of the server's own metrics; a histogram's is its count.
func (r *rig) values() map[string]float64 {
	values := map[string]float64{}
	for name, f := range r.families() {
		if !strings.HasPrefix(name, "fanfare_") {
			continue
		}
		for _, m := range f.Metric {
			series := strings.TrimPrefix(name, "fanfare_")
			for _, l := range m.Label {
				series += "," + l.GetValue()
			}
			switch {
			case m.Counter != nil:
				values[series] = m.Counter.GetValue()
			case m.Gauge != nil:
				values[series] = m.Gauge.GetValue()
			case m.Histogram != nil:
				values[series] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	return values
}

// failingListener fails once, as accept does when no descriptor is left.
type failingListener struct {
	net.Listener
	failed atomic.Bool
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.failed.CompareAndSwap(false, true) {
		return nil, syscall.EMFILE
	}
	return l.Listener.Accept()
}

// TestMetrics: each series changes when what it counts happens, and there is
// none that is not tested here.
func TestMetrics(t *testing.T) {
	plainOnly(t)
	var b bug
	policies := map[string]engine.Policy{"skip": engine.Skip, "latest": engine.Latest, "disconnect": engine.Disconnect}
	r := startRig(t, viaFast, rigOptions{
		Options: Options{MaxConnections: 12, MaxEventBytes: 1 << 20, MaxBodyBytes: 4 << 20, MaxBodyTotalBytes: 5 << 20, MaxBatchLines: 1000, MaxIdempotencyKeys: 2, DuplicateWindow: time.Hour, MaxAdminConnections: 20, PingInterval: 800 * time.Millisecond, WriteTimeout: 4 * time.Second},
		Engine: engine.Options{
			MaxKeys: 20, MaxSubscriberKeys: 17, KeyTotalBytes: 1200,
			Key: engine.KeyOptions{History: 8, MaxSubscribers: 2},
			KeyRule: func(name string) *engine.KeyOptions {
				if p, ok := policies[name]; ok {
					return &engine.KeyOptions{History: 8, Slow: p}
				}
				return nil
			},
		},
		prepare: func(s *Server) {
			b.Histogram = s.metrics.Publish
			s.metrics.Publish = &b
		},
		listen: func() (net.Listener, error) {
			ln, err := Listen(context.Background(), "127.0.0.1:0")
			return &failingListener{Listener: ln}, err
		},
	})
	tested := map[string]bool{}
	// step checks that act changes the series as said; a change of 0 means any
	// that is not down.
	step := func(name string, act func(), changes map[string]float64) {
		t.Helper()
		before := r.values()
		act()
		for series, by := range changes {
			tested[series] = true
			if _, ok := before[series]; !ok {
				t.Errorf("%s: no series %s", name, series)
				continue
			}
			ok := eventually.Within(eventually.Patience, func() bool {
				d := r.values()[series] - before[series]
				return d == by || by == 0 && d > 0
			})
			if !ok {
				t.Errorf("%s: %s went from %v to %v, want %+v", name, series, before[series], r.values()[series], by)
			}
		}
	}
	step("accept", func() { r.waitAccepting() }, map[string]float64{})
	tested["accept_errors_total"] = true
	if n := r.values()["accept_errors_total"]; n != 1 {
		t.Errorf("accept_errors_total is %v", n)
	}
	tested["connections_limit"] = true
	if n := r.values()["connections_limit"]; n != 12 {
		t.Errorf("connections_limit is %v", n)
	}

	var e, second *wiretest.Events
	step("open", func() { e = r.subscribe("connectKey=secret-name") },
		map[string]float64{"connections": 1, "connections_opened_total": 1, "keys": 1})
	step("publish", func() { r.publish("secret-name", "12345"); e.Next() },
		map[string]float64{"events_total": 1, "deliveries_total": 1, "event_bytes_total": 0, "delivered_bytes_total": 0,
			"publish_seconds": 1, "delivery_seconds": 1, "history_bytes": 0, "ring_bytes": 0})
	step("refused", func() { r.call("POST", "/publish", "x") }, map[string]float64{"publish_errors_total": 1})
	step("large event", func() { r.call("POST", "/publish", strings.Repeat("x", 1<<20), "Content-Type: text/plain") },
		map[string]float64{"rejected_total,maxEventBytes": 1, "publish_errors_total": 1})
	repeat := func(key string) {
		r.call("POST", "/publish?key=repeats", "x", "Content-Type: text/plain", "Idempotency-Key: "+key)
	}
	step("idempotency key", func() { repeat("1") }, map[string]float64{"idempotency_keys": 1, "events_total": 1})
	step("duplicate", func() { repeat("1") }, map[string]float64{"duplicate_events_total": 1})
	step("maxIdempotencyKeys", func() { repeat("2"); repeat("3") },
		map[string]float64{"rejected_total,maxIdempotencyKeys": 1, "publish_errors_total": 1})
	step("maxIdBytes", func() {
		r.call("POST", "/publish?key=k", "data: x\nid: "+strings.Repeat("i", 1025)+"\n\n", "Content-Type: text/event-stream")
	},
		map[string]float64{"rejected_total,maxIdBytes": 1, "publish_errors_total": 1})
	step("reserved", func() {
		r.call("POST", "/publish?key=secret-name", `{"data":"x","event":"error"}`, "Content-Type: application/json")
	},
		map[string]float64{"reserved_events_total": 1, "events_total": 1, "event_bytes_total": 0, "deliveries_total": 1, "delivered_bytes_total": 0,
			"publish_seconds": 1, "delivery_seconds": 0, "history_bytes": 0, "ring_bytes": 0})
	step("large body", func() { r.call("POST", "/publish", strings.Repeat("x", 5<<20), "Content-Type: text/plain") },
		map[string]float64{"rejected_total,maxBodyBytes": 1, "publish_errors_total": 1})
	step("lines", func() { r.call("POST", "/batch", strings.Repeat("\n", 1001)) },
		map[string]float64{"rejected_total,maxBatchLines": 1, "publish_errors_total": 1})
	var half *wiretest.Conn
	step("admin connection", func() { half = wiretest.Dial(t, r.admin) }, map[string]float64{"admin_connections": 1})
	step("half a body", func() {
		half.Send(wiretest.Request("POST", "/publish", "Content-Type: text/plain", "Content-Length: 4000000"))
		half.Send(strings.Repeat("x", 3<<20))
		eventually.True(t, "the body counts", func() bool { return r.srv.api.BodyBytes() >= 3<<20 })
	}, map[string]float64{"admin_body_bytes": 4000000})
	step("maxBodyTotalBytes", func() { r.call("POST", "/publish", strings.Repeat("x", 2<<20), "Content-Type: text/plain") },
		map[string]float64{"rejected_total,maxBodyTotalBytes": 1, "publish_errors_total": 1})
	step("given up", func() { half.Close() }, map[string]float64{"admin_body_bytes": -4000000, "admin_connections": -1, "publish_errors_total": 1})
	step("maxAdminConnections", func() {
		for range r.srv.settings.Load().MaxAdminConnections {
			defer wiretest.Dial(t, r.admin).Close()
		}
	}, map[string]float64{"rejected_total,maxAdminConnections": 0})
	step("second", func() { second = r.subscribe("connectKey=secret-name") }, map[string]float64{"connections": 1})
	step("maxClients", func() { r.stream("connectKey=secret-name").Rest() },
		map[string]float64{"rejected_total,maxClients": 1})
	step("bad request", func() { w := r.dial(); w.Send(r.get("connectKey=%FF")); w.ReadHead() }, map[string]float64{"rejected_total,request": 1})
	step("rewind", func() { w := r.dial(); w.Send(r.get("rewind=1000000")); w.ReadHead() }, map[string]float64{"rejected_total,maxRewindEvents": 1})
	step("gone", func() { second.Close(); r.waitOpen(1) }, map[string]float64{"connections": -1, "connections_closed_total,gone": 1})
	step("closed", func() { r.call("POST", "/close?key=secret-name", ""); r.waitOpen(0) },
		map[string]float64{"connections": -1, "connections_closed_total,closed": 1})
	step("hit", func() { r.subscribe("connectKey=secret-name", "Last-Event-ID: "+e.LastID()).Close(); r.waitOpen(0) },
		map[string]float64{"replays_total,hit": 1})
	p, _ := engine.ParsePosition(e.LastID())
	step("unknown", func() { r.subscribe("connectKey=secret-name", "Last-Event-ID: nobody's").Close(); r.waitOpen(0) },
		map[string]float64{"replays_total,miss": 1, "gaps_total,unknown": 1})
	step("epoch", func() { r.subscribe("connectKey=secret-name", "Last-Event-ID: 1-1").Close(); r.waitOpen(0) },
		map[string]float64{"replays_total,miss": 1, "gaps_total,epoch": 1})
	step("history", func() {
		for i := range 20 {
			r.publish("secret-name", fmt.Sprint(i))
		}
		e := r.subscribe("connectKey=secret-name", "Last-Event-ID: "+p.String())
		for e.Next().Data != "19" { // a client that leaves earlier gets none of them
		}
		e.Close()
		r.waitOpen(0)
	}, map[string]float64{"replays_total,miss": 1, "gaps_total,history": 1, "missed_events_total": 13, "lag_events": 1})
	step("unknown parameter", func() { r.subscribe("key=zz").Close(); r.waitOpen(0) }, map[string]float64{"unknown_parameters_total": 1})
	step("ping", func() { e := r.subscribe("connectKey=quiet"); e.Expect(":\n"); e.Close(); r.waitOpen(0) },
		map[string]float64{"pings_total": 0})
	step("connections without a request", func() {
		before := r.values()["idle_connections_closed_total"]
		for range 2 * minIdle {
			r.dial()
		}
		eventually.True(t, "the oldest are closed", func() bool { return r.values()["idle_connections_closed_total"] > before })
	}, map[string]float64{"idle_connections": 0, "idle_connections_closed_total": 0})
	// These take whole seconds, or other options: TestMinReadRate, TestPinnedBytes, TestMaxLife, TestConnectionsPerAddress, TestConnectionsPerSubject,
	// TestConnectRates, TestMaxAuthorizing, TestProxyProtocolRefused and those of authorize_test.go,
	// publishers_test.go, tls_test.go, fleet_older_test.go and package abuse have them.
	for _, series := range []string{"rejected_total,minReadRate", "rejected_total,maxPinnedBytes", "pinned_bytes", "rejected_total,maxConnectionsPerAddress", "rejected_total,maxConnectionsPerSubject",
		"rejected_total,maxConnectRate", "rejected_total,maxConnectRatePerAddress", "rejected_total,maxAuthorizing", "authorizing",
		"connections_closed_total,age", "rejected_total,proxyProtocol", "rejected_total,unauthorized", "rejected_total,authorizeLater", "connections_closed_total,expired", "connections_closed_total,disconnected",
		"rejected_total,maxPublishRate", "tls_handshakes_total,ok", "tls_handshakes_total,failed", "tls_handshakes_total,timeout",
		"http2_errors_total,over_max_streams", "http2_errors_total,too_many_early_resets",
		"log_unwanted_events_total", "connections_waiting", "older_bytes", "rejected_total,maxOlderBytes"} {
		tested[series] = true
	}
	for series := range r.values() {
		if strings.HasPrefix(series, "publish_denied_total,") {
			tested[series] = true
		}
	}
	step("panic", func() {
		b.armed.Store(true)
		if a := r.call("POST", "/publish?key=panic", "x", "Content-Type: text/plain"); a.status != 500 || a.failed(t).Error == "" {
			t.Errorf("%d %s", a.status, a.body)
		}
	}, map[string]float64{"panics_total": 1})

	// Clients that do not read: what their sockets do not take overruns the ring.
	for _, key := range []string{"skip", "latest", "disconnect"} {
		slow := r.slowStream("connectKey=" + key)
		var reading sync.WaitGroup
		after := map[string]float64{"slow_actions_total," + key: 0, "missed_events_total": 0}
		switch key {
		case "skip":
			after["gaps_total,lag"] = 0
		case "disconnect":
			after["connections_closed_total,lagged"] = 1
		}
		step(key, func() {
			text := strings.Repeat("x", 100<<10)
			tested["connections_blocked"] = true
			// Seen while publishing: WriteTimeout, which ends the stream, runs from the first event that is stuck.
			eventually.True(t, "blocked", func() bool {
				r.publish(key, text)
				return r.values()["connections_blocked"] == 1
			})
			for range 40 {
				r.publish(key, text)
			}
			reading.Go(slow.Discard)
		}, after)
		slow.Reset()
		reading.Wait()
		r.waitOpen(0)
	}
	step("stalled", func() {
		slow := r.slowStream("connectKey=stalled")
		for range 8 {
			r.publish("stalled", strings.Repeat("x", 500<<10))
		}
		r.waitOpen(0)
		slow.Close()
	}, map[string]float64{"connections_closed_total,stalled": 1})

	step("maxConnections", func() {
		for i := range 12 {
			r.subscribe(fmt.Sprintf("connectKey=c%d", i%7))
		}
		r.stream("connectKey=one-more").Rest()
	}, map[string]float64{"rejected_total,maxConnections": 1, "connections": 12})
	step("closeAll", func() { r.call("POST", "/closeAll", ""); r.waitOpen(0) }, map[string]float64{"connections_closed_total,closed": 12})
	keys := r.values()["keys"]
	step("a key", func() {
		r.eng.Publish("eight by", engine.Frame{Bytes: []byte("x"), IDAt: -1})
	}, map[string]float64{"keys": 1, "key_bytes": 8})
	step("keyTotalBytes", func() { r.stream("connectKey=" + strings.Repeat("k", 1000)).Rest() },
		map[string]float64{"rejected_total,keyTotalBytes": 1})
	step("maxSubscriberKeys", func() {
		for i := range 17 - int(keys) - 1 {
			r.eng.Publish(fmt.Sprint("fill", i), engine.Frame{Bytes: []byte("x"), IDAt: -1})
		}
		r.stream("connectKey=for-publishers").Rest()
	}, map[string]float64{"rejected_total,maxSubscriberKeys": 1})
	step("maxKeys", func() {
		for i := range 20 {
			r.eng.Publish(fmt.Sprint("fill", i), engine.Frame{Bytes: []byte("x"), IDAt: -1})
		}
		r.stream("connectKey=no-room").Rest()
	}, map[string]float64{"rejected_total,maxKeys": 1})

	text := r.call("GET", "/metrics", "").body
	if strings.Contains(text, "secret-name") {
		t.Error("/metrics names a key")
	}

	step("drain", func() {
		r.subscribe("connectKey=secret-name")
		late := r.dial()
		eventually.True(t, "the late connection is accepted", func() bool {
			late.Send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
			late.ReadHead()
			return late.Read(3) == "ok\n"
		})
		r.srv.Drain(context.Background())
		late.Send(r.get("connectKey=late"))
		late.ReadHead()
	}, map[string]float64{"connections_closed_total,drain": 1, "rejected_total,drain": 1})
	if a := r.call("GET", "/readyz", ""); a.status != 503 || a.body != "draining\n" {
		t.Errorf("readyz: %d %s", a.status, a.body)
	}
	if a := r.call("GET", "/healthz", ""); a.status != 200 {
		t.Errorf("healthz: %d %s", a.status, a.body)
	}

	tested["connections_closed_total,error"] = true // Close of the server: nobody is left to ask
	var missing []string
	for series := range r.values() {
		if !tested[series] {
			missing = append(missing, series)
		}
	}
	if slices.Sort(missing); len(missing) > 0 {
		t.Errorf("series that this test does not know: %v", missing)
	}
}

// waitAccepting waits until the stream listener answers.
func (r *rig) waitAccepting() {
	w := r.dial()
	w.Send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	w.ReadHead()
	w.Close()
}

// slowStream opens a stream with a receive buffer that fills at once.
func (r *rig) slowStream(query string, header ...string) *wiretest.Conn {
	r.t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	c, err := d.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	w := wiretest.New(r.t, c)
	w.Send(r.get(query, header...))
	if w.ReadHead(); w.Status != 200 {
		r.t.Fatal(w.Status)
	}
	return w
}

// TestMetricsCardinality: the number of series does not grow with keys,
// connections or requests.
func TestMetricsCardinality(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	size := func() (n int) {
		for _, f := range r.families() {
			n += len(f.Metric)
		}
		return n
	}
	first := size()
	for i := range 50 {
		r.subscribe(fmt.Sprintf("connectKey=key-%d", i))
		r.publish(fmt.Sprintf("key-%d", i), "x")
		r.call("GET", fmt.Sprintf("/nothing-%d", i), "")
	}
	if n := size(); n != first {
		t.Errorf("%d series, %d at first", n, first)
	}
	if text := r.call("GET", "/metrics", "").body; strings.Contains(text, "key-1") || strings.Contains(text, "nothing-1") {
		t.Error("/metrics has what clients sent")
	}
}

func TestAdminTopKeys(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	if a := r.call("GET", "/keys", ""); a.body != `{"keys":0,"top":[]}`+"\n" {
		t.Fatal(a.body)
	}
	for i, key := range []string{"few", "many", "many", "many", "<b> \"x\"", "<b> \"x\""} {
		r.subscribe("connectKey=" + strings.NewReplacer(" ", "+", `"`, "%22").Replace(key))
		if i == 0 {
			r.publish(key, "x")
		}
	}
	r.publish("nobody", "x")
	var got keysAnswer
	r.call("GET", "/keys?top=2", "").decode(t, &got)
	if got.Keys != 4 || len(got.Top) != 2 || got.Top[0].Key != "many" || got.Top[0].Subscribers != 3 || got.Top[1].Key != "<b> \"x\"" {
		t.Errorf("%+v", got)
	}
	r.call("GET", "/keys", "").decode(t, &got)
	if len(got.Top) != 4 || got.Top[2].Key != "few" || got.Top[2].Events != 1 || got.Top[2].HistoryBytes == 0 || got.Top[2].Epoch == "" || got.Top[3].Key != "nobody" {
		t.Errorf("%+v", got)
	}
	for _, top := range []string{"0", "-1", "x", "1001", "1.5", "99999999999999999999"} {
		a := r.call("GET", "/keys?top="+top, "")
		if f := a.failed(t); a.status != 400 || f.Field != "top" || !strings.Contains(f.Error, "1000") {
			t.Errorf("top=%s: %d %s", top, a.status, a.body)
		}
	}
	if a := r.call("GET", "/keys?top=1000", ""); a.status != 200 || !json.Valid([]byte(a.body)) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestHealth: both listeners tell, also with the token set.
func TestHealth(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, rigOptions{Options: Options{PublishToken: "T"}})
	for _, addr := range []string{r.addr, r.admin} {
		for _, path := range []string{"/healthz", "/readyz"} {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				w := wiretest.Dial(t, addr)
				w.Send(wiretest.Request(method, path))
				w.ReadHead()
				want := map[string]int{"GET": 200, "HEAD": 200, "POST": 405}[method]
				if w.Status != want || method == "GET" && w.Read(100) != "ok\n" || w.Status == 405 && !strings.HasPrefix(w.Header.Get("Allow"), "GET, HEAD") {
					t.Errorf("%s %s on %s: %d %v", method, path, addr, w.Status, w.Header)
				}
				w.Close()
			}
		}
	}
	r.srv.api.Ready.Store(false)
	for _, addr := range []string{r.addr, r.admin} {
		w := wiretest.Dial(t, addr)
		w.Send(wiretest.Request("GET", "/readyz"))
		if w.ReadHead(); w.Status != 503 || w.Read(100) != "draining\n" {
			t.Errorf("%s: %d", addr, w.Status)
		}
	}
}
