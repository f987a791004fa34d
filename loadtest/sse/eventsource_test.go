package sse

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestEventSource(t *testing.T) {
	s := streaming(t, "\uFEFF: hello\r\n\r\nid: 1\r\ndata: {\"a\":1}\r\rid: 2\nevent: news\ndata: x\ndata: y\n\nevent: other\ndata: z\n\ndata: half")
	v := newVU(t, map[string]any{"url": s.url})
	v.must(`
		const es = new EventSource(url + '/s?key=k#f', { reconnect: false });
		note([es.url === url + '/s?key=k', es.readyState, es instanceof EventSource, es.onmessage, EventSource.OPEN, es.CLOSED].join());
		es.onopen = (e) => note(e.type + (e.target === es));
		es.onmessage = (e) => note('message ' + [e.type, e.data, e.lastEventId, e.origin === url, e.timeStamp > 1e12].join());
		const news = (e) => note('news ' + JSON.stringify(e.data) + e.lastEventId);
		es.addEventListener('news', news);
		es.addEventListener('news', news);
		es.addEventListener('news', () => note('never'));
		es.removeEventListener('news', () => 0);
		es.onerror = (e) => {
			const n = es.stats;
			note(['error', e.message, e.status, e.fatal, es.readyState, es.lastEventId, n.events, n.lost, n.duplicate, n.reconnects, n.bytes].join());
		};`)
	v.wantNotes("true,0,true,,1,2", "opentrue", "message message,{\"a\":1},1,true,true", `news "x\ny"2`, "never",
		"error,the server ended the stream,0,true,2,2,3,0,0,0,103")
	v.wantSum(3, "sse_event", "name="+s.url+"/s?key", "url="+s.url+"/s?key", "scenario=test")
	v.wantSum(1, "sse_connect_success", "status=200")
	v.wantCount(1, "sse_connecting")
	v.wantCount(1, "sse_first_event")
	v.wantSum(1, "sse_disconnects", "reason=end")
	v.wantSum(103, "sse_data_received")
	v.wantCount(0, "sse_event_latency")
	if active := v.values("sse_active", "scenario=", "of=run"); len(active) == 0 || active[len(active)-1] != 0 {
		t.Errorf("sse_active, with the tags of the test and no others: %v; the last must be 0", active)
	}
}

// A stream that was lost goes on where it was, and what is measured says so.
func TestEventSourceResumes(t *testing.T) {
	event := func(seq int, at time.Time) string {
		return fmt.Sprintf("id: i%d\ndata: {\"seq\":%d,\"ts\":%d}\n\n", seq, seq, at.UnixMicro())
	}
	past := time.Now().Add(-time.Minute)
	cut := make(chan struct{})
	ids := make(chan string, 2)
	s := serve(t, func(n int, c *net.TCPConn, req *http.Request) {
		ids <- req.Header.Get("Last-Event-ID")
		send(c, streamHead)
		if n == 0 {
			send(c, "retry: 20\n\n"+event(1, past)+event(2, time.Now().Add(time.Hour)))
			<-cut
			reset(c)
			return
		}
		send(c, event(2, past)+event(3, past)+event(6, time.Now().Add(time.Hour)))
		hold(c)
	})
	v := newVU(t, map[string]any{"url": s.url, "cut": func() { close(cut) }})
	v.must(`
		const es = new EventSource(url, { lastEventId: 'i0', retry: '1h', jitter: 0.5, tags: { kind: 't' }, name: 'resumed' });
		es.onmessage = (e) => {
			note(e.lastEventId);
			if (e.lastEventId === 'i2' && es.stats.reconnects === 0) cut();
			if (e.lastEventId === 'i6') {
				const n = es.stats;
				es.close();
				note([n.events, n.lost, n.duplicate, n.reconnects, es.readyState].join());
			}
		};
		es.onerror = (e) => note(['error', e.fatal].join());`)
	v.wantNotes("i1", "i2", "error,false", "i2", "i3", "i6", "5,2,1,1,2")
	if first, second := <-ids, <-ids; first != "i0" || second != "i2" {
		t.Errorf("Last-Event-ID %q, then %q; want i0 and i2", first, second)
	}
	v.wantSum(1, "sse_disconnects", "reason=reset", "name=resumed", "kind=t")
	v.wantSum(2, "sse_connect_success", "name=resumed")
	v.wantCount(1, "sse_reconnect_duration")
	v.wantCount(2, "sse_first_event")
	v.wantSum(2, "sse_lost")
	v.wantSum(1, "sse_duplicate", "kind=t")
	// Of the first connection: i1 was published before it; of the second, i2 and i3.
	v.wantCount(3, "sse_event_latency", "phase=replay", "name=resumed")
	v.wantCount(2, "sse_event_latency", "phase=live")
	for _, ms := range v.values("sse_event_latency", "phase=replay") {
		if ms < 60_000 || ms > 60_000+float64(patience.Milliseconds()) {
			t.Errorf("an event of a minute ago took %v ms", ms)
		}
	}
}

type refusal struct{ name, head, message, status string }

// reason is the tag that the attempt gets.
func (r refusal) reason() string {
	switch r.name {
	case "404", "204":
		return "status"
	case "type":
		return "type"
	case "encoding", "encodings":
		return "encoding"
	default:
		return "redirect"
	}
}

// Nothing but a 200 event stream is an answer; anything else ends an EventSource for good.
func TestEventSourceRefusals(t *testing.T) {
	for _, c := range []refusal{
		{"404", "HTTP/1.1 404 Not Found\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n", "the response is 404 Not Found, not 200", "404"},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", "the response is 204 No Content, not 200", "204"},
		{"type", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", `the response's Content-Type is "text/html", not text/event-stream`, "200"},
		{"encoding", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: br\r\n\r\n",
			`the response's Content-Encoding is "br", but k6/x/sse supports only gzip and deflate: do not accept others in Accept-Encoding`, "200"},
		{"encodings", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nContent-Encoding: gzip\r\n\r\n",
			`the response's Content-Encoding is "gzip, gzip", but k6/x/sse supports only gzip and deflate: do not accept others in Accept-Encoding`, "200"},
		{"redirect", "HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\n\r\n", `302 Found to "ftp://x/", which is neither http nor https`, "302"},
		{"nowhere", "HTTP/1.1 302 Found\r\n\r\n", "302 Found with a Location that is missing or no URL", "302"},
		{"loop", "HTTP/1.1 307 Temporary Redirect\r\nLocation: /\r\n\r\n",
			"more than 10 redirects (option maxRedirects), the last from {S}/ to {S}/: is it a loop?", "307"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, func(_ int, conn *net.TCPConn, _ *http.Request) { send(conn, c.head) })
			c.message = strings.ReplaceAll(c.message, "{S}", s.url)
			v := newVU(t, map[string]any{"url": s.url + "/"})
			v.must(`
				const es = new EventSource(url);
				es.onopen = () => note('open');
				es.onerror = (e) => note([e.message, e.status, e.fatal, es.readyState].join('|'));
				const res = sse.open(url, (c) => {
					c.on('open', () => note('open'));
					c.on('close', () => note('close'));
					c.on('error', (e) => note([e.error(), e.message === e.error(), e.status].join('|')));
				});
				note([res.status, res.error, res.url === url].join('|'));`)
			v.wantNotes(c.message+"|true|"+c.status, c.status+"|"+c.message+"|true", c.message+"|"+c.status+"|true|2")
			v.wantCount(2, "sse_connect_success", "status="+c.status)
			v.wantSum(0, "sse_connect_success")
			v.wantSum(2, "sse_connect_failed", "reason="+c.reason())
			v.wantCount(2, "sse_connecting", "result=failed")
			v.wantCount(0, "sse_disconnects")
		})
	}
}

// What no listener hears of is logged, once.
func TestEventSourceWarns(t *testing.T) {
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) { send(c, "HTTP/1.1 503 Busy\r\n\r\n") })
	v := newVU(t, map[string]any{"url": s.url})
	v.must(`for (let i = 0; i < 20; i++) new EventSource(url + '/?k=' + i);`)
	if text := v.log.String(); strings.Count(text, "503 Busy") != 1 {
		t.Errorf("logged: %s", text)
	}
}

func TestEventSourceRefusedConnection(t *testing.T) {
	v := newVU(t, map[string]any{"url": refused(t)})
	v.must(`
		const es = new EventSource(url, { maxReconnects: 2, retry: 1, jitter: 1 });
		es.onerror = (e) => note([e.message.includes('refused'), e.status, e.fatal, es.readyState].join());`)
	v.wantNotes("true,0,false,0", "true,0,false,0", "true,0,true,2")
	v.wantCount(3, "sse_connect_success", "status=0")
}

func TestEventSourceBrokenHeads(t *testing.T) {
	for name, c := range map[string]struct{ head, message string }{
		"nothing": {"", "the connection ended before the response's head"},
		"half":    {"HTTP/1.1 200 OK\r\nContent-Ty", "malformed MIME header"},
		"garbage": {"hello\r\n\r\n", "malformed HTTP"},
		"endless": {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 1100), "the response's head has more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(_ int, conn *net.TCPConn, _ *http.Request) {
				send(conn, c.head)
				if name == "endless" {
					hold(conn)
				}
			})
			v := newVU(t, map[string]any{"url": s.url})
			v.must(`new EventSource(url, { reconnect: false }).onerror = (e) => note(e.message);`)
			if got := v.noted(); len(got) != 1 || !strings.Contains(got[0], c.message) {
				t.Errorf("%q; want %q", got, c.message)
			}
		})
	}
}

func TestConnectTimeout(t *testing.T) {
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) { hold(c) })
	v := newVU(t, map[string]any{"url": s.url})
	v.must(`new EventSource(url, { reconnect: false, connectTimeout: 30 }).onerror = (e) => note(e.message);`)
	v.wantNotes("no response within 30ms (connectTimeout)")
}

// The bodies that HTTP/1.1 knows: until the connection ends, chunked (also cut short), and with a length.
func TestBodies(t *testing.T) {
	for name, c := range map[string]struct{ body, reason string }{
		"until the end": {"\r\ndata: a\n\ndata: b\n\n", "end"},
		"length":        {"Content-Length: 18\r\n\r\ndata: a\n\ndata: b\n\n", "end"},
		"chunked":       {"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n4\r\ndata\r\n5\r\n: b\n\n\r\n0\r\n\r\n", "end"},
		"cut chunk":     {"Transfer-Encoding: chunked\r\n\r\n12\r\ndata: a\n\ndata: b\n\n\r\n5\r\nda", "truncated"},
		"no last chunk": {"Transfer-Encoding: chunked\r\n\r\n12\r\ndata: a\n\ndata: b\n\n\r\n", "truncated"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(_ int, conn *net.TCPConn, _ *http.Request) {
				// A 103 first: it is no answer yet.
				send(conn, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: Text/event-stream ;charset=utf-8;charset=utf-8\r\n"+c.body)
				if name == "chunked" || name == "length" {
					hold(conn) // the body says where it ends
				}
			})
			v := newVU(t, map[string]any{"url": s.url})
			v.must(`
				const es = new EventSource(url, { reconnect: false });
				es.onmessage = (e) => note(e.data);
				es.onerror = (e) => note('lost');`)
			v.wantNotes("a", "b", "lost")
			v.wantSum(1, "sse_disconnects", "reason="+c.reason)
			v.wantSum(2, "sse_event")
		})
	}
}

// A listener that is slower than its stream gets every event, in order.
func TestSlowListener(t *testing.T) {
	const events = 20_000
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		var text strings.Builder
		for i := range events {
			fmt.Fprintf(&text, "data: {\"seq\":%d}\n\n", i+1)
		}
		send(c, streamHead+text.String())
	})
	v := newVU(t, map[string]any{"url": s.url})
	v.must(`
		let n = 0, bad = 0;
		const es = new EventSource(url, { reconnect: false });
		es.onmessage = (e) => { if (JSON.parse(e.data).seq !== ++n) bad++; };
		es.onerror = () => note([n, bad, es.stats.events, es.stats.lost].join());`)
	v.wantNotes(fmt.Sprintf("%d,0,%d,0", events, events))
}

// A slow consumer's server notices: it can't write much more than the small buffers between them hold.
func TestSlowConsumer(t *testing.T) {
	for _, options := range []string{"{ readDelay: '1h' }", "{ readRate: 1000 }"} {
		t.Run(options, func(t *testing.T) {
			var written atomic.Int64
			v := newVU(t, nil)
			s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
				_ = c.SetWriteBuffer(4096)
				send(c, streamHead)
				block := []byte("data: " + strings.Repeat("x", 8184) + "\n\n")
				_ = c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
				for written.Load() < 4<<20 {
					n, err := c.Write(block)
					written.Add(int64(n))
					if err != nil {
						break
					}
				}
				v.note("written")
				hold(c)
			})
			stop := v.rt.CancelContext
			go func() {
				v.await("written")
				stop()
			}()
			v.must(`new EventSource('` + s.url + `', ` + options + `);`)
			if n := written.Load(); n > 1<<20 {
				t.Errorf("%d bytes went to a consumer that doesn't read", n)
			}
		})
	}
}

func TestOnceAndClose(t *testing.T) {
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		send(c, streamHead+"event: a\ndata: 1\n\nevent: a\ndata: 2\n\nevent: a\ndata: 3\n\n")
		hold(c)
	})
	v := newVU(t, map[string]any{"url": s.url})
	v.must(`
		const es = new EventSource(url);
		const gone = () => note('gone');
		es.addEventListener('a', (e) => note('once ' + e.data), { once: true });
		es.addEventListener('a', gone);
		es.addEventListener('a', (e) => {
			note('a ' + e.data);
			es.removeEventListener('a', gone);
			if (e.data === '2') { es.close(); es.close(); }
		});
		es.addEventListener('a', () => note('last'));
		es.onerror = () => note('error');
		es.onopen = null;`)
	v.wantNotes("once 1", "gone", "a 1", "last", "a 2")
	v.wantCount(0, "sse_disconnects")
}
