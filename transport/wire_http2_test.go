package transport

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
)

// TestHTTP2: many streams on one connection of HTTP/2, of which one that is
// refused, cancelled or closed does the others no harm.
func TestHTTP2(t *testing.T) {
	checkLeaks(t)
	eng := engine.New(engine.Options{Key: engine.KeyOptions{MaxSubscribers: 3}})
	t.Cleanup(eng.Close)
	srv, err := NewServer(eng, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	web := httptest.NewUnstartedServer(srv.Handler())
	web.EnableHTTP2 = true
	web.StartTLS()
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
	})
	open := func(query, lastID string) (*http.Response, *bufio.Reader) {
		t.Helper()
		req, err := http.NewRequest("GET", web.URL+"/?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if lastID != "" {
			req.Header.Set("Last-Event-ID", lastID)
		}
		resp, err := web.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		if resp.ProtoMajor != 2 || resp.Header.Get("Connection") != "" {
			t.Fatal(resp.Proto, resp.Header)
		}
		return resp, bufio.NewReader(resp.Body)
	}
	expect := func(in *bufio.Reader, want string) {
		t.Helper()
		for line := range strings.Lines(want) {
			if got, err := in.ReadString('\n'); got != line {
				t.Fatalf("%q, %v; want %q", got, err, line)
			}
		}
	}
	var first string
	var bodies []*http.Response
	var readers []*bufio.Reader
	for range 3 {
		resp, in := open("connectKey=k", "")
		expect(in, "event: position\ndata:\n")
		line, err := in.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "id: ") {
			t.Fatal(line, err)
		}
		expect(in, "\n")
		first = strings.TrimSpace(strings.TrimPrefix(line, "id: "))
		bodies, readers = append(bodies, resp), append(readers, in)
	}
	for range 2 {
		resp, in := open("connectKey=k", "")
		if resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
		if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "retry: ") {
			t.Fatal(line, err)
		}
	}
	text := strings.Repeat("large ", 100_000)
	p, err := srv.Publish("k", codec.Event{Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range readers {
		expect(in, fmt.Sprintf("data: %s\nid: %s\n\n", text, p))
	}
	_ = bodies[0].Body.Close()
	eventually.Equal(t, "the cancelled stream ends", 2, func() int { return eng.Count("k") })
	_, again := open("connectKey=k", first)
	expect(again, fmt.Sprintf("event: position\ndata:\nid: %s\n\ndata: %s\nid: %s\n\n", first, text, p))
	if n := eng.CloseKey("k"); n != 3 {
		t.Fatal(n)
	}
	for _, in := range append(readers[1:], again) {
		if rest, err := in.ReadString('\n'); rest != "" || err == nil || err.Error() != "EOF" {
			t.Fatalf("%q %v", rest, err)
		}
	}
	eventually.Equal(t, "none is open", 0, srv.Open)
}
