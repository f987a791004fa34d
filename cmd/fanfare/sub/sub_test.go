package sub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanfare/cmd/fanfare/remote"
	"fanfare/codec"
	"fanfare/internal/test/eventually"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// streams answers one request after the other with the next of its answers, and the last one for ever.
type streams struct {
	mu       sync.Mutex
	answers  []http.HandlerFunc
	requests []string // "PATH?QUERY LAST-EVENT-ID"
}

func (s *streams) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, req.URL.RequestURI()+" "+req.Header.Get("Last-Event-ID"))
	answer := s.answers[min(len(s.requests), len(s.answers))-1]
	s.mu.Unlock()
	answer(w, req)
}

// text is a stream that sends text and ends.
func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, body)
	}
}

// open is a stream that sends text and goes on.
func open(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		text(body)(w, req)
		w.(http.Flusher).Flush()
		<-req.Context().Done()
	}
}

func status(code int, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		w.WriteHeader(code)
		if code != http.StatusNoContent {
			fmt.Fprint(w, "because\x1b[31m")
		}
	}
}

// watch runs the command against the answers, for at most patience.
func watch(t *testing.T, o Options, answers ...http.HandlerFunc) (out, notes string, requests []string, err error) {
	t.Helper()
	s := &streams{answers: answers}
	srv := httptest.NewServer(s)
	defer srv.Close()
	defer srv.CloseClientConnections()
	o.URL = srv.URL + "/stream"
	if o.MaxBytes == 0 {
		o.MaxBytes = 16 << 20
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var outText, noteText bytes.Buffer
	err = Run(ctx, o, &outText, &noteText)
	if ctx.Err() != nil {
		t.Errorf("it didn't end by itself; out %q, notes %q", outText.String(), noteText.String())
	}
	return outText.String(), noteText.String(), s.requests, err
}

// TestKeys: which key an event came from is told where there are several, and to a program always.
func TestKeys(t *testing.T) {
	const position = "event: position\ndata:\nid: p\n\n"
	const enveloped = position + "data: {\"key\":\"b\"}\ndata: one\n\nevent: gap\ndata: {\"key\":\"a\"}\ndata: {\"key\":\"a\",\"reason\":\"lag\",\"missed\":2,\"after\":\"x\",\"next\":\"y\"}\n\n" +
		"data: {\"key\":\"a\"}\ndata: {\"key\":\"b\"}\ndata: mine\n\nevent: position\ndata: {\"key\":\"\\u001b\"}\ndata: \n\n"
	keysOf := func(out string) (keys, data []string) {
		for line := range strings.Lines(out) {
			var m struct{ Key, Data string }
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			keys, data = append(keys, m.Key), append(data, m.Data)
		}
		return keys, data
	}
	out, _, requests, err := watch(t, Options{Keys: []string{"a", "b"}, JSON: true, Count: 3}, open(enveloped))
	keys, data := keysOf(out)
	if err != nil || !slices.Equal(requests, []string{"/stream?connectKey=a&connectKey=b&envelope=key "}) || !slices.Equal(keys, []string{"b", "a", "a", "\x1b"}) ||
		data[0] != "one" || data[2] != "{\"key\":\"b\"}\nmine" || data[3] != "" {
		t.Errorf("%q of %q, %q, %v", keys, out, requests, err)
	}
	out, notes, _, err := watch(t, Options{Keys: []string{"a", "b"}, Count: 3, Color: "never"}, open(enveloped))
	if err != nil || !regexp.MustCompile(`^\S+ b p one\n\S+ a p {"key":"b"}\n    mine\n\S+ \\u001b p \[position\] \n$`).MatchString(out) || !strings.Contains(notes, `gap: 2 events of "a" missed`) {
		t.Errorf("%q, %q, %v", out, notes, err)
	}
	// One key is known without asking, and a line that looks like an envelope is the publisher's.
	out, _, requests, err = watch(t, Options{Keys: []string{"a"}, JSON: true, Count: 1}, open(position+"data: {\"key\":\"b\"}\ndata: x\n\n"))
	if keys, data := keysOf(out); err != nil || !slices.Equal(requests, []string{"/stream?connectKey=a "}) || !slices.Equal(keys, []string{"a"}) || data[0] != "{\"key\":\"b\"}\nx" {
		t.Errorf("%q, %q, %v", out, requests, err)
	}
	// No key is the server's pool, whose name it says.
	out, _, requests, err = watch(t, Options{JSON: true, Count: 1}, open("data: {\"key\":\"@sse/count\"}\ndata: x\n\n"))
	if keys, _ := keysOf(out); err != nil || !slices.Equal(requests, []string{"/stream?envelope=key "}) || !slices.Equal(keys, []string{"@sse/count"}) {
		t.Errorf("%q, %q, %v", out, requests, err)
	}
	// A server that knows no envelope.
	out, _, _, err = watch(t, Options{Keys: []string{"a", "b"}, JSON: true, Count: 2}, open("data: plain\n\ndata: {\"key\":\"b\",\"more\":1}\n\n"))
	if keys, data := keysOf(out); err != nil || !slices.Equal(keys, []string{"", ""}) || !slices.Equal(data, []string{"plain", `{"key":"b","more":1}`}) {
		t.Errorf("%q, %v", out, err)
	}
}

func TestFormats(t *testing.T) {
	const body = "retry: 10\nid: e-0\n\nid: e-1\ndata: one\n\n: ping\n\nevent: greet\nid: e-2\ndata: \x1b[31mtwo \"<\ndata: three\n\ndata: behind the count\n\n"
	out, notes, requests, err := watch(t, Options{Keys: []string{"a b", "c"}, Raw: true, Count: 2, Reconnect: true}, open(body))
	if err != nil || out != "one\n\x1b[31mtwo \"<\nthree\n" || !slices.Equal(requests, []string{"/stream?connectKey=a+b&connectKey=c "}) {
		t.Errorf("raw: %q, %q, %v", out, requests, err)
	}
	if !strings.Contains(notes, "-- connected to http://127.0.0.1:") || !strings.Contains(notes, "-- 2 events, no gap, 1 connection\n") {
		t.Errorf("notes %q", notes)
	}
	out, _, _, err = watch(t, Options{JSON: true, Count: 2}, open(body))
	var lines []map[string]any
	for line := range strings.Lines(out) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(m["time"])); err != nil || time.Since(at) > time.Minute {
			t.Errorf("time %v", m["time"])
		}
		delete(m, "time")
		lines = append(lines, m)
	}
	if got := fmt.Sprint(lines); err != nil || got != "[map[data:one event:message id:e-1 key:] map[data:\x1b[31mtwo \"<\nthree event:greet id:e-2 key:]]" {
		t.Errorf("json: %q, %v", got, err)
	}
	out, _, _, err = watch(t, Options{Count: 2, Color: "never"}, open(body))
	var rest []string
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, " ") {
			_, line, _ = strings.Cut(line, " ") // the time
		}
		rest = append(rest, strings.TrimSuffix(line, "\n"))
	}
	if want := []string{"e-1 one", `e-2 [greet] \u001b[31mtwo "<`, "    three"}; err != nil || !slices.Equal(rest, want) {
		t.Errorf("text: %q, %v", rest, err)
	}
	out, notes, _, err = watch(t, Options{Count: 1, Color: "always", Quiet: true}, open(body))
	if err != nil || !strings.Contains(out, dim) || !strings.HasSuffix(out, "one\n") || notes != "" {
		t.Errorf("colours: %q, %q, %v", out, notes, err)
	}
}

func TestReconnects(t *testing.T) {
	out, notes, requests, err := watch(t, Options{Keys: []string{"k"}, Raw: true, Count: 4, Reconnect: true, Since: "e-7"},
		text("retry: 1\nid: e-8\ndata: a\n\n"),
		status(503, "Retry-After", "0"),
		text(""),
		text("id: e-9\ndata: b\n\nid: e-10\n\ndata: cut off"),
		text("data: c\n\nid\ndata: d\n\n"),
	)
	if err != nil || out != "a\nb\nc\nd\n" {
		t.Errorf("%q, %v", out, err)
	}
	const path = "/stream?connectKey=k "
	if want := []string{path + "e-7", path + "e-8", path + "e-8", path + "e-8", path + "e-10"}; !slices.Equal(requests, want) {
		t.Errorf("requests %q, want %q", requests, want)
	}
	for _, want := range []string{
		"connected to http", ", resuming after e-7\n", "-- the server ended the stream; next try in ", "answered 503 Service Unavailable: because\\u001b[31m; next try in",
		"-- reconnected to http", ", resuming after e-10\n", "-- 4 events, no gap, 4 connections\n",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes lack %q:\n%s", want, notes)
		}
	}
}

func TestWhatEndsIt(t *testing.T) {
	html := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }
	for _, test := range []struct {
		name   string
		o      Options
		answer http.HandlerFunc
		want   string // "" is no error
	}{
		{"404", Options{Reconnect: true}, status(404), `answered 404 Not Found: because\u001b[31m`},
		{"401", Options{Reconnect: true}, status(401), "answered 401 Unauthorized"},
		{"204", Options{Reconnect: true}, status(204), "answered 204, which asks clients not to reconnect"},
		{"a page", Options{Reconnect: true}, html, `is not an event stream: its type is "text/html; charset=utf-8"`},
		{"503 at the start", Options{Reconnect: true}, status(503), "answered 503"},
		{"the end without --reconnect", Options{}, text("data: x\n\n"), ""},
		{"an event over the limit", Options{Reconnect: true, MaxBytes: 10}, open("data: 0123456789x\n\n"), "longer than 10 bytes"},
		{"the time", Options{Reconnect: true, Timeout: 50 * time.Millisecond}, open("data: x\n\n"), ""},
		{"the time before the count", Options{Reconnect: true, Timeout: 3 * time.Second, Count: 2}, open("data: x\n\n"), "1 of 2 events arrived within 3s"},
	} {
		_, _, _, err := watch(t, test.o, test.answer)
		if got := fmt.Sprint(err); test.want == "" && err != nil || !strings.Contains(got, test.want) {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
}

func TestWaitForTheServer(t *testing.T) {
	out, _, requests, err := watch(t, Options{Raw: true, Count: 1, Wait: time.Minute, Reconnect: true}, status(503), open("data: x\n\n"))
	if err != nil || out != "x\n" || len(requests) != 2 {
		t.Errorf("%q, %q, %v", out, requests, err)
	}
	srv := httptest.NewServer(nil)
	url := srv.URL
	srv.Close()
	err = Run(t.Context(), Options{URL: url, MaxBytes: 1, Reconnect: true}, io.Discard, io.Discard)
	if err == nil || err.Error() != "cannot reach "+url+": connection refused: no server is listening there" {
		t.Error(err)
	}
}

// TestInterrupt: the end of the context is no error, in a stream and in the pause before the next.
func TestInterrupt(t *testing.T) {
	for _, answer := range []http.HandlerFunc{open("data: x\n\n"), text("retry: 3600000\ndata: x\n\n")} {
		srv := httptest.NewServer(answer)
		ctx, cancel := context.WithCancel(t.Context())
		out, feed := io.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- Run(ctx, Options{URL: srv.URL, Raw: true, MaxBytes: 1000, Reconnect: true}, feed, io.Discard)
		}()
		b := make([]byte, 10)
		if n, err := out.Read(b); err != nil || string(b[:n]) != "x\n" {
			t.Errorf("%q, %v", b[:n], err)
		}
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(eventually.Patience):
			t.Error("it goes on")
		}
		srv.CloseClientConnections()
		srv.Close()
	}
}

func TestFailedOutputEndsIt(t *testing.T) {
	srv := httptest.NewServer(open("data: x\n\n"))
	defer srv.Close()
	defer srv.CloseClientConnections()
	out, feed := io.Pipe()
	_ = out.CloseWithError(errors.New("the disk is full"))
	if err := Run(t.Context(), Options{URL: srv.URL, MaxBytes: 1000, Reconnect: true}, feed, io.Discard); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Error(err)
	}
}

func TestGaps(t *testing.T) {
	body := `event: gap` + "\nid: e-40\n" + `data: {"key":"news","reason":"history","missed":12,"after":"e-28","next":"e-40"}` + "\n\n" +
		"event: gap\n" + `data: {"key":"news","reason":"epoch","missed":null,"after":"d-9","next":"e-0"}` + "\n\n" +
		"event: gap\ndata: mind it\n\n" + "event: gap\n" + `data: {"key":"news","reason":"lag","missed":1,"after":"e-1","next":"e-2"}` + "\n\n" +
		"event: gap\n" + `data: {"key":"news","reason":"source","missed":null,"after":null,"next":null}` + "\n\n" +
		"event: gap\nid: 5-0\n" + `data: {"key":"news","reason":"source","missed":70,"after":"5-0","next":null}` + "\n\n" +
		"event: gap\n" + `data: {"key":null,"reason":"epoch","missed":null,"after":null,"next":null}` + "\n\n" +
		"event: gap\n" + `data: {"key":null,"reason":"log","missed":null,"after":null,"next":null}` + "\n\ndata: x\n\n"
	out, notes, _, err := watch(t, Options{Raw: true, Count: 2, Quiet: true, Color: "never"}, open(body))
	want := `-- gap: 12 events of "news" missed: the server no longer has them (after e-28, continuing at e-40)` + "\n" +
		`-- gap: an unknown number of events of "news" missed: the server was restarted, or the key was created again (after d-9, continuing at e-0)` + "\n" +
		`-- gap: 1 event of "news" missed: this client was too slow (after e-1, continuing at e-2)` + "\n" +
		`-- gap: an unknown number of events of "news" missed: the source of the key's events was unavailable, or lost some` + "\n" +
		`-- gap: 70 events of "news" missed: the source of the key's events was unavailable, or lost some (after 5-0)` + "\n" +
		"-- gap: an unknown number of events of all keys missed: the log of the servers has gone back, or was made anew\n" +
		"-- gap: an unknown number of events of all keys missed: the log of the servers has lost some\n"
	if err != nil || out != "mind it\nx\n" || notes != want {
		t.Errorf("%q, %q, %v; want notes %q", out, notes, err, want)
	}
	out, notes, _, err = watch(t, Options{JSON: true, Count: 2}, open(body))
	if n := strings.Count(out, `"gap":{"key":"news"`); err != nil || n != 5 || strings.Count(out, "\n") != 9 || !strings.Contains(out, `"missed":null`) {
		t.Errorf("json: %s, %v", out, err)
	}
	if !strings.Contains(notes, "-- 2 events, 7 gaps (83 events known to be missed), 1 connection\n") {
		t.Errorf("notes %q", notes)
	}
}

func TestGapOf(t *testing.T) {
	for data, want := range map[string]bool{
		`{"key":"k","reason":"history","missed":1,"after":"a","next":"b"}`:     true,
		`{"key":"k","reason":"unknown","missed":null,"after":"","next":"b"}`:   true,
		`{"key":"k","reason":"source","missed":null,"after":null,"next":null}`: true,
		`{"reason":"source"}`:                false,
		`{"key":"k","reason":"in the wall"}`: false, `{"reason":"lag"}`: false, `[]`: false, ``: false,
	} {
		if _, ok := gapOf(codec.Message{Type: []byte("gap"), Data: []byte(data)}); ok != want {
			t.Errorf("%s: %v", data, ok)
		}
		if _, ok := gapOf(codec.Message{Type: []byte("message"), Data: []byte(data)}); ok {
			t.Errorf("%s is a gap under another name", data)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü\t日": "plain ü\t日", "\x1b]0;title\a": `\u001b]0;title\u0007`, "a\r\x00b": `a\u000d\u0000b`, "\u009b31m": `\u009b31m`, "\u202eabc": `\u202eabc`,
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestUsage(t *testing.T) {
	for want, o := range map[string]Options{
		"is not a valid URL": {URL: "localhost"}, "--count (-n) is -1 and must not": {Count: -1}, "--timeout": {Timeout: -1}, "--wait": {Wait: -1},
		"--max-bytes": {MaxBytes: -1}, `write "Name: value"`: {Headers: []string{"X"}}, "without a space in the name": {Headers: []string{"a b: c"}}, "without control characters": {Headers: []string{"a: b\x01"}}, "must not have a fragment": {URL: "http://a/#b"},
	} {
		o.Environ(func(string) string { return "" })
		if o.MaxBytes == 0 {
			o.MaxBytes = 1
		}
		var usage *remote.UsageError
		if err := Run(t.Context(), o, io.Discard, io.Discard); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", o, err, want)
		}
	}
}

func TestRequestOfAStream(t *testing.T) {
	var got *http.Request
	_, _, requests, err := watch(t, Options{Count: 1, Headers: []string{"Authorization: Bearer x", "X-A:1"}, Since: "a\x01b"}, func(w http.ResponseWriter, req *http.Request) {
		got = req
		open("data: x\n\n")(w, req)
	})
	if err != nil {
		t.Fatal(err)
	}
	h := got.Header
	if h.Get("Accept") != "text/event-stream" || h.Get("Cache-Control") != "no-cache" || h.Get("Authorization") != "Bearer x" || h.Get("X-A") != "1" || h.Get("Accept-Encoding") != "" {
		t.Errorf("%v", h)
	}
	if !slices.Equal(requests, []string{"/stream?lastEventId=a%01b "}) { // no header can have this id
		t.Errorf("%q", requests)
	}
}
