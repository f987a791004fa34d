// Command gosse is a server of the library go-sse (github.com/tmaxmax/go-sse) with its provider Joe.
package main

import (
	"context"
	"net/http"

	"github.com/tmaxmax/go-sse"

	"fanfare/bench/peers/host"
)

// Settings: the defaults, with the provider Joe, no replay and no log.
func main() {
	server := &sse.Server{
		Provider: &sse.Joe{},
		OnSession: func(w http.ResponseWriter, r *http.Request) ([]string, bool) {
			// The library keeps the head back until the first event, and lets its head be sent here. Its writer has a
			// Flush of its own, which http.Flusher is not.
			w.Header().Set("Content-Type", "text/event-stream")
			if f, ok := w.(interface{ Flush() error }); ok {
				if f.Flush() != nil {
					return nil, false // the client is gone
				}
			}
			return []string{r.URL.Query().Get("connectKey")}, true
		},
	}
	host.Run(server, func(_ context.Context, key string, data []byte) error {
		m := &sse.Message{}
		m.AppendData(string(data))
		return server.Publish(m, key)
	})
}
