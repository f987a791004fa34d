package redis

import (
	"context"
	"errors"
	"sync"

	"github.com/goccy/go-json"
	"github.com/redis/rueidis"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/ratelog"
)

// Bridge publishes what comes from Redis. Make one with New.
type Bridge struct {
	o       Options
	client  rueidis.ClientOption
	workers []*worker
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

// New checks the options; nothing is connected before Start. Errors name the option at fault, and never have the URL in
// them.
func New(o Options) (*Bridge, error) {
	if o.Names == nil || o.Engine == nil || o.Publish == nil {
		return nil, errors.New("redis: Options.Names, Engine and Publish are required")
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
		limiter: ratelog.New(warningInterval),
		settled: make(chan struct{}),
	}
	b.workers = append(b.workers, w)
	return w
}

// Start begins to connect, in goroutines of its own that Close ends. Call it once.
func (b *Bridge) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	for _, w := range b.workers {
		b.done.Go(func() { w.run(ctx) })
	}
}

// Settled waits until each source either works (channels are subscribed to, and the history of streams is read) or has
// failed for the first time, or until ctx is done. Open the doors behind it: a client that resumes by a stream's id
// then finds it.
func (b *Bridge) Settled(ctx context.Context) {
	for _, w := range b.workers {
		select {
		case <-w.settled:
		case <-ctx.Done():
			return
		}
	}
}

// Close disconnects. When it returns, nothing is published any more.
func (b *Bridge) Close() {
	if b.cancel != nil {
		b.cancel()
		b.done.Wait()
	}
}

// publish publishes an event that came from the channel or stream of that name; one that is refused is counted and
// logged, and the rest goes on.
func (w *worker) publish(name, key string, ev codec.Event) {
	if err := w.b.o.Publish(key, ev); err != nil {
		w.refuse(reasonOf(err), name, err)
	}
}

// refuse counts a message of the channel or stream of that name, and logs the first of its reason in a while.
func (w *worker) refuse(reason, name string, err error) {
	w.metrics.refused.WithLabelValues(w.source, reason).Inc()
	w.warn("refused:"+reason, "a message from redis is refused", "reason", reason, "name", name, "error", err)
}

// Reasons for which messages are refused, as metrics and logs have them.
const (
	reasonName    = "name"          // no rule makes a key of the name
	reasonSize    = "maxEventBytes" // ErrTooLarge
	reasonKeys    = "maxKeys"
	reasonInvalid = "invalid" // not UTF-8, not the JSON that is asked for, a field with a line break, …
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

// gap is the data of the event that tells a key's subscribers what they miss: that of the gaps which a stream tells
// itself, but that nobody knows where it is in terms of their ids.
type gap struct {
	Key    string  `json:"key"`
	Reason string  `json:"reason"`
	Missed *int64  `json:"missed"`
	After  *string `json:"after"`
	Next   *string `json:"next"`
}

// tellGap publishes a gap to the key. missed is the number of events, -1 if nobody knows; after is the id of the last
// event before the gap, "" if it has none.
func (w *worker) tellGap(key string, missed int64, after string) {
	g := gap{Key: key, Reason: "source"}
	if missed >= 0 {
		g.Missed = &missed
	}
	if after != "" {
		g.After = &after
	}
	data, err := json.Marshal(g)
	if err == nil {
		// With the id of the event before it, a client that resumes there is told again; with another, the stream's
		// id would be lost.
		err = w.b.o.Publish(key, codec.Event{Event: "gap", ID: after, Data: data, Notice: true})
	}
	if err != nil {
		w.refuse(reasonOf(err), key, err)
		return
	}
	w.metrics.gaps.Inc()
}
