package publish

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"fanfare/chaos/record"
)

// TestOutcomes: what a publisher notes for each kind of answers, one after the other.
func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []int // the last one repeats; 0: the connection ends
		want    record.Number
		sent    int
	}{
		{"stored", []int{200}, record.Number{Outcome: record.Stored, ID: "e-1"}, 1},
		{"stored at the second attempt", []int{503, 200}, record.Number{Outcome: record.Stored, ID: "e-1", Again: true}, 2},
		{"the connection ends, then stored", []int{0, 200}, record.Number{Outcome: record.Stored, ID: "e-1", Again: true}, 2},
		{"queued", []int{202}, record.Number{Outcome: record.Queued, ID: "e-1"}, 1},
		{"refused", []int{400}, record.Number{Outcome: record.Refused}, 1},
		{"unknown, then refused", []int{503, 400}, record.Number{Outcome: record.Unknown, Again: true}, 2},
		{"never known", []int{503}, record.Number{Outcome: record.Unknown, Again: true}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var keys []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if string(body) != "k 1 xx" || r.URL.Query().Get("key") != "k" {
					t.Errorf("%s %q", r.URL, body)
				}
				status := c.answers[min(len(keys), len(c.answers)-1)]
				keys = append(keys, r.Header.Get("Idempotency-Key"))
				if status == 0 {
					conn, _, _ := http.NewResponseController(w).Hijack()
					_ = conn.Close()
					return
				}
				w.WriteHeader(status)
				_, _ = fmt.Fprint(w, `{"id":"e-1"}`)
			}))
			defer server.Close()
			var book record.Book
			got := New(Config{Key: "k", Nodes: []string{server.URL}, Book: &book, Run: "r", Size: 2, GiveUp: 200 * time.Millisecond}).Next()
			c.want.Took = got.Took
			if got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			c.want.Began = book.Published()["k"][0].Began
			if noted := book.Published().Of("k", 1); noted != c.want || noted.Began == 0 {
				t.Errorf("noted %+v, want %+v", noted, c.want)
			}
			if c.sent > 0 && len(keys) != c.sent || len(slices.Compact(keys)) != 1 || keys[0] == "" {
				t.Errorf("sent with the keys %q, want %d times the same", keys, c.sent)
			}
		})
	}
}

// TestAway: a node that does not listen has not taken the event, and the next one is asked.
func TestAway(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := "http://" + ln.Addr().String()
	_ = ln.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"id":"e-1"}`) }))
	defer server.Close()
	var book record.Book
	n := New(Config{Key: record.Broadcast, Nodes: []string{away, server.URL}, Book: &book}).Next()
	if n.Outcome != record.Stored || n.Again {
		t.Errorf("%+v", n)
	}
	p := New(Config{Key: "k", Nodes: []string{away}, Book: &book, GiveUp: time.Millisecond})
	if n := p.Next(); n.Outcome != record.Refused || p.LastError() == nil {
		t.Errorf("%+v, %v", n, p.LastError())
	}
}
