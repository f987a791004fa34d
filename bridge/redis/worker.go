package redis

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"fanfare/bridge/relay"
	"fanfare/internal/ratelog"
	"fanfare/internal/redisconn"
)

// worker keeps one source connected. Its fields belong to the goroutine of run unless their comment says otherwise.
type worker struct {
	b       *Bridge
	source  string // "pubsub" or "streams", as in metrics
	metrics sourceMetrics
	logger  *slog.Logger
	limiter *ratelog.Limiter
	relay   *relay.Relay // of the channels, in a fleet; otherwise nil

	// session uses a connection until an error ends it, and returns that error. It calls live once the source works.
	// hangUp closes the connection at once.
	session func(ctx context.Context, c rueidis.DedicatedClient, live, hangUp func()) error

	attempt   int           // attempts since the source last worked for longer than backoffMax
	lostAt    time.Time     // when it last worked; zero before it has worked
	settled   chan struct{} // closed when the source works or has failed, for Settled
	settling  sync.Once
	worked    bool      // whether it has ever worked
	liveSince time.Time // zero while it does not work
}

// warningInterval is the shortest time between two warnings of a kind.
const warningInterval = time.Minute

// warn logs a warning, unless one of its kind was logged within warningInterval.
func (w *worker) warn(kind, msg string, args ...any) {
	w.limiter.Log(w.logger, slog.LevelWarn, kind, msg, args...)
}

// run connects and reconnects until ctx is done.
func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := w.connect(ctx)
		w.metrics.connected.Set(0)
		if ctx.Err() != nil {
			return
		}
		w.failed(err)
		pause := w.pause()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// pause is the time to wait before the next attempt. It doubles with each attempt, up to backoffMax. Half of it is random, so
// that many servers do not return to Redis at once. It starts over after a session that worked for longer than backoffMax,
// but not after one that ended right away.
func (w *worker) pause() time.Duration {
	if !w.liveSince.IsZero() && time.Since(w.liveSince) > w.b.o.backoffMax {
		w.attempt = 0
	}
	w.liveSince = time.Time{}
	longest := w.b.o.backoffMax
	if w.attempt < 30 {
		longest = min(longest, w.b.o.backoffMin<<w.attempt)
	}
	w.attempt++
	return longest/2 + rand.N(longest/2+1)
}

// connect makes a connection and runs the session on it. It turns a panic into an error: rueidis panics on some answers that
// no Redis gives, and something else listening at the address must not end the server's streams.
func (w *worker) connect(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // closes the connections, see dialer
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			w.warn("panic", "panic in the redis client: reconnecting", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	o := w.b.client
	if o.Sentinel.MasterSet == "" {
		// One node is enough: in a cluster every node delivers what was published on any. The addresses take turns.
		o.ForceSingleClient = true
		o.InitAddress = []string{o.InitAddress[w.attempt%len(o.InitAddress)]}
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
	return w.session(ctx, c, func() { w.connected(o.InitAddress) }, cancel)
}

// connected records that the source works now.
func (w *worker) connected(addresses []string) {
	if !w.liveSince.IsZero() {
		return
	}
	w.liveSince = time.Now()
	w.metrics.connected.Set(1)
	args := []any{"address", strings.Join(addresses, ","), "attempts", w.attempt + 1}
	if w.worked {
		w.metrics.reconnects.Inc()
		args = append(args, "after", time.Since(w.lostAt).Round(time.Millisecond).String())
	}
	w.worked = true
	w.logger.Info("redis is connected", args...)
	w.settling.Do(func() { close(w.settled) })
}

// failed records that the session, or the attempt to begin one, has ended with err.
func (w *worker) failed(err error) {
	reason, hint := redisconn.Explain(err)
	w.metrics.errors.WithLabelValues(w.source, reason).Inc()
	args := []any{"reason", reason, "error", err}
	if hint != "" {
		args = append(args, "hint", hint)
	}
	if w.liveSince.IsZero() {
		w.warn("failed:"+reason, "cannot connect to redis: trying again, at least every "+w.b.o.backoffMax.String(), args...)
	} else {
		w.lostAt = time.Now()
		w.warn("lost:"+reason, "the connection to redis was lost: trying again", args...)
	}
	w.settling.Do(func() { close(w.settled) })
}
