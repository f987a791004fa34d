package nats

import (
	"context"
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/bridge/payload"
	"fanfare/bridge/relay"
	"fanfare/bridge/session"
	"fanfare/codec"
	"fanfare/engine"
)

// Bridge subscribes to subjects of NATS and publishes what arrives. Make one with New.
type Bridge struct {
	o       Options
	relay   *relay.Relay
	metrics *metrics
	loop    *session.Loop
	cancel  context.CancelFunc
	done    chan struct{} // closed when loop.Run has ended
	close   sync.Once
}

// New checks the options. It does not connect; Start does. Errors name the option at fault and never contain the URL.
func New(o Options) (*Bridge, error) {
	switch {
	case len(o.Rules) == 0 || o.Engine == nil || o.Publish == nil:
		return nil, errors.New("nats: Options.Rules, Engine and Publish are required")
	case CheckURL(o.URL) != nil:
		return nil, errors.New("nats: Options.URL " + CheckURL(o.URL).Error())
	}
	b := &Bridge{o: o.withDefaults(), done: make(chan struct{})}
	b.metrics = newMetrics(o.Registerer)
	b.loop = session.New(session.Options{
		Name: "nats", BackoffMin: b.o.backoffMin, BackoffMax: b.o.backoffMax, Logger: b.o.Logger, Explain: explain,
		Connected: b.metrics.connected, Reconnects: b.metrics.reconnects,
		Errors: func(reason string) prometheus.Counter { return b.metrics.connErrors.WithLabelValues(reason) },
	})
	return b, nil
}

// Start begins to connect, in a goroutine that Close ends. Call it once.
func (b *Bridge) Start() {
	b.relay = relay.New(relay.Options{Publish: b.o.Publish, Again: b.o.Again, Remember: b.o.Succession != nil, Refused: func(m relay.Message, err error) {
		b.refuse(m.Key, err)
	}})
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	go func() {
		defer close(b.done)
		b.loop.Run(ctx, b.session)
	}()
}

// Settled waits until the bridge either works, or has failed for the first time, or ctx is done. In a fleet, a bridge works when a
// node leads.
func (b *Bridge) Settled(ctx context.Context) {
	select {
	case <-b.loop.Settled():
	case <-ctx.Done():
	}
}

// Close hands the lead over to another node, if this one has it. Then it drains: it unsubscribes, and publishes what the server has
// sent before. After it has returned, nothing more is published.
func (b *Bridge) Close() {
	if b.cancel == nil {
		return
	}
	b.close.Do(func() {
		b.relay.HandOver(b.o.Succession, func() {
			b.cancel()
			<-b.done
			b.relay.Close()
		})
	})
}

// message publishes a message of the rule with this index. Of several rules that cover a subject, the server sends it once for
// each; only that of the first one is published.
func (b *Bridge) message(rule int, subject string, data []byte) {
	key, first := b.o.Rules.key(subject)
	if first != rule {
		return
	}
	b.metrics.messages.Inc()
	ev, err := payload.Decode(data, b.o.Payload)
	if err != nil {
		b.refuse(subject, err)
		return
	}
	b.relay.Put(relay.Message{Key: key, Event: ev})
}

// refuse counts a refused message, and logs one per reason and interval.
func (b *Bridge) refuse(name string, err error) {
	reason := reasonInvalid
	var limit *engine.LimitError
	switch {
	case errors.Is(err, ErrTooLarge):
		reason = reasonSize
	case errors.As(err, &limit):
		reason = reasonKeys
	}
	b.metrics.refusedBy.WithLabelValues(reason).Inc()
	b.loop.Warn("refused:"+reason, "a message from nats was refused", "reason", reason, "name", name, "error", err)
}

// reportGaps reports a possible loss to the keys that the rules cover. At the first connection only clients that are already
// subscribed have missed something, unless the events are durable. After a reconnect so have those that will resume.
//
// A key without an event in memory and without a subscriber is not known here. It gets the gap only if a rule without wildcards names
// it, and if clients can have its position: in a log.
func (b *Bridge) reportGaps(again bool) {
	again = again || b.o.Durable
	reported := map[string]bool{}
	report := func(key string) {
		reported[key] = true
		b.metrics.gaps.Inc()
		b.relay.Put(relay.Message{Key: key, Event: codec.Gap{Key: &key, Reason: "source"}.Event()})
	}
	if b.o.Durable {
		for _, key := range b.o.Rules.fixedKeys() {
			if !reported[key] {
				report(key)
			}
		}
	}
	for key := range b.o.Engine.Keys() {
		if (again || b.o.Engine.Count(key) > 0) && b.o.Rules.covers(key) && !reported[key] {
			report(key)
		}
	}
}
