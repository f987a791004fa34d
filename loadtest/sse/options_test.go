package sse

import (
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	httpmodule "go.k6.io/k6/js/modules/k6/http"
	"go.k6.io/k6/js/modulestest"
	"go.k6.io/k6/lib/netext/httpext"
)

func TestBadArguments(t *testing.T) {
	for script, want := range map[string]string{
		`new EventSource()`:                                              "new EventSource: the first argument must be a URL",
		`new EventSource('/x')`:                                          `the URL "/x" must begin with http:// or https:// and a host`,
		`new EventSource('http://[')`:                                    `the URL "http://[" is invalid`,
		`new EventSource('ws://h/')`:                                     "must begin with http",
		`new EventSource('http://h/', 'x')`:                              `the options must be an object, not "x"`,
		`new EventSource('http://h/', {retrry: 1})`:                      `unknown option "retrry": the type EventSourceOptions`,
		`new EventSource('http://h/', {retry: -1})`:                      `option retry: must be milliseconds or a duration such as '1.5s', not "-1"`,
		`new EventSource('http://h/', {retry: 'soon'})`:                  "option retry: must be milliseconds",
		`new EventSource('http://h/', {jitter: 2})`:                      `option jitter: must be a number from 0 to 1, not "2"`,
		`new EventSource('http://h/', {jitter: 'x'})`:                    "option jitter: must be a number",
		`new EventSource('http://h/', {readRate: 0})`:                    "option readRate: must be a number from 1",
		`new EventSource('http://h/', {maxReconnects: 1.5})`:             "option maxReconnects: must be a whole number from 0",
		`new EventSource('http://h/', {maxEventBytes: 0})`:               "option maxEventBytes: must be a whole number from 1",
		`new EventSource('http://h/', {reconnect: 'no'})`:                `option reconnect: must be true or false, not "no"`,
		`new EventSource('http://h/', {connectTimeout: 0})`:              "option connectTimeout: must be more than 0",
		`new EventSource('http://h/', {lastEventId: 'a\nb'})`:            "option lastEventId: must not contain NUL, CR or LF",
		`new EventSource('http://h/', {token: 'a\nb'})`:                  "option token: has characters that are not allowed in a header",
		`new EventSource('http://h/', {headers: {'a b': 1}})`:            `option headers: "a b": "1" is not allowed as the value of a header`,
		`new EventSource('http://h/', {headers: 'A: b'})`:                `option headers: must be an object, not "A: b"`,
		`new EventSource('http://h/', {tags: 'a'})`:                      `option tags: must be an object, not "a"`,
		`new EventSource('http://h/', {token: {}})`:                      `option token: must be text, not "[object Object]"`,
		`new EventSource('http://h/', {name: ['a']})`:                    `option name: must be text, not "a"`,
		`new EventSource('http://h/', {lastEventId: {}})`:                `option lastEventId: must be text`,
		`new EventSource('http://h/', {headers: {Connection: 'close'}})`: `option headers: "Connection" is set by the connection: remove it`,
		`new EventSource('http://h/', {jar: 1})`:                         "option jar: must be an http.CookieJar",
		`new EventSource('http://h/', {measure: 'seq'})`:                 "option measure: must be false or an object",
		`new EventSource('http://h/', {measure: {seq: 's'}})`:            `option measure: unknown member "seq"`,
		`new EventSource('http://h/', {measure: {unit: 'h'}})`:           `option measure: unit "h" must be 's', 'ms', 'us' or 'ns'`,
		`EventSource.prototype.close.call({})`:                           "TypeError: this is not an EventSource",
		`EventSource.prototype.url`:                                      "TypeError: this is not an EventSource",
		`sse.open('http://h/')`:                                          "sse.open: wrong arguments: give a URL, options and a function",
		`sse.open('http://h/', {})`:                                      "sse.open: the last argument must be a function",
		`sse.open('x', () => 0)`:                                         `sse.open: the URL "x" must begin with http`,
		`sse.open('http://h/', {method: 'a b'}, () => 0)`:                "sse.open: option method: must be a method",
		`sse.open('http://h/', (c) => c.on('evnt', () => 0))`:            `client.on("evnt", …): there is no such event: use 'open', 'event', 'error' or 'close'`,
		`sse.open('http://h/', (c) => c.on('event', 1))`:                 `client.on("event", …): the handler must be a function`,
		`sse.open('http://h/', () => { throw 'mine' })`:                  "mine",
	} {
		v := newVU(t, nil)
		if err := v.run(script); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", script, err, want)
		}
	}
}

func TestInitContext(t *testing.T) {
	rt := modulestest.NewRuntime(t)
	exports := New().NewModuleInstance(rt.VU).Exports()
	for name, value := range exports.Named {
		if err := rt.VU.Runtime().Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	for _, script := range []string{`new EventSource('http://h/')`, `open('http://h/', () => 0)`} {
		if _, err := rt.VU.Runtime().RunString(script); err == nil || !strings.Contains(err.Error(), "init context") {
			t.Errorf("%s: %v", script, err)
		}
	}
}

func TestNameOf(t *testing.T) {
	for raw, want := range map[string]string{
		"http://h/s?connectKey=a":                    "http://h/s?connectKey",
		"https://u:p@h:1/s?connectKey=a&connectKey=": "https://h:1/s?connectKey",
		"http://h?b=1&a":                             "http://h?b&a",
		"http://h/":                                  "http://h/",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := nameOf(u); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

// What is sent: headers, token, user, cookies, also over TLS and after a redirect.
func TestRequests(t *testing.T) {
	var target string
	mux := http.NewServeMux()
	mux.HandleFunc("/from", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "c", Value: "1"})
		http.Redirect(w, r, target, http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		cookie, _ := r.Cookie("c")
		user, _, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("data: " + strings.Join([]string{r.Proto, r.Header.Get("Authorization"), user, r.Header.Get("X-A"),
			cookie.String(), r.Header.Get("Last-Event-ID"), r.Host}, "|") + "\n\n"))
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	server := httptest.NewTLSServer(mux)
	defer server.Close()
	target = server.URL + "/to"
	v := newVU(t, map[string]any{"base": server.URL})
	v.state.TLSConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
	v.must(`
		const es = new EventSource(base + '/from', { token: 't', headers: { 'x-a': 'b', 'last-event-id': '5' }, reconnect: false });
		es.onmessage = (e) => {
			note(e.data);
			sse.open(base.replace('//', '//me:secret@') + '/to', { headers: { host: 'other' } }, (c) => {
				c.on('event', (e) => note(e.data.replace(/Basic [^|]*/, 'basic')));
			});
			const res = sse.open(base + '/loop', (c) => 0);
			note(res.status + ' ' + res.error);
		};`)
	host := strings.TrimPrefix(server.URL, "https://")
	v.wantNotes("HTTP/1.1|Bearer t||b|c=1|5|"+host, "HTTP/1.1|basic|me||c=1||other", "302 more than 10 redirects (option maxRedirects), the last from "+server.URL+"/loop to "+server.URL+"/loop: is it a loop?")
}

// Names that aren't ASCII are sent as browsers do.
func TestInternationalName(t *testing.T) {
	v := newVU(t, nil)
	o, err := newOptions(v.state, v.rt.VU.Runtime().ToValue("http://b\u00fccher.example:81/?k=\u00fc"))
	if err != nil || o.url.String() != "http://xn--bcher-kva.example:81/?k=\u00fc" {
		t.Errorf("%v, %v", o.url, err)
	}
}

// A URL of k6's http.url has its own name; a jar of the script's takes the place of the VU's; a name among the tags names
// the URL too.
func TestTaggedURLAndJar(t *testing.T) {
	s := serve(t, func(_ int, c *net.TCPConn, req *http.Request) {
		send(c, streamHead+"data: "+req.RequestURI+" "+req.Header.Get("Cookie")+"\n\n")
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	jar.SetCookies(u, []*http.Cookie{{Name: "mine", Value: "1"}})
	tagged, err := httpext.NewURL(s.url+"/s/17", s.url+"/s/${}")
	if err != nil {
		t.Fatal(err)
	}
	v := newVU(t, map[string]any{"url": s.url, "tagged": tagged, "jar": &httpmodule.CookieJar{Jar: jar}})
	v.must(`
		const es = new EventSource(tagged, { jar, reconnect: false });
		es.onmessage = (e) => {
			note(e.data);
			sse.open(url + '/a', { tags: { name: 'among tags' } }, (c) => c.on('event', (e) => note(e.data)));
		};`)
	v.wantNotes("/s/17 mine=1", "/a ")
	v.wantSum(1, "sse_event", "name="+s.url+"/s/${}", "url="+s.url+"/s/${}")
	v.wantSum(1, "sse_event", "name=among tags", "url=among tags")
}

// A certificate that nobody vouches for is refused, by name.
func TestUnknownAuthority(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = discard
	server.StartTLS()
	defer server.Close()
	v := newVU(t, map[string]any{"url": server.URL})
	v.must(`new EventSource(url, { reconnect: false }).onerror = (e) => note(e.message);`)
	if got := v.noted(); len(got) != 1 || !strings.Contains(got[0], "certificate") {
		t.Errorf("%q", got)
	}
}

var discard = log.New(io.Discard, "", 0)

func TestPause(t *testing.T) {
	for _, c := range []struct {
		o        options
		failed   int
		low, top time.Duration
	}{
		{options{retry: time.Second, maxRetry: 30 * time.Second}, 0, time.Second, time.Second},
		{options{retry: time.Second, maxRetry: 30 * time.Second}, 1, time.Second, time.Second},
		{options{retry: time.Second, maxRetry: 30 * time.Second}, 4, 8 * time.Second, 8 * time.Second},
		{options{retry: time.Second, maxRetry: 30 * time.Second}, 1000, 30 * time.Second, 30 * time.Second},
		{options{retry: time.Minute, maxRetry: 30 * time.Second}, 5, time.Minute, time.Minute},
		{options{retry: 0, maxRetry: time.Second}, 3, 4 * time.Millisecond, 4 * time.Millisecond},
		{options{retry: time.Second, maxRetry: time.Minute, jitter: 0.25}, 2, 1500 * time.Millisecond, 2500 * time.Millisecond},
		{options{retry: time.Second, maxRetry: time.Minute, jitter: 1}, 0, 0, 2 * time.Second},
		{options{retry: math.MaxInt64, maxRetry: time.Minute}, 3, math.MaxInt64, math.MaxInt64},
		{options{retry: math.MaxInt64, jitter: 0.01}, 0, math.MaxInt64 / 100 * 99, math.MaxInt64},
	} {
		s := &stream{opts: &c.o, failed: c.failed}
		least, most := time.Duration(math.MaxInt64), time.Duration(0)
		for range 2000 {
			p := s.pause()
			least, most = min(least, p), max(most, p)
		}
		spread := (c.top - c.low) / 10
		if least < c.low || most > c.top || least > c.low+spread || most < c.top-spread {
			t.Errorf("%+v after %d failures: %v to %v; want %v to %v", c.o, c.failed, least, most, c.low, c.top)
		}
	}
}

func TestMeasure(t *testing.T) {
	type step struct {
		data            string
		micro           int64
		lost, duplicate int64
	}
	for name, c := range map[string]struct {
		m     measure
		steps []step
	}{
		"default": {measure{sequence: "seq", timestamp: "ts", unit: time.Microsecond}, []step{
			{`{"seq":5,"ts":1700000000000001}`, 1700000000000001, 0, 0},
			{` {"ts":1.5e3,"seq":6}`, 1500, 0, 0},
			{`{"seq":9}`, 0, 2, 0},
			{`{"seq":9}`, 0, 0, 1},
			{`{"seq":8}`, 0, -1, 0}, // it was late
			{`{"seq":8}`, 0, 0, 1},
			{`text with "seq":100`, 0, 0, 0},
			{`["seq",100]`, 0, 0, 0},
			{``, 0, 0, 0},
			{`{"seq":"10","ts":"1"}`, 0, 0, 0},
			{`{"seq":10}`, 0, 0, 0},
		}},
		"paths": {measure{sequence: "m.n", timestamp: "m.t", unit: time.Millisecond}, []step{
			{`{"seq":1,"m":{"n":1,"t":7}}`, 7000, 0, 0}, {`{"seq":1,"m":{"n":3}}`, 0, 1, 0},
		}},
		"keys": {measure{sequence: "seq", key: "k"}, []step{
			{`{"k":"a","seq":1,"ts":9}`, 0, 0, 0}, {`{"k":"b","seq":7}`, 0, 0, 0}, {`{"k":"a","seq":2}`, 0, 0, 0},
			{`{"k":"b","seq":9}`, 0, 1, 0}, {`{"seq":1}`, 0, 0, 0}, {`{"seq":1}`, 0, 0, 1},
		}},
	} {
		var s sequences
		for _, step := range c.steps {
			before := s.pending
			got := c.m.observe([]byte(step.data), false, &s, time.Now())
			published, lost, duplicate := got.published, s.pending-before, got.duplicate
			micro := int64(0)
			if !published.IsZero() {
				micro = published.UnixMicro()
			}
			if micro != step.micro || lost != step.lost || duplicate != step.duplicate {
				t.Errorf("%s, %s: %d µs, lost %d, duplicate %d; want %+v", name, step.data, micro, lost, duplicate, step)
			}
		}
	}
}

func TestMeasureKeysAreLimited(t *testing.T) {
	var s sequences
	for i := range maxKeys + 10 {
		s.next(string(rune('a'+i%26))+time.Duration(i).String(), 1, time.Now())
	}
	if len(s.keys) != maxKeys {
		t.Errorf("%d keys, want %d", len(s.keys), maxKeys)
	}
}
