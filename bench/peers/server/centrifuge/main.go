// Command centrifuge is a node of the library centrifuge (github.com/centrifugal/centrifuge) with its SSE handler.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/centrifugal/centrifuge"

	"fanfare/bench/peers/host"
)

// Settings: the defaults, which log nothing and have the broker in memory, without history, presence and recovery. The exceptions
// are:
//   - No check for pongs. The client of the benchmark cannot send any, and neither can a page with a plain EventSource. Pings are
//     sent every 25 s (the default).
//   - The server subscribes the stream to its key when the stream is opened.
var (
	node = centrifuge.Config{}
	sse  = centrifuge.SSEConfig{PingPongConfig: centrifuge.PingPongConfig{PongTimeout: -1}}
)

// connect is the command by which a stream of this library begins. Its data is for onConnecting.
type connect struct {
	ID      uint32 `json:"id"`
	Connect struct {
		Data data `json:"data"`
	} `json:"connect"`
}

type data struct {
	Key string `json:"key"`
}

func onConnecting(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
	var d data
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return centrifuge.ConnectReply{}, centrifuge.DisconnectBadRequest
	}
	return centrifuge.ConnectReply{
		Credentials:   &centrifuge.Credentials{},
		Subscriptions: map[string]centrifuge.SubscribeOptions{d.Key: {}},
	}, nil
}

func main() {
	n, err := centrifuge.New(node)
	if err == nil {
		n.OnConnecting(onConnecting)
		n.OnConnect(func(*centrifuge.Client) {})
		err = n.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	handler := centrifuge.NewSSEHandler(n, sse)
	subscribe := func(w http.ResponseWriter, r *http.Request) {
		c := connect{ID: 1}
		c.Connect.Data.Key = r.URL.Query().Get("connectKey")
		command, err := json.Marshal(c)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.URL.RawQuery = "cf_connect=" + url.QueryEscape(string(command))
		handler.ServeHTTP(w, r)
	}
	host.Run(http.HandlerFunc(subscribe), func(_ context.Context, key string, data []byte) error {
		if !json.Valid(data) {
			return errors.New("the data is not JSON, and centrifuge's JSON protocol accepts only JSON")
		}
		_, err := n.Publish(key, data)
		return err
	})
}
