// Command r3labs is a server of the library sse (github.com/r3labs/sse).
package main

import (
	"context"
	"net/http"
	"net/url"

	"github.com/r3labs/sse/v2"

	"fanfare/bench/peers/host"
)

// Settings: the defaults (1,024 events are queued for each stream, 64 for each subscriber). The exceptions are:
//   - The first subscriber creates a stream (AutoStream).
//   - No replay: by default the library keeps every event indefinitely, and sends all of them to each new subscriber.
func settings() *sse.Server {
	s := sse.New()
	s.AutoStream = true
	s.AutoReplay = false
	return s
}

func main() {
	server := settings()
	subscribe := func(w http.ResponseWriter, r *http.Request) {
		r.URL.RawQuery = "stream=" + url.QueryEscape(r.URL.Query().Get("connectKey"))
		server.ServeHTTP(w, r)
	}
	host.Run(http.HandlerFunc(subscribe), func(_ context.Context, key string, data []byte) error {
		server.Publish(key, &sse.Event{Data: data})
		return nil
	})
}
