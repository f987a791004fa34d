package pub

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
)

// TestTooFast: a publisher over its rate waits as long as the server says, also without --wait, but not longer than --timeout.
func TestTooFast(t *testing.T) {
	requests, after := 0, "1"
	var first, second time.Time
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests++; requests == 1 || after != "1" {
			first = time.Now()
			w.Header().Set("Retry-After", after)
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"error":"too fast","field":"maxPublishRate"}`)
			return
		}
		second = time.Now()
		fmt.Fprint(w, `{"id":"a-1","subscribers":0}`)
	}))
	defer srv.Close()
	o := defaults(Options{Key: "k", Data: "x", HasData: true, Server: srv.URL})
	o.Timeout = eventually.Patience
	var notes strings.Builder
	if err := Run(t.Context(), o, nil, io.Discard, &notes); err != nil || requests != 2 || second.Sub(first) < time.Second || !strings.Contains(notes.String(), "too fast; trying again") {
		t.Errorf("%v after %d requests and %s: %s", err, requests, second.Sub(first), notes.String())
	}
	requests, after = 0, "7200"
	if err := Run(t.Context(), o, nil, io.Discard, io.Discard); err == nil || err.Error() != "too fast" || requests != 1 {
		t.Errorf("%v after %d requests", err, requests)
	}
}
