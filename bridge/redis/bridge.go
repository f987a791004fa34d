package redis

import (
	"context"
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"fanfare/bridge/relay"
	"fanfare/bridge/session"
	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/redisconn"
)

// Bridge reads channels and streams from Redis and publishes what arrives. Make one with New.
type Bridge struct {
	o       Options
	client  rueidis.ClientOption
	workers []*worker
	cancel  context.CancelFunc
	done    sync.WaitGroup
	close   sync.Once
}

// New checks the options. It does not connect; Start does. Errors name the option at fault and never contain the URL.
func New(o Options) (*Bridge, error) {
	if o.Names == nil || o.Engine == nil || o.Publish == nil && o.Fleet == nil {
		return nil, errors.New("redis: Options.Names, Engine, and Publish or Fleet are required")
	}
	if o.Names.channels.empty() && o.Names.streams.empty() {
		return nil, errors.New("redis: Options.Names has neither channels nor streams")
	}
	b := &Bridge{o: o.withDefaults()}
	var err error
	if b.client, err = b.o.client(); err != nil {
		return nil, errors.New("redis: Options.URL " + err.Error())
	}
	m := newMetrics(b.o.Registerer)
	if !b.o.Names.channels.empty() {
		w := b.newWorker("pubsub", m)
		s := &subscription{w: w}
		w.session = s.run
	}
	if !b.o.Names.streams.empty() {
		w := b.newWorker("streams", m)
		s := newStreams(w)
		w.session = s.run
	}
	return b, nil
}

func (b *Bridge) newWorker(source string, m *metrics) *worker {
	w := &worker{
		b:       b,
		source:  source,
		metrics: m.source(source),
		logger:  b.o.Logger.With("source", "redis "+source),
	}
	w.loop = session.New(session.Options{
		Name: "redis", BackoffMin: b.o.backoffMin, BackoffMax: b.o.backoffMax, Logger: w.logger, Explain: redisconn.Explain,
		Connected: w.metrics.connected, Reconnects: w.metrics.reconnects,
		Errors: func(reason string) prometheus.Counter { return w.metrics.errors.WithLabelValues(source, reason) },
	})
	b.workers = append(b.workers, w)
	return w
}

// Start begins to connect, in its own goroutines, which Close ends. Call it once.
func (b *Bridge) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	for _, w := range b.workers {
		if b.o.Fleet == nil {
			w.metrics.leads.Set(1)
		}
		if b.o.Fleet != nil && w.source == "pubsub" {
			w.relay = w.newRelay()
		}
		b.done.Go(func() { w.loop.Run(ctx, w.connect) })
	}
}

// Settled waits until each source either works (its channels are subscribed to, the history of its streams is read) or has
// failed for the first time, or until ctx is done. Open the listeners after it: a client that resumes by the id of a
// stream's entry then finds that entry in the history.
func (b *Bridge) Settled(ctx context.Context) {
	for _, w := range b.workers {
		select {
		case <-w.loop.Settled():
		case <-ctx.Done():
			return
		}
	}
}

// Close hands over to another node what this one does for its fleet, and disconnects. After it has returned, nothing more is published.
func (b *Bridge) Close() {
	if b.cancel != nil {
		b.close.Do(b.handOver)
	}
}

// handOver ends the sources. The channels are passed on. The streams are only given up: the node that leads next continues after what is
// stored.
func (b *Bridge) handOver() {
	stop := func() {
		b.cancel()
		for _, w := range b.workers {
			if w.relay != nil {
				w.relay.Close() // a hook may wait in Put
			}
		}
		b.done.Wait()
	}
	for _, w := range b.workers {
		if w.relay != nil {
			w.relay.HandOver(b.o.Fleet.Channels, stop)
		}
	}
	stop()
	if b.o.Fleet != nil && b.o.Fleet.Streams != nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // do not wait for another node
		b.o.Fleet.Streams.HandOver(ctx, func() []byte { return nil })
	}
}

// leads reports whether this server publishes what the source delivers.
func (w *worker) leads(name string) bool {
	fleet := w.b.o.Fleet
	if fleet == nil {
		return true
	}
	if !fleet.Leads(name) {
		w.metrics.leads.Set(0)
		return false
	}
	w.metrics.leads.Set(1)
	return true
}

// publish publishes an event that came from the channel or stream called name. If the event is refused, it is counted and
// logged, and the source goes on.
func (w *worker) publish(name, key string, ev codec.Event) {
	if err := w.b.o.Publish(key, ev); err != nil {
		w.refuse(reasonOf(err), name, err)
	}
}

// refuse counts a refused message of the channel or stream called name. It logs one message per reason and interval.
func (w *worker) refuse(reason, name string, err error) {
	w.metrics.refused.WithLabelValues(w.source, reason).Inc()
	w.loop.Warn("refused:"+reason, "a message from redis was refused", "reason", reason, "name", name, "error", err)
}

// Reasons why messages are refused, as they appear in metrics and logs.
const (
	reasonName    = "name"          // no rule maps the name to a key
	reasonSize    = "maxEventBytes" // ErrTooLarge
	reasonKeys    = "maxKeys"
	reasonInvalid = "invalid" // not UTF-8, not the JSON that redisPayload requires, a field with a line break, …
	reasonTwice   = "keyTaken"
	reasonStreams = "redisMaxStreams"
	reasonType    = "noStream"
)

var refusals = []string{reasonName, reasonSize, reasonKeys, reasonInvalid, reasonTwice, reasonStreams, reasonType}

func reasonOf(err error) string {
	var limit *engine.LimitError
	switch {
	case errors.Is(err, ErrTooLarge):
		return reasonSize
	case errors.As(err, &limit):
		return reasonKeys
	}
	return reasonInvalid
}

// gapMessage makes the gap of a key. missed is the number of lost events, -1 if unknown; after is the id of the last event before
// the gap, "" if it has none.
func (w *worker) gapMessage(key string, missed int64, after string) relay.Message {
	g := codec.Gap{Key: &key, Reason: "source"}
	if missed >= 0 {
		g.Missed = &missed
	}
	if after != "" {
		g.After = &after
	}
	// The gap has the id of the event before it. A client that resumes there gets the gap again, and its last event id stays
	// one that the stream knows.
	ev := g.Event()
	ev.ID = after
	return relay.Message{Key: key, Event: ev}
}

// reportGap publishes a gap to the key, see gapMessage.
func (w *worker) reportGap(key string, missed int64, after string) {
	m := w.gapMessage(key, missed, after)
	if w.relay != nil {
		w.relay.Put(m)
	} else if err := w.b.o.Publish(key, m.Event); err != nil {
		w.refuse(reasonOf(err), key, err)
		return
	}
	w.metrics.gaps.Inc()
}
