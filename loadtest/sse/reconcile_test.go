package sse

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// keyed is an event of key k.
func keyed(seq int) string { return fmt.Sprintf("data: {\"seq\":%d,\"key\":\"k\"}\n\n", seq) }

// A stream is reconciled with what was published while it lived: what it lacks before the first and after the last event that
// came has no hole to show it.
func TestReconcile(t *testing.T) {
	for name, c := range map[string]struct {
		gets                        string // of events 3 to 6; 1 and 2 were published before it was there
		expected, undelivered, lost float64
	}{
		"all":         {keyed(3) + keyed(4) + keyed(5) + keyed(6), 4, 0, 0},
		"late":        {keyed(4) + keyed(3) + keyed(6) + keyed(5), 4, 0, 0},
		"nothing":     {"", 4, 4, 0},
		"not first":   {keyed(4) + keyed(5) + keyed(6), 4, 1, 0},
		"not last":    {keyed(3) + keyed(4), 4, 2, 0},
		"not between": {keyed(3) + keyed(6), 4, 0, 2},
		"history":     {keyed(2) + keyed(3) + keyed(4) + keyed(5) + keyed(6), 4, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			published := make(chan struct{})
			s := serve(t, func(_ int, conn *net.TCPConn, _ *http.Request) {
				send(conn, streamHead)
				<-published
				send(conn, c.gets)
				hold(conn)
			})
			patience := "1h"
			if c.undelivered+c.lost > 0 {
				patience = "200ms" // it never has everything
			}
			v := newVU(t, map[string]any{"url": s.url, "published": func() { close(published) }})
			v.must(`
				const plan = sse.plan('run', ['other', 'k'], 14, Date.now() * 1000, 1);
				const publish = (to) => { plan.sending(to); plan.answered(true); };
				publish(4);
				const es = new EventSource(url, { expect: { key: 'k', ledger: 'run' } });
				es.onopen = () => {
					publish(12);
					published();
					es.leave('` + patience + `');
				};`)
			v.wantSum(c.expected, "sse_expected")
			v.wantSum(c.undelivered, "sse_undelivered")
			v.wantSum(c.lost, "sse_lost")
			v.wantSum(0, "sse_duplicate")
		})
	}
}

// What the server never took isn't owed to anybody, neither in a hole nor at the end; but a stream has waited for it.
func TestReconcileUntaken(t *testing.T) {
	published := make(chan struct{})
	s := serve(t, func(_ int, conn *net.TCPConn, _ *http.Request) {
		send(conn, streamHead)
		<-published
		send(conn, keyed(1)+keyed(3))
		hold(conn)
	})
	v := newVU(t, map[string]any{"url": s.url, "published": func() { close(published) }})
	v.must(`
		const es = new EventSource(url, { expect: { key: 'k', ledger: 'run' } });
		es.onopen = () => {
			// 5 events, due just now; the second is refused, the fourth hangs, the fifth is never sent.
			const plan = sse.plan('run', ['k'], 5, Date.now() * 1000 + 2000, 1);
			for (const [to, taken] of [[1, true], [2, false], [3, true]]) {
				plan.sending(to);
				plan.answered(taken);
			}
			plan.sending(4);
			published();
			setTimeout(() => es.leave('1h'), 50);
		};`)
	v.wantSum(2, "sse_expected")
	v.wantSum(0, "sse_undelivered")
	v.wantSum(0, "sse_lost")
	charged := v.values("sse_event_latency", "phase=live")
	if len(charged) != 2 {
		t.Fatalf("latencies %v; want those of the events that hung and that were never sent", charged)
	}
	for _, ms := range charged {
		if ms < 40 || ms > float64(patience.Milliseconds()) {
			t.Errorf("%v ms; the stream waited at least 47", ms)
		}
	}
}

// Without leave, what was taken just before the end may be on its way.
func TestReconcileClosed(t *testing.T) {
	now := time.Now()
	p := &plan{keys: []string{"k"}, index: map[string]int{"k": 0}, count: 3, requests: []request{
		{0, 1, now.Add(time.Second), now.Add(2 * time.Second), true},
		{1, 2, now.Add(5 * time.Second), now.Add(6 * time.Second), true},
		{2, 3, now.Add(6 * time.Second), time.Time{}, false},
	}}
	for _, c := range []struct {
		name                  string
		left, end             time.Time
		got                   track
		expected, undelivered int64
	}{
		{"deaf", time.Time{}, now.Add(10 * time.Second), track{}, 2, 2},
		{"deaf, the last is new", time.Time{}, now.Add(6500 * time.Millisecond), track{}, 1, 1},
		{"deaf, and left", now.Add(6500 * time.Millisecond), now.Add(7 * time.Second), track{}, 2, 2},
		{"the last is new", time.Time{}, now.Add(6500 * time.Millisecond), track{first: 1, last: 1, seen: true}, 1, 0},
		{"the last is new and there", time.Time{}, now.Add(6500 * time.Millisecond), track{first: 1, last: 2, seen: true}, 2, 0},
		{"the last is old", time.Time{}, now.Add(8 * time.Second), track{first: 1, last: 1, seen: true}, 2, 1},
		{"before all", time.Time{}, now.Add(time.Millisecond), track{}, 0, 0},
	} {
		expected, undelivered := p.undelivered("k", now, c.left, c.end, c.got)
		if expected != c.expected || undelivered != c.undelivered {
			t.Errorf("%s: %d of %d are undelivered, want %d of %d", c.name, undelivered, expected, c.undelivered, c.expected)
		}
	}
}

func TestPlanMistakes(t *testing.T) {
	v := newVU(t, nil)
	for _, c := range []struct{ code, want string }{
		{`sse.plan('run', [], 1, 0, 1)`, "the list of keys is empty"},
		{`sse.plan('run', ['a', 'a'], 1, 0, 1)`, `the key "a" is given twice`},
		{`sse.plan('run', ['a'], -1, 0, 1)`, "must be 0 or more"},
		{`sse.plan('run', ['a'], 1, 0, NaN)`, "must be 0 or more"},
		{`sse.plan('run', ['a'], 1, 0, 1); sse.plan('run', ['b', 'a'], 1, 0, 1)`, "has a publisher already"},
		{`sse.plan('run', ['c'], 2, 0, 1).answered(true)`, "call plan.sending before"},
		{`const p = sse.plan('run', ['d'], 2, 0, 1); p.sending(1); p.sending(1)`, "the number must be more than 1"},
		{`sse.plan('run', ['e'], 2, 0, 1).sending(3)`, "at most 2, which are planned"},
	} {
		if err := v.run(c.code); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.code, err, c.want)
		}
	}
}

// Attempts that fail are counted by their reason, and by the time that they took.
func TestFailedAttempts(t *testing.T) {
	silent := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) { hold(c) })
	cut := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) { reset(c) })
	for _, c := range []struct{ name, url, options, reason string }{
		{"refused", refused(t), "", "refused"},
		{"never answered", silent.url, "connectTimeout: 30", "timeout"},
		{"cut", cut.url, "", "reset"},
		{"no TLS", strings.Replace(cut.url, "http:", "https:", 1), "", "reset"},
	} {
		v := newVU(t, map[string]any{"url": c.url})
		v.must(`
			new EventSource(url, { reconnect: false, ` + c.options + ` }).onerror = () => note('error');
			sse.open(url, { ` + c.options + ` }, (c) => c.on('error', () => note('error')));`)
		v.wantNotes("error", "error")
		if got := v.values("sse_connect_failed", "reason="+c.reason); len(got) != 2 {
			t.Errorf("%s: sse_connect_failed has %v of reason %s", c.name, got, c.reason)
		}
		v.wantSum(2, "sse_connect_failed")
		v.wantCount(2, "sse_connecting", "result=failed")
		v.wantCount(2, "sse_connect_success", "status=0")
	}
}

func TestFailureOf(t *testing.T) {
	for want, err := range map[string]error{
		"dns": &net.DNSError{Err: "no such host"}, "tls": tls.AlertError(40), "timeout": syscall.ETIMEDOUT, "error": errTooLarge,
	} {
		if got := failureOf(fmt.Errorf("wrapped: %w", err)); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

// A server that never answers isn't let off by giving up: what was closed while it waited for long counts as failed.
func TestUnansweredAttempts(t *testing.T) {
	for name, c := range map[string]struct {
		unanswered time.Duration
		want       float64
	}{"long": {0, 2}, "short": {time.Hour, 0}} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{}, 2)
			s := serve(t, func(_ int, conn *net.TCPConn, _ *http.Request) {
				asked <- struct{}{}
				hold(conn)
			})
			v := newVU(t, map[string]any{"url": s.url})
			v.module.unanswered = c.unanswered
			v.must(`
				for (const leave of [true, false]) {
					const es = new EventSource(url);
					setTimeout(() => leave ? es.leave('1ms') : es.close(), 30);
				}`)
			v.wantSum(c.want, "sse_connect_failed", "reason=unanswered")
			v.wantCount(int(c.want), "sse_connect_success", "status=0")
		})
	}
}

// origin is that of the URL where redirects ended, without the port if it is the scheme's own.
func TestOrigin(t *testing.T) {
	target := streaming(t, "data: x\n\n")
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		send(c, "HTTP/1.1 302 Found\r\nLocation: "+target.url+"/there\r\n\r\n")
	})
	v := newVU(t, map[string]any{"url": s.url})
	v.must(`
		const es = new EventSource(url + '/here', { reconnect: false });
		es.onmessage = (e) => note([e.origin, es.url].join());`)
	v.wantNotes(target.url + "," + s.url + "/here")
	for from, want := range map[string]string{
		"http://Example.test/x": "http://example.test", "http://a:80/": "http://a", "https://a:443/": "https://a",
		"http://a:443/": "http://a:443", "https://u:p@a:8443/?q": "https://a:8443", "http://[::1]:80/": "http://[::1]",
	} {
		if got := originOf(mustURL(t, from)); got != want {
			t.Errorf("%s: origin %s, want %s", from, got, want)
		}
	}
}
