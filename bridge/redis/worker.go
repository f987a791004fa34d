package redis

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/redis/rueidis"

	"fanfare/bridge/relay"
	"fanfare/bridge/session"
	"fanfare/internal/redisconn"
)

// worker keeps one source connected. Its fields belong to the goroutine of loop.Run unless their comment says otherwise.
type worker struct {
	b       *Bridge
	source  string // "pubsub" or "streams", as in metrics
	metrics sourceMetrics
	logger  *slog.Logger
	loop    *session.Loop
	relay   *relay.Relay // of the channels, in a fleet; otherwise nil

	// session uses a connection until an error ends it, and returns that error. It calls live once the source works.
	// hangUp closes the connection at once.
	session func(ctx context.Context, c rueidis.DedicatedClient, live, hangUp func()) error
}

// connect makes a connection and runs the session on it. It turns a panic into an error: rueidis panics on some answers that
// no Redis gives, and something else listening at the address must not end the server's streams.
func (w *worker) connect(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // closes the connections, see dialer
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			w.loop.Warn("panic", "panic in the redis client: reconnecting", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	o := w.b.client
	if o.Sentinel.MasterSet == "" {
		// One node is enough: in a cluster every node delivers what was published on any. The addresses take turns.
		o.ForceSingleClient = true
		o.InitAddress = []string{o.InitAddress[w.loop.Attempt()%len(o.InitAddress)]}
	}
	o.DialCtxFn = redisconn.Dialer(ctx, w.b.client)
	client, err := rueidis.NewClient(o)
	if client != nil {
		defer client.Close()
		defer cancel() // before Close, which then has nothing to wait for
	}
	if err != nil {
		return err
	}
	c, release := client.Dedicate()
	defer release()
	defer c.Close()
	defer cancel()
	return w.session(ctx, c, func() { w.loop.Live(strings.Join(o.InitAddress, ",")) }, cancel)
}
