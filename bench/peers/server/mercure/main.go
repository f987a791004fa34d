// Command mercure is a Mercure hub (github.com/dunglas/mercure) as a library.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"

	"github.com/dunglas/mercure"

	"fanfare/bench/peers/host"
)

// Settings: the defaults of NewHub, with the transport in memory (no Bolt database, so no history). The exceptions are:
//   - Anonymous subscribers, and the publish call of the library: no token is checked on either side.
//   - No log.
//   - No write timeout: by default the hub ends each stream after 10 minutes.
func settings() []mercure.Option {
	return []mercure.Option{
		mercure.WithTransport(mercure.NewLocalTransport(mercure.NewSubscriberList(mercure.DefaultSubscriberListCacheSize))),
		mercure.WithAnonymous(),
		mercure.WithLogger(slog.New(slog.DiscardHandler)),
		mercure.WithWriteTimeout(0),
	}
}

func main() {
	hub, err := mercure.NewHub(context.Background(), settings()...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	subscribe := func(w http.ResponseWriter, r *http.Request) {
		// The hub reads its own parameter. A key is a topic.
		r.URL.RawQuery = "topic=" + url.QueryEscape(r.URL.Query().Get("connectKey"))
		hub.SubscribeHandler(w, r)
	}
	host.Run(http.HandlerFunc(subscribe), func(ctx context.Context, key string, data []byte) error {
		return hub.Publish(ctx, &mercure.Update{Topics: []string{key}, Event: mercure.Event{Data: string(data)}})
	})
}
