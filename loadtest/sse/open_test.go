package sse

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"gopkg.in/guregu/null.v3"
)

// The script of xk6-sse's README, more or less.
func TestOpen(t *testing.T) {
	var got *http.Request
	var body []byte
	s := serve(t, func(_ int, c *net.TCPConn, req *http.Request) {
		got = req
		body, _ = io.ReadAll(req.Body)
		send(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Two: a\r\nX-Two: b\r\n\r\n"+
			"\uFEFF: first\n\n: why\r\nid: 1\r\nevent: news\r\ndata: {\"seq\":1}\r\n\r\ndata: {\"seq\":3}\n\nevent: message\ndata: x\n\ndata: half")
	})
	v := newVU(t, map[string]any{"url": s.url})
	v.must(`
		const res = sse.open(url + '/s?key=k', {
			method: 'post', body: '{"q":1}', headers: { Authorization: 'Bearer t', 'X-A': 'b', Connection: 'keep-alive' }, tags: { my: 'tag' }, timeout: '10s',
			readDelay: 1,
		}, (client) => {
			client.on('open', function open() { note('open'); });
			client.on('event', (e) => note(JSON.stringify([e.id, e.name, e.data, e.comment])));
			client.on('error', (e) => note('error ' + e.error()));
			client.on('close', () => note('close'));
		});
		note(JSON.stringify([res.status, res.url === url + '/s?key=k', res.headers['X-Two'], res.headers['Content-Type'], res.error]));`)
	v.wantNotes("open", `["1","news","{\"seq\":1}","why"]`, `["1","","{\"seq\":3}",""]`, `["1","message","x",""]`, "close",
		`[200,true,"a, b","text/event-stream",""]`)
	if got.Method != "POST" || string(body) != `{"q":1}` || got.Header.Get("Authorization") != "Bearer t" ||
		got.Header.Get("X-A") != "b" || got.Header.Get("Accept") != "text/event-stream" || got.UserAgent() != "k6 test" {
		t.Errorf("the request was %v, %s", got, body)
	}
	v.wantSum(3, "sse_event", "my=tag", "name="+s.url+"/s?key")
	v.wantSum(1, "sse_lost", "my=tag")
	v.wantSum(1, "sse_connect_success", "status=200")
	v.wantCount(1, "sse_first_event")
	v.wantSum(1, "sse_disconnects", "reason=end")
	v.wantSum(1, "http_reqs", "my=tag", "name="+s.url+"/s?key", "method=POST", "status=200")
	v.wantCount(1, "http_req_duration", "my=tag", "status=200")
	if text := v.log.String(); strings.Count(text, "unknown option") != 1 || !strings.Contains(text, "readDelay") {
		t.Errorf("logged: %s", text)
	}
}

func TestOpenCloses(t *testing.T) {
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		send(c, streamHead+"data: 1\n\ndata: 2\n\ndata: 3\n\n")
		hold(c)
	})
	v := newVU(t, map[string]any{"url": s.url})
	v.must(`
		const res = sse.open(url, (client) => {
			client.on('event', (e) => { note(e.data); if (e.data === '2') client.close(); });
			client.on('error', (e) => note('error'));
			client.on('close', () => note('close'));
		});
		note(res.status + res.error);
		note(String(sse.open(url, (client) => client.close()).status));`)
	v.wantNotes("1", "2", "close", "200", "0")
	v.wantCount(0, "sse_disconnects")
}

// A TCP reset, and an event that never ends, end the call; xk6-sse hangs at the first.
func TestOpenFails(t *testing.T) {
	for name, c := range map[string]struct {
		options, want string
		handle        func(c *net.TCPConn)
	}{
		"reset":   {"{}", "connection reset by peer", reset},
		"timeout": {"{ timeout: '30ms' }", "the stream took longer than 30ms (timeout)", func(c *net.TCPConn) { hold(c) }},
		"line":    {"{ maxEventBytes: 100 }", "longer than 100 bytes", func(c *net.TCPConn) { send(c, "data: "+strings.Repeat("x", 200)); hold(c) }},
	} {
		t.Run(name, func(t *testing.T) {
			ready := make(chan struct{})
			s := serve(t, func(_ int, conn *net.TCPConn, _ *http.Request) {
				send(conn, streamHead+"data: 1\n\n")
				<-ready
				c.handle(conn)
			})
			v := newVU(t, map[string]any{"url": s.url, "ready": func() { close(ready) }})
			v.must(`
				let error = '';
				const res = sse.open(url, ` + c.options + `, (client) => {
					client.on('event', (e) => { note(e.data); ready(); });
					client.on('error', (e) => { error = e.error(); note('error ' + e.status); });
					client.on('close', () => note('close'));
				});
				note([res.status, res.error === error].join());
				note(error);`)
			got := v.noted()
			if len(got) != 5 || !strings.Contains(got[4], c.want) {
				t.Fatalf("noted %q; the last must contain %q", got, c.want)
			}
			got[4] = ""
			v.wantNotesOf(got, "1", "error 200", "close", "200,true", "")
			v.wantCount(1, "sse_disconnects")
		})
	}
}

func TestOpenRefused(t *testing.T) {
	v := newVU(t, map[string]any{"url": refused(t)})
	script := `
		const res = sse.open(url, (client) => {
			client.on('open', () => note('open'));
			client.on('error', (e) => note('error ' + e.error().includes('refused')));
			client.on('close', () => note('close'));
		});
		note(res.status + ' ' + res.error.includes('refused'));`
	v.must(script)
	v.wantNotes("error true", "0 true")
	v.wantCount(1, "sse_connect_success", "status=0")
	v.wantSum(1, "http_reqs", "status=0")

	v = newVU(t, map[string]any{"url": refused(t)})
	v.state.Options.Throw = null.BoolFrom(true)
	if err := v.run(script); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("with throw: error %v", err)
	}
	v.wantNotes("error true")
}

func TestOpenHandlerThrows(t *testing.T) {
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		send(c, streamHead+"data: 1\n\ndata: 2\n\n")
		hold(c)
	})
	for _, kind := range []string{"open", "event"} {
		v := newVU(t, map[string]any{"url": s.url})
		err := v.run(`sse.open(url, (client) => {
			client.on('` + kind + `', () => { note('called'); throw new Error('thrown'); });
			client.on('close', () => note('never'));
		});`)
		if err == nil || !strings.Contains(err.Error(), "thrown") {
			t.Errorf("%s: error %v", kind, err)
		}
		v.wantNotes("called")
	}
}

// The end of the iteration ends the call, and nothing is called any more; it is no failure of the stream's.
func TestOpenInterrupted(t *testing.T) {
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		send(c, streamHead+"data: 1\n\n")
		hold(c)
	})
	v := newVU(t, map[string]any{"url": s.url})
	testInterrupted(v, v.rt.CancelContext)

	// k6's gracefulStop is a deadline.
	v = newVU(t, map[string]any{"url": s.url})
	ctx := deadline{context.Background(), make(chan struct{})}
	v.rt.VU.CtxField = ctx
	testInterrupted(v, func() { close(ctx.done) })
}

// deadline is a context whose deadline is over once done is closed.
type deadline struct {
	context.Context
	done chan struct{}
}

func (d deadline) Done() <-chan struct{} { return d.done }

func (d deadline) Err() error {
	select {
	case <-d.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func testInterrupted(v *vu, stop func()) {
	v.t.Helper()
	go func() {
		v.await("1")
		stop()
	}()
	v.must(`
		const res = sse.open(url, (client) => {
			client.on('event', (e) => note(e.data));
			client.on('error', () => note('error'));
			client.on('close', () => note('close'));
		});
		note(res.status + res.error);`)
	v.wantNotes("1", "200")
	v.wantSum(1, "sse_event")
	v.wantCount(0, "sse_disconnects")
	v.wantCount(0, "http_reqs")
}
