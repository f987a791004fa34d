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
			// The library holds the head back until the first event, but lets this function send it. Its writer has its own Flush
			// method, which is not that of http.Flusher.
			w.Header().Set("Content-Type", "text/event-stream")
			if f, ok := w.(interface{ Flush() error }); ok {
				if f.Flush() != nil {
					return nil, false // the client has gone
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
