package sse

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
)

// The end of the iteration ends its streams at once, whatever they do, and reports what they had counted.
func TestInterrupt(t *testing.T) {
	s := serve(t, func(n int, c *net.TCPConn, req *http.Request) {
		if req.URL.Path == "/head" {
			hold(c)
			return
		}
		send(c, streamHead+"data: x\n\n")
		hold(c)
	})
	mute, err := net.Listen("tcp", "127.0.0.1:0") // its backlog takes connections, and nobody shakes hands
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	v := newVU(t, map[string]any{"url": s.url, "refused": refused(t), "mute": "https://" + mute.Addr().String()})
	v.module.unanswered = time.Hour // of attempts that were given up sooner nobody knows, however slow this machine is
	stop := v.rt.CancelContext
	go func() {
		v.await("open")
		for i := range 50 {
			v.await(fmt.Sprint("waiting ", i))
		}
		stop()
	}()
	v.must(`
		for (let i = 0; i < 50; i++) new EventSource(mute);
		for (let i = 0; i < 50; i++) new EventSource(url + '/slow', { readDelay: '1h' });
		for (let i = 0; i < 50; i++) new EventSource(url + '/head');
		for (let i = 0; i < 50; i++) new EventSource(refused, { retry: '1h' }).onerror = () => note('waiting ' + i);
		const es = new EventSource(url);
		es.onmessage = () => note('open');
		es.onerror = () => note('never');`)
	for _, n := range v.noted() {
		if n == "never" {
			t.Error("JavaScript was called after the end")
		}
	}
	v.wantCount(0, "sse_disconnects")
	v.wantCount(50, "sse_connect_success", "status=0") // those that were refused, and not those that were given up
	if active := v.values("sse_active"); len(active) == 0 || active[len(active)-1] != 0 || v.module.active.Load() != 0 {
		t.Errorf("sse_active: %v", active)
	}
}

// The number of open streams is told again and again, while it stays the same.
func TestActiveIsRepeated(t *testing.T) {
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		send(c, streamHead)
		hold(c)
	})
	v := newVU(t, map[string]any{"url": s.url})
	stop := v.rt.CancelContext
	go func() {
		defer stop()
		if !eventually.Within(patience, func() bool { return len(v.values("sse_active")) >= 3 }) {
			t.Errorf("sse_active: %v", v.values("sse_active"))
		}
	}()
	v.must(`new EventSource(url);`)
	if active := v.values("sse_active"); len(active) < 3 || !slices.Equal(active[:3], []float64{1, 1, 1}) {
		t.Errorf("sse_active: %v", active)
	}
}

// A stream that is closed before it was open didn't fail.
func TestCloseWhileConnecting(t *testing.T) {
	asked := make(chan struct{})
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		close(asked)
		hold(c)
	})
	v := newVU(t, map[string]any{"url": s.url, "asked": func() { <-asked }})
	v.must(`
		const es = new EventSource(url);
		es.onerror = () => note('error');
		asked();
		es.close();`)
	v.wantNotes()
	v.wantCount(0, "sse_connect_success")
}

// A stream isn't added to a hub whose last stream is going away just now: nothing would wake it.
func TestHubThatEnds(t *testing.T) {
	s := streaming(t, "data: x\n\n")
	v := newVU(t, map[string]any{"url": s.url})
	i := v.instance
	v.must(`new EventSource(url, { reconnect: false }).onmessage = (e) => note(e.data);`)
	ended := i.hub
	if ended.add(new(stream)) || len(ended.streams) != 0 {
		t.Error("a hub that had ended took a stream")
	}
}

// An exception in a listener ends the iteration and its streams.
func TestListenerThrows(t *testing.T) {
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		send(c, streamHead+"data: x\n\ndata: y\n\n")
		hold(c)
	})
	v := newVU(t, map[string]any{"url": s.url})
	err := v.run(`
		for (let i = 0; i < 20; i++) new EventSource(url + '/other').onmessage = () => 0;
		new EventSource(url).onmessage = (e) => { note(e.data); throw new Error('thrown'); };`)
	if err == nil || !strings.Contains(err.Error(), "thrown") {
		t.Errorf("error %v", err)
	}
	v.wantNotes("x")
}

// Events that nobody listens for are counted while JavaScript is busy with something else.
func TestBusyScript(t *testing.T) {
	const events = 5000
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		send(c, streamHead)
		for range events {
			send(c, "data: x\n\n")
		}
		hold(c)
	})
	v := newVU(t, map[string]any{"url": s.url, "pause": func() { time.Sleep(time.Millisecond) }})
	v.must(fmt.Sprintf(`
		const es = new EventSource(url);
		while (es.stats.events < %d) pause();
		es.close();
		note(String(es.readyState));`, events))
	v.wantNotes("2")
	v.wantSum(events, "sse_event")
}

// A script that sleeps instead of returning to the event loop is told that its listeners missed something.
func TestSleepingScript(t *testing.T) {
	const events = 5000
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		send(c, streamHead)
		for range events {
			send(c, "data: "+strings.Repeat("x", 100)+"\n\nevent: other\ndata: x\n\n")
		}
		hold(c)
	})
	v := newVU(t, map[string]any{"url": s.url, "pause": func() { time.Sleep(time.Millisecond) }})
	v.must(fmt.Sprintf(`
		const es = new EventSource(url);
		let n = 0;
		es.onmessage = () => { n++; };
		while (es.stats.events < %d) pause();
		setTimeout(() => { es.close(); note(String(n)); }, 100);`, 2*events))
	var missed int
	if _, text, ok := strings.Cut(v.log.String(), s.url+": "); !ok {
		t.Fatalf("logged: %s", v.log)
	} else if _, err := fmt.Sscan(text, &missed); err != nil {
		t.Fatal(err)
	}
	if v.wantNotes(fmt.Sprint(events - missed)); missed == 0 || missed >= events {
		t.Errorf("%d of %d events were missed; want some, but not all", missed, events)
	}
}

// Streams may come and go within an iteration, and the next iteration begins anew.
func TestHubs(t *testing.T) {
	s := streaming(t, "data: x\n\n")
	v := newVU(t, map[string]any{"url": s.url})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range 3 {
		v.rt.VU.CtxField = ctx
		v.must(`
			{
				let left = 5;
				const next = () => {
					if (left-- > 0) new EventSource(url, { reconnect: false }).onerror = () => Promise.resolve().then(next);
				};
				next();
			}`)
	}
	v.wantSum(15, "sse_event")
}

func TestManyStreams(t *testing.T) {
	const streams = 500
	var wg sync.WaitGroup
	wg.Add(streams)
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		wg.Done()
		wg.Wait() // nobody gets anything before all are there
		send(c, streamHead+"data: {\"seq\":1}\n\ndata: {\"seq\":3}\n\ndata: {\"seq\":3}\n\n")
		hold(c)
	})
	v := newVU(t, map[string]any{"url": s.url, "streams": streams})
	v.must(`
		let done = 0;
		const all = [];
		for (let i = 0; i < streams; i++) {
			const es = new EventSource(url + '/?key=' + i);
			all.push(es);
			es.onmessage = () => { if (++done === 3 * streams) all.forEach((es) => es.close()); };
		}`)
	v.wantSum(3*streams, "sse_event")
	v.wantSum(streams, "sse_lost")
	v.wantSum(streams, "sse_duplicate")
	v.wantSum(streams, "sse_connect_success")
}

// Events that arrive while the script is on its way back to the event loop, which takes a while on a busy machine, reach the
// listeners that it has added.
func TestEventsBeforeTheScriptReturns(t *testing.T) {
	const events = 100
	s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
		send(c, streamHead)
		for i := range events {
			send(c, fmt.Sprintf("data: %d\n\n", i))
			time.Sleep(time.Millisecond) // so that many reads get them
		}
		hold(c)
	})
	v := newVU(t, map[string]any{"url": s.url})
	v.must(fmt.Sprintf(`
		const es = new EventSource(url);
		let seen = 0;
		es.onmessage = () => { if (++seen === %d) { note('all'); es.close(); } };
		for (const end = Date.now() + 500; Date.now() < end;) {}`, events))
	v.wantNotes("all")
}
