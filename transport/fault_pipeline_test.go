package transport

import (
	"strings"
	"testing"

	"fanfare/internal/test/wiretest"
)

// TestPipeline: requests that come in one write are answered in their order, and none is lost when a stream takes the
// connection (RFC 9112, 9.3.2).
func TestPipeline(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	get := func(target string) string { return wiretest.Request("GET", target) }
	post := wiretest.Request("POST", r.path, "Content-Length: 0")
	for _, c := range []struct {
		name     string
		requests []string
		answers  []int
	}{
		{"health, stream", []string{get("/healthz"), r.get("connectKey=k")}, []int{200, 200}},
		{"HEAD, stream", []string{wiretest.Request("HEAD", r.path), r.get("connectKey=k")}, []int{200, 200}},
		{"not found, stream", []string{get("/nothing"), r.get("connectKey=k")}, []int{404, 200}},
		{"OPTIONS, stream", []string{wiretest.Request("OPTIONS", r.path), r.get("connectKey=k")}, []int{204, 200}},
		{"POST, stream", []string{post, r.get("connectKey=k")}, []int{405, 200}},
		{"bad key, stream", []string{r.get("connectKey=%FF"), r.get("connectKey=k")}, []int{400, 200}},
		{"page, health, ready, stream", []string{get("/"), get("/healthz"), get("/readyz"), r.get("connectKey=k")}, []int{200, 200, 200, 200}},
		{"stream, stream", []string{r.get("connectKey=k"), r.get("connectKey=other")}, []int{200}},
		{"many", repeat(get("/healthz"), 50, r.get("connectKey=k")), answers(51)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := r.dial()
			defer w.Close()
			w.Send(strings.Join(c.requests, ""))
			for i, want := range c.answers {
				head := w.ReadHead()
				if w.Status != want {
					t.Fatalf("answer %d: %d, want %d: %s", i, w.Status, want, head)
				}
				stream := w.Header.Get("Content-Type") == "text/event-stream"
				if i == len(c.answers)-1 {
					if !stream {
						t.Fatalf("the last answer is no stream: %s", head)
					}
					break
				}
				if w.Header.Get("Content-Length") != "" && !strings.HasPrefix(c.requests[i], "HEAD") {
					w.Rest()
				} else if stream && !strings.HasPrefix(c.requests[i], "HEAD") {
					t.Fatalf("answer %d is the stream: %s", i, head)
				}
			}
			r.waitCount("k", 1)
			r.publish("k", "x")
			e := wiretest.NewEvents(w)
			e.WantData("x")
			w.Close()
			r.waitCount("k", 0)
		})
	}
}

func repeat(request string, n int, last string) (requests []string) {
	for range n {
		requests = append(requests, request)
	}
	return append(requests, last)
}

func answers(n int) (all []int) {
	for range n {
		all = append(all, 200)
	}
	return all
}
