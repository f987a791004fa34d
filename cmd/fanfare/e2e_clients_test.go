package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	sse "github.com/tmaxmax/go-sse"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// clientScript runs npm's EventSource client.
const clientScript = "../../scripts/node/eventsource.mjs"

func npmEventSource(t testing.TB, url string, names ...string) *listener {
	t.Helper()
	if _, err := os.Stat("../../scripts/node/node_modules/eventsource/package.json"); err != nil {
		t.Fatalf("the npm package eventsource is not installed: scripts/test.sh installs what the tests need (%v)", err)
	}
	return listen(t, "node", append([]string{clientScript, url}, names...)...)
}

// event reads the next line of npm's client.
func (l *listener) event() (e seen) {
	l.t.Helper()
	if err := json.Unmarshal([]byte(l.next()), &e); err != nil {
		l.t.Fatal(err)
	}
	return e
}

func TestNPMEventSource(t *testing.T) {
	s := start(t, "--retry", "50ms")
	c := newCutter(t, s.Stream)
	l := npmEventSource(t, c.url+proctest.StreamPath("numbers"), "update")
	if e := l.event(); e.Type != "open" { // before any event
		t.Fatalf("%+v", e)
	}
	p := s.Publish("numbers", `{"event":"update","data":{"text":"one\ntwo – 日本語"}}`)
	if e := l.event(); e != (seen{Type: "update", Data: `{"text":"one\ntwo – 日本語"}`, ID: p.ID}) {
		t.Errorf("%+v", e)
	}

	const events, cuts = 100, 4
	opens := 1
	var data []string
	receive := func(n int) { // up to n numbers in all
		for len(data) < n {
			switch e := l.event(); e.Type {
			case "open":
				opens++
			case "message":
				data = append(data, e.Data)
			default:
				t.Fatalf("%+v", e)
			}
		}
	}
	for i := range events {
		s.Publish("numbers", strconv.Quote(strconv.Itoa(i)))
		if i%(events/cuts) == events/cuts/2 {
			receive(i) // the one that follows is on its way when the connection is cut
			c.cut(i/(events/cuts)%2 == 0)
		}
	}
	receive(events)
	reconcile(t, events, data)
	if opens != 1+cuts {
		t.Errorf("opened %d times, cut %d times", opens, cuts)
	}
}

func TestNPMEventSourceSeesARestart(t *testing.T) {
	s := start(t, "--retry", "50ms")
	c := newCutter(t, s.Stream)
	l := npmEventSource(t, c.url+proctest.StreamPath("k"))
	l.event()
	before := s.Publish("k", `"before"`)
	l.event()
	s.Stop(9)
	s.Restart()
	if e := l.event(); e.Type != "open" {
		t.Errorf("%+v", e)
	}
	var gap struct{ Key, Reason, After string }
	e := l.event()
	if err := json.Unmarshal([]byte(e.Data), &gap); err != nil || e.Type != "gap" || gap.Key != "k" || gap.Reason != "epoch" || gap.After != before.ID {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestGoSSEClient(t *testing.T) {
	s := start(t, "--retry", "50ms")
	c := newCutter(t, s.Stream)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+proctest.StreamPath("numbers"), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := sse.Client{HTTPClient: &http.Client{Transport: &http.Transport{}}, Backoff: sse.Backoff{Multiplier: 1, Jitter: -1}}
	conn := client.NewConnection(req)
	var mu sync.Mutex
	var data []string
	var ids []string
	conn.SubscribeToAll(func(e sse.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Data != "" { // this client dispatches blocks without data too, which the standard forbids
			data, ids = append(data, e.Type+e.Data), append(ids, e.LastEventID)
		}
	})
	ended := make(chan error, 1)
	go func() { ended <- conn.Connect() }()
	s.AwaitCount("numbers", 1)
	received := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(data)
	}
	const events = 100
	last := ""
	for i := range events {
		last = s.Publish("numbers", strconv.Quote(strconv.Itoa(i))).ID
		if i%20 == 10 {
			eventually.Holds(t, "events arrive", func() (bool, string) { return received() >= i, fmt.Sprint(received()) })
			c.cut(false)
		}
	}
	eventually.Holds(t, "all events arrive", func() (bool, string) { return received() >= events, fmt.Sprint(received()) })
	reconcile(t, events, data)
	if ids[events-1] != last {
		t.Errorf("the last id is %q, want %q", ids[events-1], last)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.AwaitCount("numbers", 0)
}

func TestCurl(t *testing.T) {
	s := start(t)
	curl := proctest.Tool(t, "curl") + " -sS --max-time 20 "
	for name, flags := range map[string]string{"HTTP/1.1": "", "HTTP/1.0": "--http1.0", "Connection: close": "-H 'Connection: close'"} {
		t.Run(name, func(t *testing.T) {
			key := "k" + strings.NewReplacer("/", "", " ", "", ":", "").Replace(name)
			l := listen(t, "sh", "-c", "exec "+curl+"-iN "+flags+" '"+s.URL(key)+"'")
			for head := l.next(); head != "\r"; head = l.next() { // at once
				if strings.HasPrefix(head, "HTTP/") && !strings.Contains(head, " 200 ") {
					t.Errorf("%q", head)
				}
			}
			s.AwaitCount(key, 1)
			p := s.Publish(key, `{"event":"update","data":"one\ntwo"}`)
			s.Post("/close?key="+key, "", "")
			want := []string{"", "event: update", "data: one", "data: two", "id: " + p.ID, ""}
			got := l.end() // the response ends
			if len(got) != len(want)+3 || !strings.HasPrefix(got[2], "id: ") || strings.Join(got[3:], "\n") != strings.Join(want, "\n") {
				t.Errorf("got %q, want a position and %q", got, want)
			}
			if err := l.cmd.Wait(); err != nil {
				t.Errorf("%v, %s", err, l.log)
			}
		})
	}

	head := shell(t, nil, curl+"-I '"+s.URL("k")+"'")
	for _, want := range []string{"HTTP/1.1 200 OK\r\n", "Content-Type: text/event-stream\r\n", "Cache-Control: no-cache, no-transform\r\n", "X-Accel-Buffering: no\r\n", "Access-Control-Allow-Origin: *\r\n"} {
		if !strings.Contains(head, want) {
			t.Errorf("HEAD lacks %q:\n%s", want, head)
		}
	}
	options := shell(t, nil, curl+"-i -X OPTIONS -H 'Origin: https://app.example' -H 'Access-Control-Request-Method: GET' -H 'Access-Control-Request-Headers: last-event-id' '"+s.URL("k")+"'")
	for _, want := range []string{"HTTP/1.1 204 No Content\r\n", "Access-Control-Allow-Origin: *\r\n", "Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n", "Access-Control-Allow-Headers: last-event-id\r\n"} {
		if !strings.Contains(options, want) {
			t.Errorf("OPTIONS lacks %q:\n%s", want, options)
		}
	}
	if post := shell(t, nil, curl+"-i -d x '"+s.URL("k")+"'"); !strings.Contains(post, "HTTP/1.1 405 ") || !strings.Contains(post, "Allow: GET, HEAD, OPTIONS\r\n") {
		t.Errorf("POST: %s", post)
	}
	s.AwaitCount("k", 0) // none of these opened a stream
}

// Polyfills send the last id in the query, where they cannot set a header.
func TestLastEventIDOfPolyfills(t *testing.T) {
	s := start(t, "--history", "8")
	for i := range 3 {
		s.Publish("own", fmt.Sprintf(`{"id":"n %d","data":"%d"}`, i, i))
	}
	first := s.Publish("k", `"0"`).ID
	s.Publish("k", `"1"`)
	for _, test := range []struct{ key, query, header, want string }{
		{"k", "&lastEventId=" + first, "", "data: 1"},
		{"k", "&lastEventId=" + first, "Last-Event-ID: garbage", `data: {"key":"k","reason":"unknown","missed":null,"after":"garbage"`}, // the header wins
		{"own", "&lastEventId=n%201", "", "data: 2"},
		{"own", "&lastEventId=n+0", "", "data: 1"},
		{"own", "&lastEventId=", "", ""},
	} {
		l := listen(t, "curl", "-sSN", "--max-time", "20", "-H", test.header, s.URL(test.key)+test.query)
		s.AwaitCount(test.key, 1)
		s.Post("/close?key="+test.key, "", "")
		got := ""
		for _, line := range l.end() {
			if strings.HasPrefix(line, "data: ") {
				got = line
				break
			}
		}
		if !strings.HasPrefix(got, test.want) || (test.want == "") != (got == "") {
			t.Errorf("%s %q: the first event is %q, want %q", test.query, test.header, got, test.want)
		}
		s.AwaitCount(test.key, 0)
	}
}

// A client that only ever connects and leaves costs nothing that stays.
func TestClientsThatLeaveAreNotCounted(t *testing.T) {
	s := start(t, "--ping-interval", "1h") // nothing but the end itself tells the server
	for _, reset := range []bool{true, false} {
		c := newCutter(t, s.Stream)
		l := npmEventSource(t, c.url+proctest.StreamPath("k"))
		l.event()
		s.AwaitCount("k", 1)
		_ = l.cmd.Process.Kill()
		c.cut(reset)
		s.AwaitCount("k", 0)
	}
}
